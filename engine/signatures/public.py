"""The public fields of a signature: pydantic's `FieldInfo`s that say when they are edited.

dspy lets a program edit a field in place (`sig.fields["q"].json_schema_extra["desc"] = ...`) and so does the engine. It
reads a signature's specs several times a call, so an edit must be told, not looked for: comparing cost 2 us each time.
"""

from __future__ import annotations

import copy as copying
from collections.abc import Callable
from typing import Any, cast

from pydantic.fields import FieldInfo

__all__ = ["PublicField", "plain_field"]


class PublicField(FieldInfo):  # pyright: ignore[reportGeneralTypeIssues] - "final" for pydantic's own sake: it never sees these
    """A field that belongs to a signature. A copy of it, deep or not, is an ordinary `FieldInfo`."""

    __slots__ = ("_edited",)

    def __init__(self, field: FieldInfo, edited: Callable[[], None]) -> None:
        """Take over everything of `field`, and call `edited` at every later change."""
        object.__setattr__(self, "_edited", _nothing)
        _take_over(self, field)
        object.__setattr__(self, "_edited", edited)
        self.json_schema_extra = field.json_schema_extra

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "json_schema_extra" and type(value) is dict:
            value = _Options(cast("dict[str, Any]", value), self._edited)
        super().__setattr__(name, value)
        self._edited()

    def __repr_args__(self) -> Any:
        return plain_field(self).__repr_args__()

    def __copy__(self) -> FieldInfo:
        return plain_field(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> FieldInfo:
        return copying.deepcopy(plain_field(self), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return copying.copy, (plain_field(self),)


# In a repr, and to whoever asks for the name, it is what it stands for.
PublicField.__name__ = "FieldInfo"


def plain_field(field: FieldInfo) -> FieldInfo:
    """An ordinary `FieldInfo` with the same contents, which shares no dict or list with `field`."""
    made = FieldInfo()
    _take_over(made, field)
    options: Any = made.json_schema_extra
    if isinstance(options, dict):
        made.json_schema_extra = dict(cast("dict[str, Any]", options))
    made.metadata = list(made.metadata)
    return made


def _take_over(made: FieldInfo, field: FieldInfo) -> None:
    for slot in FieldInfo.__slots__:
        setattr(made, slot, getattr(field, slot))


def _nothing() -> None:
    """Before a field belongs to a signature."""


class _Options(dict[str, Any]):
    """The options of a public field."""

    __slots__ = ("_edited",)

    def __init__(self, options: dict[str, Any], edited: Callable[[], None]) -> None:
        super().__init__(options)
        self._edited = edited

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (dict(self),)


def _telling(name: str) -> Any:
    change = getattr(dict, name)

    def tell(self: _Options, *args: Any, **kwargs: Any) -> Any:
        try:
            return change(self, *args, **kwargs)
        finally:
            self._edited()  # pyright: ignore[reportPrivateUsage] - it is a method of that class

    tell.__name__ = name
    return tell


for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(_Options, _name, _telling(_name))
