"""Who takes part in ``actors.py`` without being installed: ours, and what people write by hand.

A contender opens a place for counters behind mailboxes. ``make`` starts one, ``ask_all`` asks many at once. ``crashing``, where
a contender has something that restarts what crashed, gives a function that crashes a counter and returns with the next answer.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from anyio.lowlevel import checkpoint
from dspex.runtime import Actor, ActorExit, Ref, Refs, Runtime, open_runtime
from dspex.supervisors import Child, Supervisor


class Subject:
    """A counter behind a mailbox."""

    def cast(self, n: int) -> None:
        raise NotImplementedError

    async def casts(self, count: int) -> None:
        """Cast that often. Who can only send by awaiting does it here."""
        for _ in range(count):
            self.cast(1)

    async def call(self, n: int) -> int:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError


CrashAndAnswer = Callable[[], Awaitable[None]]


class Place(Protocol):
    async def make(self) -> Any: ...
    async def ask_all(self, subjects: Sequence[Any]) -> None: ...


@dataclass(frozen=True)
class Contender:
    name: str
    loop: str
    """ "asyncio", "uvloop" or "trio"."""
    open: Callable[[], AbstractAsyncContextManager[Any]]
    crashing: Callable[[int], AbstractAsyncContextManager[CrashAndAnswer]] | None = None
    """Takes how often it will crash."""
    on_loop: bool = True
    """False: it works in threads of its own, so how long it holds the loop says nothing."""
    most: float = math.inf
    """How many actors of it a machine should be asked to hold."""


class Gathering:
    """How those without a multi-call ask many."""

    async def ask_all(self, subjects: Sequence[Subject]) -> None:
        await asyncio.gather(*(subject.call(1) for subject in subjects))


# --- by hand --------------------------------------------------------------------------------------------------------------


class Floor(Subject):
    """A deque, a future to park on, a future per call: nothing else."""

    def __init__(self) -> None:
        self.value = 0
        self.inbox: deque[tuple[int, asyncio.Future[int] | None]] = deque()
        self.parked: asyncio.Future[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.task = self.loop.create_task(self.run())

    async def run(self) -> None:
        while True:
            while self.inbox:
                n, reply = self.inbox.popleft()
                self.value += n
                if reply is not None:
                    reply.set_result(self.value)
            self.parked = self.loop.create_future()
            await self.parked

    def put(self, message: tuple[int, asyncio.Future[int] | None]) -> None:
        self.inbox.append(message)
        if self.parked is not None and not self.parked.done():
            self.parked.set_result(None)

    def cast(self, n: int) -> None:
        self.put((n, None))

    def ask(self) -> asyncio.Future[int]:
        reply: asyncio.Future[int] = self.loop.create_future()
        self.put((1, reply))
        return reply

    async def call(self, n: int) -> int:
        reply: asyncio.Future[int] = self.loop.create_future()
        self.put((n, reply))
        return await reply

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Queue(Subject):
    """asyncio.Queue, and a future per call: what people write by hand."""

    def __init__(self) -> None:
        self.value = 0
        self.inbox: asyncio.Queue[tuple[int, asyncio.Future[int] | None]] = asyncio.Queue()
        self.task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        while True:
            n, reply = await self.inbox.get()
            if n < 0:
                raise RuntimeError("crash")
            self.value += n
            if reply is not None:
                reply.set_result(self.value)

    def cast(self, n: int) -> None:
        self.inbox.put_nowait((n, None))

    def ask(self) -> asyncio.Future[int]:
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.inbox.put_nowait((1, reply))
        return reply

    async def call(self, n: int) -> int:
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.inbox.put_nowait((n, reply))
        return await reply

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class ByHand:
    def __init__(self, kind: Callable[[], Any]) -> None:
        self.kind = kind

    async def make(self) -> Any:
        return self.kind()

    async def ask_all(self, subjects: Sequence[Any]) -> None:
        for reply in [subject.ask() for subject in subjects]:
            await reply


@asynccontextmanager
async def queue_crashing(_: int) -> AsyncGenerator[CrashAndAnswer]:
    """A task that starts another Queue when the last one has ended: a supervisor's least."""
    current = [Queue()]
    restarted = [asyncio.Event()]

    async def watch() -> None:
        while True:
            await asyncio.wait([current[0].task])
            current[0].task.exception()
            current[0] = Queue()
            restarted[0].set()

    watcher = asyncio.get_running_loop().create_task(watch())

    async def crash_and_answer() -> None:
        restarted[0].clear()
        current[0].cast(-1)
        await restarted[0].wait()
        await current[0].call(1)

    yield crash_and_answer
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    await current[0].stop()


@asynccontextmanager
async def open_floor() -> AsyncGenerator[ByHand]:
    yield ByHand(Floor)


@asynccontextmanager
async def open_queue() -> AsyncGenerator[ByHand]:
    yield ByHand(Queue)


# --- trio's channel ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_trio_channels() -> AsyncGenerator[Any]:
    import trio

    class Answer:
        __slots__ = ("event", "value")

        def __init__(self) -> None:
            self.event = trio.Event()
            self.value = 0

        async def wait(self) -> int:
            await self.event.wait()
            return self.value

    class Channel(Subject):
        def __init__(self) -> None:
            self.value = 0
            self.inbox, self.outlet = trio.open_memory_channel[tuple[int, Answer | None]](math.inf)
            self.scope = trio.CancelScope()
            self.gone = trio.Event()

        async def run(self) -> None:
            with self.scope:
                async for n, reply in self.outlet:
                    self.value += n
                    if reply is not None:
                        reply.value = self.value
                        reply.event.set()
            self.gone.set()

        def cast(self, n: int) -> None:
            self.inbox.send_nowait((n, None))

        def ask(self) -> Answer:
            reply = Answer()
            self.inbox.send_nowait((1, reply))
            return reply

        async def call(self, n: int) -> int:
            reply = Answer()
            self.inbox.send_nowait((n, reply))
            return await reply.wait()

        async def stop(self) -> None:
            self.scope.cancel()
            await self.gone.wait()

    class Channels:
        async def make(self) -> Channel:
            channel = Channel()
            nursery.start_soon(channel.run)
            return channel

        async def ask_all(self, subjects: Sequence[Channel]) -> None:
            for reply in [subject.ask() for subject in subjects]:
                await reply.wait()

    async with trio.open_nursery() as nursery:
        yield Channels()


# --- ours -------------------------------------------------------------------------------------------------------------


class Counter(Actor):
    def __init__(self) -> None:
        self.value = 0

    def add(self, n: int) -> int:
        self.value += n
        return self.value

    def crash(self) -> None:
        raise RuntimeError("crash")


class Ours(Subject):
    def __init__(self, ref: Ref[Counter]) -> None:
        self.ref = ref

    def cast(self, n: int) -> None:
        self.ref.cast(Counter.add, n)

    async def call(self, n: int) -> int:
        return await self.ref.call(Counter.add, n)

    async def stop(self) -> None:
        await self.ref.stop()


class OurPlace:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def make(self) -> Ours:
        return Ours(await self.runtime.start(Counter()))

    async def ask_all(self, subjects: Sequence[Ours]) -> None:
        answered = await Refs(subject.ref for subject in subjects).call(Counter.add, 1)
        assert len(answered.replies) == len(subjects)


@asynccontextmanager
async def open_ours() -> AsyncGenerator[OurPlace]:
    async with open_runtime() as runtime:
        yield OurPlace(runtime)


@asynccontextmanager
async def our_crashing(times: int) -> AsyncGenerator[CrashAndAnswer]:
    async with open_runtime() as runtime:
        await runtime.start(Supervisor([Child("c", Counter, name="c")], intensity=times + 1, period=3600))
        name = runtime.ref("c")

        async def crash_and_answer() -> None:
            with suppress(ActorExit):
                await name.call(Counter.crash)
            while not name.alive:
                await checkpoint()
            await name.call(Counter.add, 1)

        yield crash_and_answer
