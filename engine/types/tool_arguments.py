"""The arguments of a tool: their JSON schemas from type hints, and the check of a call against them.

A model's arguments are checked as dspy 3.4 checks them: against the JSON schema of the argument, strictly (`"3"` is no
integer), then by pydantic, which makes the value of the declared type. dspy compiles both anew for each argument of
each call, some 430 us; here an argument is compiled once (`Argument`). Most values are then accepted by a few type
tests; `jsonschema` itself, which takes 0.4 s to import, is only asked for schemas beyond those and for the words of an
error.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, cast, get_args, get_origin, get_type_hints

import pydantic
import pydantic_core

__all__ = ["Argument", "convert_input_schema_to_tool_args", "described_parameters"]

_PLAIN = frozenset({str, int, float, bool})
_BY_JSON_TYPE = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}

Accepts = Callable[[Any], bool]
"""True only for a value that the schema certainly allows."""


class Argument:
    """One argument, compiled. It stands for the schema and the type it was made from, by identity."""

    __slots__ = ("_accepts", "_name", "_parse", "_validator", "annotation", "schema")

    def __init__(self, name: str, schema: Mapping[str, Any], annotation: Any) -> None:
        self.schema = schema
        self.annotation = annotation
        self._name = name
        self._validator: Any = None
        self._parse: Callable[[Any], Any] | None = None
        kind = schema.get("type")
        # As dspy: a schema without a plain "type", such as a union's, is left to pydantic.
        self._accepts: Accepts = _anything if kind is None or kind == "Any" else _acceptor(schema) or _nothing

    def __reduce__(self) -> tuple[Any, ...]:
        return Argument, (self._name, self.schema, self.annotation)

    def check(self, value: Any) -> None:
        """Raises ValueError if the schema does not allow the value."""
        if not self._accepts(value):
            self._ask_jsonschema(value.model_dump() if hasattr(value, "model_dump") else value)

    def converted(self, value: Any) -> Any:
        """The value as the declared type, by pydantic. Raises its ValidationError, a ValueError."""
        annotation = self.annotation
        if annotation is Any or (annotation in _PLAIN and type(value) is annotation):
            return value
        if self._parse is None:
            # A model named as dspy's, because the name is part of pydantic's message.
            wrapper = pydantic.create_model("Wrapper", value=(annotation, ...))
            self._parse = lambda each: cast("Any", wrapper.model_validate({"value": each})).value
        return self._parse(value)

    def _ask_jsonschema(self, instance: Any) -> None:
        jsonschema = importlib.import_module("jsonschema")
        if self._validator is None:
            kind = jsonschema.validators.validator_for(self.schema)
            kind.check_schema(self.schema)
            self._validator = kind(self.schema)
        error = jsonschema.exceptions.best_match(self._validator.iter_errors(instance))
        if error is not None:
            raise ValueError(f"Arg {self._name} is invalid: {error.message}") from error


def _anything(value: Any) -> bool:
    return True


def _nothing(value: Any) -> bool:
    return False


_WITHOUT_MEANING = frozenset({"title", "description", "default", "examples", "format", "deprecated"})
_TESTS: dict[str, Accepts] = {
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) is float or type(value) is int,
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}


def _acceptor(schema: Any) -> Accepts | None:
    """A quick test that accepts only what the schema allows; None when the schema says more than is understood here."""
    if not isinstance(schema, dict):
        return None
    rules = {key: value for key, value in cast("dict[str, Any]", schema).items() if key not in _WITHOUT_MEANING}
    kind = rules.pop("type", None)
    test = _TESTS.get(kind) if isinstance(kind, str) else None
    if test is None:
        return _anything if not rules and kind is None else _one_of(rules) if kind is None else None
    if not rules:
        return test
    if kind == "array" and set(rules) == {"items"}:
        return _list_of(_acceptor(rules["items"]))
    if kind == "object":
        return _object_of(rules)
    if kind == "string" and set(rules) == {"enum"}:
        allowed = rules["enum"]
        return lambda value: type(value) is str and value in allowed
    return None


def _one_of(rules: dict[str, Any]) -> Accepts | None:
    if set(rules) != {"anyOf"} or not isinstance(rules["anyOf"], list):
        return None
    tests = [_acceptor(each) for each in cast("list[Any]", rules["anyOf"])]
    if any(test is None for test in tests):
        return None
    known = cast("list[Accepts]", tests)
    return lambda value: any(test(value) for test in known)


def _list_of(item: Accepts | None) -> Accepts | None:
    if item is None:
        return None

    def accepts(value: Any) -> bool:
        return type(value) is list and all(map(item, cast("list[Any]", value)))

    return accepts


def _object_of(rules: dict[str, Any]) -> Accepts | None:
    if not set(rules) <= {"properties", "required", "additionalProperties"}:
        return None
    required = cast("list[str]", rules.get("required", []))
    properties = {name: _acceptor(each) for name, each in rules.get("properties", {}).items()}
    others = rules.get("additionalProperties", True)
    other = _anything if others is True else _nothing if others is False else _acceptor(others)
    if other is None or any(test is None for test in properties.values()):
        return None
    known = cast("dict[str, Accepts]", properties)

    def accepts(value: Any) -> bool:
        if type(value) is not dict:
            return False
        given = cast("dict[str, Any]", value)
        return all(name in given for name in required) and all(
            known.get(name, other)(each) for name, each in given.items()
        )

    return accepts


# -- from type hints ---------------------------------------------------------------------------------------------------


def described_parameters(
    function: Callable[..., Any], descriptions: Mapping[str, str] | None
) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """JSON schema and type of each parameter of `function`, and whether it takes any further keyword.

    A parameter without a hint has the type Any and the schema `{}`.
    """
    signature = inspect.signature(function)
    hints = get_type_hints(function)
    schemas: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        annotation = annotations[name] = hints.get(name, Any)
        schema = schemas[name] = _schema(annotation)
        if parameter.default is not inspect.Parameter.empty:
            schema["default"] = _json_default(parameter.default)
        if descriptions and name in descriptions:
            schema["description"] = descriptions[name]
    takes_more = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    return schemas, annotations, takes_more


_KNOWN_SCHEMAS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}


_KNOWN_ITEMS = frozenset((kind,) for kind in _KNOWN_SCHEMAS)


def _schema(annotation: Any) -> dict[str, Any]:
    if annotation is Any:
        return {}
    known = _KNOWN_SCHEMAS.get(annotation) if isinstance(annotation, type) else None
    if known is not None:
        return dict(known)
    origin = get_origin(annotation) or annotation
    if origin is list and get_args(annotation)[:1] in _KNOWN_ITEMS:
        return {"items": dict(_KNOWN_SCHEMAS[get_args(annotation)[0]]), "type": "array"}
    if isinstance(origin, type) and issubclass(origin, pydantic.BaseModel):
        model: type[pydantic.BaseModel] = annotation
        return resolved(model.model_json_schema())
    return resolved(pydantic.TypeAdapter(annotation).json_schema())


def _json_default(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)  # pydantic would write a string, which the schema of a number does not allow
    try:
        return pydantic_core.to_jsonable_python(value)
    except Exception:
        return value


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every `$ref` replaced by what it refers to.

    Raises:
        RecursionError: a definition refers to itself.
    """
    if "$defs" not in schema and "definitions" not in schema:
        return schema

    def resolve(part: Any) -> Any:
        if isinstance(part, dict):
            items = cast("dict[str, Any]", part)
            if "$ref" in items:
                return resolve(schema["$defs"][items["$ref"].split("/")[-1]])
            return {key: resolve(value) for key, value in items.items()}
        return [resolve(each) for each in cast("list[Any]", part)] if isinstance(part, list) else part

    result = resolve(schema)
    result.pop("$defs", None)
    return result


def convert_input_schema_to_tool_args(
    schema: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """From the input schema of a foreign tool to `args`, `arg_types` and `arg_desc` of a `Tool`."""
    args: dict[str, Any] = {}
    arg_types: dict[str, Any] = {}
    arg_desc: dict[str, str] = {}
    properties = schema.get("properties")
    if properties is None:
        return args, arg_types, arg_desc
    required = schema.get("required", [])
    definitions = schema.get("$defs", {})
    for name, declared in properties.items():
        described = resolved({"$defs": copy.copy(definitions), **declared}) if definitions else declared
        args[name] = described
        kind = described.get("type")
        arg_types[name] = _BY_JSON_TYPE.get(kind, Any) if isinstance(kind, str) else Any
        arg_desc[name] = described.get("description", "No description provided.")
        if name in required:
            arg_desc[name] += " (Required)"
    return args, arg_types, arg_desc
