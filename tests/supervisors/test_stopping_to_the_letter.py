"""How a child is stopped, where OTP's rules are easily got wrong."""

from __future__ import annotations

from typing import Any

import pytest
from dspex.runtime import (
    KILLED,
    SHUTDOWN,
    Actor,
    ActorExit,
    Event,
    Exit,
    ExitSignal,
    Mailbox,
    Plain,
    Ref,
    Shutdown,
    open_runtime,
)
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, ChildNotFound, DynamicSupervisor, Supervisor
from supervised import Book, Worker, supervise

pytestmark = pytest.mark.anyio


async def test_a_child_hears_of_its_supervisors_death_also_while_it_is_being_stopped() -> None:
    heard: list[object] = []

    async def stubborn(mailbox: Mailbox) -> None:
        while True:
            message = await mailbox.receive(ExitSignal)
            heard.append(message.reason)
            if message.reason is KILLED:
                return

    async with open_runtime() as rt:
        sup = await supervise(
            rt, [Child("s", lambda: Plain(stubborn, trap_exit=True), name="s", shutdown="infinity")]
        )
        sup.cast(Supervisor.terminate_child, "s")
        await all_tasks_blocked()
        assert heard == [SHUTDOWN]
        sup.kill()
        await all_tasks_blocked()
        assert heard == [SHUTDOWN, KILLED]
        assert rt.whereis("s") is None


async def test_with_a_shutdown_time_of_zero_it_is_killed_before_it_can_say_farewell() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [book.child("a", shutdown=0)])
        await sup.call(Supervisor.terminate_child, "a")
        assert book.take() == "+a"


async def test_one_that_does_not_trap_exits_has_stopped_in_order_even_in_no_time() -> None:
    class Plainly(Actor):
        pass

    complaints: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(complaints.append, prefix="supervisor.child.shutdown_failed")
        sup = await supervise(rt, [Child("a", Plainly, shutdown=0, name="a")])
        a = rt.whereis("a")
        assert a is not None
        await sup.call(Supervisor.terminate_child, "a")
        assert a.exit_reason is SHUTDOWN
    assert complaints == []


async def test_a_signal_in_a_childs_name_does_not_pass_for_its_end_when_it_is_stopped() -> None:
    class Forger(Actor):
        async def init(self) -> None:
            self.trap_exits(True)

        def forge(self, supervisor: Ref[Any]) -> None:
            supervisor.exit("gone, honestly")

    book = Book()
    async with open_runtime() as rt:
        book.preparations["slow"] = 1
        sup = await supervise(rt, [Child("f", Forger, name="f", restart="temporary")])
        forger = rt.whereis("f")
        assert forger is not None
        sup.cast(Supervisor.start_child, book.child("slow"))  # keeps the supervisor busy for a second
        await rt.sleep(0.1)
        sup.cast(Supervisor.terminate_child, "f")
        await forger.call(Forger.forge, sup)
        await rt.sleep(2)
        assert not forger.alive
        assert forger.exit_reason is SHUTDOWN


@pytest.mark.parametrize("reason", [["a list"], {"a": "dict"}, Shutdown([1])])
async def test_dynamic_children_may_end_with_reasons_of_any_kind(reason: object) -> None:
    class Odd(Actor):
        trap_exit = True

        async def terminate(self, _: object) -> None:
            raise Exit(reason)

    counts: list[int] = []
    async with open_runtime() as rt:
        rt.events.subscribe(lambda e: counts.append(e.data["count"]), prefix="supervisor.child.shutdown_failed")
        sup = await rt.start(DynamicSupervisor(Odd))
        for _ in range(3):
            await sup.call(DynamicSupervisor.start_child)
        await sup.stop()
        assert sup.exit_reason is not None
    assert counts == [3]


async def test_the_spec_of_a_dynamic_child_is_the_template_and_of_a_stranger_there_is_none() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await rt.start(DynamicSupervisor(lambda n: Worker(book, n)))
        child = await sup.call(DynamicSupervisor.start_child, "a")
        assert child is not None
        stranger = await rt.start(Worker(book, "x"))
        template = await sup.call(DynamicSupervisor.get_childspec)
        assert await sup.call(DynamicSupervisor.get_childspec, child) == template
        with pytest.raises(ChildNotFound):
            await sup.call(DynamicSupervisor.get_childspec, stranger)
        with pytest.raises(ActorExit):
            await child.call(Worker.crash, ValueError())
        assert await sup.call(DynamicSupervisor.get_childspec, child) == template  # dead: nobody can tell


def test_of_several_broken_rules_the_first_by_otps_order_is_named() -> None:
    from dspex.supervisors import BadChildSpec

    def rule(**options: Any) -> str:
        with pytest.raises(BadChildSpec) as caught:
            Child("a", Supervisor, **options)
        return caught.value.rule

    wrong: dict[str, Any] = {"restart": "x", "significant": 5, "type": "y", "shutdown": "z"}
    for expected in ("restart", "significant", "type", "shutdown"):
        assert rule(**wrong) == expected
        del wrong[expected]
    # A supervisor looks at its own flags before its children, and at each child before the next.
    with pytest.raises(BadChildSpec) as caught:
        Supervisor((Child("a", Supervisor, restart="x") for _ in range(2)), intensity=-1)  # pyright: ignore[reportArgumentType]
    assert caught.value.rule == "intensity"
