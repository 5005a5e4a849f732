"""The life of a worker process once it has its channel, however it was started: one request at a time, on the main thread.

A second thread reads the channel. It answers pings while a request runs, ends the process when the host is gone, hands
answers to whoever in the program waits for one, and interrupts the main thread when a request is cancelled: by a signal,
which also gets it out of a blocking system call. Requests beyond the one that runs wait here in order and can be taken
back until they begin.

host -> worker    load (programs, cache), define, run, cancel, credit, answer, ping, stop
worker -> host    hello, ready or failed, result, chunk, ask, span, span_end, pong
"""

from __future__ import annotations

import importlib.util
import os
import queue
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

from . import mortal, wire
from .channel import HostChannel
from .host_calls import HostCalls
from .programs import Programs, printable, traceback_of
from .spans import Spans

_CANCEL_SIGNAL = signal.SIGURG
"""Ignored by default: one that comes too late, or reaches a process that knows nothing of it, harms nobody."""

_INSIST_SECONDS = 0.25


class Cancelled(BaseException):
    """Raised in the main thread, inside the program, when nobody waits for its result any more."""


class Worker:
    """The two threads and what they share."""

    def __init__(self, channel: HostChannel, incarnation: str) -> None:
        self._channel = channel
        self._incarnation = incarnation
        self._work: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._programs: Programs | None = None
        self._running: int | None = None
        """The request whose program is on the stack now, and may be interrupted."""
        self._cancelled: set[int] = set()
        self._credit = threading.Semaphore(0)
        self._host = HostCalls(channel.send)

    def live(self) -> NoReturn:
        """Until the host is gone or says stop."""
        signal.signal(_CANCEL_SIGNAL, self._interrupt)
        threading.Thread(target=self._watch, name="dspex-channel", daemon=True).start()
        hello(self._channel, self._incarnation)
        while True:
            message = self._work.get()
            if message["op"] == "load":
                self._load(message)
            elif message["op"] == "run" and self._programs is not None:
                self._answer(message)
            elif message["op"] == "define" and self._programs is not None:
                self._programs.define(message["scope"], message["programs"])
            elif message["op"] == "stop":
                leave(mortal.EXIT_STOPPED)
            else:
                print(f"the host sent {message['op']!r} out of place", file=sys.stderr)
                leave(mortal.EXIT_PROTOCOL)

    def _watch(self) -> None:
        channel, work = self._channel, self._work
        while True:
            try:
                message = channel.receive()
            except wire.Malformed as error:
                print(f"the host wrote something that is not the protocol: {error}", file=sys.stderr)
                leave(mortal.EXIT_PROTOCOL)
            op = message["op"]
            if op == "ping":
                channel.send({"op": "pong", "id": message.get("id")})
            elif op == "cancel":
                self._cancelled.add(message["id"])
                if self._running == message["id"]:
                    threading.Thread(target=self._insist, args=(message["id"],), daemon=True).start()
            elif op == "credit":
                if self._running == message["id"]:
                    self._credit.release(message["count"])
            elif op == "answer":
                self._host.answered(message)
            else:
                work.put(message)

    def _insist(self, number: int) -> None:
        """Interrupts the main thread until the request is off its stack: an exception that is raised inside a finalizer
        or a callback from C is ignored by Python, and would be lost.
        """
        while self._running == number:
            signal.pthread_kill(threading.main_thread().ident or 0, _CANCEL_SIGNAL)
            time.sleep(_INSIST_SECONDS)

    def _interrupt(self, *_: object) -> None:
        if self._running is not None and self._running in self._cancelled:
            raise Cancelled

    def _load(self, message: dict[str, Any]) -> None:
        began = time.perf_counter()
        head = {"incarnation": self._incarnation}
        try:
            self._programs = Programs(
                message["programs"], message["cache_dir"], message["cache_bytes"], self._host, message.get("host_tools")
            )
        except BaseException as error:
            failed = {"missing": isinstance(error, ImportError), "message": printable(str(error))}
            self._channel.send({"op": "failed", **head, **failed, "traceback": traceback_of(error)})
            leave(mortal.EXIT_NOT_LOADED)
        took = time.perf_counter() - began
        facts = {"dspy": self._programs.version, "load_s": took, "cache_error": self._programs.cache_error}
        self._channel.send({"op": "ready", **head, **facts})

    def _answer(self, request: dict[str, Any]) -> None:
        """Runs one request and sends exactly one result, whatever happens in between."""
        number = request["id"]
        if request["incarnation"] != self._incarnation:
            reply = _error("incarnation", "meant for another process")
        elif number in self._cancelled:
            reply = _error("cancelled", "cancelled before it began")
        else:
            try:
                reply = self._run(request)
            except Cancelled:  # once more, on the way out
                reply = _error("cancelled", "interrupted")
            self._running = None
        self._cancelled.discard(number)
        # What the program printed reaches the host before its reply. A program may have closed or replaced the streams.
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        head = {"op": "result", "id": number, "incarnation": self._incarnation}
        try:
            self._channel.send({**head, **reply})
        except wire.Oversize as error:
            facts = {"kind": "too_large", "message": str(error), "size": error.size, "limit": error.limit}
            self._channel.send({**head, "ok": False, "error": facts})

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._programs is not None
        number = request["id"]
        emit = None
        if request.get("stream") is not None:
            self._credit = threading.Semaphore(request["stream"]["credit"])
            emit = self._emitter(number)
        spans = Spans(self._channel.send, number) if "trace" in request else None
        self._host.request, self._host.spans = number, spans
        self._host.traceparent = request["trace"] if spans is not None else None
        try:
            self._running = number
            if number in self._cancelled:  # between the look above and the line before
                self._running = None
                return _error("cancelled", "cancelled before it began")
            reply = self._programs.run(request, emit, spans)
            self._running = None
        except Cancelled:
            reply = _error("cancelled", "interrupted")
        finally:
            self._running = None
            self._host.request = self._host.spans = self._host.traceparent = None
        if spans is not None and spans.lost:
            reply["lost_spans"] = spans.lost
        return reply

    def _emitter(self, number: int) -> Any:
        sent = 0

        def emit(chunk: Any) -> None:
            nonlocal sent
            while not self._credit.acquire(timeout=_INSIST_SECONDS):  # the consumer says how much it will take
                if number in self._cancelled:
                    raise Cancelled
            message = {"op": "chunk", "id": number, "incarnation": self._incarnation, "index": sent, "chunk": chunk}
            self._channel.send(message)
            sent += 1

        return emit


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"ok": False, "error": {"kind": kind, "message": message}}


def installed_dspy() -> str | None:
    """The version of the dspy that would be imported; "" for a checkout without metadata; None: there is none.

    Asked before importing it, so that a missing one costs nothing.
    """
    if importlib.util.find_spec("dspy") is None:
        return None
    try:
        from importlib.metadata import version

        return version("dspy")
    except Exception:  # a checkout on the path has no metadata; `ready` tells its version
        return ""


def hello(channel: HostChannel, incarnation: str) -> None:
    """Who this is, and which dspy it has."""
    channel.send(
        {
            "op": "hello",
            "protocol": wire.PROTOCOL_VERSION,
            "incarnation": incarnation,
            "pid": os.getpid(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "executable": sys.executable,
            "dspy": str(sys.modules["dspy"].__version__) if "dspy" in sys.modules else installed_dspy(),
        }
    )


def leave(status: int) -> NoReturn:
    """Ends the process now, whatever threads, atexit handlers or a broken pipe would have to say about it."""
    if status != mortal.EXIT_HOST_GONE:  # then nobody reads what is flushed
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    os._exit(status)


def serve(sock: socket.socket, incarnation: str, frame_limit: int) -> NoReturn:
    """The rest of this process's life. It leads its group, and its standard streams are its own."""
    mortal.adopt_orphans()  # what a program starts and forgets stays below this process, where it is found at its end
    sock.set_inheritable(False)  # no grandchild may hold the channel open
    for stream in (sys.stdout, sys.stderr):
        # line by line, and a program that prints a lone surrogate does not fail for it
        stream.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    Worker(HostChannel(sock, frame_limit), incarnation).live()
