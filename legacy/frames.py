"""Messages to bytes and back, on the host's side: pure functions and one incremental decoder.

The codec is `worker/wire.py`, which the workers run too; here it gets the host's typed errors, and `orjson` for speed
when it is installed (0.2/0.5 microseconds instead of 3/3 for 200 bytes). The two write the same language: everything
in which they would differ (NaN, integers beyond 64 bits, keys that are no strings) never reaches JSON, see
`wire.to_wire`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, cast

from .errors import FrameTooLarge, ProtocolError, Unserializable
from .worker import wire
from .worker.channel import read_memory

try:
    import orjson
except ImportError:  # optional: the standard library does the same, slower
    orjson = None

__all__ = ["DEFAULT_FRAME_LIMIT", "FrameDecoder", "encode_frame", "encode_payload"]

DEFAULT_FRAME_LIMIT = wire.DEFAULT_FRAME_LIMIT


def encode_payload(message: Mapping[str, object], *, limit: int = DEFAULT_FRAME_LIMIT) -> bytes:
    """The JSON of `message`. Raises `Unserializable` or `FrameTooLarge`, having made nothing."""
    try:
        payload = _dump(wire.to_wire(dict(message), "message", _foreign))
        if len(payload) > limit:
            raise wire.Oversize(len(payload), limit)
        return payload
    except wire.Unencodable as error:
        raise Unserializable(str(error)) from error
    except wire.Oversize as error:
        raise FrameTooLarge(error.size, error.limit, direction="request") from error


def encode_frame(message: Mapping[str, object], *, limit: int = DEFAULT_FRAME_LIMIT) -> bytes:
    """The frame of `message` with its payload in it: header and JSON. Raises as `encode_payload`."""
    return wire.frame(encode_payload(message, limit=limit), limit)


class FrameDecoder:
    """Bytes in, messages out, at whatever boundaries the bytes arrive.

    Garbage ends the stream: messages that were complete before it are still returned, and every later call raises the
    same `ProtocolError`. Memory is bounded by the limit and the size of one `feed`.
    """

    __slots__ = ("_buffer", "_error", "_fds", "_limit")

    def __init__(self, limit: int = DEFAULT_FRAME_LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._fds: deque[int] = deque()
        self._error: ProtocolError | None = None

    def take_descriptors(self, fds: Iterable[int]) -> None:
        """Descriptors that came with the bytes fed next: of payloads in memory files. They are this decoder's to close."""
        self._fds.extend(fds)

    def close(self) -> None:
        """Closes descriptors that no frame has asked for."""
        while self._fds:
            os.close(self._fds.popleft())

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame.

        More than 0 at the end of the stream means that its writer died while writing.
        """
        return len(self._buffer)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Takes the next bytes and returns the messages that they complete, in order. Raises `ProtocolError`."""
        self.raise_if_broken()
        buffer = self._buffer
        buffer += data
        messages: list[dict[str, Any]] = []
        at = 0
        try:
            while len(buffer) - at >= wire.HEADER.size:
                (length,) = cast("tuple[int]", wire.HEADER.unpack_from(buffer, at))
                in_memory = length & wire.IN_MEMORY
                length &= ~wire.IN_MEMORY
                wire.check_length(length, self._limit)
                if in_memory:
                    if not self._fds:
                        raise wire.Malformed("a payload in memory came without its descriptor")
                    at += wire.HEADER.size
                    messages.append(_load(read_memory(self._fds.popleft(), length)))
                    continue
                end = at + wire.HEADER.size + length
                if len(buffer) < end:
                    break
                messages.append(_load(bytes(buffer[at + wire.HEADER.size : end])))
                at = end
        except wire.Malformed as error:
            self._error = ProtocolError(f"the worker does not speak the protocol: {error}")
            self._error.__cause__ = error
            self._buffer = bytearray()
            self.close()
            if not messages:
                raise self._error from error
            return messages
        del buffer[:at]
        return messages

    def end(self, reason: str) -> None:
        """Something of the stream is lost: what is complete was returned, and nothing more can be. Raises `ProtocolError`."""
        self._error = ProtocolError(reason)
        self._buffer = bytearray()
        self.close()
        raise self._error

    def raise_if_broken(self) -> None:
        """Raises the `ProtocolError` that ended the stream, if one did."""
        if self._error is not None:
            raise self._error


def _foreign(value: Any, path: str) -> object:
    """A numpy array, if the host uses numpy, travels as `wire.Array`; nothing else is converted on this side."""
    kind = cast("type[object]", type(value))
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject:
        return wire.Array(value.dtype.str, tuple(value.shape), value.tobytes())
    raise wire.Unencodable(
        path,
        kind.__name__,
        f"a {kind.__module__}.{kind.__qualname__} cannot travel to another process; pass plain data (str, numbers, bool, "
        "None, bytes, list, tuple, set, dict), Typed(name, fields), for a pydantic model its model_dump()",
    )


def _dump(message: object) -> bytes:
    if orjson is not None:
        try:
            return orjson.dumps(message)
        except TypeError:
            pass  # nested deeper than orjson's 254 levels of JSON; a value may take four for each of its own
    return wire.dump(message)


def _load(payload: bytes) -> dict[str, Any]:
    if orjson is not None:
        try:
            parsed: object = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return wire.unpack(payload)  # the standard library has the last word on what is JSON
        return wire.as_message(parsed, tagged=wire.may_have_tags(payload))
    return wire.unpack(payload)
