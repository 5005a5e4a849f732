"""A stream of tasks: the results of one function for many inputs, a few tasks at a time. ``TaskSupervisor.stream`` makes it.

Who waits for what: the reader waits for a bell, which is rung when a task has ended, when the time of one is over, or when an
async input has given an item. Each of these is watched by a small process of its own, which holds the bell and not the stream:
a stream that is dropped by its reader is collected at once, and ends its tasks.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast, final, get_args

import anyio

from ..runtime import (
    KILL,
    ActorError,
    Address,
    CallTimeout,
    Down,
    ExitReason,
    Mailbox,
    NamedRef,
    Plain,
    Process,
    Ref,
    Runtime,
    UnknownProcess,
)
from ..runtime.process import CURRENT
from ..runtime.ref import process_of
from ..runtime.tasks import Exited, Job, Ok, Task
from .dynamic import DynamicSupervisor

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an input

OnTimeout = Literal["exit", "kill_task"]
"""exit: a task that takes too long ends the whole stream with StreamTimeout. kill_task: it is killed, its result is
Exited(TIMEOUT), and the stream goes on."""

TIMEOUT: Final = ExitReason("TIMEOUT")
"""The reason of a stream's task that took too long."""


class StreamTimeout(CallTimeout):
    """A task of a stream took longer than it may. ``item`` is what it worked on."""

    def __init__(self, who: str, seconds: float, item: object) -> None:
        super().__init__(who, seconds)
        self.item = item

    def __str__(self) -> str:
        return f'{self.who} took more than {self.seconds:g} s: give timeout=, or on_timeout="kill_task" to go on without it'


class StreamClosed(ActorError):
    """The stream was read by two at a time."""


@final
class _Running(Generic[I]):
    """A task of a stream, from its start until its result was taken."""

    __slots__ = ("item", "task", "timed_out")

    def __init__(self, item: I, task: Task[Any]) -> None:
        self.item = item
        self.task = task
        self.timed_out = False


@final
class TaskStream(Generic[I, T]):
    """The results of a stream: an async iterator, for one reader. ``TaskSupervisor.stream`` makes it."""

    def __init__(
        self,
        supervisor: Ref[Any] | NamedRef[Any],
        function: Callable[[Any], Any],
        items: Iterable[I] | AsyncIterable[I],
        max_concurrency: int | None,
        ordered: bool,
        timeout: float | None,
        on_timeout: OnTimeout,
    ) -> None:
        self._running: deque[_Running[I]] = deque()
        """In order of their start."""
        self._closed = True  # there is nothing to end yet
        self._reading = False
        limit = max_concurrency if max_concurrency is not None else os.cpu_count() or 1
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"max_concurrency counts tasks, an int >= 1, not {max_concurrency!r}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is seconds > 0, or None, not {timeout!r}")
        if on_timeout not in get_args(OnTimeout):
            raise ValueError(f'on_timeout is "exit" or "kill_task", not {on_timeout!r}')
        self._supervisor = supervisor
        self._function = function
        self._bell = _Bell()
        """Rung when a task has ended, the time of one is over, or an input has come."""
        self._input = _Feed(items, self._bell, supervisor) if isinstance(items, AsyncIterable) else _OneByOne(items)
        self._exhausted = False
        self._limit = limit
        self._ordered = ordered
        self._timeout = timeout
        self._on_timeout: OnTimeout = on_timeout
        self._guard: Ref[Any] | None = None
        self._tasks: set[Process] = set()
        """Those that are alive; the guard has the same set."""
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Ok[T] | Exited:
        """The next result. Cancelled, or on any error: all tasks are stopped and the stream is closed."""
        if self._reading:
            raise StreamClosed("this stream is being read by somebody else: a stream is for one reader")
        if self._closed:
            raise StopAsyncIteration
        self._reading = True
        try:
            result = await self._next()
        except BaseException:
            self._reading = False
            await self.aclose()
            raise
        self._reading = False
        if result is None:
            await self.aclose()
            raise StopAsyncIteration
        return result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Kill what still runs and wait until it is gone. An async generator that was read is closed."""
        self._kill()
        with anyio.CancelScope(shield=True):
            while self._tasks:
                await next(iter(self._tasks)).ended()
                self._tasks = {process for process in self._tasks if not process.gone}

    def __del__(self) -> None:
        if not self._closed:
            self._kill()

    def statistics(self) -> dict[str, int]:
        """Counts: tasks that run, and results that were not taken."""
        running = sum(not one.task.ref.process.gone for one in self._running)
        return {"running": running, "ready": len(self._running) - running}

    # --- the inside ---------------------------------------------------------------------------------------------

    async def _next(self) -> Ok[T] | Exited | None:
        while True:
            await self._fill()
            one = self._ready()
            if one is not None:
                self._running.remove(one)
                self._tasks.discard(one.task.ref.process)
                return self._result(one)
            if not self._running and self._exhausted:
                return None
            late = next((one for one in self._running if one.timed_out and self._on_timeout == "exit"), None)
            if late is not None:
                raise StreamTimeout(late.task.ref.label, self._timeout or 0.0, late.item)
            await self._bell.wait()

    def _ready(self) -> _Running[I] | None:
        """The task whose result is to be handed out now."""
        candidates = list(self._running)[:1] if self._ordered else self._running
        return next((one for one in candidates if one.task.ref.process.gone), None)

    def _result(self, one: _Running[I]) -> Ok[T] | Exited:
        outcome = one.task.outcome
        assert outcome is not None
        if one.timed_out and isinstance(outcome, Exited):
            return Exited(TIMEOUT)
        return outcome

    async def _fill(self) -> None:
        """Start tasks while there may be more and an input is there."""
        while len(self._running) < self._limit and not self._exhausted:
            try:
                found = self._input.take()
            except _Exhausted:
                self._exhausted = True
                return
            if not found:
                return  # the bell will ring
            if self._guard is None:
                self._watch_reader()
            task = await start_task(self._supervisor, Job[Any](self._function, (found[0],), {}, owner=None))
            one = _Running(found[0], task)
            self._running.append(one)
            self._tasks.add(task.ref.process)
            self._watch(one)

    def _watch(self, one: _Running[I]) -> None:
        """Wake the reader when the task has ended or its time is over."""
        timeout, kill, bell = self._timeout, self._on_timeout == "kill_task", self._bell

        async def watch(me: Mailbox) -> None:
            if not await one.task.ref.ended(timeout):
                one.timed_out = True
                if kill:
                    one.task.ref.kill()
                    await one.task.ref.ended()
            bell.ring()

        _beside(one.task.ref, watch)

    def _watch_reader(self) -> None:
        """If the process that reads ends between two reads, its tasks end too."""
        reader, tasks = CURRENT.get(), self._tasks
        if reader is None:
            return
        address: Address = reader.address

        async def guard(me: Mailbox) -> None:
            me.monitor(address)
            await me.receive(Down)
            for process in tuple(tasks):
                process.exit_signal(None, KILL)

        self._guard = _beside(reader.address, guard)

    def _kill(self) -> None:
        self._closed = True
        self._running.clear()
        self._input.close()
        for process in self._tasks:
            process.exit_signal(None, KILL)
        if self._guard is not None:
            self._guard.kill()
            self._guard = None


class _Exhausted(Exception):
    """There is no more input."""


@final
class _Bell:
    """What wakes the reader. Who rings it must not hold the stream, or dropping the stream would not end it."""

    __slots__ = ("_event", "_rung")

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._rung = False

    def ring(self) -> None:
        self._rung = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Until it has been rung since it was waited for last."""
        if not self._rung:
            self._event = anyio.Event()
            await self._event.wait()
            self._event = None
        self._rung = False


@final
class _OneByOne(Generic[I]):
    """A plain iterable: the next item is there when it is asked for."""

    def __init__(self, items: Iterable[I]) -> None:
        self._items = iter(items)

    def take(self) -> tuple[I, ...]:
        """One item. Raises _Exhausted, and what the iterable raises."""
        for item in self._items:
            return (item,)
        raise _Exhausted

    def close(self) -> None:
        """The iterable is the caller's."""


@final
class _Feed(Generic[I]):
    """An async iterable, read by a process of its own: results do not wait for the next input, nor it for them."""

    def __init__(self, items: AsyncIterable[I], bell: _Bell, supervisor: Ref[Any] | NamedRef[Any]) -> None:
        self._items = items
        self._supervisor = supervisor
        self._bell = bell
        self._process: Ref[Any] | None = None
        self._found: list[I] = []
        self._error: BaseException | None = None
        self._ended = False

    def take(self) -> tuple[I, ...]:
        """One item if there is one; if not, one is asked for. Raises _Exhausted, and what the iterable raised."""
        if self._found:
            return (self._found.pop(),)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._ended:
            raise _Exhausted
        if self._process is None:
            self._process = _beside(self._supervisor, self._read)
        self._process.send(_More())
        return ()

    async def _read(self, me: Mailbox) -> None:
        items = aiter(self._items)
        try:
            await me.receive(_More)
            async for item in items:
                me.flush()
                self._found.append(item)
                self._bell.ring()
                await me.receive(_More)
        except Exception as error:
            self._error = error
        finally:
            self._ended = True
            self._bell.ring()
            if isinstance(items, AsyncGenerator):
                with anyio.CancelScope(shield=True):
                    await cast("AsyncGenerator[I, None]", items).aclose()

    def close(self) -> None:
        """Stop reading. A generator is closed; any other iterable is left where it is."""
        if self._process is not None:
            self._process.kill()


class _More:
    """The reader wants one more item."""


def _beside(whom: Address | NamedRef[Any], function: Callable[[Mailbox], Awaitable[object]]) -> Ref[Any]:
    """A plain process in the same runtime, also from code that is outside of it, such as a request's handler.

    Raises UnknownProcess if nobody has the name.
    """
    if isinstance(whom, NamedRef):
        ref = whom.resolve()
        if ref is None:
            raise UnknownProcess(whom.name)
        whom = ref
    runtime = process_of(whom).kernel.runtime
    assert isinstance(runtime, Runtime)
    return runtime.launch(Plain(function))


async def start_task(supervisor: Ref[Any] | NamedRef[Any], job: Job[Any]) -> Task[Any]:
    """Start a job under a supervisor of tasks. Cancelled or refused: it does not run."""
    try:
        ref = await supervisor.call(DynamicSupervisor.start_child, job)
    except BaseException:
        job.abandon()  # the supervisor may still start it
        raise
    assert ref is not None
    return Task(ref, job)
