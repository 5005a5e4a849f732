"""A worker process: one private channel to the host, one request at a time, no way to outlive the host.

    python -X utf8 main.py --fd 5 --incarnation 3f9a --host-pid 4711 --frame-limit 33554432

The order of things is the point. First the process is made mortal: it asks the kernel to be killed when the host
dies, and a thread watches the channel, whose end means the same. Then it says hello. Only on the host's `load` does
it import dspy and say that it is ready, and only then does it run requests, on the main thread. The watching thread
answers pings all the while, so that a busy worker can be told from a dead one.

host -> worker    load (programs, cache), run, ping, stop
worker -> host    hello, ready or failed, result, pong
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import queue
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent

if not __package__:
    # Started by path. The neighbours get a private package name and this folder leaves sys.path, so that no module of
    # ours can be taken for one of the user's, nor the other way round.
    _spec = importlib.util.spec_from_file_location(
        "_dspex_worker", _HERE / "__init__.py", submodule_search_locations=[str(_HERE)]
    )
    assert _spec is not None
    assert _spec.loader is not None
    _package = importlib.util.module_from_spec(_spec)
    sys.modules["_dspex_worker"] = _package
    _spec.loader.exec_module(_package)
    __package__ = "_dspex_worker"
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != _HERE]

from . import wire  # noqa: E402
from .programs import Programs, printable, traceback_of  # noqa: E402

EXIT_STOPPED = 0
EXIT_HOST_GONE = 81
EXIT_PROTOCOL = 82
EXIT_NOT_LOADED = 83

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9


class HostChannel:
    """The worker's end: blocking, whole frames, one writer at a time."""

    def __init__(self, sock: socket.socket, limit: int) -> None:
        self._sock = sock
        self._limit = limit
        self._writing = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message in wire form, or raises `wire.Oversize` having sent nothing. No host: ends the process."""
        data = wire.pack(message, self._limit)
        try:
            with self._writing:
                self._sock.sendall(data)
        except OSError:
            leave(EXIT_HOST_GONE)

    def receive(self) -> dict[str, Any]:
        (length,) = wire.HEADER.unpack(self._exactly(wire.HEADER.size))
        wire.check_length(length, self._limit)
        return wire.unpack(self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            try:
                part = self._sock.recv(min(count, 1 << 20))
            except OSError:
                part = b""
            if not part:
                leave(EXIT_HOST_GONE)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def leave(status: int) -> None:
    """Ends the process now, whatever threads, atexit handlers or a broken pipe would have to say about it."""
    if status != EXIT_HOST_GONE:  # then nobody reads what is flushed, and a thread may hold the stream's lock for ever
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
    os._exit(status)


def die_with_host(host_pid: int) -> None:
    """Asks Linux for SIGKILL at the host's death.

    Elsewhere, and behind a wrapper that forks, the channel's end does it.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    try:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return
    if os.getppid() != parent or (parent == 1 and host_pid != 1):
        os._exit(EXIT_HOST_GONE)  # the host died before the kernel knew of our wish


def watch(channel: HostChannel, work: queue.SimpleQueue[dict[str, Any]]) -> None:
    """The reader thread: answers pings, hands the rest to the main thread, ends the process at the stream's end."""
    while True:
        try:
            message = channel.receive()
        except wire.Malformed as error:
            print(f"the host wrote something that is not the protocol: {error}", file=sys.stderr)
            leave(EXIT_PROTOCOL)
            raise
        if message["op"] == "ping":
            channel.send({"op": "pong", "id": message.get("id")})
        else:
            work.put(message)


def hello(channel: HostChannel, incarnation: str) -> None:
    """Who this is, and which dspy would be imported: said before importing it, so that a missing one costs nothing."""
    version: str | None = None
    if importlib.util.find_spec("dspy") is not None:
        try:
            from importlib.metadata import version as version_of

            version = version_of("dspy")
        except Exception:  # a checkout on the path has no metadata; `ready` tells its version
            version = ""
    channel.send(
        {
            "op": "hello",
            "protocol": wire.PROTOCOL_VERSION,
            "incarnation": incarnation,
            "pid": os.getpid(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "executable": sys.executable,
            "dspy": version,
        }
    )


def load(channel: HostChannel, incarnation: str, message: dict[str, Any]) -> Programs | None:
    """Imports dspy and answers `ready`, or `failed` with the traceback."""
    began = time.perf_counter()
    try:
        programs = Programs(message["programs"], message["cache_dir"], message["cache_bytes"])
    except BaseException as error:
        channel.send(
            {
                "op": "failed",
                "incarnation": incarnation,
                "missing": isinstance(error, ImportError),
                "message": printable(str(error)),
                "traceback": traceback_of(error),
            }
        )
        return None
    took = time.perf_counter() - began
    channel.send({"op": "ready", "incarnation": incarnation, "dspy": programs.version, "load_s": took})
    return programs


def answer(channel: HostChannel, incarnation: str, programs: Programs, request: dict[str, Any]) -> None:
    """Runs one request and sends exactly one reply, whatever happens in between."""
    head = {"op": "result", "id": request["id"], "incarnation": incarnation}
    if request["incarnation"] != incarnation:
        reply: dict[str, Any] = {"ok": False, "error": {"kind": "incarnation", "message": "meant for another process"}}
    else:
        reply = programs.run(request)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # what the program printed reaches the host before its reply
    try:
        channel.send({**head, **reply})
    except wire.Oversize as error:
        facts = {"kind": "too_large", "message": str(error), "size": error.size, "limit": error.limit}
        channel.send({**head, "ok": False, "error": facts})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--incarnation", required=True)
    parser.add_argument("--host-pid", type=int, required=True)
    parser.add_argument("--frame-limit", type=int, required=True)
    parser.add_argument("--import-path", action="append", default=[])
    arguments = parser.parse_args()
    die_with_host(arguments.host_pid)
    sys.path[:0] = arguments.import_path
    os.set_inheritable(arguments.fd, False)  # no grandchild may hold the channel open
    for stream in (sys.stdout, sys.stderr):
        # line by line, and a program that prints a lone surrogate does not fail for it
        stream.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    channel = HostChannel(socket.socket(fileno=arguments.fd), arguments.frame_limit)
    work: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=watch, args=(channel, work), name="dspex-channel", daemon=True).start()
    hello(channel, arguments.incarnation)
    programs: Programs | None = None
    while True:
        message = work.get()
        if message["op"] == "load":
            programs = load(channel, arguments.incarnation, message)
            if programs is None:
                leave(EXIT_NOT_LOADED)
        elif message["op"] == "run" and programs is not None:
            answer(channel, arguments.incarnation, programs, message)
        elif message["op"] == "stop":
            leave(EXIT_STOPPED)
        else:
            print(f"the host sent {message['op']!r} out of place", file=sys.stderr)
            leave(EXIT_PROTOCOL)


if __name__ == "__main__":
    main()
