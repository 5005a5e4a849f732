"""A pydantic JSON schema in the form that strict structured output demands.

Strict mode of the providers accepts an object schema only when it lists every property as required and forbids others,
at every level; a `$ref` may have no siblings; a default of None says nothing and is dropped. These are the rules of
OpenAI's own SDK (`to_strict_json_schema`), which dspy 3.4 follows too.
"""

from __future__ import annotations

from typing import Any, cast

__all__ = ["strict_json_schema"]


def strict_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy of `schema` whose every object is closed and complete. The input is left as it is.

    Raises:
        ValueError: a `$ref` that must be resolved leads nowhere inside the schema.
    """
    return cast("dict[str, Any]", _strict(schema, schema))


def _strict(node: object, root: dict[str, Any]) -> Any:
    if not isinstance(node, dict):
        return node
    made = dict(cast("dict[str, Any]", node))
    for name in ("$defs", "definitions"):
        if isinstance(made.get(name), dict):
            made[name] = {key: _strict(child, root) for key, child in made[name].items()}
    if made.get("type") == "object" and "additionalProperties" not in made:
        made["additionalProperties"] = False
    if isinstance(made.get("properties"), dict):
        made["required"] = list(made["properties"])
        # Keys here are the user's names, not schema keywords: only the values are schemas.
        made["properties"] = {key: _strict(child, root) for key, child in made["properties"].items()}
    if isinstance(made.get("items"), dict):
        made["items"] = _strict(made["items"], root)
    if isinstance(made.get("anyOf"), list):
        made["anyOf"] = [_strict(item, root) for item in made["anyOf"]]
    if isinstance(made.get("allOf"), list):
        parts: list[Any] = made["allOf"]
        if len(parts) == 1:
            del made["allOf"]
            made.update(_strict(parts[0], root))
        else:
            made["allOf"] = [_strict(item, root) for item in parts]
    if "default" in made and made["default"] is None:
        del made["default"]
    reference = made.get("$ref")
    if isinstance(reference, str) and len(made) > 1:
        # A reference with siblings: what it refers to is written out, and the siblings win.
        beside = {key: value for key, value in made.items() if key != "$ref"}
        made = {**_strict(_resolved(root, reference), root), **beside}
    return made


def _resolved(root: dict[str, Any], reference: str) -> dict[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#/").split("/") if reference.startswith("#/") else [""]:
        node = cast("dict[str, Any]", node).get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise ValueError(f"Could not resolve $ref {reference!r} inside the schema.")
    return cast("dict[str, Any]", node)
