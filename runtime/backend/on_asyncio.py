"""asyncio, and any loop that follows its interface: slots are futures, tasks are tasks."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio

from .contract import Job, Slot


class _Timer:
    __slots__ = ("_alive", "_callback", "_handle", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, when: float, callback: Callable[[], None], alive: set[_Timer]):
        self.when = when
        self._callback = callback
        self._alive = alive
        self._handle = loop.call_at(when, self._fire)
        alive.add(self)

    @property
    def active(self) -> bool:
        return self in self._alive

    def _fire(self) -> None:
        self._alive.discard(self)
        self._callback()

    def cancel(self) -> None:
        self._alive.discard(self)
        self._handle.cancel()


_OPEN, _VALUE, _ERROR, _ABANDONED = range(4)


class _Relay:
    """As much of a future as a slot is asked for, whose callbacks run at once. A future's wait for the loop's next turn,
    which is 3 us and a system call; nobody awaits this one."""

    __slots__ = ("_callbacks", "_content", "_state")

    def __init__(self) -> None:
        self._state = _OPEN
        self._content: Any = None
        self._callbacks: list[Callable[[Any], object]] = []

    def done(self) -> bool:
        return self._state != _OPEN

    def set_result(self, value: Any, /) -> None:
        self._fill(_VALUE, value)

    def set_exception(self, error: Any, /) -> None:
        self._fill(_ERROR, error)

    def _fill(self, state: int, content: Any) -> None:
        if self._state != _OPEN:
            raise asyncio.InvalidStateError("this slot is done already")
        self._state = state
        self._content = content
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self._state != _OPEN:
            callback(self)
        else:
            self._callbacks.append(callback)

    def cancel(self) -> bool:
        if self._state != _OPEN:
            return False
        self._fill(_ABANDONED, None)
        return True

    def cancelled(self) -> bool:
        return self._state == _ABANDONED

    def exception(self) -> BaseException | None:
        return self._content if self._state == _ERROR else None

    def result(self) -> Any:
        return self._content

    def __await__(self) -> Generator[Any, Any, Any]:
        raise RuntimeError("a relay is not awaited: its callbacks hear of it")


class AsyncioBackend:
    """The running asyncio loop."""

    cancelled: type[BaseException] = asyncio.CancelledError

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.slot = loop.create_future
        self.relay: Callable[[], Slot] = _Relay
        self.scope: Callable[[], anyio.CancelScope] = type(anyio.CancelScope())
        self.now = loop.time
        self._loop = loop
        self._context = contextvars.copy_context()
        self._tasks: set[asyncio.Task[None]] = set()
        self._forget = self._tasks.discard  # made once: a bound method is 64 bytes
        self._timers: set[_Timer] = set()

    def abandon(self, slot: Slot) -> None:
        future = cast("asyncio.Future[object]", slot)
        if not future.cancel() and not future.cancelled():
            future.exception()  # asked for, so that asyncio does not report it as never seen

    def content(self, slot: Slot) -> tuple[Any, BaseException | None]:
        future = cast("asyncio.Future[object]", slot)
        if future.cancelled():
            return None, None
        error = future.exception()
        return (None, error) if error is not None else (future.result(), None)

    def on_done(self, slot: Slot, callback: Callable[[], None]) -> None:
        future = cast("asyncio.Future[object]", slot)
        future.add_done_callback(lambda _: callback())

    def spawn(self, job: Job, name: str) -> None:
        task = self._loop.create_task(job(), name=name, context=self._context.copy())
        # The loop itself holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    async def relax(self) -> None:
        await asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_from_thread(self, callback: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # closed
            return False
        return True

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        return _Timer(self._loop, when, callback, self._timers)

    async def uninterrupted(self, job: Job) -> None:
        task = self._loop.create_task(job())
        interrupted: asyncio.CancelledError | None = None
        # The scope keeps anyio's cancellation away, the loop survives the host's own task.cancel().
        with anyio.CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError as error:
                    interrupted = error
        task.result()
        if interrupted is not None:
            raise interrupted

    async def drain(self) -> None:
        """Drop the timers and return when the last task is gone."""
        for timer in tuple(self._timers):
            timer.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def open_asyncio() -> AsyncGenerator[AsyncioBackend]:
    backend = AsyncioBackend()
    try:
        yield backend
    finally:
        await backend.uninterrupted(backend.drain)
