"""Types as the model reads them: their names, the note beside an output field, the JSON schema.

All of it is prompt text, equal to that of dspy 3.4 to the byte. What is worked out of a field is kept with its spec (of
the 1,024 last used), which a signature shares with everything derived from it.
"""

from __future__ import annotations

import enum
import functools
import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import TypeAdapter

from ..signatures import FieldSpec
from ..types import Code, Reasoning, Type


def annotation_name(annotation: Any) -> str:
    """`list[str]`, `Literal['a', 2]`, `Union[str, NoneType]`: a union is always spelled out, however it was written."""
    origin = get_origin(annotation)
    if origin is None:
        return "str" if annotation is Reasoning else str(getattr(annotation, "__name__", annotation))
    if origin is types.UnionType:
        origin = Union
    texts = origin is Literal
    arguments = (_quoted(a) if texts and isinstance(a, str) else annotation_name(a) for a in get_args(annotation))
    return f"{annotation_name(origin)}[{', '.join(arguments)}]"


def _quoted(text: str) -> str:
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


def allows_none(annotation: Any) -> bool:
    """Whether None is a value of the type, which makes an output field of that type optional."""
    if annotation is None or annotation is type(None):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return allows_none(arguments[0])
    return origin in (Union, types.UnionType) and any(allows_none(each) for each in arguments)


@functools.lru_cache(maxsize=1024)
def placeholder(spec: FieldSpec) -> str:
    """The field in the skeleton of an answer: `{score}        # note: the value you produce must be a single float
    value`.
    """
    note = "" if spec.kind == "input" else _note(spec.annotation)
    gap = " " * 8
    return f"{{{spec.name}}}{gap}# note: the value you produce {note}" if note else f"{{{spec.name}}}"


def _note(annotation: Any) -> str:
    if annotation is str or annotation is Reasoning:
        return ""
    if annotation is bool:
        return "must be True or False"
    if annotation in (int, float):
        return f"must be a single {annotation.__name__} value"
    if isinstance(annotation, enum.EnumMeta):
        members = cast("list[enum.Enum]", list(annotation))
        return f"must be one of: {'; '.join(str(member.value) for member in members)}"
    if get_origin(annotation) is Literal:
        allowed = "; ".join(str(each) for each in get_args(annotation))
        return f"must exactly match (no extra characters) one of: {allowed}"
    if _is_class_of(annotation, Code) and annotation.description():
        return ""  # the list of fields says it already
    schema = _type_first(TypeAdapter(annotation).json_schema())
    return f"must adhere to the JSON schema: {json.dumps(schema, ensure_ascii=False)}"


def _is_class_of(annotation: Any, base: type) -> bool:
    try:
        return isinstance(annotation, type) and issubclass(annotation, base)
    except TypeError:  # a generic alias that calls itself a class
        return False


def _type_first(part: Any) -> Any:
    """Sorts the keys of a schema, `type` before all others."""
    if isinstance(part, Mapping):
        items = cast("Mapping[str, Any]", part).items()
        return {key: _type_first(value) for key, value in sorted(items, key=lambda item: (item[0] != "type", item[0]))}
    if isinstance(part, list):
        return [_type_first(each) for each in cast("list[Any]", part)]
    return part


def description(specs: tuple[FieldSpec, ...]) -> str:
    """The numbered list of fields in the system message."""
    return "\n".join(f"{number}. {_described(spec)}" for number, spec in enumerate(specs, start=1)).strip()


@functools.lru_cache(maxsize=1024)
def _described(spec: FieldSpec) -> str:
    options = spec.options
    text = options["desc"] if options["desc"] != f"${{{spec.name}}}" else ""
    for custom in Type.extract_custom_type_from_annotation(spec.annotation):
        if custom.description():
            text += f"\n    Type description of {annotation_name(custom)}: {custom.description()}"
    line = f"`{spec.name}` ({annotation_name(spec.annotation)}): {text}"
    return f"{line}\nConstraints: {options['constraints']}" if options.get("constraints") else line
