"""A sandbox process: locks itself in, then runs what its host sends, one piece of code at a time.

    python -I -S -X utf8 worker.py '{"memory": ..., "cpu": ..., "accept": [...]}'      (the channel is descriptor 0)

One JSON object a line, both ways. The namespace lives as long as the process.

    host -> worker    execute (code, variables, tools, submit, seconds, cpu, output), tool_result, tool_error
    worker -> host    ready or refused; tool (a call of a host function); result, final, syntax, error, leaked

The code may do to this process what it likes, this file included: everything that matters is held by the kernel and
by the host. It cannot lie about more than its own result.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import queue
import resource
import signal
import sys
import threading
import types
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent

if not __package__:
    # Started by path: the neighbours get a private package name, and nothing is added to sys.path.
    _spec = importlib.util.spec_from_file_location(
        "_dspex_sandbox", _HERE / "__init__.py", submodule_search_locations=[str(_HERE)]
    )
    assert _spec is not None
    assert _spec.loader is not None
    _package = importlib.util.module_from_spec(_spec)
    sys.modules["_dspex_sandbox"] = _package
    _spec.loader.exec_module(_package)
    __package__ = "_dspex_sandbox"

from . import confinement  # noqa: E402
from .namespace import Message, Namespace  # noqa: E402


class OutOfTime(BaseException):
    """Raised in the code when its time is over, again and again until it stops."""

    told_as = "TimeoutError"


class Channel:
    """Lines of JSON on one descriptor, written whole by any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._rest = b""

    def send(self, message: Message) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def receive(self) -> Message:
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            part = os.read(self._descriptor, 1 << 18)
            if not part:
                raise EOFError
            parts.append(part)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return json.loads(line)


class Session:
    """Runs one request after the other on the main thread, while another thread reads the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._ids = itertools.count()
        self._waiting: dict[object, queue.SimpleQueue[Message]] = {}
        self._requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._namespace = Namespace(self._ask)
        threading.Thread(target=self._read, daemon=True).start()
        self._own_threads = set(threading.enumerate())

    def _read(self) -> None:
        try:
            while True:
                message = self._channel.receive()
                if message["type"] == "execute":
                    self._requests.put(message)
                elif waiting := self._waiting.get(message.get("id")):
                    waiting.put(message)
        except BaseException:  # the host is gone, or this end is broken: either way there is nobody to answer
            os._exit(0)

    def run(self) -> None:
        while True:
            self._channel.send(self._execute(self._requests.get()))

    def _ask(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        number = next(self._ids)
        answer: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._waiting[number] = answer
        remaining = signal.getitimer(signal.ITIMER_REAL)
        _alarm(0)  # the host's work is not this code's time
        try:
            self._channel.send({"type": "tool", "id": number, "name": name, "args": args, "kwargs": kwargs})
            message = answer.get()
        finally:
            del self._waiting[number]
            if remaining[0]:
                _alarm(remaining[0])
        if message["type"] == "tool_error":
            raise RuntimeError(message["error"])
        return message["value"]

    def _execute(self, request: Message) -> Message:
        try:
            _allow(request["seconds"], request["cpu"])
            outcome = self._namespace.run(request)
        finally:
            _alarm(0)
        leaked = [thread.name for thread in threading.enumerate() if thread not in self._own_threads]
        return {"type": "leaked", "threads": leaked} if leaked else outcome


def _alarm(seconds: float) -> None:
    """Seconds until OutOfTime is raised in the main thread, then every 0.2 s; 0 calls it off."""
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.2 if seconds else 0)


def _allow(seconds: float, cpu: int) -> None:
    _alarm(seconds)
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(used.ru_utime + used.ru_stime) + max(1, cpu)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))


def _out_of_time(number: int, _frame: types.FrameType | None) -> None:
    raise OutOfTime("the time for this code is over" if number == signal.SIGALRM else "its processor time is over")


def main() -> None:
    options = json.loads(sys.argv[1])
    channel = Channel(os.dup(0))
    sink = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(sink, standard)
    os.close(sink)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.signal(signal.SIGXCPU, _out_of_time)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    missing = confinement.confine(options)
    if any(name not in options["accept"] for name in missing):
        channel.send({"type": "refused", "missing": missing})
        return
    session = Session(channel)
    channel.send({"type": "ready", "missing": missing})
    session.run()


if __name__ == "__main__":
    main()
