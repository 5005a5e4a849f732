"""Values of any kind as JSON for a prompt: what JSON does not have becomes the name of its type.

As dspy's `recursive_mask` before `orjson` with two spaces: the same texts, by pydantic's serializer.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from typing import Any, cast

from pydantic_core import to_json

__all__ = ["indented_json"]

_LEAST, _MOST = -(2**63), 2**64 - 1
"""The integers that are numbers in it."""


def indented_json(value: Any) -> str:
    """The text. Never raises for the kind of a value."""
    return to_json(_masked(value), indent=2, inf_nan_mode="null").decode()


def _masked(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _masked(value.value)
    if isinstance(value, str):
        return str.__str__(value) if _encodes(value) else _name(value)
    if isinstance(value, int):
        return int(value) if _LEAST <= value <= _MOST else _name(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        return {_key(key): _masked(each) for key, each in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_masked(each) for each in cast("list[object]", value)]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in dataclasses.fields(value) if not each.name.startswith("_")]
        return {name: _masked(getattr(value, name)) for name in names}
    return _name(value)


def _key(key: object) -> str:
    # dspy gives up the candidate over a key that is no text.
    return str(key)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(value: object) -> str:
    return f"<non-serializable: {type(value).__name__}>"
