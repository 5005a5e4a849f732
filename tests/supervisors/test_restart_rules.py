"""Who is restarted when: strategies, restart types, intensity, attempts that fail."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from dspex.runtime import KILLED, NORMAL, SHUTDOWN, ActorExit, Event, Ignore, Shutdown, open_runtime
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import (
    Child,
    ChildInfo,
    ChildPresent,
    ChildRestarting,
    Intensity,
    RestartLimitReached,
    Supervisor,
)
from supervised import Book, Worker, crash, leave, supervise

pytestmark = pytest.mark.anyio


async def test_one_for_one_restarts_the_one_that_ended() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children())
        assert book.take() == "+a +b +c"
        await crash(rt, "b")
        assert book.take() == "-b +b"


async def test_one_for_all_restarts_all_in_order() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children(), strategy="one_for_all")
        book.take()
        await crash(rt, "b")
        assert book.take() == "-b -c -a +a +b +c"


async def test_rest_for_one_restarts_those_started_after_it() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children("abcd"), strategy="rest_for_one")
        book.take()
        await crash(rt, "b")
        assert book.take() == "-b -d -c +b +c +d"
        await crash(rt, "d")
        assert book.take() == "-d +d"


@pytest.mark.parametrize(
    ("restart", "reason", "restarted"),
    [
        ("permanent", NORMAL, True),
        ("permanent", SHUTDOWN, True),
        ("permanent", "boom", True),
        ("transient", NORMAL, False),
        ("transient", SHUTDOWN, False),
        ("transient", Shutdown("done"), False),
        ("transient", "boom", True),
        ("transient", KILLED, True),
        ("temporary", NORMAL, False),
        ("temporary", "boom", False),
    ],
)
async def test_the_restart_type_decides_by_the_reason(restart: str, reason: object, restarted: bool) -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a", restart=restart))
        await leave(rt, "a", reason)
        assert book.starts["a"] == (2 if restarted else 1)
        listed = await sup.call(Supervisor.which_children)
        # A transient child's spec stays, a temporary one's goes with it.
        assert [info.id for info in listed] == ([] if restart == "temporary" else ["a"])
        assert (rt.whereis("a") is not None) == restarted


async def test_a_restarted_child_is_a_new_process_under_the_same_name() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a"))
        first = await sup.call(Supervisor.child, "a")
        await crash(rt, "a")
        second = await sup.call(Supervisor.child, "a")
        assert first is not None
        assert second is not None
        assert first != second
        assert rt.whereis("a") == second
        assert not first.alive


async def test_a_killed_child_is_restarted() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children("a", restart="transient"))
        a = rt.whereis("a")
        assert a is not None
        a.kill()
        await all_tasks_blocked()
        assert book.take() == "+a +a"


async def test_too_many_restarts_in_the_period_end_the_supervisor() -> None:
    book = Book()
    events: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(events.append, prefix="supervisor.gave_up")
        sup = await supervise(rt, book.children(), intensity=2, period=10)
        book.take()
        for _ in range(2):
            await crash(rt, "a")
        assert sup.alive
        assert book.take() == "-a +a -a +a"
        await crash(rt, "a", KeyError("last"))
        assert not sup.alive
        assert sup.exit_reason is SHUTDOWN
        assert book.take() == "-a -c -b"
        assert [(e.data["child"], e.data["restarts"]) for e in events] == [("a", 3)]


async def test_restarts_that_lie_further_apart_than_the_period_do_not_count() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a"), intensity=1, period=5)
        for _ in range(10):
            await crash(rt, "a")
            await rt.sleep(7)
        assert sup.alive
        await crash(rt, "a")
        await rt.sleep(2)
        await crash(rt, "a")
        assert not sup.alive


async def test_an_intensity_of_zero_allows_none() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a"), intensity=0)
        await crash(rt, "a")
        assert not sup.alive
        assert book.starts == {"a": 1}


def test_intensity_counts_whole_seconds_and_includes_the_edge() -> None:
    intensity = Intensity(1, 5)
    assert intensity.allow(10.9)
    assert not intensity.allow(15.0)
    intensity = Intensity(1, 5)
    assert intensity.allow(10.0)
    assert intensity.allow(16.0)


async def test_one_for_all_counts_one_restart() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children(), strategy="one_for_all", intensity=1, period=100)
        await crash(rt, "a")
        assert sup.alive
        assert book.starts == {"a": 2, "b": 2, "c": 2}


async def test_a_restart_that_fails_is_tried_again_and_counted() -> None:
    book = Book()
    events: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(events.append, prefix="supervisor.child.start_failed")
        sup = await supervise(rt, book.children("ab"), intensity=3, period=100)
        book.plans["a"] = [ValueError("not yet"), ValueError("not yet")]
        book.take()
        await crash(rt, "a")
        assert book.take() == "-a !a !a +a"
        assert sup.alive
        assert len(events) == 2
        book.plans["a"] = [ValueError("never")] * 9
        await crash(rt, "a")
        assert not sup.alive


async def test_a_failed_restart_of_the_whole_group_starts_it_again_from_the_beginning() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children(), strategy="one_for_all")
        book.take()
        book.plans["b"] = [ValueError("not yet")]
        await crash(rt, "c")
        assert book.take() == "-c -b -a +a !b -a +a +b +c"


async def test_between_two_attempts_other_messages_are_answered() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("ab"))
        first = rt.whereis("a")
        book.preparations["a"] = 1.0
        book.plans["a"] = [ValueError("not yet")]
        await crash(rt, "a")
        # The first attempt fails in a second; these questions wait for that and come before the second attempt.
        seen: list[object] = []

        async def ask(method: Any) -> None:
            with pytest.raises(ChildRestarting, match="being restarted"):
                await sup.call(method, "a")
            seen.append(rt.now())

        async def look() -> None:
            seen.extend(info.restarting for info in await sup.call(Supervisor.which_children) if info.id == "a")

        async with anyio.create_task_group() as group:
            group.start_soon(ask, Supervisor.restart_child)
            group.start_soon(ask, Supervisor.delete_child)
            group.start_soon(look)
            with pytest.raises(ChildPresent, match="being restarted") as present:
                await sup.call(Supervisor.start_child, book.child("a"))
        assert present.value.restarting
        assert present.value.ref == first
        assert len(seen) == 3
        assert True in seen
        await rt.sleep(2)
        listed = await sup.call(Supervisor.which_children)
        assert [(info.id, info.restarting, info.incarnation) for info in listed] == [("b", False, 1), ("a", False, 3)]


async def test_a_child_that_is_being_restarted_can_be_stopped() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a"))
        book.preparations["a"] = 1.0
        book.plans["a"] = [ValueError("not yet")]
        await crash(rt, "a")
        await sup.call(Supervisor.terminate_child, "a")
        await rt.sleep(5)
        assert book.starts["a"] == 2
        assert rt.whereis("a") is None


async def test_two_supervised_crashes_at_once_are_both_restarted() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children())
        book.take()
        rt.ref("a").cast(Worker.crash, ValueError("a"))
        rt.ref("c").cast(Worker.crash, ValueError("c"))
        await all_tasks_blocked()
        assert sorted(book.take().split()) == ["+a", "+c", "-a", "-c"]


async def test_a_child_stopped_by_hand_comes_back_with_the_group() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children(), strategy="one_for_all")
        await sup.call(Supervisor.terminate_child, "b")
        book.take()
        await crash(rt, "c")
        assert book.take() == "-c -a +a +b +c"


async def test_temporary_siblings_are_dropped_by_a_group_restart() -> None:
    book = Book()
    async with open_runtime() as rt:
        children = [book.child("a"), book.child("t", restart="temporary"), book.child("c")]
        sup = await supervise(rt, children, strategy="one_for_all")
        book.take()
        await crash(rt, "a")
        assert book.take() == "-a -c -t +a +c"
        assert [info.id for info in await sup.call(Supervisor.which_children)] == ["c", "a"]


async def test_a_child_that_asks_to_be_ignored_keeps_its_spec_unless_temporary() -> None:
    book = Book()
    async with open_runtime() as rt:
        book.plans["a"] = [Ignore()]
        book.plans["t"] = [Ignore()]
        sup = await supervise(rt, [book.child("a"), book.child("t", restart="temporary"), book.child("c")])
        assert book.take() == "+c"
        listed = await sup.call(Supervisor.which_children)
        assert [(info.id, info.ref is None) for info in listed] == [("c", False), ("a", True)]
        assert isinstance(listed[0], ChildInfo)
        await sup.call(Supervisor.restart_child, "a")
        assert book.take() == "+a"


@pytest.mark.parametrize(
    ("mode", "ends", "stopped"),
    [
        ("any_significant", ["a"], True),
        ("all_significant", ["a"], False),
        ("all_significant", ["a", "b"], True),
        ("any_significant", ["c"], False),
    ],
)
async def test_auto_shutdown_follows_the_significant_children(mode: str, ends: list[str], stopped: bool) -> None:
    book = Book()
    async with open_runtime() as rt:
        significant = book.children("ab", restart="transient", significant=True)
        sup = await supervise(rt, [*significant, book.child("c", restart="transient")], auto_shutdown=mode)
        for name in ends:
            await leave(rt, name, NORMAL)
        assert sup.alive is not stopped
        if stopped:
            assert sup.exit_reason is SHUTDOWN


async def test_auto_shutdown_is_not_triggered_by_a_stop_from_outside_or_a_restart() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(
            rt, book.children("ab", restart="transient", significant=True), auto_shutdown="any_significant"
        )
        await sup.call(Supervisor.terminate_child, "a")
        await crash(rt, "b")
        assert sup.alive
        assert book.starts == {"a": 1, "b": 2}


async def test_a_supervisor_that_gives_up_is_restarted_by_its_own() -> None:
    book = Book()
    async with open_runtime() as rt:
        inner = book.children("a")
        top = await supervise(
            rt,
            [Child("inner", lambda: Supervisor(inner, intensity=1, period=100), type="supervisor")],
        )
        for _ in range(2):
            await crash(rt, "a")
        assert book.starts == {"a": 3}
        assert top.alive
        info = (await top.call(Supervisor.which_children))[0]
        assert info.incarnation == 2


async def test_the_cause_of_giving_up_is_kept() -> None:
    error = ValueError("boom")
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a"), intensity=0)
        await crash(rt, "a", error)
        cause = sup.process.cause
        assert isinstance(cause, RestartLimitReached)
        assert cause.__cause__ is error
        with pytest.raises(ActorExit):
            await sup.call(Supervisor.count_children)
