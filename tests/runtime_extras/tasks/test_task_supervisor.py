"""A supervisor of tasks, and streams: never too many at a time, nothing left behind."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from dspex.runtime import KILLED, SHUTDOWN, Actor, ActorExit, CallTimeout, Crash, Runtime, current_runtime, open_runtime
from dspex.runtime.tasks import Exited, Ok, await_many
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import (
    TIMEOUT,
    Child,
    DynamicSupervisor,
    StreamClosed,
    StreamTimeout,
    Supervisor,
    TaskSupervisor,
)

pytestmark = pytest.mark.anyio


class Gauge:
    """How many run, and how many ran at most."""

    def __init__(self) -> None:
        self.running = self.most = self.done = 0
        self.read: list[int] = []

    async def work(self, seconds: float) -> float:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if seconds < 0:
                raise ValueError(seconds)
            await current_runtime().sleep(seconds)
            self.done += 1
            return seconds
        finally:
            self.running -= 1

    def items(self, *seconds: float) -> Iterator[float]:
        for i, s in enumerate(seconds):
            self.read.append(i)
            yield s


async def tasks_of(rt: Runtime) -> Any:
    await rt.start(TaskSupervisor(), name="tasks")
    return rt.ref("tasks")


async def test_tasks_are_children_of_their_supervisor_and_stop_with_it() -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        task = await TaskSupervisor.async_nolink(sup, gauge.work, 1)
        slow = await TaskSupervisor.async_nolink(sup, gauge.work, 1000)
        ref = await TaskSupervisor.start(sup, gauge.work, 1000)
        assert len(await sup.call(DynamicSupervisor.which_children)) == 3
        assert await task.await_() == 1
        assert len(await sup.call(DynamicSupervisor.which_children)) == 2
        crashed = await TaskSupervisor.async_nolink(sup, gauge.work, -1)
        with pytest.raises(ActorExit) as caught:
            await crashed.await_()
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(ActorExit):
            await await_many([slow, crashed])
        await sup.stop()
        assert slow.outcome == Exited(SHUTDOWN)
        assert ref.exit_reason is SHUTDOWN
        assert gauge.running == 0


async def test_a_linked_task_takes_its_owner_along_and_begins_after_the_link() -> None:
    class Owner(Actor):
        async def work(self, sup: Any) -> object:
            return await (await TaskSupervisor.async_(sup, Gauge().work, -1)).await_()

        async def die_before_it_begins(self, sup: Any, gauge: Gauge) -> None:
            self.stop()
            self.task(TaskSupervisor.async_, sup, gauge.work, 1000)

    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        owner = await rt.start(Owner())
        with pytest.raises(ActorExit):
            await owner.call(Owner.work, sup)
        assert not owner.alive
        assert (await TaskSupervisor.async_(sup, len, "four")).ref is not None
        assert sup.alive
        gauge = Gauge()
        other = await rt.start(Owner())
        other.cast(Owner.die_before_it_begins, sup, gauge)
        await all_tasks_blocked()
        assert gauge.running == 0


async def test_a_transient_task_is_started_again() -> None:
    tried: list[int] = []

    def flaky() -> None:
        tried.append(1)
        if len(tried) < 3:
            raise OSError("again")

    async with open_runtime() as rt:
        sup = await rt.start(TaskSupervisor(restart="transient", intensity=5))
        await TaskSupervisor.start(sup, flaky)
        await all_tasks_blocked()
        assert len(tried) == 3


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_stream_runs_no_more_than_it_may_and_reads_no_further(ordered: bool) -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        stream = TaskSupervisor.stream(
            sup, gauge.work, gauge.items(5, 1, 2, 1, 1, 3), max_concurrency=3, ordered=ordered, timeout=None
        )
        await all_tasks_blocked()
        assert gauge.read == []
        results = []
        async for result in stream:
            assert isinstance(result, Ok)
            results.append(result.value)
            assert len(gauge.read) <= len(results) + 3
        assert results == ([5, 1, 2, 1, 1, 3] if ordered else [1, 2, 1, 1, 5, 3])
        assert gauge.most == 3
        await all_tasks_blocked()
        assert rt.statistics()["processes"] == 1


async def test_the_input_is_read_when_elixir_reads_it() -> None:
    """The order was recorded from Task.Supervisor.async_stream_nolink of Elixir 1.14, with the same sleeps."""
    log: list[str] = []

    def items() -> Iterator[int]:
        for n in range(1, 7):
            log.append(f"read {n}")
            yield n

    async def work(n: int) -> int:
        await current_runtime().sleep(0.010)
        return n

    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        async for result in TaskSupervisor.stream(sup, work, items(), max_concurrency=2):
            assert isinstance(result, Ok)
            log.append(f"got {result.value}")
            await rt.sleep(0.030)
    order = "read 1, read 2, got 1, read 3, got 2, read 4, got 3, read 5, got 4, read 6, got 5, got 6"
    assert ", ".join(log) == order


async def test_a_slow_reader_holds_the_stream_back() -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        async with TaskSupervisor.stream(sup, gauge.work, gauge.items(*[1] * 10), max_concurrency=2) as stream:
            assert await anext(stream) == Ok(1)
            await rt.sleep(100)
            assert len(gauge.read) == 2
            assert stream.statistics() == {"running": 0, "ready": 1}
        assert gauge.done == 2


async def test_a_crash_is_a_result_and_the_stream_goes_on() -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        stream = TaskSupervisor.stream(sup, gauge.work, [1, -1, 2], max_concurrency=2)
        results = [result async for result in stream]
        assert [type(result).__name__ for result in results] == ["Ok", "Exited", "Ok"]
        assert isinstance(results[1], Exited)
        assert isinstance(results[1].reason, Crash)
        assert isinstance(results[1].reason.error, ValueError)


async def test_a_task_that_takes_too_long_ends_the_stream_or_only_itself() -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        stream = TaskSupervisor.stream(sup, gauge.work, [1, 9, 1], timeout=3, max_concurrency=1, on_timeout="kill_task")
        assert [r async for r in stream] == [Ok(1), Exited(TIMEOUT), Ok(1)]
        got: list[object] = []

        async def read_all() -> None:
            stream = TaskSupervisor.stream(sup, gauge.work, [1, 9, 1], timeout=3, max_concurrency=2)
            async for result in stream:
                got.append(result)

        with pytest.raises(StreamTimeout, match="more than 3 s") as caught:
            await read_all()
        assert isinstance(caught.value, CallTimeout)
        assert caught.value.item == 9
        assert got == [Ok(1)]
        assert gauge.running == 0


async def test_a_break_ends_the_tasks_of_the_stream() -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        async for _ in TaskSupervisor.stream(
            sup, gauge.work, gauge.items(1, 1000, 1000), max_concurrency=3, timeout=None
        ):
            break
        await all_tasks_blocked()
        assert gauge.running == 0
        assert rt.statistics()["processes"] == 1
        async with TaskSupervisor.stream(sup, gauge.work, [1, 1000], max_concurrency=2, timeout=None) as stream:
            await anext(stream)
            assert gauge.running == 1
        assert gauge.running == 0
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_cancelling_the_reader_ends_the_tasks_before_it_goes_on() -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        with anyio.move_on_after(2):
            async for _ in TaskSupervisor.stream(sup, gauge.work, [1000] * 5, max_concurrency=3, timeout=None):
                pass
        assert gauge.most == 3
        assert gauge.running == 0
        await all_tasks_blocked()
        assert rt.statistics()["processes"] == 1


async def test_the_death_of_the_process_that_reads_ends_the_tasks() -> None:
    gauge = Gauge()

    class Reader(Actor):
        async def begin(self, sup: Any) -> None:
            self.stream = TaskSupervisor.stream(sup, gauge.work, [1, 1000, 1000], max_concurrency=3, timeout=None)
            await anext(self.stream)

    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        actor = Reader()
        reader = await rt.start(actor)
        await reader.call(Reader.begin, sup)
        assert gauge.running == 2
        reader.kill()
        await all_tasks_blocked()
        assert gauge.running == 0
        assert rt.statistics()["processes"] == 1
        assert actor.stream.statistics()["running"] == 0


async def test_cancelled_while_the_supervisor_is_asked_no_task_is_left() -> None:
    gauge = Gauge()

    class Slow(TaskSupervisor):
        async def start_child(self, *args: Any) -> Any:
            await self.rt.sleep(3)
            return await super().start_child(*args)

    async with open_runtime() as rt:
        sup = await rt.start(Slow(), name="slow")
        with anyio.move_on_after(1):
            async for _ in TaskSupervisor.stream(rt.ref("slow"), gauge.work, [1000], timeout=None):
                pass
        await rt.sleep(10)
        assert gauge.most == 0
        assert len(await sup.call(DynamicSupervisor.which_children)) == 0


async def test_the_input_may_be_async_and_what_is_ready_does_not_wait_for_it() -> None:
    gauge = Gauge()

    async def items(rt: Runtime) -> AsyncIterator[float]:
        for _ in range(3):
            yield 1.0
            await rt.sleep(10)

    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        async with TaskSupervisor.stream(sup, gauge.work, items(rt), max_concurrency=2) as stream:
            begun = rt.now()
            times = []
            async for result in stream:
                assert result == Ok(1.0)
                times.append(round(rt.now() - begun))
            assert times == [1, 11, 21]


@pytest.mark.parametrize("error", [None, LookupError("input")])
async def test_an_async_input_is_closed_when_the_stream_is_and_its_error_comes_out(error: Exception | None) -> None:
    gauge = Gauge()
    closed: list[bool] = []

    async def items() -> AsyncIterator[float]:
        try:
            yield 1.0
            if error is not None:
                raise error
            yield 2.0
            yield 3.0
        finally:
            closed.append(True)

    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        async with TaskSupervisor.stream(sup, gauge.work, items(), max_concurrency=1) as stream:
            assert await anext(stream) == Ok(1.0)
            if error is not None:
                with pytest.raises(LookupError):
                    await anext(stream)
        await all_tasks_blocked()
        assert closed == [True]
        assert rt.statistics()["processes"] == 1


async def test_a_stream_may_be_read_outside_the_block_as_in_a_request_s_handler() -> None:
    gauge = Gauge()
    ready, done = anyio.Event(), anyio.Event()
    found: list[Any] = []

    async def lifespan() -> None:
        async with open_runtime() as rt:
            found.append(await rt.start(TaskSupervisor()))
            ready.set()
            await done.wait()

    async def items() -> AsyncIterator[float]:
        yield 1.0
        yield 2.0

    async with anyio.create_task_group() as group:
        group.start_soon(lifespan)
        await ready.wait()
        stream = TaskSupervisor.stream(found[0], gauge.work, items(), max_concurrency=2)
        assert [result async for result in stream] == [Ok(1.0), Ok(2.0)]
        done.set()


async def test_what_reading_the_input_raises_comes_out_and_closes_the_stream() -> None:
    gauge = Gauge()

    def items() -> Iterator[float]:
        yield 1000
        raise LookupError("input")

    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        stream = TaskSupervisor.stream(sup, gauge.work, items(), max_concurrency=2, timeout=None)
        with pytest.raises(LookupError):
            await anext(stream)
        assert gauge.running == 0
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_stream_is_for_one_reader_and_its_options_are_checked() -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        for options, said in [
            ({"max_concurrency": 0}, "max_concurrency"),
            ({"max_concurrency": True}, "max_concurrency"),
            ({"timeout": 0}, "timeout"),
            ({"on_timeout": "wait"}, "on_timeout"),
        ]:
            with pytest.raises(ValueError, match=said):
                TaskSupervisor.stream(sup, gauge.work, [1], **options)  # type: ignore[call-overload]
        stream = TaskSupervisor.stream(sup, gauge.work, [2], timeout=None)
        async with anyio.create_task_group() as group:
            group.start_soon(anext, stream)
            await all_tasks_blocked()
            with pytest.raises(StreamClosed):
                await anext(stream)
        assert [r async for r in TaskSupervisor.stream(sup, gauge.work, [])] == []


async def test_a_killed_task_says_so_and_the_supervisor_goes_on() -> None:
    gauge = Gauge()
    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("tasks", lambda: TaskSupervisor(name="tasks"))]))
        sup: Any = rt.ref("tasks")
        task = await TaskSupervisor.async_nolink(sup, gauge.work, 1000)
        task.ref.kill()
        assert await task.yield_() == Exited(KILLED)
        assert await (await TaskSupervisor.async_nolink(sup, gauge.work, 1)).await_() == 1


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happens_to_a_stream_no_task_is_left_and_no_limit_is_passed(seed: int) -> None:
    rng = random.Random(seed)
    gauge = Gauge()
    count = rng.randint(1, 25)
    seconds: list[float] = [rng.choice([-1, 0.001, 0.1, 0.5, 1, 3]) for _ in range(count)]
    limit, ordered = rng.randint(1, 6), rng.random() < 0.5
    timeout = rng.choice([None, 0.7])
    end = rng.choice(["all", "all", "break", "cancel", "raise"])

    async def slowly() -> AsyncIterator[float]:
        for n, s in enumerate(seconds):
            gauge.read.append(n)
            if rng.random() < 0.5:
                await anyio.sleep(rng.choice([0, 0.2, 1]))
            yield s

    got: list[Any] = []

    async def read(sup: Any) -> None:
        items = slowly() if rng.random() < 0.5 else gauge.items(*seconds)
        stream = TaskSupervisor.stream(
            sup, gauge.work, items, max_concurrency=limit, ordered=ordered, timeout=timeout, on_timeout="kill_task"
        )
        async for result in stream:
            got.append(result)
            assert len(gauge.read) <= len(got) + limit + 1  # an async input may be one ahead
            if rng.random() < 0.3:
                await anyio.sleep(rng.choice([0, 0.3, 2]))
            if len(got) > count // 2:
                if end == "break":
                    break
                if end == "raise":
                    raise InterruptedError
                if end == "cancel":
                    scope.cancel()

    async with open_runtime() as rt:
        sup = await tasks_of(rt)
        with anyio.CancelScope() as scope:
            if end == "raise":
                with pytest.raises(InterruptedError):
                    await read(sup)
            else:
                await read(sup)
        await all_tasks_blocked()
        assert gauge.running == 0
        assert gauge.most <= limit
        assert rt.statistics()["processes"] == 1
        wanted = [
            Exited(TIMEOUT) if timeout is not None and s > timeout else Ok(s) if s >= 0 else "crashed" for s in seconds
        ]
        seen = ["crashed" if isinstance(r, Exited) and isinstance(r.reason, Crash) else r for r in got]
        if ordered:
            assert seen == wanted[: len(seen)]
        if end == "all":
            assert sorted(map(repr, seen)) == sorted(map(repr, wanted))
