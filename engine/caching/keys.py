"""From a request to the key it is cached under: equal requests, equal keys, in every process.

The key is the SHA-256 of the request's canonical JSON (sorted keys), as in dspy 3.4: a pydantic class counts as its
schema, a pydantic object as its data, a function as its source.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["request_key"]

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=lambda v: _plain(v)).encode


def request_key(request: Mapping[str, Any], ignored: Collection[str] = ()) -> str:
    """The key of `request`, `ignored` top-level names left out: 64 hexadecimal digits.

    Raises:
        TypeError, ValueError: the request holds what has no canonical form.
    """
    wanted = {key: value for key, value in request.items() if key not in ignored}
    return sha256(_encode(wanted).encode("utf-8")).hexdigest()


def _plain(value: object) -> object:
    """What a request may hold besides JSON; called by the encoder for nothing else."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    if isinstance(value, set | frozenset):
        return sorted(cast("Collection[Any]", value), key=repr)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<bytes:{sha256(value).hexdigest()}>"
    if callable(value):
        return _source(value)
    raise TypeError(f"a {type(value).__name__} in a request has no canonical form, so the request is not cached")


def _source(function: Callable[..., object]) -> str:
    try:
        return f"<callable_source:{inspect.getsource(function)}>"
    except (TypeError, OSError):
        return f"<callable:{getattr(function, '__name__', 'lambda')}>"
