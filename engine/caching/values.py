"""Cached values on disk: JSON, with marks for what JSON lacks. Nothing read back can run code or import it.

Tuples, bytes and dicts with other keys than strings come back as they went. A dataclass or a pydantic object comes
back as its own type only when this process has cached one of that type before, or was told of it (`safe_types`): a
file can then at most choose among types that the program itself puts into the cache. Anything else is not written to
disk; it lives in memory only.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["UnknownTypeError", "ValueCodec"]

_MARK = "__dspex__"


class UnknownTypeError(ValueError):
    """A stored value is of a type that this process has not cached yet: to the caller, a miss."""


class ValueCodec:
    """Values to JSON text and back. Knows the types it has seen."""

    __slots__ = ("_types",)

    def __init__(self, safe_types: Iterable[type[Any]] = ()) -> None:
        self._types: dict[str, type[Any]] = {}
        for known in safe_types:
            self.allow(known)

    def allow(self, known: type[Any]) -> None:
        """Let values of this type be read back."""
        self._types[_path(known)] = known

    def encode(self, value: object) -> str:
        """The value as JSON text.

        Raises:
            TypeError, ValueError: it cannot be written so that it could be read back.
        """
        # A text is what the LM stores, and needs no walk.
        plain = value if isinstance(value, str) else self._mark(value)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=True)

    def decode(self, text: str) -> Any:
        """The value again.

        Raises:
            UnknownTypeError: see there.
            ValueError: not a text that `encode` wrote.
        """
        return self._unmark(json.loads(text))

    def _mark(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if type(value) is list:
            return [self._mark(item) for item in cast("list[object]", value)]
        if type(value) is tuple:
            return {_MARK: "tuple", "items": [self._mark(item) for item in cast("tuple[object, ...]", value)]}
        if type(value) is dict:
            mapping = cast("dict[object, object]", value)
            if all(type(key) is str for key in mapping) and _MARK not in mapping:
                return {cast("str", key): self._mark(item) for key, item in mapping.items()}
            return {_MARK: "dict", "items": [[self._mark(key), self._mark(item)] for key, item in mapping.items()]}
        if isinstance(value, bytes):
            return {_MARK: "bytes", "base64": base64.b64encode(value).decode("ascii")}
        kind = type(value)
        if isinstance(value, BaseModel):
            data: dict[str, object] = dict(value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            data = {item.name: getattr(value, item.name) for item in dataclasses.fields(value) if item.init}
        else:
            raise TypeError(f"a {kind.__name__} cannot be cached on disk")
        self.allow(kind)
        return {_MARK: "object", "type": _path(kind), "data": {name: self._mark(item) for name, item in data.items()}}

    def _unmark(self, value: object) -> Any:
        if isinstance(value, list):
            return [self._unmark(item) for item in cast("list[object]", value)]
        if not isinstance(value, dict):
            return value
        found = cast("dict[str, Any]", value)
        mark = found.get(_MARK)
        if mark is None:
            return {key: self._unmark(item) for key, item in found.items()}
        if mark == "tuple":
            return tuple(self._unmark(item) for item in found["items"])
        if mark == "dict":
            return {self._unmark(key): self._unmark(item) for key, item in found["items"]}
        if mark == "bytes":
            return base64.b64decode(found["base64"])
        if mark == "object":
            return self._made(found)
        raise ValueError(f"unknown mark {mark!r} in a cached value")

    def _made(self, found: Mapping[str, Any]) -> object:
        kind = self._types.get(found["type"])
        if kind is None:
            raise UnknownTypeError(
                f"the cached value is a {found['type']}, which this process has not cached before; "
                "name it in safe_types to have it read back"
            )
        data = {name: self._unmark(item) for name, item in found["data"].items()}
        if issubclass(kind, BaseModel):
            return kind.model_construct(**data)
        return kind(**data)


def _path(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
