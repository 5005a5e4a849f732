"""Messages with file descriptors in them, between runtime, warden and template: one packet, one message.

A Unix socket of type SOCK_SEQPACKET keeps the bounds of messages and carries descriptors beside them. What travels here is
small: fork orders, process ids, exit statuses, at most a traceback. Programs, requests and replies never do.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .wire import Malformed

_LIMIT = 128 * 1024
_FDS = 8


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends. Linux."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, message: Mapping[str, object], fds: Sequence[int] = ()) -> None:
    """Sends one message and copies of `fds`. Raises OSError: the other side is gone, or (non-blocking) does not read."""
    data = json.dumps(message, ensure_ascii=True, allow_nan=False).encode("ascii")
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], ancillary)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors, which are the caller's to close. None: the other side is gone.

    Raises `Malformed`, and BlockingIOError on a non-blocking socket.
    """
    try:
        data, ancillary, flags, _ = sock.recvmsg(_LIMIT, socket.CMSG_SPACE(_FDS * 4), socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
            fds += received
    if not data:
        return None
    try:
        message: Any = json.loads(data)
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or not isinstance(message, dict):
            raise ValueError("cut short, or no object")
    except ValueError as error:
        for fd in fds:
            os.close(fd)
        raise Malformed(f"a control message of {len(data)} bytes is none: {error}") from error
    return cast("dict[str, Any]", message), fds
