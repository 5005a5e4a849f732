"""Does a value fit a type hint? For warnings only: nothing is converted and nothing refused.

Unlike pydantic this does not coerce ("3" is not an int), and unlike `isinstance` it looks into list[int], unions and
Literals. The rules are those by which dspy 3.4 warns of a type mismatch.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

__all__ = ["allows_none", "fits", "type_name"]


def fits(value: object, expected: Any) -> bool:
    """True when `value` is of type `expected`. A list of strings also fits `str`: adapters render it as passages."""
    if (
        expected is str
        and isinstance(value, list)
        and all(isinstance(item, str) for item in cast("list[object]", value))
    ):
        return True
    return _fits(cast("object", value), expected)


def _fits(value: object, expected: Any) -> bool:
    if expected is Any:
        return True
    origin, args = get_origin(expected), get_args(expected)
    if origin is Union or origin is types.UnionType:
        return any(_fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if origin in (list, set, frozenset):
        return isinstance(value, origin) and (
            not args or all(_fits(item, args[0]) for item in cast("Collection[object]", value))
        )
    if origin is dict:
        return isinstance(value, dict) and (
            not args
            or all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in cast("Mapping[object, object]", value).items())
        )
    if origin is tuple:
        return isinstance(value, tuple) and _fits_tuple(cast("tuple[object, ...]", value), args)
    return isinstance(expected, type) and isinstance(value, expected)


def _fits_tuple(value: tuple[object, ...], args: tuple[Any, ...]) -> bool:
    if not args:
        return True
    if len(args) == 2 and args[1] is Ellipsis:
        return all(_fits(item, args[0]) for item in value)
    return len(value) == len(args) and all(_fits(item, arg) for item, arg in zip(value, args, strict=True))


def allows_none(annotation: Any) -> bool:
    """True for None itself and for every union that has it."""
    if annotation is None or annotation is type(None):
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return bool(args) and allows_none(args[0])
    return (origin is Union or origin is types.UnionType) and any(allows_none(arg) for arg in args)


def type_name(annotation: Any) -> str:
    """The type as a reader would write it: `list[int]`, `Literal['a', 'b']`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is None:
        return getattr(annotation, "__name__", None) or str(annotation)
    if origin is Literal:
        return f"Literal[{', '.join(repr(arg) for arg in args)}]"
    name = getattr(origin, "__name__", None) or str(origin)
    if not args:
        return name
    return f"{name}[{', '.join('...' if arg is Ellipsis else type_name(arg) for arg in args)}]"
