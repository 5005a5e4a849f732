"""Metrics that are plain functions, called off the event loop by as few threads as keep up.

A function may block or ask a model synchronously, so it must not run on the loop. A thread for every call costs 0.2 ms,
more than a predictor does; most metrics compare two strings. So calls queue up, one thread works them off and reports what
it has done since the loop last looked, and more threads are started only while nothing gets done: metrics that wait soon
have one each, up to the examples that run at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from time import monotonic
from types import TracebackType
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import sniffio

__all__ = ["MetricThreads"]

_PATIENCE = 0.01
"""Seconds without a finished call after which more threads help, each time as many as there are. A thread may wait half of
it for the interpreter alone."""
_TELL = 0.001
"""Seconds that a finished call may wait for the ones behind it, which are told to the loop with it."""


class _Call:
    """One call of the metric, and what came of it."""

    __slots__ = ("arguments", "context", "error", "finished", "result")

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments
        self.context: Context = copy_context()
        self.context.run(sniffio.current_async_library_cvar.set, None)  # there is no loop in a thread
        self.finished = anyio.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def work(self, function: Callable[..., Any]) -> None:
        try:
            self.result = self.context.run(function, *self.arguments)
        except BaseException as error:  # raised where it is awaited
            self.error = error


class MetricThreads:
    """Calls one function in threads of its own. Use it as an async context manager; leaving it, no call is waited for."""

    def __init__(self, function: Callable[..., Any], most: int) -> None:
        """Describe it. `most`: threads at a time."""
        self._function = function
        self._most = max(1, most)
        self._waiting: deque[_Call] = deque()
        self._done: deque[_Call] = deque()
        self._threads = 0
        self._progress = 0
        self._watched = False
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> MetricThreads:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._waiting.clear()
        self._group.cancel_scope.cancel()
        if error is None or isinstance(error, Exception):
            await self._group.__aexit__(None, None, None)  # given the error, it would raise it in a group
            return None
        return await self._group.__aexit__(exc_type, error, traceback)

    async def call(self, *arguments: Any) -> Any:
        """The function's result. Raises what it raises.

        Cancelled, this returns at once; a call that has begun runs on in its thread, unread.
        """
        call = _Call(arguments)
        self._waiting.append(call)
        if not self._threads:
            self._start()
        if not self._watched:
            self._watched = True
            self._group.start_soon(self._watch)
        try:
            await call.finished.wait()
        except BaseException:
            with suppress(ValueError):
                self._waiting.remove(call)
            raise
        if call.error is not None:
            raise call.error
        return call.result

    def _start(self) -> None:
        self._threads += 1
        self._group.start_soon(self._thread)

    async def _thread(self) -> None:
        try:
            await anyio.to_thread.run_sync(
                self._work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )
        finally:
            self._threads -= 1
        self._collect()
        if self._waiting and not self._threads:  # came in while the thread was leaving
            self._start()

    def _work(self) -> None:
        """Work off what waits; in a thread."""
        begun = monotonic()
        while True:
            try:
                call = self._waiting.popleft()
            except IndexError:
                return  # what is not told yet is collected when the thread has ended
            call.work(self._function)
            self._progress += 1
            self._done.append(call)
            if monotonic() - begun > _TELL:
                anyio.from_thread.run_sync(self._collect)
                begun = monotonic()

    def _collect(self) -> None:
        while self._done:
            self._done.popleft().finished.set()

    async def _watch(self) -> None:
        """Start more threads while calls wait and none is finished."""
        while self._waiting or self._threads:
            seen = self._progress
            await anyio.sleep(_PATIENCE)
            if self._waiting and self._progress == seen:
                for _ in range(min(self._threads, self._most - self._threads, len(self._waiting))):
                    self._start()
        self._watched = False
