"""Reading answers that may be an SDK's objects or plain dicts, and need not be valid.

The SDKs do not validate what they receive, compatible servers leave fields out, and custom LMs return dicts: so every
read asks by name and takes None for an answer.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["as_dict", "items", "plain", "read"]


def read(source: Any, name: str, default: Any = None) -> Any:
    """`source[name]` of a dict, `source.name` of anything else; `default` when it has none or it is None."""
    # A dozen reads an answer: asking `isinstance(source, Mapping)` each time cost as much as the rest of them.
    value: Any = source.get(name) if _is_mapping(cast("type", type(source))) else getattr(source, name, None)
    return default if value is None else value


@functools.lru_cache(maxsize=256)
def _is_mapping(kind: type) -> bool:
    return issubclass(kind, Mapping)


def items(source: Any, name: str) -> list[Any]:
    """The list `source[name]`; empty when there is none."""
    value = read(source, name)
    return list(cast("list[Any]", value)) if isinstance(value, list | tuple) else []


def plain(value: Any) -> Any:
    """SDK objects inside `value` as dicts, without their serializers, which refuse what the server got wrong."""
    if isinstance(value, BaseModel):
        return {key: plain(item) for key, item in value}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("list[Any]", value)]
    return value


def as_dict(value: Any) -> dict[str, Any]:
    """A usage or the like as a dict; empty for None."""
    if value is None:
        return {}
    if isinstance(value, BaseModel):
        return dict(value.model_dump())
    return dict(value)
