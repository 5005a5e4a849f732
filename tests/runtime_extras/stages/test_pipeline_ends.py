"""What the end of one stage means to the others: modes, resubscription, supervisors, and what is not lost."""

from __future__ import annotations

from typing import Any

import pytest
from dspex.runtime import NOPROC, NORMAL, SHUTDOWN, Crash, Refuse, Runtime, Shutdown, open_runtime
from dspex.runtime.stages import Source, StageError, Subscribe, Subscription
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, Supervisor
from pipeline_flows import Collect, Double, Numbers, Shy

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("cancel", "reason", "dies"),
    [
        ("permanent", NORMAL, True),
        ("permanent", "crash", True),
        ("transient", NORMAL, False),
        ("transient", SHUTDOWN, False),
        ("transient", Shutdown("done"), False),
        ("transient", "crash", True),
        ("temporary", "crash", False),
        ("temporary", NORMAL, False),
    ],
)
async def test_the_end_of_the_producer_means_what_the_mode_says(cancel: Any, reason: object, dies: bool) -> None:
    async with open_runtime() as rt:
        producer = await rt.start(Numbers(until=3))
        collect = Collect(Subscribe(producer, cancel=cancel))
        consumer = await rt.start(collect)
        await all_tasks_blocked()
        producer.exit(reason)
        if reason is NORMAL:
            await producer.stop()
        await all_tasks_blocked()
        assert collect.said[-1] == ("cancelled", reason)
        assert consumer.alive is not dies
        if dies:
            assert consumer.exit_reason == reason
        assert collect.got == [0, 1, 2]


async def test_cancelling_lets_what_is_on_its_way_arrive_and_then_the_mode_decides() -> None:
    async with open_runtime() as rt:
        numbers = Numbers()
        producer = await rt.start(numbers)
        collect = Collect(Subscribe(producer, max_demand=4, min_demand=0, cancel="temporary"), seconds=1)
        consumer = await rt.start(collect)
        await all_tasks_blocked()
        consumer.cast(Collect.cancel, collect.subscriptions[0], "enough")
        await rt.sleep(10)
        assert collect.got == list(range(numbers.next))
        assert collect.said[-1] == ("cancelled", "enough")
        assert collect.statistics()["producers"] == 0
        assert numbers.statistics()["consumers"] == 0
        again = await consumer.call(Collect.subscribe, Subscribe(producer, max_demand=4, min_demand=0))
        await rt.sleep(3.5)
        assert again is not None
        await consumer.call(Collect.cancel, again)
        await consumer.ended()
        assert consumer.exit_reason is NORMAL  # permanent
        assert collect.got == list(range(numbers.next))


async def test_a_producer_that_is_not_there_counts_as_one_that_ended() -> None:
    async with open_runtime() as rt:
        permanent = await rt.start(Collect(Subscribe("nobody")))
        await permanent.ended()
        assert permanent.exit_reason is NOPROC
        temporary = await rt.start(Collect(Subscribe("nobody", cancel="temporary")))
        await all_tasks_blocked()
        assert temporary.alive
        assert await temporary.call(Collect.subscribe, Subscribe("nobody", cancel="temporary")) is None


async def test_a_consumer_may_subscribe_again_by_itself() -> None:
    async with open_runtime() as rt:
        collect = Collect(Subscribe("numbers", resubscribe=2))
        consumer = await rt.start(collect)
        await rt.sleep(5)
        first = await rt.start(Numbers(until=3), name="numbers")
        await rt.sleep(2)
        assert collect.got == [0, 1, 2]
        first.kill()
        await all_tasks_blocked()
        await rt.start(Numbers(until=2), name="numbers")
        await rt.sleep(3)
        assert collect.got == [0, 1, 2, 0, 1]
        assert consumer.alive
        await consumer.call(Collect.cancel, collect.subscriptions[-1])
        await consumer.ended()
        assert consumer.exit_reason is NORMAL  # cancelled by hand, it does not come back


async def test_what_was_not_given_to_the_dead_consumer_goes_to_the_next() -> None:
    async with open_runtime() as rt:
        shy = Shy()
        producer = await rt.start(shy)
        doomed, heir = Collect(Subscribe(producer, demand="manual")), Collect(Subscribe(producer, demand="manual"))
        first, second = await rt.start(doomed), await rt.start(heir)
        await all_tasks_blocked()
        await first.call(Collect.ask, doomed.subscriptions[0], 10)
        await all_tasks_blocked()
        first.kill()
        producer.cast(Shy.push, *range(5))  # before the producer hears of it
        await all_tasks_blocked()
        assert shy.statistics()["buffered"] == 5
        await second.call(Collect.ask, heir.subscriptions[0], 10)
        await all_tasks_blocked()
        assert heir.got == [0, 1, 2, 3, 4]
        assert shy.statistics()["demand"] == 5


async def test_a_stage_whose_producer_ends_works_on_what_it_has() -> None:
    async with open_runtime() as rt:
        source = await rt.start(Source(range(100)))
        double = Double(Subscribe(source, max_demand=200))
        middle = await rt.start(double)
        await all_tasks_blocked()
        assert source.exit_reason is NORMAL
        assert middle.alive
        collect = Collect(Subscribe(middle, max_demand=3))
        end = await rt.start(collect)
        await end.ended()
        assert collect.got == [2 * n for n in range(100)]
        assert middle.exit_reason is NORMAL
        assert end.exit_reason is NORMAL


async def test_a_stage_may_be_told_to_finish() -> None:
    async with open_runtime() as rt:
        numbers = Numbers()
        producer = await rt.start(numbers)
        middle = await rt.start(Double(Subscribe(producer, max_demand=4, cancel="temporary")))
        collect = Collect(Subscribe(middle, max_demand=2, cancel="transient"), seconds=1)
        end = await rt.start(collect)
        await rt.sleep(1.5)
        middle.cast(Double.finish, Shutdown("enough"))
        await middle.ended()
        assert middle.exit_reason == Shutdown("enough")
        await rt.sleep(50)
        assert collect.got == [2 * n for n in range(len(collect.got))]
        assert end.alive
        assert producer.alive


def pipeline(got: list[int], numbers: list[Numbers]) -> Supervisor:
    def make() -> Numbers:
        numbers.append(Numbers(until=30))
        numbers[-1].next = numbers[0].next
        return numbers[-1]

    return Supervisor(
        [
            Child("numbers", make, name="numbers"),
            Child("double", lambda: Double(Subscribe("numbers", max_demand=4)), name="double"),
            Child("collect", lambda: Collect(Subscribe("double", max_demand=2), into=got, seconds=1), name="collect"),
        ],
        strategy="rest_for_one",
        intensity=5,
    )


async def supervised(rt: Runtime) -> tuple[list[int], list[Numbers]]:
    got: list[int] = []
    numbers: list[Numbers] = []
    await rt.start(pipeline(got, numbers))
    return got, numbers


@pytest.mark.parametrize("who", ["numbers", "double", "collect"])
async def test_under_rest_for_one_a_crash_in_the_middle_is_followed_by_new_subscriptions(who: str) -> None:
    async with open_runtime() as rt:
        got, numbers = await supervised(rt)
        await rt.sleep(3.5)
        before = {name: rt.whereis(name) for name in ("numbers", "double", "collect")}
        victim: Any = rt.whereis(who)
        victim.cast(type(victim.process.host).break_down)
        await rt.sleep(60)
        after = {name: rt.whereis(name) for name in before}
        order = list(before)
        for name in order:
            assert (after[name] == before[name]) is (order.index(name) < order.index(who))
        assert got == sorted(set(got))  # in order, nothing twice
        # Only what was in flight to the dead is missing: at most its own demand and that of those below.
        assert len(got) >= 30 - (4 + 2 + 4)
        assert got[-1] == 58
        assert len(numbers) == (2 if who == "numbers" else 1)


async def test_a_consumer_that_is_poisoned_crashes_and_its_heir_goes_on_behind_the_poison() -> None:
    got: list[int] = []
    async with open_runtime() as rt:
        shy = Shy()
        producer = await rt.start(shy, name="shy")
        await rt.start(
            Supervisor([Child("collect", lambda: Collect(Subscribe("shy", max_demand=1), into=got))], intensity=5)
        )
        await all_tasks_blocked()
        await producer.call(Shy.push, 1, 2, -1, 3, 4)
        await all_tasks_blocked()
        assert got == [1, 2, 3, 4]


async def test_a_crash_reaches_a_permanent_consumer_with_its_reason() -> None:
    async with open_runtime() as rt:
        producer = await rt.start(Numbers(until=1))
        consumer = await rt.start(Collect(Subscribe(producer)))
        producer.cast(Numbers.break_down)
        await consumer.ended()
        assert isinstance(consumer.exit_reason, Crash)
        assert isinstance(consumer.exit_reason.error, RuntimeError)


async def test_a_refusal_in_the_middle_of_a_pipeline_is_a_crash_and_no_silent_loss() -> None:
    class Picky(Collect):
        async def handle_events(self, events: list[int], subscription: Subscription) -> None:
            raise Refuse(ValueError("not these"))

    async with open_runtime() as rt:
        producer = await rt.start(Numbers(until=3))
        picky = await rt.start(Picky(Subscribe(producer)))
        await picky.ended()
        assert isinstance(picky.exit_reason, Crash)
        assert isinstance(picky.exit_reason.error, StageError)
        assert isinstance(picky.exit_reason.error.__cause__, Refuse)
