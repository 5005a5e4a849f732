"""A field beside its value, as dspy hands them to `format_field_with_value`, and the value as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from ..signatures import SignatureMeta
from .values import passages, text_of


class FieldInfoWithName(NamedTuple):
    """A field of a signature by name; a key of the dicts that `format_field_with_value` gets."""

    name: str
    info: FieldInfo


def text_in_field(field: FieldInfoWithName, value: Any) -> str:
    """`value` as it stands in the prompt.

    Raises:
        FieldValueError: `value` is a list that cannot be written into a `str` field.
    """
    if isinstance(value, list) and field.info.annotation is str:
        return passages(field.name, value)  # pyright: ignore[reportUnknownArgumentType] - any list
    return text_of(value)


def with_fields(signature: SignatureMeta, values: Mapping[str, Any]) -> dict[FieldInfoWithName, Any]:
    """The values under their fields."""
    infos = signature.fields
    return {FieldInfoWithName(name, infos[name]): value for name, value in values.items()}
