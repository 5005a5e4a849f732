"""Demos as they were last shown, kept for as long as nothing in them has changed."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import uuid
from typing import Any, Protocol, cast

from pydantic import BaseModel

from ..types import Type

_DEMOS_KEPT = 1024


class Record(Protocol):
    """What a demo or the inputs of a call may be: a dict, an `Example`, anything that is read by key."""

    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: object, /) -> bool: ...
    def get(self, name: str, default: Any = ..., /) -> Any: ...


class RenderedDemo:
    """A demo as messages, and the values it was rendered from."""

    __slots__ = ("answer", "complete", "kept", "request")

    def __init__(self, complete: bool, request: str, answer: str, kept: tuple[Any, ...]) -> None:
        self.complete = complete
        self.request = request
        self.answer = answer
        self.kept = kept


class RenderedDemos:
    """The demos that were last rendered, at most 1,024.

    A demo may be changed at any time, by itself or deep inside, so a rendering counts only as long as every value it
    was made from is still there: what cannot change is compared by identity, lists, dicts and plain pydantic models
    part by part. A demo with any other value (an array, a model with serializers of its own: things that can change
    unseen) is rendered each time.
    """

    __slots__ = ("_by_id", "_names")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._by_id: dict[int, RenderedDemo] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, demo: Record) -> RenderedDemo | None:
        """The rendering of `demo`, if it is still true."""
        # The id only finds the entry: whether it is right is decided by its values, which the entry keeps alive.
        rendered = self._by_id.get(id(demo))
        if rendered is None:
            return None
        for name, kept in zip(self._names, rendered.kept, strict=True):
            if name in demo:
                value = demo[name]
                if value is not kept and not _unchanged(value, kept):
                    return None
            elif kept is not _ABSENT:
                return None
        return rendered

    def keep(self, demo: Record, complete: bool, request: str, answer: str) -> None:
        """Remembers a rendering, if all its values can be watched."""
        kept = tuple(_watched(demo[name]) if name in demo else _ABSENT for name in self._names)
        if any(each is _UNWATCHABLE for each in kept):
            return
        self._by_id.pop(id(demo), None)
        while len(self._by_id) >= _DEMOS_KEPT:
            self._by_id.pop(next(iter(self._by_id)))
        self._by_id[id(demo)] = RenderedDemo(complete, request, answer, kept)


_ABSENT: Any = object()
_UNWATCHABLE: Any = object()
_UNCHANGING = (
    *(str, int, float, bool, bytes, type(None)),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID),
)
_SCALARS: frozenset[type[Any]] = frozenset(_UNCHANGING)


class _Items:
    __slots__ = ("items", "kind")

    def __init__(self, kind: type[Any], items: tuple[Any, ...]) -> None:
        self.kind = kind
        self.items = items


def _elements(value: Any) -> list[Any]:
    """What a list or tuple holds, the keys and then the values of a dict, the values of a model's fields."""
    if isinstance(value, BaseModel):
        return [*value.__dict__.values()]
    return [*value, *value.values()] if isinstance(value, dict) else [*value]


@functools.lru_cache(maxsize=512)
def _is_fixed(kind: type[Any]) -> bool:
    """Whether values of the class stay what they are."""
    return issubclass(kind, enum.Enum) or (issubclass(kind, Type) and bool(kind.model_config.get("frozen")))


@functools.lru_cache(maxsize=512)
def _is_plain_model(kind: type[Any]) -> bool:
    """Whether a model is what its fields are: no serializer, computed field, private or extra attribute."""
    if not issubclass(kind, BaseModel) or issubclass(kind, Type):
        return False
    decorators = kind.__pydantic_decorators__
    return not (
        decorators.model_serializers
        or decorators.field_serializers
        or decorators.computed_fields
        or kind.__private_attributes__
        or kind.model_config.get("extra") == "allow"
        or kind.__str__ is not BaseModel.__str__
        or kind.__repr__ is not BaseModel.__repr__
    )


def _watched(value: Any, depth: int = 0) -> Any:
    kind = cast("type[Any]", type(value))
    if kind in _SCALARS or _is_fixed(kind):
        return value
    if depth > 8 or not (kind in (list, tuple, dict) or _is_plain_model(kind)):
        return _UNWATCHABLE
    items = tuple(_watched(each, depth + 1) for each in _elements(value))
    return _UNWATCHABLE if any(each is _UNWATCHABLE for each in items) else _Items(kind, items)


def _unchanged(value: Any, kept: Any) -> bool:
    if value is kept:
        return True
    if type(kept) is not _Items or type(value) is not kept.kind:
        return False
    now = _elements(value)
    return len(now) == len(kept.items) and all(map(_unchanged, now, kept.items))
