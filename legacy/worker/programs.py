"""The dspy side of a worker: loads the declared programs, runs one request.

dspy is imported by `import_dspy` and nowhere else, after the process has been made safe (see `main`).
A program is loaded at its first request and kept until its spec changes; those of a session live apart from the
pool's and from other sessions' (a scope each), and a bounded number of scopes is kept.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sqlite3
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, cast

from . import wire
from .compiling import compile_program
from .host_calls import HostCalls
from .lm_calls import AskedModels
from .models import Models
from .spans import Spans
from .values import Values

MODULES = ("Predict", "ChainOfThought", "ReAct")
"""What a signature program may be made of. A name from the host is looked up here, never in dspy at large."""

_TRACEBACK_LIMIT = 20_000
_STATM_PERIOD = 0.25
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Failure(Exception):
    """A request that fails without the program having raised; `kind` tells the host which error it is."""

    def __init__(self, kind: str, message: str, **facts: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts


class _Scope:
    """The programs of one session, or of the pool."""

    def __init__(self) -> None:
        self.specs: Mapping[str, Any] = {}
        self.loaded: dict[str, tuple[str, Any]] = {}


def import_dspy() -> Any:
    """importlib: no type checker is asked what dspy is, since each worker environment has its own."""
    return importlib.import_module("dspy")


class Programs:
    """Everything a worker knows: the dspy module, the programs by scope and name, the language models by settings."""

    def __init__(
        self,
        specs: Mapping[str, Any],
        cache_dir: str | None,
        cache_bytes: int,
        host: HostCalls,
        host_tools: Mapping[str, Any] | None = None,
    ) -> None:
        self.dspy: Any = import_dspy()
        self._values = Values(self.dspy)
        self._models = Models(self.dspy, host)
        self._host = host
        self._host_tools = host_tools or {}
        self._scopes: OrderedDict[str, _Scope] = OrderedDict()
        self._rss, self._looked = 0, 0.0
        self.define("", specs)
        self.cache_error = ""
        """Why there is no disk cache although one was asked for."""
        # Reopened here, not in the template: a fork must not share an open cache.
        if cache_dir is not None:
            try:
                self.dspy.configure_cache(
                    enable_disk_cache=True,
                    enable_memory_cache=True,
                    disk_cache_dir=cache_dir,
                    disk_size_limit_bytes=cache_bytes,
                )
                return
            except (OSError, sqlite3.Error) as error:  # a full disk, a folder of somebody else: slower, and no reason to fail
                self.cache_error = printable(f"{type(error).__name__}: {error}")[:500]
        self.dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)

    @property
    def version(self) -> str:
        return str(self.dspy.__version__)

    def define(self, scope: str, specs: Mapping[str, Any]) -> None:
        """Declares the programs of a scope. A program whose spec is new is loaded again at its next request."""
        known = self._scopes.setdefault(scope, _Scope())
        known.specs = specs
        self._scopes.move_to_end(scope)
        while len(self._scopes) > wire.SCOPES:
            oldest = next(name for name in self._scopes if name)
            del self._scopes[oldest]

    def run(
        self, request: Mapping[str, Any], emit: Callable[[Any], None] | None = None, spans: Spans | None = None
    ) -> dict[str, Any]:
        """Runs one request. Returns the fields of its reply in wire form: either a value or an error.

        With `emit`, what the program yields on its way is handed to it, in wire form. `spans` is told of its calls.
        """
        try:
            program = self._program(request.get("session") or "", request["program"])
            inputs = self._values.back(request["inputs"], program)
            settings = request.get("lm")
            # dspy 2.6 writes the usage into whatever forward returned, and a generator takes none.
            overrides: dict[str, Any] = {"track_usage": not _yields(program), "trace": []}
            if settings is not None:
                overrides["lm"] = self._models.model(settings)
            if spans is not None:
                overrides["callbacks"] = [*(self.dspy.settings.get("callbacks") or ()), spans.callback(self.dspy)]
            asked = AskedModels()
            began = time.perf_counter()
            with self.dspy.context(**overrides):
                if emit is None:
                    prediction = _called(program, inputs)
                    if isinstance(prediction, Iterator):
                        prediction = _last(cast("Iterator[Any]", prediction), lambda _: None)
                else:
                    prediction = self._stream(program, inputs, request["stream"], emit)
            took = time.perf_counter() - began
            return {
                "ok": True,
                "value": self._fields(prediction),
                "usage": self._usage(prediction),
                "timing": {"run_s": took, "lm_calls": asked.count()},
                "rss": self._resident(),
            }
        except Failure as failure:
            return {"ok": False, "error": {"kind": failure.kind, "message": str(failure), **failure.facts}}
        except wire.Unencodable as error:
            return {"ok": False, "error": {"kind": "unserializable", "message": str(error)}}
        except BaseException as error:  # SystemExit of a user's program too: it ends the request, not the worker
            if type(error).__name__ == "Cancelled":
                raise
            return {"ok": False, "error": self._described(error)}

    # --- loading ----------------------------------------------------------------------------------------------------

    def _program(self, scope_name: str, name: str) -> Any:
        scope = self._scopes.get(scope_name)
        if scope is None:
            raise Failure("session_lost", f"this worker knows no session {scope_name!r}")
        if name not in scope.specs and scope_name:
            scope_name, scope = "", self._scopes[""]
        if name not in scope.specs:
            raise Failure("unknown_program", f"no program {name!r} was declared to this worker")
        spec = scope.specs[name]
        version = spec.get("version") or "1"
        known = scope.loaded.get(name)
        if known is None or known[0] != version:
            known = scope.loaded[name] = (version, self._load(spec))
        return known[1]

    def _load(self, spec: Mapping[str, Any]) -> Any:
        if spec["kind"] == "compile":
            self._host.keeps_rollouts = True  # repeated rounds must not have one answer
            return compile_program(self.dspy, lambda: self._load(spec["student"]), self._host, self._values)
        if spec["kind"] == "signature":
            if spec["module"] not in MODULES:
                raise Failure("config", f"module {spec['module']!r} is not one of {', '.join(MODULES)}")
            signature = (
                self.dspy.Signature(spec["signature"], spec["instructions"])
                if spec["instructions"] is not None
                else spec["signature"]
            )
            arguments = {"tools": [self._tool(name) for name in spec.get("tools") or ()]}
            program = getattr(self.dspy, spec["module"])(signature, **(arguments if spec["module"] == "ReAct" else {}))
        else:
            module_name, _, attribute = spec["path"].partition(":")
            found: Any = self._imported(module_name, attribute)
            if not callable(found):
                what = f"a {type(found).__name__}, neither a dspy.Module nor something that makes one"
                raise Failure("config", f"{spec['path']} is {what}")
            program: Any = found if isinstance(found, self.dspy.Module) else found(*self._wanted(found))
            if not isinstance(program, self.dspy.Module):
                raise Failure("config", f"{spec['path']} gave a {type(program).__name__}, and a dspy.Module is needed")
        if spec.get("state") is not None:
            program.load_state(spec["state"])
        return program

    @staticmethod
    def _imported(module_name: str, attribute: str) -> Any:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise  # something that the module needs
            advice = "install it in the workers' environment, or name its folder in PoolOptions.import_paths"
            raise Failure("config", f"there is no module {error.name!r} for the workers: {advice}") from error
        if not hasattr(module, attribute):
            raise Failure("config", f"module {module_name!r} has no {attribute!r}")
        return getattr(module, attribute)

    def _wanted(self, factory: Any) -> tuple[Any, ...]:
        """A factory that must be given something is given dspy: it is written for either engine."""
        try:
            parameters = inspect.signature(factory).parameters.values()
        except (TypeError, ValueError):  # no signature to be had
            return ()
        needed = [each for each in parameters if each.default is each.empty and each.kind in _POSITIONAL]
        return (self.dspy,) if len(needed) == 1 else ()

    def _tool(self, name: str) -> Any:
        """A dspy.Tool whose function is the host's callable of that name."""
        described = self._host_tools.get(name)
        if described is None:
            raise Failure("config", f"tool {name!r} is not among the pool's callables")

        def call(**arguments: Any) -> Any:
            return self._host.call(name, **arguments)

        return self.dspy.Tool(call, name=name, desc=described["description"], args=described["arguments"])

    # --- running ----------------------------------------------------------------------------------------------------

    def _stream(
        self, program: Any, inputs: dict[str, Any], wanted: Mapping[str, Any], emit: Callable[[Any], None]
    ) -> Any:
        """Emits what a generator yields, or what dspy's own streaming of the named fields gives; returns the last."""

        def send(item: Any) -> None:
            emit(self._values.out(self._chunk(item), "chunk"))

        fields: list[str] = wanted.get("fields") or []
        if fields:
            streaming: Any = importlib.import_module("dspy.streaming")
            listeners = [streaming.StreamListener(signature_field_name=field) for field in fields]
            streamed = self.dspy.streamify(program, stream_listeners=listeners, is_async_program=_asks_async(program))
            return _read_here(streamed(**inputs), send)
        result = _called(program, inputs)
        return _last(cast("Iterator[Any]", result), send) if isinstance(result, Iterator) else result

    @staticmethod
    def _chunk(item: Any) -> Any:
        if type(item).__name__ == "StreamResponse":
            return {"field": item.signature_field_name, "text": item.chunk, "predictor": item.predict_name}
        if type(item).__name__ == "StatusMessage":
            return {"status": item.message}
        return item

    def _fields(self, prediction: Any) -> dict[str, Any]:
        if isinstance(prediction, self.dspy.Example):  # Prediction is one
            fields = dict(prediction.items(include_dspy=True))
        elif isinstance(prediction, dict) and all(isinstance(name, str) for name in cast("dict[Any, Any]", prediction)):
            fields = cast("dict[Any, Any]", prediction)
        else:
            returned = type(cast("object", prediction)).__name__
            raise Failure(
                "result",
                f"the program returned a {returned}; "
                "the pool needs a dspy.Prediction, a dspy.Example or a dict with names for keys",
            )
        return {name: self._values.out(value, f"field {name!r}") for name, value in fields.items()}

    def _usage(self, prediction: Any) -> Any:
        get_usage = getattr(prediction, "get_lm_usage", None)
        usage: Any = get_usage() if callable(get_usage) else None
        return self._values.out(usage or {}, "usage") if usage else {}

    def _resident(self) -> int:
        """Bytes resident, looked up a few times a second at most; 0 where the platform does not say."""
        now = time.monotonic()
        if now - self._looked > _STATM_PERIOD:
            self._looked = now
            try:
                with open("/proc/self/statm") as file:
                    self._rss = int(file.read().split()[1]) * 4096
            except OSError:
                self._rss = 0
        return self._rss

    def _described(self, error: BaseException) -> dict[str, Any]:
        judge = getattr(self.dspy, "is_retryable_lm_error", None)
        return {
            "kind": "program",
            "type": type(error).__qualname__,
            "module": type(error).__module__,
            "message": printable(str(error)),
            "traceback": traceback_of(error),
            "retriable": bool(judge(error)) if judge is not None else False,
        }


def _called(program: Any, inputs: dict[str, Any]) -> Any:
    """A program that is only async runs in an event loop of its own."""
    kind = cast("object", type(program))
    if hasattr(kind, "aforward") and not hasattr(kind, "forward"):
        return asyncio.run(program.acall(**inputs))
    return program(**inputs)


def _yields(program: Any) -> bool:
    return inspect.isgeneratorfunction(getattr(cast("object", type(program)), "forward", None))


def _last(items: Iterator[Any], each: Callable[[Any], None]) -> Any:
    """Hands all items but the last to `each`; the last, or what a generator returned, is the result."""
    missing = object()
    held: Any = missing
    while True:
        try:
            item = next(items)
        except StopIteration as end:
            if end.value is not None:
                if held is not missing:
                    each(held)
                return end.value
            return None if held is missing else held
        if held is not missing:
            each(held)
        held = item


def _asks_async(program: Any) -> bool:
    """Whether a streamed program is called by `acall`: dspy's own modules, which do the same either way, and what has no
    other. A `forward` of the user's is called, in a thread of dspy's: only it is what is called without streaming.
    """
    return type(program).__module__.partition(".")[0] == "dspy" or not hasattr(program, "forward")


def _read_here(items: AsyncGenerator[Any], each: Callable[[Any], None]) -> Any:
    """`_last` for what dspy streams. It is read in this thread and not through dspy's synchronous face, which reads it in
    another: that one takes all that comes, however slow the host's reader, and reads on when the request is interrupted.
    """
    held: list[Any] = []

    async def read() -> None:
        async with aclosing(items):
            async for item in items:
                for before in held:
                    each(before)  # blocks, and with it the loop that reads from the model
                held[:] = [item]

    try:
        asyncio.run(read())
    except Exception:
        raise
    except BaseException:  # interrupted
        _wait_for_threads()
        raise
    return held[0] if held else None


def _wait_for_threads() -> None:
    """Returns when no program is left behind in a thread of the loop that has ended: it may still hold a connection.

    What an interruption cannot reach there does not count as interrupted: the host then kills this process.
    """
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("anyio."):
            while thread.is_alive():
                with suppress(BaseException):  # the host insists; it is what is waited for
                    thread.join()


def traceback_of(error: BaseException) -> str:
    """The end of the traceback, at most 20,000 characters."""
    return printable("".join(traceback.format_exception(type(error), error, error.__traceback__)))[-_TRACEBACK_LIMIT:]


def printable(text: str) -> str:
    """Bounded, and free of lone surrogates, so that a message about an error can always be sent, logged and shown."""
    return text[: _TRACEBACK_LIMIT * 5].encode("utf-8", "backslashreplace").decode("utf-8")
