"""The worker's end of the channel: blocking, whole frames, one writer at a time, one reader.

Large payloads leave in an anonymous memory file (memfd) whose descriptor travels with the header. It has no name, so a
worker that is killed in between leaves nothing in /dev/shm. Where there is none to be had they go through the stream.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import stat
import threading
from collections import deque
from typing import Any

from . import wire
from .mortal import EXIT_HOST_GONE

try:
    import orjson
except ImportError:  # the standard library does the same, slower
    orjson = None

_CHUNK = 64 * 1024

NO_RIGHTS = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.EMFILE)
"""Why the kernel refuses to carry a descriptor, for now, on a socket that is well."""


class HostChannel:
    """`limit` bounds one message in bytes, either way. Without a host both methods end the process."""

    def __init__(self, sock: socket.socket, limit: int) -> None:
        self._sock = sock
        self._limit = limit
        self._writing = threading.Lock()
        self._buffer = bytearray()
        self._fds: deque[int] = deque()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message in wire form, or raises `wire.Oversize` having sent nothing."""
        payload = _dump(message)
        if len(payload) > self._limit:
            raise wire.Oversize(len(payload), self._limit)
        try:
            if len(payload) >= wire.MEMORY_THRESHOLD and self._sent_in_memory(payload):
                return
            with self._writing:
                self._sock.sendall(wire.HEADER.pack(len(payload)) + payload)
        except OSError:
            leave_at_once()

    def _sent_in_memory(self, payload: bytes) -> bool:
        """False: nothing was sent, since there is no memory file, or no way for it. Raises OSError without a host."""
        fd = memory_file(payload)
        if fd is None:
            return False
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            with self._writing:
                self._sock.sendmsg([wire.HEADER.pack(wire.IN_MEMORY | len(payload))], rights)
        except OSError as error:
            if error.errno not in NO_RIGHTS:
                raise
            return False
        finally:
            os.close(fd)
        return True

    def receive(self) -> dict[str, Any]:
        """The next message. Raises `wire.Malformed`."""
        self._fill(wire.HEADER.size)
        (length,) = wire.HEADER.unpack(self._take(wire.HEADER.size))
        in_memory = length & wire.IN_MEMORY
        length &= ~wire.IN_MEMORY
        wire.check_length(length, self._limit)
        if in_memory:
            if not self._fds:
                raise wire.Malformed("a payload in memory came without its descriptor")
            return _load(read_memory(self._fds.popleft(), length))
        self._fill(length)
        return _load(self._take(length))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self, count: int) -> None:
        while len(self._buffer) < count:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(
                    max(_CHUNK, count - len(self._buffer)), socket.CMSG_SPACE(32), socket.MSG_CMSG_CLOEXEC
                )
            except OSError:
                data, ancillary, flags = b"", [], 0
            if not data:
                leave_at_once()
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    self._fds.extend(array.array("i", content))
            if flags & socket.MSG_CTRUNC:
                raise wire.Malformed("a large message came, and this process has no descriptor left to take it")
            self._buffer += data


def memory_file(payload: bytes) -> int | None:
    """An anonymous file that holds `payload`: without a name, so that no end of any process leaves it behind.

    None where there are none, or none now: no descriptor, no memory, or files may not be so large.
    """
    if not hasattr(os, "memfd_create"):
        return None
    try:
        fd = os.memfd_create("dspex")
    except OSError:
        return None
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(payload)
    except OSError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_memory(fd: int, length: int) -> bytes:
    """The content of a memory file that was received, which is closed. Raises `wire.Malformed`: it is none, or shorter."""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise wire.Malformed("a payload in memory must be a memory file")
        parts: list[bytes] = []
        at = 0
        while at < length:
            part = os.pread(fd, length - at, at)
            if not part:
                raise wire.Malformed(f"a payload in memory announces {length} bytes and holds {at}")
            parts.append(part)
            at += len(part)
        return b"".join(parts)
    except OSError as error:
        raise wire.Malformed("a payload in memory cannot be read") from error
    finally:
        os.close(fd)


def leave_at_once() -> None:
    """The host is gone: nobody reads what would be flushed, and a thread may hold a stream's lock for ever."""
    os._exit(EXIT_HOST_GONE)


def _dump(message: dict[str, Any]) -> bytes:
    if orjson is not None:
        try:
            return orjson.dumps(message)
        except TypeError:
            pass  # nested deeper than orjson goes
    return wire.dump(message)


def _load(payload: bytes) -> dict[str, Any]:
    if orjson is not None:
        try:
            return wire.as_message(orjson.loads(payload), tagged=wire.may_have_tags(payload))
        except ValueError as error:
            if isinstance(error, wire.Malformed):
                raise
    return wire.unpack(payload)
