"""`streamify`: a program that hands out its answer while it is being written.

    ask = streamify(Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
    async for item in ask(question="Why?"):
        ...   # StreamResponse pieces of `answer`, StatusMessages, and at the end the Prediction

Without listeners the chunks of the LM come through as they are. A piece is handed out as soon as it is certain to belong
to the field. Leaving the loop, or cancelling it, cancels the program and closes the LM's connection. What the program
raises is raised to the reader, as it is.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from inspect import iscoroutinefunction
from typing import Any

from pydantic_core import to_json

from ..bridges import asyncify
from ..example import Prediction
from ..lm import StreamChunk
from ..module import Module
from ..settings import settings
from .background import BackgroundTask
from .listener import StreamListener, find_predictor_for_stream_listeners
from .messages import Outbox, StatusMessageProvider, StatusStreamingCallback

__all__ = ["apply_sync_streaming", "streamify", "streaming_response"]

_PACKAGE = __name__.partition(".engine.")[0]


def streamify(
    program: Module | Callable[..., Any],
    status_message_provider: StatusMessageProvider | None = None,
    stream_listeners: Sequence[StreamListener] | None = None,
    include_final_prediction_in_output_stream: bool = True,
    is_async_program: bool = False,
    async_streaming: bool = True,
) -> Callable[..., Any]:
    """Make a function that takes the program's inputs and returns a generator of what happens.

    Args:
        status_message_provider: says what the program is doing; the default speaks of tool calls.
        stream_listeners: the fields to stream; without any, the LM's own chunks are handed out.
        include_final_prediction_in_output_stream: False leaves the prediction out, if pieces of it were streamed.
        is_async_program: call the program by `acall` in any case. It is called so anyway if it has no `forward` of its
            own; otherwise `forward` runs in a worker thread.
        async_streaming: False returns an ordinary generator, for synchronous code.

    Raises:
        ValueError: a listener's field is not found in the program, or found twice.
    """
    listeners = list(stream_listeners or ())
    by_predictor = find_predictor_for_stream_listeners(program, listeners) if listeners else {}  # type: ignore[arg-type]
    run = _runner(program, is_async_program)
    status = StatusStreamingCallback(status_message_provider)

    async def async_streamer(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        outbox = Outbox()
        callbacks = list(settings.callbacks)
        if not any(isinstance(callback, StatusStreamingCallback) for callback in callbacks):
            callbacks.append(status)

        async def work() -> None:
            try:
                with settings.context(send_stream=outbox, callbacks=callbacks, stream_listeners=listeners):
                    prediction = await run(*args, **kwargs)
                await outbox.send(prediction)
            finally:
                outbox.close()

        task = BackgroundTask(work)
        try:
            async for value in outbox.receive:
                if isinstance(value, StreamChunk) and by_predictor:
                    for listener in by_predictor.get(value.predict_id, ()):
                        output = listener.receive(value)
                        if output:
                            yield output
                elif isinstance(value, Prediction):
                    for listener in listeners:
                        last = listener.finalize()
                        if last:
                            yield last
                    if include_final_prediction_in_output_stream or _nothing_was_streamed(listeners):
                        yield value
                    return
                else:
                    yield value
        finally:
            task.cancel()
            outbox.receive.close()
            await task.ended()
        if task.error is not None:
            raise task.error

    if async_streaming:
        return async_streamer

    def sync_streamer(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        return apply_sync_streaming(async_streamer(*args, **kwargs))

    return sync_streamer


def _nothing_was_streamed(listeners: Sequence[StreamListener]) -> bool:
    return (
        not listeners
        or any(listener.cache_hit for listener in listeners)
        or not any(listener.stream_start for listener in listeners)
    )


def _runner(program: Any, is_async_program: bool) -> Callable[..., Awaitable[Any]]:
    if is_async_program or (isinstance(program, Module) and not _has_own_forward(program)):
        return program.acall
    if iscoroutinefunction(program):
        return program
    return asyncify(program)


def _has_own_forward(program: Module) -> bool:
    """Whether the program's synchronous side is the user's work, and not the engine's adapter over `aforward`."""
    forward = getattr(type(program), "forward", None) or vars(program).get("forward")
    return forward is not None and not str(getattr(forward, "__module__", "")).startswith(f"{_PACKAGE}.engine.")


def apply_sync_streaming(async_generator: AsyncGenerator[Any, None]) -> Generator[Any, None, None]:
    """An async generator as an ordinary one: it runs on an event loop in a thread, at most some items ahead.

    Closing the generator early closes the other and ends the thread.
    """
    items: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=64)
    context = contextvars.copy_context()
    stop = threading.Event()

    async def pump() -> None:
        try:
            async for item in async_generator:
                await asyncio.to_thread(_put, items, ("item", item), stop)
                if stop.is_set():
                    break
        except BaseException as error:
            await asyncio.to_thread(_put, items, ("error", error), stop)
        else:
            await asyncio.to_thread(_put, items, ("end", None), stop)
        finally:
            await async_generator.aclose()

    thread = threading.Thread(target=lambda: context.run(asyncio.run, pump()), name="dspex-sync-stream", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join()


def _put(items: queue.Queue[tuple[str, Any]], item: tuple[str, Any], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            items.put(item, timeout=0.1)
        except queue.Full:
            continue
        return


async def streaming_response(streamer: AsyncGenerator[Any, None]) -> AsyncGenerator[str, None]:
    """The output of a streamed program as server-sent events: `data: {...}`, and `data: [DONE]` at the end.

    Takes predictions, chunks, and strings that are events already.

    Raises:
        ValueError: something else was in the stream; turn it into a string first.
    """
    async for value in streamer:
        if isinstance(value, Prediction):
            yield _event({"prediction": dict(value.items(include_dspy=False))})
        elif isinstance(value, StreamChunk):
            yield _event({"chunk": value.json()})
        elif isinstance(value, str) and value.startswith("data:"):
            yield value
        else:
            raise ValueError(f"Unknown chunk value type: {value}")
    yield "data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> str:
    return f"data: {to_json(data).decode()}\n\n"
