"""The functions by which adapters of the user's write and read fields: those of `dspy.adapters.utils`, by its names.

They take the public form of a field (`signature.fields[name]`, a `FieldInfo`). The engine's own adapters work from
compiled plans instead.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from ..signatures import FieldSpec, SignatureMeta
from .annotation import allows_none, annotation_name, description, placeholder
from .coerce import coercer, member
from .field_text import FieldInfoWithName, text_in_field
from .values import jsonable

__all__ = [
    "annotation_allows_none",
    "apply_output_field_defaults",
    "find_enum_member",
    "format_field_value",
    "get_annotation_name",
    "get_field_description_string",
    "parse_value",
    "serialize_for_json",
    "translate_field_type",
]

annotation_allows_none = allows_none
get_annotation_name = annotation_name
serialize_for_json = jsonable


def parse_value(value: Any, annotation: Any) -> Any:
    """A value of the type, from what a model wrote. Raises ValueError if there is none in it."""
    return coercer(annotation)(value)


def find_enum_member(enum: enum.EnumMeta, identifier: Any) -> Any:
    """The member with this value, else with this name. Raises ValueError if there is none."""
    return member(enum, identifier)


def format_field_value(field_info: FieldInfo, value: Any, assume_text: bool = True) -> str | dict[str, str]:
    """The value as it stands in a prompt; as a content part when `assume_text` is False.

    Raises:
        FieldValueError: a list that cannot be written into a `str` field.
    """
    text = text_in_field(FieldInfoWithName("value", field_info), value)
    return text if assume_text else {"type": "text", "text": text}


def translate_field_type(field_name: str, field_info: FieldInfo) -> str:
    """What stands for a field where the layout is explained, with a note of its type if it is an output."""
    return placeholder(_spec(field_name, field_info))


def get_field_description_string(fields: Mapping[str, FieldInfo]) -> str:
    """The numbered list of fields in a system message."""
    return description(tuple(_spec(name, info) for name, info in fields.items()))


def apply_output_field_defaults(signature: SignatureMeta, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs in the order of the signature: those in `fields`, and the defaults of optional ones that are not."""
    completed: dict[str, Any] = {}
    for name, info in signature.output_fields.items():
        if name in fields:
            completed[name] = fields[name]
        elif not info.is_required():
            completed[name] = info.get_default(call_default_factory=True)
        elif allows_none(info.annotation):
            completed[name] = None
    return completed


def _spec(name: str, info: FieldInfo) -> FieldSpec:
    return FieldSpec.from_info(name, info, info.annotation)
