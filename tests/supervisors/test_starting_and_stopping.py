"""Children start in order and stop in reverse, each as its spec says."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from dspex.runtime import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    BadProcess,
    Crash,
    Event,
    NameTaken,
    Shutdown,
    Startable,
    StartFailed,
    open_runtime,
)
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, FailedToStart, Supervisor
from supervised import Book, Worker, crash, supervise

pytestmark = pytest.mark.anyio


async def test_children_start_in_order_and_stop_in_reverse() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children())
        assert book.take() == "+a +b +c"
    assert book.take() == "-c -b -a"


async def test_a_start_that_fails_stops_what_was_started() -> None:
    book = Book()
    error = ConnectionError("no database")
    book.plans["c"] = [error]
    async with open_runtime() as rt:
        with pytest.raises(StartFailed, match="no database") as failed:
            await supervise(rt, book.children("abcd"))
        assert failed.value.reason == Shutdown(FailedToStart("c", Crash(error)))
        assert book.take() == "+a +b !c -b -a"
        await all_tasks_blocked()
        assert rt.statistics()["processes"] == 0


async def test_the_cause_of_a_failed_start_is_at_the_end_of_the_chain() -> None:
    book = Book()
    error = ConnectionError("no database")
    book.plans["a"] = [error]
    async with open_runtime() as rt:
        inner = Child("inner", lambda: Supervisor(book.children("a")), type="supervisor")
        with pytest.raises(StartFailed) as failed:
            await supervise(rt, [inner])
        cause: BaseException = failed.value
        while cause.__cause__ is not None:
            cause = cause.__cause__
        assert cause is error


@pytest.mark.parametrize(
    "factory",
    [
        pytest.param(lambda: None, id="nothing"),
        pytest.param(object, id="no actor"),
        pytest.param(lambda: 1 / 0, id="an exception"),
    ],
)
async def test_a_factory_that_makes_no_actor_is_a_failed_start(factory: Callable[[], Startable]) -> None:
    async with open_runtime() as rt:
        with pytest.raises(StartFailed):
            await supervise(rt, [Child("bad", factory)])
        sup = await supervise(rt, [])
        with pytest.raises(StartFailed) as failed:
            await sup.call(Supervisor.start_child, Child("bad", factory))
        assert isinstance(failed.value.__cause__, BadProcess | ZeroDivisionError)
        assert sup.alive


async def test_a_factory_that_makes_the_same_object_again_fails_the_restart_and_not_the_supervisor() -> None:
    book = Book()
    same = Worker(book, "a")
    async with open_runtime() as rt:
        sup = await supervise(rt, [Child("a", lambda: same, name="a")], intensity=2, period=100)
        await crash(rt, "a")
        assert sup.exit_reason is SHUTDOWN


async def test_a_child_has_five_seconds_to_stop_unless_told_otherwise() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [book.child("a"), book.child("b", shutdown=1), book.child("c", shutdown="infinity")])
        book.farewells |= {"a": 4, "b": 60, "c": 100}
        refs = [rt.whereis(name) for name in "abc"]
        before = rt.now()
        for name, seconds in (("a", 4), ("b", 1), ("c", 100)):
            await sup.within(None).call(Supervisor.terminate_child, name)
            assert rt.now() - before == pytest.approx(seconds)
            before = rt.now()
        assert [ref.exit_reason if ref else None for ref in refs] == [SHUTDOWN, KILLED, SHUTDOWN]
        assert book.take() == "+a +b +c -a -c"


async def test_brutal_kill_does_not_ask() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a", shutdown="brutal_kill"))
        book.farewells["a"] = 60
        await sup.call(Supervisor.terminate_child, "a")
        assert book.take() == "+a"
        assert rt.now() < 1


async def test_a_worker_that_does_not_trap_exits_ends_at_once_without_terminate() -> None:
    class Plain(Worker):
        trap_exit = False

    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [Child("a", lambda: Plain(book, "a"))])
        await sup.call(Supervisor.terminate_child, "a")
        assert book.take() == "+a"


async def test_a_child_that_ends_otherwise_than_asked_is_reported() -> None:
    class Odd(Worker):
        async def terminate(self, reason: object) -> None:
            self.stop("odd")
            raise ValueError("odd")

    book = Book()
    events: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(events.append, prefix="supervisor.child.shutdown_failed")
        sup = await supervise(rt, [Child("odd", lambda: Odd(book, "odd"))])
        await sup.call(Supervisor.terminate_child, "odd")
        assert [(event.data["child"], type(event.data["reason"])) for event in events] == [("odd", Crash)]


async def test_a_child_killed_when_its_time_is_up_leaves_nothing() -> None:
    class Careless(Actor):
        trap_exit = True

        async def terminate(self, reason: object) -> None:
            try:
                await self.rt.sleep(1e9)
            except BaseException:
                await self.rt.sleep(1e9)  # ignores the cancellation once

    async with open_runtime() as rt:
        sup = await supervise(rt, [Child("c", Careless, shutdown=2)])
        await sup.call(Supervisor.terminate_child, "c")
        assert rt.now() == pytest.approx(2, abs=0.1)
        assert rt.statistics()["processes"] == 1


async def test_a_supervisor_that_is_killed_takes_its_children_along() -> None:
    class Plain(Worker):
        trap_exit = False

    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [Child("a", lambda: Plain(book, "a"), name="a"), book.child("b")])
        a, b = rt.whereis("a"), rt.whereis("b")
        sup.kill()
        await all_tasks_blocked()
        assert a is not None
        assert b is not None
        assert (a.exit_reason, b.exit_reason) == (KILLED, KILLED)
        assert book.take() == "+a +b -b"  # b traps exits: it is ordered to terminate
        assert rt.statistics()["processes"] == 0


async def test_a_supervisor_obeys_its_parent_whatever_the_reason() -> None:
    class Parent(Actor):
        async def have(self, sup: Supervisor) -> object:
            return await self.start_link(sup)

    book = Book()
    async with open_runtime() as rt:
        parent = await rt.start(Parent())
        await parent.call(Parent.have, Supervisor(book.children("ab")))
        await parent.stop(NORMAL)
        await all_tasks_blocked()
        assert book.take() == "+a +b -b -a"


async def test_a_name_that_is_taken_fails_the_child() -> None:
    book = Book()
    async with open_runtime() as rt:
        holder = await rt.start(Worker(book, "x"), name="a")
        with pytest.raises(StartFailed) as failed:
            await supervise(rt, book.children("a"))
        reason = failed.value.reason
        assert isinstance(reason, Shutdown)
        assert reason.detail == FailedToStart("a", ("already_started", holder))
        sup = await supervise(rt, [])
        with pytest.raises(NameTaken):
            await sup.call(Supervisor.start_child, book.child("a"))


async def test_a_hanging_start_is_cancelled_with_the_supervisor() -> None:
    class Hangs(Actor):
        async def init(self) -> None:
            await self.rt.sleep(1e9)

    book = Book()
    async with open_runtime() as rt:
        with anyio.move_on_after(3) as scope:
            await supervise(rt, [book.child("a"), Child("hangs", Hangs)])
        assert scope.cancelled_caught
        await all_tasks_blocked()
        assert rt.statistics()["processes"] == 0
        assert rt.whereis("sup") is None


async def test_a_block_left_while_a_child_hangs_in_init_ends_in_its_grace() -> None:
    class Hangs(Actor):
        async def init(self) -> None:
            await self.rt.sleep(1e9)

    book = Book()
    async with open_runtime(grace=10) as rt:
        sup = await supervise(rt, book.children("a"))

        async def ask() -> None:
            with anyio.CancelScope():
                await sup.within(None).call(Supervisor.start_child, Child("hangs", Hangs))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await all_tasks_blocked()
            group.cancel_scope.cancel()
        start = rt.now()
    assert rt.now() - start <= 15
