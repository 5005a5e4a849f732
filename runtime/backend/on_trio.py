"""trio: slots are reschedules, tasks live in one nursery, timers are one heap served by one task."""

from __future__ import annotations

import contextvars
import heapq
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import trio
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint,
    current_task,
    current_trio_token,
    reschedule,
    spawn_system_task,
    wait_task_rescheduled,
)

from .contract import Job, Slot

_OPEN, _VALUE, _ERROR, _ABANDONED = range(4)


class _Slot:
    """A future's little brother, about 250 ns: ``trio.Event`` and a cell for the value would be two objects."""

    __slots__ = ("_callbacks", "_content", "_state", "_task")

    def __init__(self) -> None:
        self._state = _OPEN
        self._task: Task | None = None
        self._content: Any = None
        self._callbacks: list[Callable[[], None]] | None = None

    def done(self) -> bool:
        return self._state != _OPEN

    def set_result(self, value: Any, /) -> None:
        self._fill(_VALUE, value)

    def set_exception(self, error: BaseException, /) -> None:
        self._fill(_ERROR, error)

    def _fill(self, state: int, content: Any) -> None:
        if self._state != _OPEN:
            raise RuntimeError("this slot is done already")
        self._state = state
        self._content = content
        if self._task is not None:
            reschedule(self._task)
            self._task = None
        if self._callbacks is not None:
            self._run_callbacks()

    def add_callback(self, callback: Callable[[], None]) -> None:
        if self._state != _OPEN:
            callback()
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def _run_callbacks(self) -> None:
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()

    def _abort(self, _: object) -> Abort:
        self._task = None
        self.abandon()
        return Abort.SUCCEEDED

    def content(self) -> tuple[Any, BaseException | None]:
        return (None, self._content) if self._state == _ERROR else (self._content, None)

    def abandon(self) -> None:
        if self._state == _OPEN:
            self._state = _ABANDONED
            self._run_callbacks()

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._state == _OPEN:
            self._task = current_task()
            yield from wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105 - awaited by hand
        if self._state == _ERROR:
            raise self._content
        return self._content


class _Timer:
    __slots__ = ("_heap", "callback", "when")

    def __init__(self, when: float, callback: Callable[[], None], heap: _Timers) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback
        self._heap = heap

    @property
    def active(self) -> bool:
        return self.callback is not None

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self._heap.one_cancelled()

    def __lt__(self, other: _Timer) -> bool:
        return self.when < other.when


class _Timers(list[_Timer]):
    """A heap. As asyncio's, it is swept when most of it was cancelled, so that a cancelled hour does not stay an hour."""

    __slots__ = ("_cancelled",)

    def __init__(self) -> None:
        super().__init__()
        self._cancelled = 0

    def one_cancelled(self) -> None:
        self._cancelled += 1
        if self._cancelled > 100 and self._cancelled > len(self) // 2:
            self[:] = [timer for timer in self if timer.active]
            heapq.heapify(self)
            self._cancelled = 0

    def pop_first(self) -> _Timer:
        timer = heapq.heappop(self)
        if not timer.active:
            self._cancelled -= 1
        return timer


class TrioBackend:
    """The running trio loop, and a nursery that the host's cancellation does not reach."""

    cancelled: type[BaseException] = trio.Cancelled

    def __init__(self, nursery: trio.Nursery) -> None:
        self.now = trio.current_time
        self.slot = _Slot
        self.relay = _Slot  # its callbacks run at once in any case
        self.scope: Callable[[], anyio.CancelScope] = type(anyio.CancelScope())
        self.relax = checkpoint
        self._nursery = nursery
        self._token = current_trio_token()
        self._context = contextvars.copy_context()
        self._timers = _Timers()
        self._alarm: trio.CancelScope | None = None
        self._ringing = False

    def abandon(self, slot: Slot) -> None:
        assert isinstance(slot, _Slot)
        slot.abandon()

    def content(self, slot: Slot) -> tuple[Any, BaseException | None]:
        assert isinstance(slot, _Slot)
        return slot.content()

    def on_done(self, slot: Slot, callback: Callable[[], None]) -> None:
        assert isinstance(slot, _Slot)
        slot.add_callback(callback)

    def spawn(self, job: Job, name: str) -> None:
        self._context.copy().run(self._start_soon, job, name)

    def _start_soon(self, job: Job, name: str) -> None:
        self._nursery.start_soon(job, name=name)

    async def uninterrupted(self, job: Job) -> None:
        with trio.CancelScope(shield=True):
            await job()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(max(0.0, seconds))

    def call_from_thread(self, callback: Callable[[], None]) -> bool:
        try:
            self._token.run_sync_soon(callback)
        except trio.RunFinishedError:
            return False
        return True

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(when, callback, self._timers)
        heapq.heappush(self._timers, timer)
        if not self._ringing:
            self._ringing = True
            self.spawn(self._ring, "dspex timers")
        elif self._alarm is not None and when < self._alarm.deadline:
            self._alarm.deadline = when
        return timer

    async def _ring(self) -> None:
        while self._timers:
            first = self._timers[0]
            if first.callback is None:
                self._timers.pop_first()
            elif first.when > trio.current_time():
                with trio.CancelScope(deadline=first.when) as self._alarm:
                    await trio.sleep_forever()
                self._alarm = None
            else:
                self._timers.pop_first()
                callback, first.callback = first.callback, None
                callback()
        self._ringing = False

    def drop_timers(self) -> None:
        self._timers.clear()
        if self._alarm is not None:
            self._alarm.cancel()


@asynccontextmanager
async def open_trio() -> AsyncGenerator[TrioBackend]:
    # A system task: a nursery around the body would let the host's cancellation reach the actors before their
    # supervisors could stop them in order, and would wrap the body's exceptions in groups.
    opened: list[trio.Nursery] = []
    ready, release, gone = trio.Event(), trio.Event(), trio.Event()

    async def hold() -> None:
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    opened.append(nursery)
                    ready.set()
                    await release.wait()
        finally:
            gone.set()

    spawn_system_task(hold, name="dspex runtime", context=contextvars.copy_context())
    with trio.CancelScope(shield=True):
        await ready.wait()
    backend = TrioBackend(opened[0])
    try:
        yield backend
    finally:
        backend.drop_timers()
        release.set()
        with trio.CancelScope(shield=True):
            await gone.wait()
