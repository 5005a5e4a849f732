"""A framed duplex over one socket, for asyncio and trio alike: messages in order, bounded, and never half a frame.

Writing is split in two so that no cancelled caller can leave half a frame behind: `post` puts a whole frame into the
outgoing buffer (and into the socket, as far as that takes it at once) without ever waiting, and one task of the owner
runs `pump`, which moves the rest as the other side reads. What may wait in the buffer is bounded. A large payload goes
in a memory file beside the stream (see `worker/wire.py`), so that pings never wait behind it; where the kernel gives none
(no descriptor or no memory is left, files may not be so large) it goes through the stream like any other. Nothing is
mapped: what the other side does to such a file later is at worst an error of reading, never a signal.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from .errors import LegacyError
from .frames import DEFAULT_FRAME_LIMIT, FrameDecoder, encode_payload
from .worker import wire
from .worker.channel import NO_RIGHTS, memory_file, read_memory

__all__ = ["Channel", "ChannelClosed", "ChannelFull"]

_CHUNK = 64 * 1024
_ANCILLARY = socket.CMSG_SPACE(8 * array.array("i").itemsize)
_RECEIVE_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_CUT = getattr(socket, "MSG_CTRUNC", 0)


class ChannelClosed(LegacyError):
    """The other side is gone, or `close` was called. `half_frame`: it went in the middle of a message."""

    def __init__(self, reason: str, *, half_frame: bool = False) -> None:
        super().__init__(reason)
        self.half_frame = half_frame


class ChannelFull(LegacyError):
    """The other side does not read and the outgoing buffer has no room for this message; nothing of it was sent."""


class Channel:
    """Owns `sock` (a connected stream socket). One task may `receive` and one may `pump`; anybody may `post`.

    `limit` bounds one message in bytes, either way; `buffer` bounds, in bytes, what waits to be written. A message is
    always accepted while nothing waits, so that `buffer` may be smaller than `limit`.
    """

    def __init__(self, sock: socket.socket, *, limit: int = DEFAULT_FRAME_LIMIT, buffer: int = 1024 * 1024) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._limit = limit
        self._buffer_limit = buffer
        self._decoder = FrameDecoder(limit)
        self._inbox: deque[dict[str, Any]] = deque()
        self._outgoing: deque[tuple[memoryview, int | None]] = deque()
        self._waiting = 0
        self._more = anyio.Event()
        self._closed = self._broken = False
        self.received_bytes = 0
        """Grows with every byte that arrives: a life sign of the other side even amid a long message."""

    @property
    def waiting(self) -> int:
        """Bytes that were posted and that the socket has not taken yet."""
        return self._waiting

    def post(self, message: Mapping[str, object]) -> None:
        """Sends `message`, now or as soon as the other side reads. Never waits, never sends a part.

        Raises `Unserializable`, `FrameTooLarge`, `ChannelFull` or `ChannelClosed`; then the other side has not got it: it
        is gone, if the channel was open.
        """
        payload = encode_payload(message, limit=self._limit)
        if self._closed or self._broken:
            raise ChannelClosed("the channel is closed" if self._closed else "the other side is gone")
        if self._waiting and self._waiting + len(payload) > self._buffer_limit:
            raise ChannelFull(f"{self._waiting} bytes wait to be read by the other side already")
        memory = memory_file(payload) if len(payload) >= wire.MEMORY_THRESHOLD else None
        if memory is not None:
            data = wire.HEADER.pack(wire.IN_MEMORY | len(payload))
        else:
            data = wire.HEADER.pack(len(payload)) + payload
        self._outgoing.append((memoryview(data), memory))
        self._waiting += len(data)
        self._write()
        if self._broken:
            raise ChannelClosed("the other side is gone")
        if self._outgoing:
            self._more.set()

    async def pump(self) -> None:
        """Writes what `post` left over, for as long as the channel is open. Run it in one task; cancel it freely.

        Returns when the channel is closed, or when the other side is gone (`receive` reports that).
        """
        while not self._closed:
            if not self._outgoing:
                self._more = anyio.Event()
                await self._more.wait()
            else:
                try:
                    await anyio.wait_writable(self._sock)
                except (anyio.ClosedResourceError, OSError):
                    return
                self._write()

    async def receive(self) -> dict[str, Any]:
        """The next message. Cancelling it loses nothing.

        Raises `ChannelClosed` at the end of the stream and `ProtocolError` when it is no stream of frames.
        """
        waited = False
        while not self._inbox:
            self._decoder.raise_if_broken()
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(_CHUNK, _ANCILLARY, _RECEIVE_FLAGS)
            except BlockingIOError:
                waited = True
                try:
                    await anyio.wait_readable(self._sock)
                except (anyio.ClosedResourceError, OSError) as error:
                    raise ChannelClosed("the channel was closed") from error
                continue
            except OSError as error:
                raise ChannelClosed(
                    f"the channel broke: {error.strerror}", half_frame=self._decoder.pending > 0
                ) from error
            if not data:
                half = self._decoder.pending > 0
                where = "in the middle of a message" if half else "between messages"
                raise ChannelClosed(f"the worker closed its end {where}", half_frame=half)
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    self._decoder.take_descriptors(array.array("i", content))
            if flags & _CUT:
                self._decoder.end("a large message came, and this process has no descriptor left to take it; raise ulimit -n")
            self.received_bytes += len(data)
            self._inbox += self._decoder.feed(data)
        message = self._inbox.popleft()
        if not waited:
            await self._let_others_run(message)
        return message

    def close(self) -> None:
        """Closes the socket and wakes both tasks. Idempotent. What was not written yet is lost."""
        if self._closed:
            return
        self._closed = True
        self._forget_outgoing()
        self._decoder.close()
        self._more.set()
        anyio.notify_closing(self._sock)
        self._sock.close()

    def _write(self) -> None:
        outgoing = self._outgoing
        while outgoing:
            data, memory = outgoing[0]
            try:
                sent = self._sock.send(data) if memory is None else self._send_with(data, memory)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if memory is not None and error.errno in NO_RIGHTS:
                    self._send_inline(memory)
                    continue
                self._broken = True  # the other side is gone; receive() meets the same and reports it
                self._forget_outgoing()
                return
            if memory is not None:  # descriptors go with the first byte
                os.close(memory)
            self._waiting -= sent
            if sent == len(data):
                outgoing.popleft()
            else:
                outgoing[0] = data[sent:], None

    def _send_inline(self, memory: int) -> None:
        """The first message goes without its descriptor: the kernel carries none now."""
        payload = read_memory(memory, os.fstat(memory).st_size)
        data = wire.HEADER.pack(len(payload)) + payload
        self._waiting += len(data) - len(self._outgoing[0][0])
        self._outgoing[0] = memoryview(data), None

    def _send_with(self, data: memoryview, memory: int) -> int:
        return self._sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory]))])

    def _forget_outgoing(self) -> None:
        for _, memory in self._outgoing:
            if memory is not None:
                os.close(memory)
        self._outgoing.clear()
        self._waiting = 0

    async def _let_others_run(self, message: dict[str, Any]) -> None:
        """A worker that floods the channel must not starve the event loop, and a cancellation here must not lose
        `message`.
        """
        try:
            await checkpoint()
        except BaseException:
            self._inbox.appendleft(message)
            raise
