"""Values as the model reads them.

A text is itself; a container, model or other structured value becomes JSON; anything else its `str`. What counts is the
type of the value, not that of the field, except for one case: a list given to a `str` field becomes a numbered list of
quoted passages. Equal to dspy 3.4 to the byte; the serializers, which dspy builds anew for every value, are kept by
type (the 512 last used).
"""

from __future__ import annotations

import functools
import json
import math
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter

from .errors import FieldValueError

_encode = json.JSONEncoder(ensure_ascii=False).encode
_CONTAINERS = frozenset({list, dict, tuple})
_ITSELF = frozenset({int, float, bool, type(None)})


@functools.lru_cache(maxsize=512)
def _serializer(kind: type[Any]) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(kind)
    except Exception:  # what pydantic has no serializer for is shown as its str
        return None


def jsonable(value: Any) -> Any:
    """`value` as something `json` can write. A part that cannot be serialized becomes its `str`, alone if possible."""
    kind = cast("type[Any]", type(value))
    if kind is str or kind in _ITSELF:
        return value
    serializer = _serializer(kind)
    if serializer is None:
        return str(value)
    try:
        return serializer.dump_python(value, mode="json", fallback=str)
    except Exception:
        return str(value)


def json_of_fields(values: dict[str, Any]) -> str:
    """Fields as a JSON object with an indent of two. A field that cannot be serialized makes the whole object its `str`,
    as dspy does.
    """
    try:
        plain: Any = {name: _dumped(value) for name, value in values.items()}
    except Exception:
        plain = jsonable(values)
    return _indented(plain, "\n")


def _dumped(value: Any) -> Any:
    """The value as it comes out of a dict of fields; raises for kinds that are better left to the whole dict."""
    kind = cast("type[Any]", type(value))
    if kind is str or kind in _ITSELF:
        return value if kind is not float or math.isfinite(value) else None
    serializer = _serializer(kind) if kind in _CONTAINERS or issubclass(kind, BaseModel) else None
    if serializer is None:
        raise TypeError(kind)
    return serializer.dump_python(value, mode="json", fallback=str)


def _indented(value: Any, margin: str) -> str:
    """As `json.dumps(value, indent=2, ensure_ascii=False)`, which is written in Python and takes three times as long."""
    if not isinstance(value, (dict, list)) or not value:
        return _encode(value)
    inner = margin + "  "
    if isinstance(value, dict):
        items = [
            f"{_encode(str(name))}: {_indented(each, inner)}" for name, each in cast("dict[str, Any]", value).items()
        ]
        return f"{{{inner}{f',{inner}'.join(items)}{margin}}}"
    elements = [_indented(each, inner) for each in cast("list[Any]", value)]
    return f"[{inner}{f',{inner}'.join(elements)}{margin}]"


def text_of(value: Any) -> str:
    """`value` as it stands in a prompt."""
    kind = cast("type[Any]", type(value))
    if kind is str:
        return value
    if kind is list and all(type(each) is str for each in value):
        return _encode(value)
    plain = jsonable(value)
    return _encode(plain) if isinstance(plain, (dict, list)) else str(plain)


def passages(field: str, value: list[Any]) -> str:
    """A list of texts in a field that is one text.

    Raises:
        FieldValueError: the list holds something that is not a text.
    """
    for each in value:
        if not isinstance(each, str):
            raise FieldValueError(
                f"Field `{field}` is a `str` and was given a list that holds a {type(each).__name__}: give a list of "
                f"str, or annotate the field `list[{type(each).__name__}]`.",
                field=field,
            )
    texts = cast("list[str]", value)
    if not texts:
        return "N/A"
    if len(texts) == 1:
        return _passage(texts[0])
    return "\n".join(f"[{number}] {_passage(text)}" for number, text in enumerate(texts, start=1))


def _passage(text: str) -> str:
    if "\n" in text or "«" in text or "»" in text:
        indented = text.replace("\n", "\n    ")
        return f"«««\n    {indented}\n»»»"
    return f"«{text}»"
