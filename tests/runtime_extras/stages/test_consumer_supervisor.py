"""A consumer that gives every event a process of its own, a few at a time."""

from __future__ import annotations

import pytest
from dspex.runtime import Actor, Event, Ignore, Mailbox, Plain, open_runtime
from dspex.runtime.stages import Source, Subscribe
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, Supervisor
from dspex.supervisors.consumer_supervisor import ConsumerSupervisor
from pipeline_flows import Numbers

pytestmark = pytest.mark.anyio


class Work:
    def __init__(self, seconds: float = 1) -> None:
        self.seconds = seconds
        self.running = self.most = 0
        self.done: list[int] = []

    async def one(self, me: Mailbox, n: int) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await me.rt.sleep(self.seconds)
            if n == 3:
                raise ValueError("bad event")
            self.done.append(n)
        finally:
            self.running -= 1

    def start(self, n: int) -> Plain:
        return Plain(self.one, n)


async def test_so_many_events_are_worked_on_at_a_time_and_a_crash_is_one_event_s_affair() -> None:
    heard: list[Event] = []
    work = Work()
    async with open_runtime() as rt:
        rt.events.subscribe(heard.append, prefix="runtime.stage.child_failed")
        await rt.start(Source(range(10)), name="numbers")
        consumer = ConsumerSupervisor(work.start, subscribe_to=[Subscribe("numbers", max_demand=3, min_demand=2)])
        ref = await rt.start(consumer)
        await rt.sleep(0.5)
        assert consumer.statistics()["working"] == 3
        await rt.sleep(20)
        assert work.most == 3
        assert sorted(work.done) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert not ref.alive  # the source has ended
    assert [event.data["stage"] for event in heard] == [ref.label]


async def test_its_children_stop_with_it() -> None:
    work = Work(seconds=1000)
    async with open_runtime() as rt:
        await rt.start(
            Supervisor(
                [
                    Child("numbers", Numbers, name="numbers"),
                    Child(
                        "work",
                        lambda: ConsumerSupervisor(work.start, subscribe_to=[Subscribe("numbers", max_demand=4)]),
                        type="supervisor",
                        name="work",
                    ),
                ],
                strategy="rest_for_one",
                intensity=5,
            )
        )
        await all_tasks_blocked()
        assert work.running == 4
        rt.ref("numbers").cast(Numbers.break_down)
        await rt.sleep(1)
        assert work.running == 4
        assert work.most == 4
        rt.ref("work").resolve().kill()  # type: ignore[union-attr]
        await all_tasks_blocked()
        assert work.running == 4
    assert work.running == 0


async def test_a_child_that_does_not_start_is_done_with() -> None:
    class Never(Actor):
        def __init__(self, n: int) -> None:
            self.n = n

        async def init(self) -> None:
            seen.append(self.n)
            raise Ignore if self.n % 2 else OSError("no")

    seen: list[int] = []
    async with open_runtime() as rt:
        source = await rt.start(Source(range(6)))
        consumer = ConsumerSupervisor(Never)
        ref = await rt.start(consumer)
        await ref.call(ConsumerSupervisor.subscribe, Subscribe(source, max_demand=2, cancel="temporary"))
        await all_tasks_blocked()
        assert seen == [0, 1, 2, 3, 4, 5]
        assert ref.alive
        assert consumer.statistics() == {"consumed": 6, "producers": 0, "working": 0}
