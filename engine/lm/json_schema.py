"""A pydantic JSON schema in the form that strict structured output demands.

Strict mode of the providers accepts an object schema only when it lists every property as required and forbids others,
at every level. Defaults are dropped: a required property has none.
"""

from __future__ import annotations

from typing import Any, cast

__all__ = ["strict_json_schema"]


def strict_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy of `schema` whose every object is closed and complete. The input is left as it is."""
    return cast("dict[str, Any]", _strict(schema))


def _strict(node: object) -> object:
    if isinstance(node, list):
        return [_strict(item) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    source = cast("dict[str, object]", node)
    made = {
        key: _properties(value) if key in ("properties", "$defs") else _strict(value) for key, value in source.items()
    }
    properties = made.get("properties")
    if isinstance(properties, dict):
        made["required"] = list(cast("dict[str, object]", properties))
        made["additionalProperties"] = False
        for child in cast("dict[str, object]", properties).values():
            if isinstance(child, dict):
                cast("dict[str, object]", child).pop("default", None)
    return made


def _properties(node: object) -> object:
    """Keys here are the user's names, not schema keywords: only the values are schemas."""
    if not isinstance(node, dict):
        return node
    return {name: _strict(child) for name, child in cast("dict[str, object]", node).items()}
