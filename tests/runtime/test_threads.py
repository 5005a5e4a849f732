"""Other threads call into the runtime, and actors call into code that blocks. In real time: threads live there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from dspex.runtime import (
    KILLED,
    Actor,
    ActorExit,
    CallTimeout,
    Event,
    NotAHandler,
    Ref,
    Refuse,
    Runtime,
    RuntimeClosed,
    UnknownProcess,
    WrongThread,
    current_runtime,
    in_abandoned_thread,
    in_thread,
    open_runtime,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


class Counter(Actor):
    def __init__(self) -> None:
        self.value = 0

    def add(self, n: int) -> int:
        self.value += n
        return self.value

    async def never(self) -> None:
        await anyio.sleep_forever()

    def refuse(self) -> None:
        raise Refuse(KeyError("no"))

    def crash(self) -> None:
        raise ValueError("boom")

    async def handle_info(self, message: int) -> None:
        self.value += message


async def elsewhere(function: Callable[[], object]) -> object:
    """What the function returns or raises in a thread that knows nothing of the loop."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(function())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    return found[0]


async def test_a_thread_calls_casts_and_sends() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter(), name="counter")

        def work() -> int:
            rt.from_thread.cast(ref, Counter.add, 1)
            rt.from_thread.send(rt.ref("counter"), 10)
            return rt.from_thread.call(ref, Counter.add, n=100)

        assert await elsewhere(work) == 111


async def test_many_threads_lose_nothing() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())

        def work() -> None:
            for _ in range(50):
                rt.from_thread.cast(ref, Counter.add, 1)
                rt.from_thread.call(ref, Counter.add, 1)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(elsewhere, work)
        assert await ref.call(Counter.add, 0) == 800


async def test_a_thread_sees_the_errors_of_a_call() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        portal = rt.from_thread
        assert isinstance(await elsewhere(lambda: portal.call(ref, Counter.refuse)), KeyError)
        assert isinstance(await elsewhere(lambda: portal.call(ref.within(0.01), Counter.never)), CallTimeout)
        ref.kill()
        ref = await rt.start(Counter())
        assert isinstance(await elsewhere(lambda: portal.call(ref, Counter.crash)), ActorExit)
        assert isinstance(await elsewhere(lambda: portal.call(ref, len)), ActorExit)  # type: ignore[arg-type]
        ref = await rt.start(Counter())
        assert isinstance(await elsewhere(lambda: portal.cast(ref, len)), NotAHandler)  # type: ignore[arg-type]
        assert isinstance(await elsewhere(lambda: portal.send(rt.ref("nobody"), 1)), UnknownProcess)


async def test_a_thread_runs_a_coroutine_function_in_the_block() -> None:
    async with open_runtime() as rt:

        async def start() -> Ref[Counter]:
            assert current_runtime() is rt
            return await rt.start(Counter(), name="made elsewhere")

        ref = await elsewhere(lambda: rt.from_thread.run(start))
        assert ref == rt.whereis("made elsewhere")


async def test_the_thread_of_the_loop_is_told_to_await_instead() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        with pytest.raises(WrongThread, match="await"):
            rt.from_thread.call(ref, Counter.add, 1)


async def test_a_thread_that_waits_when_the_runtime_stops_is_not_left_waiting() -> None:
    outcomes: list[object] = []
    waiting = threading.Event()

    def ask(rt: Runtime, ref: Ref[Counter]) -> None:
        waiting.set()
        try:
            rt.from_thread.call(ref.within(None), Counter.never)
        except ActorExit as exit_:
            outcomes.append(exit_.reason)

    def run(rt: Runtime) -> None:
        try:
            rt.from_thread.run(anyio.sleep_forever)
        except RuntimeClosed:
            outcomes.append("closed")

    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        threads = [threading.Thread(target=ask, args=(rt, ref)), threading.Thread(target=run, args=(rt,))]
        for thread in threads:
            thread.start()
        await anyio.to_thread.run_sync(waiting.wait)
        while not ref.statistics().handled:
            await anyio.sleep(0.001)
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    assert len(outcomes) == 2
    assert "closed" in outcomes
    assert isinstance(await elsewhere(lambda: rt.from_thread.call(ref, Counter.add, 1)), RuntimeClosed)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_that_comes_after_the_loop_has_ended_is_told_so(backend: str) -> None:
    async def main() -> tuple[Runtime, Ref[Counter]]:
        async with open_runtime() as rt:
            return rt, await rt.start(Counter())

    rt, ref = anyio.run(main, backend=backend)
    found: list[object] = []

    def late() -> None:
        try:
            rt.from_thread.cast(ref, Counter.add, 1)
        except RuntimeClosed as error:
            found.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
    assert len(found) == 1


async def test_blocking_code_runs_beside_the_loop_and_its_error_is_the_handler_s() -> None:
    class Indexer(Actor):
        async def index(self, seconds: float) -> str:
            return await in_thread(self._blocking, seconds)

        def _blocking(self, seconds: float) -> str:
            assert current_runtime() is self.rt
            time.sleep(seconds)
            if seconds == 0:
                raise ValueError("nothing to do")
            return threading.current_thread().name

    async with open_runtime() as rt:
        ref = await rt.start(Indexer())
        other = await rt.start(Counter())
        name = ""

        async def ask() -> None:
            nonlocal name
            name = await ref.call(Indexer.index, 0.05)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            while not name:
                await other.call(Counter.add, 1)
        assert name != threading.current_thread().name
        assert await other.call(Counter.add, 0) > 1  # the loop was free meanwhile
        with pytest.raises(ActorExit) as exit_:
            await ref.call(Indexer.index, 0)
        assert isinstance(exit_.value.__cause__, ValueError)


async def test_an_actor_killed_while_its_thread_works_is_gone_when_the_thread_has_finished() -> None:
    began, go_on = threading.Event(), threading.Event()
    finished: list[bool] = []

    class Worker(Actor):
        async def work(self) -> None:
            await in_thread(self._blocking)

        def _blocking(self) -> None:
            began.set()
            go_on.wait()
            finished.append(True)

    async with open_runtime() as rt:
        ref = await rt.start(Worker())
        ref.cast(Worker.work)
        await anyio.to_thread.run_sync(began.wait)
        ref.kill()
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        assert ref.exit_reason is KILLED
        assert not await ref.ended(0.01)
        go_on.set()
        await ref.ended()
        assert finished == [True]


async def test_an_abandoned_thread_holds_nobody_up() -> None:
    began, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    class Worker(Actor):
        async def work(self) -> None:
            await in_abandoned_thread(self._blocking)

        def _blocking(self) -> None:
            began.set()
            go_on.wait()
            finished.set()

    async with open_runtime() as rt:
        ref = await rt.start(Worker())
        ref.cast(Worker.work)
        await anyio.to_thread.run_sync(began.wait)
        ref.kill()
        await ref.ended()
        assert not finished.is_set()
    go_on.set()
    await anyio.to_thread.run_sync(finished.wait)


async def test_a_cast_from_a_thread_waits_for_room_in_a_bounded_mailbox() -> None:
    class Slow(Actor):
        mailbox_limit = 2

        def __init__(self) -> None:
            self.handled = 0
            self.most = 0

        async def work(self) -> None:
            self.most = max(self.most, self.ref.statistics().messages)
            await anyio.lowlevel.checkpoint()
            self.handled += 1

    async with open_runtime() as rt:
        events: list[Event] = []
        rt.events.subscribe(events.append, prefix="runtime.mailbox.full")
        slow = Slow()
        ref = await rt.start(slow)

        def work() -> None:
            for _ in range(50):
                rt.from_thread.cast(ref, Slow.work)

        await elsewhere(work)
        await ref.stop()
        assert slow.handled >= 47
        assert slow.most <= 2
        assert events == []
