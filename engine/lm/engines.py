"""Custom engines: objects of the user's that answer instead of a provider's SDK (see `dspex.engine.lm15`).

An engine owns its connection, makes one attempt, and is borrowed: the LM never closes it. A synchronous one called from
asynchronous code runs in a worker thread.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import anyio.to_thread

from ..sync import alone_on_own_loop, beside_own_loop, run_sync
from .errors import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMError,
    LMInvalidRequestError,
    LMProviderError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    LMUnexpectedError,
    LMUnsupportedModelError,
)
from .lm15 import Request, Response, completion_of_response, request_from_openai_chat
from .lm15.stream import StreamAccumulator
from .lm15.types import StreamEvent
from .wire import ChatRequest, Completion, Emit

__all__ = ["ask_engine", "check_encodable", "check_engines", "engine_from_state", "engine_state", "refuse_client_settings"]

_SELECTIONS = ("auto", "lm15", "litellm")
_CLIENT_SETTINGS = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "azure_ad_token_provider",
        "base_url",
        "custom_llm_provider",
        "extra_headers",
        "extra_query",
        "headers",
        "organization",
        "project",
        "timeout",
    }
)
_STREAM_ERRORS: Mapping[str, type[LMError]] = {
    str(kind.default_code): kind
    for kind in (
        LMAuthError,
        LMBillingError,
        LMInvalidRequestError,
        LMProviderError,
        LMRateLimitError,
        LMServerError,
        LMTimeoutError,
        LMTransportError,
        LMUnsupportedModelError,
    )
} | {"context_length": ContextWindowExceededError}


def check_engines(engine: Any, async_engine: Any) -> None:
    """Refuse at construction what would fail at the first call.

    Raises:
        ValueError, TypeError: see the messages.
    """
    if isinstance(engine, str):
        if engine not in _SELECTIONS:
            raise ValueError("engine must be 'auto', 'lm15', 'litellm', or an engine object")
        if async_engine is not None:
            raise ValueError("async_engine is only used with a custom engine object")
        return
    complete = getattr(engine, "complete", None)
    if not callable(complete):
        raise TypeError("A custom engine must implement complete(Request) -> Response")
    if _is_async(complete):
        raise TypeError(
            "engine.complete is a coroutine function; the sync engine returns a Response directly. Pass an async "
            "engine as async_engine="
        )
    if async_engine is None:
        return
    complete = getattr(async_engine, "complete", None)
    if not callable(complete):
        raise TypeError("A custom async engine must implement async complete(Request) -> Response")
    if not _is_async(complete):
        raise TypeError(
            "async_engine.complete is not a coroutine function; the async engine is awaited (async def complete). "
            "Pass a sync engine as engine="
        )


def _is_async(function: object) -> bool:
    # An object that is called may have an asynchronous `__call__`; a function's type has none of its own.
    call = cast("dict[str, Any]", vars(type(function))).get("__call__")
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def refuse_client_settings(engine: Any, options: Mapping[str, Any], *, where: str = "dspy.LM") -> None:
    """A custom engine owns its connection: options that would configure one are refused, not dropped.

    Raises:
        ValueError: they are named.
    """
    if isinstance(engine, str):
        return
    present = sorted(name for name, value in options.items() if name in _CLIENT_SETTINGS and value is not None)
    if present:
        raise ValueError(
            f"{where}: {present} configure a connection DSPy owns; a custom engine owns its own. Configure them on the "
            "engine, or drop engine= and give the server's address as base_url=."
        )


def check_encodable(value: object, where: str) -> None:
    """Refuse text that no provider can receive.

    Raises:
        ValueError: a lone surrogate, with its code point.
    """
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            bad = " ".join(f"U+{ord(character):04X}" for character in value[error.start : error.end])
            raise ValueError(
                f"{where} contains text that is not valid Unicode (lone surrogate {bad}), which no provider can "
                "receive; repair the text first, e.g. text.encode('utf-8', 'replace').decode('utf-8')"
            ) from None
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            check_encodable(key, where)
            check_encodable(item, where)
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            check_encodable(item, where)


async def ask_engine(engine: Any, async_engine: Any, asked: ChatRequest, emit: Emit | None) -> Completion:
    """One attempt by a custom engine.

    Raises:
        LMError: the engine's own, or `LMUnexpectedError` when it broke the protocol.
        Whatever else it raises, for the caller to wrap.
    """
    request = request_from_openai_chat({"model": asked.label, "messages": asked.messages, **asked.options})
    if emit is not None and callable(getattr(async_engine or engine, "stream", None)):
        return completion_of_response(await _stream(engine, async_engine, request, emit))
    if async_engine is not None:
        response: object = await async_engine.complete(request)
    elif alone_on_own_loop():
        response = beside_own_loop(partial(engine.complete, request))
    else:
        response = await anyio.to_thread.run_sync(partial(engine.complete, request), abandon_on_cancel=True)
    if not isinstance(response, Response):
        kind = type(response)
        raise LMUnexpectedError(
            f"Engine.complete must return dspy.lm15.Response, got {kind.__module__}.{kind.__qualname__}",
            model=asked.label,
        )
    return completion_of_response(response)


async def _stream(engine: Any, async_engine: Any, request: Request, emit: Emit) -> Response:
    whole = StreamAccumulator(request)

    async def take(event: StreamEvent) -> None:
        if event.type == "error":
            kind = _STREAM_ERRORS.get(event.error.code, LMUnexpectedError)
            raise kind(event.error.message, model=request.model, provider_code=event.error.provider_code)
        delta = whole.push(event)
        if delta is not None:
            await emit(delta)

    if async_engine is not None:
        events: AsyncIterator[StreamEvent] = async_engine.stream(request)
        try:
            async for event in events:
                await take(event)
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        return whole.response()
    if alone_on_own_loop():
        for event in cast("Iterator[StreamEvent]", engine.stream(request)):
            await take(event)
        return whole.response()

    def pump() -> None:
        for event in cast("Iterator[StreamEvent]", engine.stream(request)):
            run_sync(take, event)

    await anyio.to_thread.run_sync(pump)
    return whole.response()


def engine_state(engine: Any, name: str) -> dict[str, Any]:
    """A custom engine as saved state: its class path and its own `dump_state()`.

    Raises:
        TypeError: it cannot be saved so that it could be loaded again.
    """
    made_of = cast("type[object]", type(engine))
    dump, load = getattr(engine, "dump_state", None), getattr(made_of, "load_state", None)
    kind = made_of.__name__
    if not callable(dump) or not callable(load):
        raise TypeError(
            f"{name}={kind} cannot be saved: a custom engine is saved when it implements dump_state() -> dict "
            "(JSON-serializable, no secrets) and the classmethod load_state(state) -> engine. Otherwise save the "
            "program without this LM and set it again after loading."
        )
    path = f"{made_of.__module__}:{made_of.__qualname__}"
    try:
        found: object = _imported(path)
    except (ImportError, TypeError, ValueError):
        found = None
    if found is not made_of:
        raise TypeError(
            f"{name}={kind} cannot be saved: its class is not importable as `{path}`. Define the engine class at "
            "module level so a loader can import it."
        )
    state: Any = dump()
    if not isinstance(state, dict):
        raise TypeError(f"{name}.dump_state() must return a dict, got {type(state).__name__}")
    try:
        json.dumps(state)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}.dump_state() must return JSON-serializable data: {error}") from error
    return {"class": path, "state": state}


def engine_from_state(record: Any, name: str, *, allowed: bool) -> Any:
    """The engine that `engine_state` wrote. Importing a class that a file names is allowed only on request.

    Raises:
        ValueError: not allowed, or not such a record.
        ImportError, TypeError: the class is not to be had, or is no engine.
    """
    if not isinstance(record, dict) or "class" not in record:
        raise ValueError(f"Serialized {name} must be a selection string or a {{'class', 'state'}} record")
    found = cast("dict[str, Any]", record)
    path = found["class"]
    if not allowed:
        raise ValueError(
            f"Refusing to import custom serialized engine class `{path}`. Pass allow_unsafe_lm_state=True when loading "
            "trusted files to enable custom engines."
        )
    load = getattr(_imported(path), "load_state", None)
    if not callable(load):
        raise TypeError(f"Serialized engine `{path}` has no load_state(state) classmethod")
    engine: Any = load(found.get("state", {}))
    if not callable(getattr(engine, "complete", None)):
        raise TypeError(f"`{path}.load_state` must return an engine with complete(Request)")
    return engine


def _imported(path: str) -> type[Any]:
    module_name, _, qualname = path.partition(":")
    if not module_name or not qualname:
        raise ValueError(f"Serialized engine class path must be 'module:QualName', got {path!r}")
    found: Any = importlib.import_module(module_name)
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ImportError(f"Serialized engine class `{path}` cannot be imported: {error}") from error
    if not isinstance(found, type):
        raise TypeError(f"Serialized engine `{path}` is not a class")
    return found
