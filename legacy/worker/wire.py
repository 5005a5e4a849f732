"""What may travel between host and worker, and how: the one codec that both ends use.

A frame is a 4-byte big-endian length and that many bytes of strict JSON; or, with the length's highest bit set, the length
alone, and the JSON is in an anonymous memory file whose descriptor travels with it. Strict: no NaN, no integer beyond 64
bits, no lone surrogate. Python values that JSON has no word for travel as an object with the single key `$dspex`, so that
they arrive as they were sent:

    {1: "a"}        ->  {"$dspex": ["map", [[1, "a"]]]}        inf, nan  ->  {"$dspex": ["float", "inf"]}
    (1, 2)          ->  {"$dspex": ["tuple", [1, 2]]}          2 ** 70   ->  {"$dspex": ["int", "0x400000000000000000"]}
    {1, 2}          ->  {"$dspex": ["set", [1, 2]]}            b"\\x00"   ->  {"$dspex": ["bytes", "AA=="]}
    "\\ud800"        ->  {"$dspex": ["text", "7aCA"]}          frozenset likewise
    Typed(n, {..})  ->  {"$dspex": ["typed", [n, {..}]]}       Array(d, s, b) ->  {"$dspex": ["array", [d, s, "AA=="]]}

Anything else is refused by name (`Unencodable`): nothing is coerced, dropped or turned into a string behind the
caller's back. Standard library only: this file also runs inside the worker.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

PROTOCOL_VERSION = 2
"""Raised with every incompatible change; host and worker compare it in the first frame."""

DEFAULT_FRAME_LIMIT = 32 * 1024 * 1024
"""Bytes of JSON in one frame, either way. Larger ones are refused by their sender."""

SCOPES = 64
"""Sets of programs that a worker remembers, the pool's own included: the one that was told first is forgotten first."""

SPANS = 256
"""Calls of one traced request that a worker tells of; more are counted only."""

MAX_DEPTH = 100
"""Levels of nesting that one value may have: deep enough for data, shallow enough for every JSON parser on the way."""

HEADER = struct.Struct(">I")

_TAG = "$dspex"
_INT64 = 2**63


IN_MEMORY = 1 << 31
"""Bit of a header: the payload is in the memory file that came with it."""

MEMORY_THRESHOLD = 128 * 1024
"""Bytes from which a payload travels in a memory file, where there are any (Linux): a socket takes about 200 KB at a time,
so a large frame would be many turns of both sides, with every heartbeat waiting behind it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Typed:
    """An object by the name of its class and its fields: how dspy's types and pydantic models travel.

    `name` is "dspy.Image", "dspy.History", ... for dspy's own, "module:Class" for others. The receiver makes an object of
    a class that it knows under that name, or leaves it as it is; nothing is imported because of it.
    """

    name: str
    fields: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Array:
    """A numeric array: numpy's dtype string ("<f4"), its shape, its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Unencodable(ValueError):
    """A value has no form on the wire. `path` says where it is, `kind` names its type."""

    def __init__(self, path: str, kind: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.kind = kind


class Oversize(ValueError):
    """A frame is larger than the limit. Nothing of it was sent."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the message is {size} bytes of JSON and the limit is {limit}")
        self.size = size
        self.limit = limit


class Malformed(ValueError):
    """Bytes that are no frame of this protocol."""


def to_wire(value: object, path: str = "value", convert: Callable[[Any, str], object] | None = None) -> Any:
    """The JSON form of `value`. Subclasses of str, int, float, dict and list arrive as their base type.

    `convert` is asked, once per value, about what has no wire form; it returns something that has one, or raises.
    Raises `Unencodable`, naming the place, for everything else, for cycles and for nesting beyond `MAX_DEPTH`.
    """
    return _encode(value, path, convert, 0)


def _encode(value: Any, path: str, convert: Callable[[Any, str], object] | None, depth: int) -> Any:
    kind = cast("type[object]", type(value))
    if value is None or kind is bool:
        return value
    if isinstance(value, str):
        text = str.__str__(value)
        return text if _is_unicode(text) else {_TAG: ["text", _as_ascii(text.encode("utf-8", "surrogatepass"))]}
    if isinstance(value, int):
        number = int(value)
        return number if -_INT64 <= number < _INT64 else {_TAG: ["int", hex(number)]}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_TAG: ["float", repr(float(value))]}
    if depth >= MAX_DEPTH:
        raise Unencodable(path, kind.__name__, f"nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, dict):
        entries = cast("dict[Any, Any]", value)
        for key in entries:
            if not isinstance(key, str) or not _is_unicode(key):
                break
        else:
            encoded: dict[str, Any] = {}
            for key, item in entries.items():
                # Most of what travels is short text and small numbers, and needs neither a call nor the name of its place.
                if item is None or (
                    (type(item) is str and item.isascii()) or (type(item) is int and -_INT64 <= item < _INT64)
                ):
                    encoded[str.__str__(key)] = item
                else:
                    encoded[str.__str__(key)] = _encode(item, f"{path}.{key}", convert, depth + 1)
            if _TAG not in encoded:
                return encoded
            # A user's own {"$dspex": ...} must not be mistaken for a tag: it travels as a list of pairs.
            return {_TAG: ["map", [[key, item] for key, item in encoded.items()]]}
        pairs = [
            [
                _encode(key, f"{path} (a key)", convert, depth + 1),
                _encode(item, f"{path}[{key!r:.40}]", convert, depth + 1),
            ]
            for key, item in entries.items()
        ]
        return {_TAG: ["map", pairs]}
    if isinstance(value, (list, tuple, set, frozenset)):
        elements = cast("Iterable[Any]", value)
        items = [_encode(item, f"{path}[{index}]", convert, depth + 1) for index, item in enumerate(elements)]
        if isinstance(value, list):
            return items
        name = "tuple" if isinstance(value, tuple) else "set" if isinstance(value, set) else "frozenset"
        return {_TAG: [name, items]}
    if isinstance(value, (bytes, bytearray)):
        return {_TAG: ["bytes", _as_ascii(value)]}
    if isinstance(value, Typed):
        fields = _encode(dict(value.fields), f"{path} ({value.name})", convert, depth + 1)
        return {_TAG: ["typed", [value.name, fields]]}
    if isinstance(value, Array):
        return {_TAG: ["array", [value.dtype, list(value.shape), _as_ascii(value.data)]]}
    if convert is not None:
        return _encode(convert(value, path), path, None if depth + 1 >= MAX_DEPTH else convert, depth + 1)
    raise Unencodable(
        path,
        kind.__name__,
        f"a {kind.__module__}.{kind.__qualname__} cannot travel to another process; pass plain data "
        "(str, numbers, bool, None, bytes, list, tuple, set, dict), for a pydantic model its model_dump()",
    )


def _is_unicode(text: str) -> bool:
    """False for lone surrogates: UTF-8 has no bytes for them, and JSON escapes of two of them read as one character."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _as_ascii(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode("ascii")


def from_wire(value: Any) -> Any:
    """The Python value that `to_wire` was given. Raises `Malformed` on a tag that this protocol does not know."""
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [from_wire(item) for item in items]
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    if _TAG not in fields:
        return {key: from_wire(item) for key, item in fields.items()}
    tagged = cast("list[Any]", fields[_TAG])
    if len(fields) != 1 or type(tagged) is not list or len(tagged) != 2:
        raise Malformed(f"an object with the key {_TAG!r} must be exactly {{{_TAG!r}: [name, data]}}")
    name, data = tagged
    try:
        if name == "map":
            return {from_wire(key): from_wire(item) for key, item in data}
        if name == "tuple":
            return tuple(from_wire(data))
        if name == "set":
            return set(from_wire(data))
        if name == "frozenset":
            return frozenset(from_wire(data))
        if name == "bytes":
            return base64.b64decode(data.encode("ascii"), validate=True)
        if name == "text":
            return base64.b64decode(data.encode("ascii"), validate=True).decode("utf-8", "surrogatepass")
        if name == "int":
            return int(data, 16)
        if name == "typed":
            class_name, fields = data
            decoded = from_wire(fields)
            if not isinstance(class_name, str) or not isinstance(decoded, dict):
                raise Malformed("a typed value needs a name and fields")
            return Typed(class_name, cast("dict[str, Any]", decoded))
        if name == "array":
            dtype, shape, content = data
            return Array(str(dtype), tuple(map(int, shape)), base64.b64decode(content.encode("ascii"), validate=True))
        if name == "float":
            if data not in ("inf", "-inf", "nan"):
                raise Malformed(f"{data!r:.40} under the tag 'float'")
            return float(data)  # each nan an object of its own: a set or a dict may hold several
    except Malformed:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise Malformed(f"bad data under the tag {name!r}") from error
    raise Malformed(f"unknown tag {name!r:.40}; is the other side newer?")


def dump(message: Any) -> bytes:
    """The JSON of an already encoded message (`to_wire`)."""
    return json.dumps(message, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def pack(message: Any, limit: int = DEFAULT_FRAME_LIMIT) -> bytes:
    """One frame of an already encoded message (`to_wire`). Raises `Oversize`; then nothing may be sent."""
    return frame(dump(message), limit)


def frame(payload: bytes, limit: int) -> bytes:
    """Puts the length before `payload`. Raises `Oversize`."""
    if len(payload) > limit:
        raise Oversize(len(payload), limit)
    return HEADER.pack(len(payload)) + payload


def check_length(length: int, limit: int) -> None:
    """Raises `Malformed` for a header that no honest sender writes: then the stream is garbage."""
    if length > limit:
        raise Malformed(
            f"a frame announces {length} bytes and the limit is {limit}: the bytes are no frames of this protocol"
        )


def unpack(payload: bytes) -> dict[str, Any]:
    """The message inside one frame, decoded to Python values. Raises `Malformed`."""
    try:
        parsed = json.loads(payload.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a frame of {len(payload)} bytes is not JSON") from error
    return as_message(parsed, tagged=may_have_tags(payload))


def may_have_tags(payload: bytes) -> bool:
    """False: no tag is in it, however it is spelt, and what JSON makes of it is what was sent."""
    return b"$dspex" in payload or b"\\u0024" in payload


def as_message(parsed: Any, *, tagged: bool = True) -> dict[str, Any]:
    """Checks that parsed JSON is a message (an object with a string `op`) and decodes its tags. Raises `Malformed`."""
    try:
        message: Any = from_wire(parsed) if tagged else parsed
    except RecursionError as error:
        raise Malformed("a frame is nested too deeply") from error
    if isinstance(message, dict):
        fields = cast("dict[str, Any]", message)
        if isinstance(fields.get("op"), str):
            return fields
    raise Malformed("a frame must hold an object with a string under 'op'")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
