"""The namespace of a session and one execution in it. Shared by the sandboxes: it runs in a locked process of CPython, and
in Pyodide.
"""

from __future__ import annotations

import ast
import io
import json
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

__all__ = ["Message", "Namespace"]

Message = dict[str, Any]
Ask = Callable[[str, "tuple[Any, ...]", "dict[str, Any]"], Any]
"""Calls a host function by name and returns its result."""


class Submission(BaseException):
    """Raised by SUBMIT: past every `except Exception` of the code."""

    def __init__(self, value: object) -> None:
        self.value = value


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


class Namespace:
    """What the code has defined so far, and the host functions it may call."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._tools: set[str] = set()
        main = types.ModuleType("__main__")  # a real module, which dataclasses and pickle look their classes up in
        sys.modules["__main__"] = main
        self._names: dict[str, Any] = vars(main)

    def run(self, request: Message) -> Message:
        """Run the request's code and describe what came of it."""
        output = Output(request["output"])
        saved = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = io.TextIOWrapper(output, encoding="utf-8", write_through=True)  # pyright: ignore[reportArgumentType]
        try:
            self._prepare(request)
            outcome = self._outcome(request["code"])
        except BaseException as error:  # time was over between the lines
            outcome = _described(error)
        finally:
            with suppress(Exception):  # the code may have closed or replaced it
                sys.stdout.flush()
            sys.stdout, sys.stderr = saved
        outcome["stdout"] = output.text()
        return outcome

    def _prepare(self, request: Message) -> None:
        for name in self._tools:
            self._names.pop(name, None)
        self._tools = set(request["tools"])
        for name, parameters in request["tools"].items():
            self._names[name] = self._tool(name, parameters)
        self._names["SUBMIT"] = _submit(request["submit"])
        self._names.update(request["variables"])

    def _tool(self, name: str, parameters: list[str] | None) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if parameters is not None:
                if len(args) > len(parameters):
                    raise TypeError(f"{name}() takes {len(parameters)} positional arguments but {len(args)} were given")
                kwargs = {**dict(zip(parameters, args, strict=False)), **kwargs}
                args = ()
            return self._ask(name, args, kwargs)

        call.__name__ = call.__qualname__ = name
        return call

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
    kind = getattr(type(error), "told_as", type(error).__name__)
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
