"""The events of a pipeline in ordinary code."""

from __future__ import annotations

import anyio
import pytest
from dspex.runtime import ActorExit, RuntimeClosed, open_runtime
from dspex.runtime.stages import Source, Subscribe, reading
from dspex.runtime.testing import all_tasks_blocked
from pipeline_flows import Double, Numbers

pytestmark = pytest.mark.anyio


async def test_a_pipeline_is_read_to_its_end() -> None:
    async with open_runtime() as rt:
        await rt.start(Source(range(20)), name="source")
        double = await rt.start(Double(Subscribe("source", max_demand=4)))
        async with reading(Subscribe(double, max_demand=3)) as events:
            assert [event async for event in events] == [2 * n for n in range(20)]


async def test_a_slow_reader_slows_the_pipeline_down_and_may_leave() -> None:
    async with open_runtime() as rt:
        numbers = Numbers()
        producer = await rt.start(numbers)
        async with reading(Subscribe(producer, max_demand=4, min_demand=2), runtime=rt) as events:
            assert await anext(events) == 0
            await rt.sleep(10)
            assert numbers.next == 4
            assert await anext(events) == 1
            await rt.sleep(10)
            assert numbers.next == 6
            with anyio.move_on_after(1):
                async for event in events:
                    assert event < numbers.next
                    await rt.sleep(0.3)
        await all_tasks_blocked()
        assert numbers.statistics()["consumers"] == 0
        assert rt.statistics()["processes"] == 1


async def test_waiting_for_the_next_event_may_be_cancelled_without_loss() -> None:
    async with open_runtime() as rt:
        producer = await rt.start(Numbers(until=0))
        async with reading(Subscribe(producer)) as events:
            with anyio.move_on_after(1):
                await anext(events)
            producer.cast(Numbers.push, 7)
            assert await anext(events) == 7


async def test_a_crash_above_comes_out_after_the_events_before_it() -> None:
    async with open_runtime() as rt:
        producer = await rt.start(Numbers(until=2))
        got: list[int] = []

        async def read() -> None:
            async with reading(Subscribe(producer)) as events:
                await all_tasks_blocked()
                producer.cast(Numbers.break_down)
                async for event in events:
                    got.append(event)

        with pytest.raises(ActorExit) as caught:
            await read()
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert got == [0, 1]


async def test_reading_needs_a_runtime() -> None:
    with pytest.raises(RuntimeClosed):
        async with reading(Subscribe("x")):
            raise AssertionError
