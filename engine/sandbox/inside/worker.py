"""A sandbox process: locks itself in, then runs what its host sends, one piece of code at a time.

    python -I -S -X utf8 worker.py '{"memory": ..., "cpu": ..., "accept": [...]}'      (the channel is descriptor 0)

One JSON object a line, both ways. The namespace lives as long as the process.

    host -> worker    execute (code, variables, tools, submit, seconds, cpu, output), tool_result, tool_error
    worker -> host    ready or refused; tool (a call of a host function); result, final, syntax, error, leaked

The code may do to this process what it likes, this file included: everything that matters is held by the kernel and
by the host. It cannot lie about more than its own result.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import itertools
import json
import os
import queue
import resource
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
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

Message = dict[str, Any]


class Submission(BaseException):
    """Raised by SUBMIT: past every `except Exception` of the code."""

    def __init__(self, value: object) -> None:
        self.value = value


class OutOfTime(BaseException):
    """Raised in the code when its time is over, again and again until it stops."""


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


class Output(io.RawIOBase):
    """Keeps the first `limit` bytes of what is printed and counts the rest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._dropped = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        printed = bytes(data)
        room = self._limit - len(self._kept)
        self._kept += printed[:room]
        self._dropped += max(0, len(printed) - room)
        return len(printed)

    def text(self) -> str:
        text = self._kept.decode("utf-8", "replace")
        return f"{text}\n[{self._dropped} more bytes of output were dropped]" if self._dropped else text


class Session:
    """The namespace of the code, and the host functions it may call."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._ids = itertools.count()
        self._waiting: dict[object, queue.SimpleQueue[Message]] = {}
        self._requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        main = types.ModuleType("__main__")  # a real module, which dataclasses and pickle look their classes up in
        sys.modules["__main__"] = main
        self._names: dict[str, Any] = vars(main)
        self._tools: set[str] = set()
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

    def _tool(self, name: str, parameters: list[str] | None) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if parameters is not None:
                if len(args) > len(parameters):
                    raise TypeError(f"{name}() takes {len(parameters)} positional arguments but {len(args)} were given")
                kwargs = {**dict(zip(parameters, args, strict=False)), **kwargs}
                args = ()
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

        call.__name__ = call.__qualname__ = name
        return call

    def _prepare(self, request: Message) -> None:
        for name in self._tools:
            self._names.pop(name, None)
        self._tools = set(request["tools"])
        for name, parameters in request["tools"].items():
            self._names[name] = self._tool(name, parameters)
        self._names["SUBMIT"] = _submit(request["submit"])
        self._names.update(request["variables"])

    def _execute(self, request: Message) -> Message:
        output = Output(request["output"])
        saved = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = io.TextIOWrapper(output, encoding="utf-8", write_through=True)  # pyright: ignore[reportArgumentType]
        try:
            self._prepare(request)
            _allow(request["seconds"], request["cpu"])
            outcome = self._outcome(request["code"])
        except BaseException as error:  # time was over between the lines
            outcome = _described(error)
        finally:
            _alarm(0)
            with suppress(Exception):  # the code may have closed or replaced it
                sys.stdout.flush()
            sys.stdout, sys.stderr = saved
        leaked = [thread.name for thread in threading.enumerate() if thread not in self._own_threads]
        if leaked:
            return {"type": "leaked", "threads": leaked}
        outcome["stdout"] = output.text()
        return outcome

    def _outcome(self, code: str) -> Message:
        try:
            tree = ast.parse(code)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<interpreter>", "exec"), self._names)
            value: Any = None
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "<interpreter>", "eval"), self._names)
            return {"type": "result", "value": _jsonable(value)}
        except Submission as submission:
            return {"type": "final", "value": _jsonable(submission.value)}
        except SyntaxError as error:
            return {"type": "syntax", "error": str(error)}
        except BaseException as error:  # also SystemExit and KeyboardInterrupt: they end the code, not the session
            return _described(error)


def _described(error: BaseException) -> Message:
    kind = "TimeoutError" if isinstance(error, OutOfTime) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == "<interpreter>"), None)
    try:
        text = str(error)
    except BaseException:  # an exception class of the code's own
        text = "<no text>"
    return {"type": "error", "kind": kind, "text": text, "args": _jsonable(list(error.args)), "line": line}


def _submit(fields: Mapping[str, Any] | None) -> Callable[..., None]:
    """`fields`: None for one value of any kind, else `style` ("signature" or "exact") and `names`, which may be None."""
    if fields is not None and fields["names"] is None:

        def submit_exactly_one(*args: object, **kwargs: object) -> None:
            if len(args) != 1 or kwargs:
                raise TypeError("SUBMIT requires one output value")
            raise Submission({"output": args[0]})

        return submit_exactly_one
    if fields is None or not fields["names"]:

        def submit_one(output: object) -> None:
            raise Submission({"output": output})

        submit_one.__name__ = submit_one.__qualname__ = "SUBMIT"
        return submit_one
    names: list[str] = fields["names"]
    if fields["style"] == "exact":

        def submit_all(*args: object, **kwargs: object) -> None:
            if args and kwargs:
                raise TypeError("SUBMIT accepts positional or keyword values, not both")
            values = dict(zip(names, args, strict=False)) if args else dict(kwargs)
            if set(values) != set(names) or len(args) > len(names):
                raise TypeError("SUBMIT fields do not match the configured output fields")
            raise Submission(values)

        return submit_all
    # A function with these parameters, so that Python words the complaint. The host has checked that they are names.
    scope: dict[str, Any] = {"Submission": Submission}
    values = ", ".join(f"{name!r}: {name}" for name in names)
    exec(f"def SUBMIT({', '.join(names)}):\n    raise Submission({{{values}}})", scope)
    return scope["SUBMIT"]


def _jsonable(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
        return value
    except (TypeError, ValueError, RecursionError):
        return repr(value)


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
