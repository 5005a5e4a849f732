"""From what the model wrote to a value of the field's type.

Models do not write Python: they quote, they wrap a literal in `Literal[...]`, they write broken JSON.
`coercer(annotation)` gives the function that reads such a text, with the leniency, the order of attempts and the
results of dspy 3.4 `parse_value`. It is made once per field; the pydantic validator inside it is built at the first
value that needs one.
"""

from __future__ import annotations

import ast
import enum
import functools
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from ..types import Type
from .repair import read_json

Coercer = Callable[[Any], Any]
"""Returns the value; raises ValueError (pydantic's ValidationError is one) when there is none."""


def coercer(annotation: Any) -> Coercer:
    """The reader of values of the type `annotation`."""
    if annotation is str:
        return str
    if isinstance(annotation, enum.EnumMeta):
        return functools.partial(member, annotation)
    validate = _Validator(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return functools.partial(_literal, arguments, validate)
    if origin in (Union, types.UnionType) and type(None) in arguments and str in arguments:
        return validate
    if isinstance(annotation, type) and origin is None and issubclass(annotation, Type):
        return functools.partial(_custom, validate)
    return functools.partial(_structured, validate)


class _Validator:
    """A `TypeAdapter` that is built when it is first used: a signature that is only printed never pays for it."""

    __slots__ = ("_annotation", "_validate")

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self._validate: Callable[[Any], Any] | None = None

    def __call__(self, value: Any) -> Any:
        if self._validate is None:
            adapter: TypeAdapter[Any] = TypeAdapter(self._annotation)
            self._validate = adapter.validate_python
        return self._validate(value)


def member(kind: enum.EnumMeta, value: Any) -> Any:
    """A member by value, then by name: a member may have another member's value for its name."""
    members: list[Any] = list(kind)
    for each in members:
        if each.value == value:
            return each
    if isinstance(value, str) and value in kind.__members__:
        return kind[value]
    raise ValueError(f"{value} is not a valid name or value for the enum {kind.__name__}")


def _literal(allowed: tuple[Any, ...], validate: Coercer, value: Any) -> Any:
    if value in allowed:
        return value
    if not isinstance(value, str):
        return validate(value)
    text = value.strip()
    if text.startswith(("Literal[", "str[")) and text.endswith("]"):
        text = text[text.index("[") + 1 : -1]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return text if text in allowed else _structured(validate, text)


def _structured(validate: Coercer, value: Any) -> Any:
    return validate(load(value)) if isinstance(value, str) else validate(value)


def _custom(validate: Coercer, value: Any) -> Any:
    """As any structured value, and if that fails, from the text as it is: a custom type may read its own syntax."""
    try:
        return _structured(validate, value)
    except ValidationError:
        if not isinstance(value, str):
            raise
        try:
            return validate(value)
        except ValidationError:
            pass
        raise


def load(text: str) -> Any:
    """The JSON, nearly-JSON or Python literal in `text`; `text` itself when it is none of them.

    Raises:
        ValueError: the text is too long or too deeply nested to be read.
    """
    found: Any = read_json(text)
    if found != "" or text == "":
        return found
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    except (RecursionError, MemoryError) as error:
        raise ValueError("the text is nested too deeply to be read") from error
