"""Demand flows up and events flow down: how much, in which batches, from whom to whom."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dspex.runtime import NORMAL, Crash, Down, Event, open_runtime
from dspex.runtime.stages import (
    BadSubscription,
    BroadcastDispatcher,
    Consumer,
    PartitionDispatcher,
    Source,
    Subscribe,
    Subscription,
    UnknownPartition,
    UnknownSubscription,
)
from dspex.runtime.testing import all_tasks_blocked
from pipeline_flows import Collect, Double, Numbers, Shy

pytestmark = pytest.mark.anyio


async def test_a_consumer_asks_for_its_most_and_then_for_what_it_has_done() -> None:
    async with open_runtime() as rt:
        numbers = Numbers(until=10)
        producer = await rt.start(numbers)
        collect = Collect(Subscribe(producer, max_demand=4, min_demand=1))
        await rt.start(collect)
        await all_tasks_blocked()
        assert collect.got == list(range(10))
        assert max(collect.batches) == 3
        assert numbers.demands[0] == 4
        assert collect.statistics() == {"consumed": 10, "producers": 1}
        assert numbers.statistics()["produced"] == 10
        # 4 + 3 + 3 were produced; of what was asked besides, nothing more is asked.
        assert sum(numbers.demands) - 10 == numbers.statistics()["demand"]


async def test_a_slow_consumer_has_never_more_than_its_most_in_flight() -> None:
    async with open_runtime() as rt:
        numbers = Numbers(until=50)
        producer = await rt.start(numbers)
        collect = Collect(Subscribe(producer, max_demand=5, min_demand=2), seconds=1)
        await rt.start(collect)
        for _ in range(10):
            await rt.sleep(1)
            assert numbers.next - len(collect.got) <= 5 + 3  # what is in flight, and the batch in hand
        await rt.sleep(100)
        assert collect.got == list(range(50))


async def test_a_stage_works_only_for_who_asks() -> None:
    async with open_runtime() as rt:
        numbers = Numbers(until=1000)
        producer = await rt.start(numbers)
        double = Double(Subscribe(producer, max_demand=10, min_demand=5))
        middle = await rt.start(double)
        await all_tasks_blocked()
        assert numbers.next == 10
        assert double.batches == []
        assert double.statistics()["queued"] == 10
        assert (numbers.tree_detail(), double.tree_detail()) == ("10 produced", "10 queued")
        collect = Collect(Subscribe(middle, max_demand=7, min_demand=0, demand="manual"))
        ref = await rt.start(collect)
        await all_tasks_blocked()
        assert collect.got == []
        await ref.call(Collect.ask, collect.subscriptions[0], 3)
        await all_tasks_blocked()
        assert collect.got == [0, 2, 4]
        assert double.statistics()["buffered"] == 2  # a batch of five was worked on
        await ref.call(Collect.ask, collect.subscriptions[0], 4)
        await all_tasks_blocked()
        assert collect.got == [0, 2, 4, 6, 8, 10, 12]
        for count in (0, -1, True, "all"):
            with pytest.raises(ValueError, match="1 or more"):
                await ref.call(Collect.ask, collect.subscriptions[0], count)  # type: ignore[arg-type]


async def test_demand_goes_to_who_has_most_of_it_and_is_shared_among_equals() -> None:
    async with open_runtime() as rt:
        shy = Shy()
        producer = await rt.start(shy)
        collects = [Collect(Subscribe(producer, demand="manual")) for _ in range(3)]
        refs = [await rt.start(collect) for collect in collects]
        await all_tasks_blocked()
        for ref, collect, count in zip(refs, collects, (2, 5, 2), strict=True):
            await ref.call(Collect.ask, collect.subscriptions[0], count)
        await all_tasks_blocked()
        await producer.call(Shy.push, *range(4))
        await producer.call(Shy.push, 4)
        await producer.call(Shy.push, 5)
        await producer.call(Shy.push, 6)
        await all_tasks_blocked()
        assert [collect.got for collect in collects] == [[4], [0, 1, 2, 3, 6], [5]]
        assert sum(shy.demands) == 9
        assert shy.statistics()["demand"] == 2


async def test_a_producer_is_not_asked_again_for_what_it_owes() -> None:
    async with open_runtime() as rt:
        shy = Shy()
        producer = await rt.start(shy)
        collect = Collect(Subscribe(producer, max_demand=4, min_demand=2))
        await rt.start(collect)
        await all_tasks_blocked()
        assert shy.demands == [4]
        await producer.call(Shy.push, 1, 2)
        await all_tasks_blocked()
        assert collect.got == [1, 2]
        assert shy.demands == [4, 2]


@pytest.mark.parametrize(("keep", "kept"), [("last", [3, 4, 5]), ("first", [0, 1, 2])])
async def test_a_full_buffer_drops_and_says_so(keep: str, kept: list[int]) -> None:
    heard: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(heard.append, prefix="runtime.stage")
        shy = Shy(size=3, keep=keep)
        producer = await rt.start(shy)
        await producer.call(Shy.push, *range(6))
        assert shy.statistics() == {"produced": 6, "dropped": 3, "buffered": 3, "demand": 0, "consumers": 0}
        collect = Collect(Subscribe(producer))
        consumer = await rt.start(collect)
        await all_tasks_blocked()
        assert collect.got == kept
        consumer.kill()
        await all_tasks_blocked()
    assert [(event.name, event.data.get("count")) for event in heard] == [
        ("runtime.stage.dropped", 3),
        ("runtime.stage.subscribed", None),
        ("runtime.stage.cancelled", None),
    ]
    assert heard[1].data == {"producer": producer.label, "consumer": consumer.label}


async def test_a_broadcast_reaches_all_at_the_pace_of_the_slowest() -> None:
    async with open_runtime() as rt:
        numbers = Numbers(dispatcher=BroadcastDispatcher(), until=20)
        producer = await rt.start(numbers)
        fast = Collect(Subscribe(producer, demand="manual"))
        slow = Collect(Subscribe(producer, demand="manual"))
        refs = [await rt.start(fast), await rt.start(slow)]
        await all_tasks_blocked()
        await refs[0].call(Collect.ask, fast.subscriptions[0], 10)
        await all_tasks_blocked()
        assert fast.got == slow.got == []
        await refs[1].call(Collect.ask, slow.subscriptions[0], 4)
        await all_tasks_blocked()
        assert fast.got == slow.got == [0, 1, 2, 3]
        refs[1].kill()
        await all_tasks_blocked()
        assert fast.got == list(range(10))  # it need not wait for the dead


async def test_a_selector_leaves_events_out_without_using_up_demand() -> None:
    async with open_runtime() as rt:
        numbers = Numbers(dispatcher=BroadcastDispatcher(), until=100, demand="accumulate")
        producer = await rt.start(numbers)
        even = Collect(Subscribe(producer, max_demand=4, selector=lambda n: n % 2 == 0))
        tens = Collect(Subscribe(producer, max_demand=2, selector=lambda n: n % 10 == 0))
        await rt.start(even)
        await rt.start(tens)
        await all_tasks_blocked()
        assert numbers.demands == []
        await producer.call(Numbers.set_demand, "forward")
        await all_tasks_blocked()
        assert tens.got == list(range(0, 100, 10))
        assert even.got == list(range(0, 100, 2))


async def test_a_selector_that_takes_nothing_does_not_hold_up_the_producer() -> None:
    async with open_runtime() as rt:
        numbers = Numbers(dispatcher=BroadcastDispatcher())
        producer = await rt.start(numbers)
        await rt.start(Collect(Subscribe(producer, max_demand=1, selector=lambda n: False)))
        await producer.call(Numbers.push)  # it still takes its messages


async def test_partitions_get_their_own_events_in_order() -> None:
    async with open_runtime() as rt:
        numbers = Numbers(
            dispatcher=PartitionDispatcher(["odd", "even"], hash=lambda n: "odd" if n % 2 else "even"), until=20
        )
        producer = await rt.start(numbers)
        odd = Collect(Subscribe(producer, max_demand=3, partition="odd"))
        await rt.start(odd)
        await all_tasks_blocked()
        assert odd.got == list(range(1, 20, 2))
        assert numbers.statistics()["buffered"] == 10
        even = Collect(Subscribe(producer, max_demand=3, partition="even"))
        await rt.start(even)
        await all_tasks_blocked()
        assert even.got == list(range(0, 20, 2))


async def test_a_partition_that_nobody_reads_stops_the_flow_and_loses_nothing() -> None:
    async with open_runtime() as rt:
        dispatcher = PartitionDispatcher(2, hash=lambda n: n % 2 if n >= 0 else None, queue_size=5)
        numbers = Numbers(dispatcher=dispatcher, until=100)
        producer = await rt.start(numbers)
        first = Collect(Subscribe(producer, max_demand=4, partition=0))
        await rt.start(first)
        await all_tasks_blocked()
        assert numbers.next < 20
        await producer.call(Numbers.push, *range(1001, 1021, 2), -5)
        second = Collect(Subscribe(producer, max_demand=4, partition=1))
        ref = await rt.start(second)
        await all_tasks_blocked()
        assert first.got == list(range(0, 100, 2))
        assert [n for n in second.got if n < 1000] == list(range(1, 100, 2))
        assert [n for n in second.got if n > 1000] == list(range(1001, 1021, 2))
        ref.kill()
        await all_tasks_blocked()
        await producer.call(Numbers.push, 7)
        third = Collect(Subscribe(producer, partition=1))
        await rt.start(third)
        await all_tasks_blocked()
        assert third.got == [7]


async def test_the_default_hash_is_the_same_in_every_run() -> None:
    async with open_runtime() as rt:
        producer = await rt.start(Numbers(dispatcher=PartitionDispatcher(2), until=6))
        parts = [Collect(Subscribe(producer, partition=n)) for n in (0, 1)]
        for part in parts:
            await rt.start(part)
        await all_tasks_blocked()
        assert sorted(parts[0].got + parts[1].got) == [0, 1, 2, 3, 4, 5]
        assert [part.got for part in parts] == [[n for n in range(6) if zlib.crc32(b"%d" % n) % 2 == p] for p in (0, 1)]


async def test_a_source_reads_what_is_asked_for_and_ends_when_all_is_handed_out() -> None:
    read: list[int] = []

    def items() -> Any:
        for n in range(12):
            read.append(n)
            yield n

    async with open_runtime() as rt:
        source = await rt.start(Source(items()))
        double = await rt.start(Double(Subscribe(source, max_demand=2, cancel="permanent")))
        collect = Collect(Subscribe(double, max_demand=2), seconds=1)
        end = await rt.start(collect)
        await rt.sleep(2.5)
        assert len(read) < 12
        await end.ended()
        assert collect.got == [2 * n for n in range(12)]
        assert (source.exit_reason, double.exit_reason, end.exit_reason) == (NORMAL, NORMAL, NORMAL)


async def test_a_source_may_be_async() -> None:
    async def items(rt: Any) -> AsyncIterator[int]:
        for n in range(5):
            await rt.sleep(1)
            yield n

    async with open_runtime() as rt:
        source = await rt.start(Source(items(rt)))
        await rt.sleep(10)
        collect = Collect(Subscribe(source, max_demand=2, cancel="temporary"))
        ref = await rt.start(collect)
        await rt.sleep(1.5)
        assert collect.got == [0]
        await rt.sleep(10)
        assert collect.got == [0, 1, 2, 3, 4]
        assert source.exit_reason is NORMAL
        assert ref.alive
        assert collect.said[-1] == ("cancelled", NORMAL)


async def test_a_consumer_may_have_several_producers() -> None:
    async with open_runtime() as rt:
        a, b = await rt.start(Numbers(until=5)), await rt.start(Numbers(until=5))
        collect = Collect(Subscribe(a), Subscribe(b))
        await rt.start(collect)
        await all_tasks_blocked()
        assert sorted(collect.got) == sorted([*range(5), *range(5)])


async def test_plain_messages_and_calls_reach_a_stage_as_any_actor() -> None:
    class Open(Collect):
        async def handle_info(self, message: object) -> None:
            self.said.append(("info", message))

        async def watch(self, whom: Any) -> None:
            self.monitor(whom)

    async with open_runtime() as rt:
        numbers = await rt.start(Numbers())
        other = await rt.start(Collect())
        collect = Open(Subscribe(numbers, demand="manual"))
        ref = await rt.start(collect)
        ref.send("hello")
        await ref.call(Open.watch, other)
        await other.stop()
        await all_tasks_blocked()
        kinds = [what if not isinstance(what, Down) else what.reason for kind, what in collect.said if kind == "info"]
        assert kinds == ["hello", NORMAL]


async def test_mistakes_are_refused_by_name() -> None:
    for options, said in [
        ({"max_demand": 0}, "max_demand"),
        ({"max_demand": True}, "max_demand"),
        ({"max_demand": 10, "min_demand": 10}, "min_demand"),
        ({"min_demand": -1}, "min_demand"),
        ({"cancel": "never"}, "cancel"),
        ({"demand": "some"}, "demand"),
        ({"resubscribe": -1}, "resubscribe"),
        ({"selector": 1}, "selector"),
    ]:
        with pytest.raises(BadSubscription, match=said):
            Subscribe("x", **options)  # type: ignore[arg-type]
    for partitions in (0, [], ["a", "a"], [None]):
        with pytest.raises(ValueError, match="partitions"):
            PartitionDispatcher(partitions)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="queue_size"):
        PartitionDispatcher(2, queue_size=0)

    class Plain(Consumer[int]):
        def handle_events(self, events: list[int], subscription: Subscription) -> None:  # type: ignore[override]
            pass

    async with open_runtime() as rt:
        for bad, said in [
            (Plain(), "async def"),
            (Numbers(keep="middle"), "buffer_keep"),
            (Numbers(size=-1), "buffer_size"),
            (Numbers(demand="later"), "accumulate"),
            (Numbers(dispatcher="demand"), "dispatcher"),  # type: ignore[arg-type]
        ]:
            with pytest.raises(TypeError, match=said):
                await rt.start(bad)
        partitioned = await rt.start(Numbers(dispatcher=PartitionDispatcher([0, 1], hash=lambda n: 7)))
        nowhere = Collect(Subscribe(partitioned))
        refused = await rt.start(nowhere)
        await refused.ended()
        assert "none of 0, 1" in str(refused.exit_reason)
        taken = await rt.start(Collect(Subscribe(partitioned, partition=0, demand="manual", cancel="temporary")))
        twice = await rt.start(Collect(Subscribe(partitioned, partition=0)))
        await twice.ended()
        assert "is taken by" in str(twice.exit_reason)
        assert taken.alive
        await taken.call(Collect.subscribe, Subscribe(partitioned, partition=1))
        await all_tasks_blocked()
        assert isinstance(partitioned.exit_reason, Crash)
        assert isinstance(partitioned.exit_reason.error, UnknownPartition)
        broadcast = await rt.start(Numbers(dispatcher=BroadcastDispatcher(), until=3))
        both = await rt.start(Collect(Subscribe(broadcast, demand="manual"), Subscribe(broadcast)))
        await both.ended()
        assert "subscribed already" in str(both.exit_reason)
        collect = Collect(Subscribe(broadcast, cancel="temporary"))
        ref = await rt.start(collect)
        await all_tasks_blocked()
        await ref.call(Collect.cancel, collect.subscriptions[0])
        await all_tasks_blocked()
        with pytest.raises(UnknownSubscription):
            await ref.call(Collect.cancel, collect.subscriptions[0])
        with pytest.raises(UnknownSubscription):
            await ref.call(Collect.ask, collect.subscriptions[0], 1)
        with pytest.raises(ValueError, match="accumulate"):
            await broadcast.call(Numbers.set_demand, "none")  # type: ignore[arg-type]
