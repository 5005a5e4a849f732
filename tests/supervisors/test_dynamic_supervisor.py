"""Many children of one kind: OTP's simple_one_for_one."""

from __future__ import annotations

from typing import Any

import pytest
from dspex.runtime import KILLED, NORMAL, SHUTDOWN, Actor, Event, Ignore, Ref, Runtime, StartFailed, open_runtime
from dspex.runtime.testing import all_tasks_blocked, assert_tree
from dspex.supervisors import BadChildSpec, ChildCounts, ChildNotFound, DynamicSupervisor, tree
from supervised import Book, Worker

pytestmark = pytest.mark.anyio


class Contained(DynamicSupervisor):
    escalates = False


async def start(rt: Runtime, book: Book, **options: Any) -> Ref[DynamicSupervisor]:
    return await rt.start(Contained(lambda name: Worker(book, name), **{"intensity": 100, **options}), name="sup")


async def add(sup: Ref[DynamicSupervisor], name: str) -> Ref[Worker]:
    ref = await sup.call(DynamicSupervisor.start_child, name)
    assert ref is not None
    return ref


async def test_children_are_started_with_arguments_and_restarted_with_the_same() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book)
        a, b = await add(sup, "a"), await add(sup, "b")
        a.cast(Worker.crash, ValueError("boom"))
        await all_tasks_blocked()
        assert book.take() == "+a +b -a +a"
        assert b.alive
        assert await sup.call(DynamicSupervisor.count_children) == ChildCounts(1, 2, 0, 2)
        listed = await sup.call(DynamicSupervisor.which_children)
        assert sorted(info.incarnation for info in listed) == [1, 2]
        assert {info.id for info in listed} == {"child"}


async def test_children_stop_all_at_once_under_one_time_limit() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book, shutdown=4)
        refs = [await add(sup, name) for name in "abc"]
        book.farewells |= {"a": 3.0, "b": 3.0, "c": 60.0}
        book.take()
        before = rt.now()
        await sup.stop(SHUTDOWN)
        assert rt.now() - before == pytest.approx(4)
        assert sorted(book.take().split()) == ["-a", "-b"]
        assert [ref.exit_reason for ref in refs] == [SHUTDOWN, SHUTDOWN, KILLED]


@pytest.mark.parametrize(("shutdown", "seconds", "reason"), [("brutal_kill", 0, KILLED), ("infinity", 60, SHUTDOWN)])
async def test_children_may_be_killed_at_once_or_waited_for(shutdown: Any, seconds: float, reason: object) -> None:
    book = Book()
    book.farewells["a"] = 60.0
    async with open_runtime() as rt:
        sup = await start(rt, book, shutdown=shutdown)
        ref = await add(sup, "a")
        before = rt.now()
        await sup.stop(SHUTDOWN)
        assert rt.now() - before == pytest.approx(seconds)
        assert ref.exit_reason is reason


async def test_how_many_ended_otherwise_than_asked_is_one_event() -> None:
    class Odd(Worker):
        async def terminate(self, reason: object) -> None:
            self.ref.process.trap = False
            self.ref.exit("odd")
            await self.rt.sleep(1)

    events: list[Event] = []
    book = Book()
    async with open_runtime() as rt:
        rt.events.subscribe(events.append, prefix="supervisor.child.shutdown_failed")
        sup = await rt.start(Contained(lambda name: Odd(book, name)))
        for name in "abc":
            await add(sup, name)
        await sup.stop(SHUTDOWN)
    assert [(event.data["reason"], event.data["count"]) for event in events] == [("odd", 3)]


async def test_a_child_is_stopped_by_its_reference() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book)
        a, stranger = await add(sup, "a"), await rt.start(Worker(book, "s"))
        await sup.call(DynamicSupervisor.terminate_child, a)
        assert not a.alive
        await sup.call(DynamicSupervisor.terminate_child, a)
        with pytest.raises(ChildNotFound):
            await sup.call(DynamicSupervisor.terminate_child, stranger)
        assert await sup.call(DynamicSupervisor.which_children) == []
        assert stranger.alive


@pytest.mark.parametrize("restart", ["transient", "temporary"])
async def test_a_child_that_ended_for_good_is_forgotten(restart: Any) -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book, restart=restart)
        a = await add(sup, "a")
        a.cast(Worker.leave, NORMAL)
        await all_tasks_blocked()
        assert await sup.call(DynamicSupervisor.count_children) == ChildCounts(1, 0, 0, 0)


async def test_a_start_that_fails_or_is_ignored_leaves_nothing() -> None:
    book = Book()
    book.plans |= {"a": [ValueError("no")], "b": [Ignore()]}
    async with open_runtime() as rt:
        sup = await start(rt, book)
        with pytest.raises(StartFailed) as failed:
            await sup.call(DynamicSupervisor.start_child, "a")
        assert str(failed.value.__cause__) == "no"
        assert await sup.call(DynamicSupervisor.start_child, "b") is None
        assert await sup.call(DynamicSupervisor.which_children) == []


async def test_a_restart_that_fails_is_tried_again() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book)
        a = await add(sup, "a")
        book.preparations["a"] = 1.0
        book.plans["a"] = [ValueError("not yet")] * 2
        a.cast(Worker.crash, ValueError("boom"))
        await rt.sleep(0.5)
        listed = await sup.call(DynamicSupervisor.which_children)
        assert [(info.restarting, info.ref) for info in listed] == [(True, None)]
        await rt.sleep(5)
        assert book.take() == "+a -a !a !a +a"
        assert (await sup.call(DynamicSupervisor.count_children)).active == 1


async def test_a_child_that_is_being_restarted_is_stopped_by_its_last_reference() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book)
        a = await add(sup, "a")
        book.preparations["a"] = 1.0
        book.plans["a"] = [ValueError("not yet")]
        a.cast(Worker.crash, ValueError("boom"))
        await rt.sleep(0.5)
        await sup.call(DynamicSupervisor.terminate_child, a)
        await rt.sleep(5)
        assert book.starts["a"] == 2
        assert await sup.call(DynamicSupervisor.which_children) == []


async def test_too_many_restarts_end_it_and_all_children() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book, intensity=1, period=100)
        a, b = await add(sup, "a"), await add(sup, "b")
        a.cast(Worker.crash, ValueError("boom"))
        await all_tasks_blocked()
        assert sup.alive
        b.cast(Worker.crash, ValueError("boom"))
        await all_tasks_blocked()
        assert sup.exit_reason is SHUTDOWN
        assert rt.statistics()["processes"] == 0


async def test_it_stops_with_its_significant_children() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book, restart="transient", significant=True, auto_shutdown="all_significant")
        a, b = await add(sup, "a"), await add(sup, "b")
        a.cast(Worker.leave, NORMAL)
        await all_tasks_blocked()
        assert sup.alive
        b.cast(Worker.leave, NORMAL)
        await all_tasks_blocked()
        assert not sup.alive


async def test_it_has_a_place_in_the_tree() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await start(rt, book, id="worker")
        for name in "ab":
            await add(sup, name)
        assert_tree(
            tree(sup),
            """
            sup
              worker
              worker
            """,
        )


async def test_many_children_come_and_go() -> None:
    class Brief(Actor):
        pass

    async with open_runtime() as rt:
        sup = await rt.start(DynamicSupervisor(Brief, restart="temporary"))
        refs: list[Ref[Any]] = []
        for _ in range(1000):
            ref = await sup.call(DynamicSupervisor.start_child)
            assert ref is not None
            refs.append(ref)
        for ref in refs[::2]:
            ref.exit("done")
        await all_tasks_blocked()
        assert (await sup.call(DynamicSupervisor.count_children)).active == 500


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"start": 7}, "factory"),
        ({"restart": "always"}, "permanent, transient"),
        ({"shutdown": -1}, "seconds >= 0"),
        ({"intensity": -1}, "int >= 0"),
        ({"significant": True}, "permanent child cannot be significant"),
        ({"significant": True, "restart": "transient"}, "auto_shutdown"),
    ],
)
def test_a_wrong_dynamic_supervisor_is_refused_where_it_is_made(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadChildSpec, match=rule):
        DynamicSupervisor(**{"start": Actor, **options})
