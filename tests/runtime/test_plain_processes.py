"""Plain processes: an async function with a mailbox."""

from __future__ import annotations

import anyio
import pytest
from dspex.runtime import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    BadProcess,
    Crash,
    Down,
    Exit,
    ExitSignal,
    Ignore,
    Mailbox,
    NameTaken,
    NotAHandler,
    Plain,
    ReceiveTimeout,
    Ref,
    Shutdown,
    StartFailed,
    open_runtime,
    spawn,
)
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, FailedToStart, Supervisor

pytestmark = pytest.mark.anyio


async def collect(me: Mailbox, into: list[object]) -> None:
    while True:
        into.append(await me.receive())


async def leave(me: Mailbox, reason: object) -> None:
    raise Exit(reason)


async def crash(me: Mailbox, error: Exception) -> None:
    raise error


async def finish(me: Mailbox) -> None:
    pass


async def test_a_process_gets_its_messages_in_order() -> None:
    got: list[object] = []
    async with open_runtime():
        ref = spawn(collect, got)
        for i in range(5):
            ref.send(i)
        await all_tasks_blocked()
        ref.send("later")
        await all_tasks_blocked()
    assert got == [0, 1, 2, 3, 4, "later"]


async def test_the_exit_reason_is_what_the_function_did() -> None:
    error = ValueError("boom")
    async with open_runtime():
        refs = [spawn(finish), spawn(leave, "enough"), spawn(crash, error)]
        for ref in refs:
            await ref.ended()
        assert [ref.exit_reason for ref in refs] == [NORMAL, "enough", Crash(error)]


async def test_a_link_set_right_after_spawning_misses_nothing() -> None:
    got: list[object] = []

    async def parent(me: Mailbox) -> None:
        me.trap_exits(True)
        child = spawn(leave, "at once")
        me.link(child)
        monitor = me.monitor(child)
        got.append(
            [await me.receive(), await me.receive()] == [ExitSignal(child, "at once"), Down(monitor, child, "at once")]
        )

    async with open_runtime():
        await spawn(parent).ended()
    assert got == [True]


async def test_messages_can_be_picked_out_of_the_mailbox() -> None:
    got: list[object] = []

    async def picky(me: Mailbox) -> None:
        got.append(await me.receive(int))
        got.append(await me.receive(lambda m: m == "c"))
        got.append(await me.receive())
        got.append(me.flush())
        with pytest.raises(ReceiveTimeout) as timeout:
            await me.receive(int, within=3)
        assert isinstance(timeout.value, TimeoutError)
        got.append(me.rt.now())
        got.append(await me.receive(within=0))

    async with open_runtime() as rt:
        ref = spawn(picky)
        for message in ("a", "b", 1, "c", "d"):
            ref.send(message)
        await rt.sleep(1)
        ref.send("not an int")
        await ref.ended()
    assert got == [1, "c", "a", ["b", "d"], pytest.approx(3), "not an int"]


async def test_a_wait_for_a_message_that_is_cancelled_loses_nothing() -> None:
    got: list[object] = []

    async def patient(me: Mailbox) -> None:
        with anyio.move_on_after(1):
            await me.receive(int)
        got.append(await me.receive())

    async with open_runtime() as rt:
        ref = spawn(patient)
        ref.send("kept")
        await rt.sleep(2)
    assert got == ["kept"]


async def test_an_actor_too_can_pick_messages_while_it_handles_one() -> None:
    class Asker(Actor):
        async def ask(self, other: Ref[object]) -> object:
            other.send(self.ref)
            return await self.receive(str)

        async def handle_info(self, message: object) -> None:
            self.seen = message

        def last(self) -> object:
            return self.seen

    async def answer(me: Mailbox) -> None:
        sender = await me.receive()
        sender.send(42)
        sender.send("answer")

    async with open_runtime() as rt:
        asker = await rt.start(Asker())
        assert await asker.call(Asker.ask, spawn(answer)) == "answer"
        assert await asker.call(Asker.last) == 42


async def test_a_helper_task_has_no_mailbox_of_its_own() -> None:
    class Confused(Actor):
        def begin(self) -> None:
            self.task(self.receive)

    async with open_runtime() as rt:
        ref = await rt.start(Confused())
        ref.cast(Confused.begin)
        await ref.ended()
        assert isinstance(ref.exit_reason, Crash)
        assert isinstance(ref.exit_reason.error, BadProcess)


async def test_a_parent_s_signal_is_an_ordinary_message_for_a_plain_process() -> None:
    got: list[object] = []

    class Parent(Actor):
        async def have(self) -> Ref[Plain]:
            return await self.start_link(Plain(collect, got, trap_exit=True))

    async with open_runtime() as rt:
        parent = await rt.start(Parent())
        child = await parent.call(Parent.have)
        parent.exit("boom")
        await all_tasks_blocked()
        assert got == [ExitSignal(parent, "boom")]
        assert child.alive


async def with_handshake(me: Mailbox, log: list[object], failure: Exception | None) -> None:
    await me.rt.sleep(2)
    if failure is not None:
        raise failure
    me.started()
    me.started()
    log.append("running")
    await me.receive()


async def test_a_handshake_says_when_a_process_has_started() -> None:
    async with open_runtime() as rt:
        log: list[object] = []
        ref = await rt.start(Plain(with_handshake, log, None, handshake=True), name="plain")
        assert rt.now() == pytest.approx(2)
        assert rt.whereis("plain") == ref
        ref.send("end")
        await ref.ended()
        assert log == ["running"]
        assert ref.exit_reason is NORMAL


async def test_a_process_that_fails_before_its_handshake_has_not_started() -> None:
    error = ValueError("boom")
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as failed:
            await rt.start(Plain(with_handshake, [], error, handshake=True))
        assert failed.value.__cause__ is error
        with pytest.raises(StartFailed) as failed:
            await rt.start(Plain(with_handshake, [], Exit("no"), handshake=True))
        assert failed.value.reason == "no"
        with pytest.raises(Ignore):
            await rt.start(Plain(with_handshake, [], Ignore(), handshake=True))
        with pytest.raises(StartFailed) as failed:
            await rt.start(Plain(finish, handshake=True))
        assert failed.value.reason is NORMAL
        await all_tasks_blocked()
        assert rt.statistics()["processes"] == 0


async def test_a_plain_process_can_be_supervised() -> None:
    runs: list[object] = []

    async def worker(me: Mailbox) -> None:
        runs.append(me.ref)
        me.started()
        raise Exit(await me.receive())

    async with open_runtime() as rt:
        child = Child("w", lambda: Plain(worker, handshake=True), name="w", restart="transient")
        sup = await rt.start(Supervisor([child]))
        rt.ref("w").send("crash")
        await all_tasks_blocked()
        rt.ref("w").send(NORMAL)
        await all_tasks_blocked()
        assert len(runs) == 2
        with pytest.raises(StartFailed) as failed:
            await rt.start(Supervisor([Child("f", lambda: Plain(finish, handshake=True))]))
        assert failed.value.reason == Shutdown(FailedToStart("f", NORMAL))
        assert sup.alive


async def test_what_cannot_be_a_process_is_refused() -> None:
    async with open_runtime() as rt:
        with pytest.raises(BadProcess, match="async def"):
            Plain(lambda me: None)  # type: ignore[arg-type, return-value]
        plain = Plain(finish)
        await rt.start(plain)
        with pytest.raises(BadProcess, match="before"):
            await rt.start(plain)
        first = spawn(collect, [], name="one")
        with pytest.raises(NameTaken):
            spawn(collect, [], name="one")
        with pytest.raises(NotAHandler, match="exit signal"):
            await first.stop()


async def test_a_process_that_is_killed_before_it_ran_never_runs() -> None:
    ran: list[object] = []
    async with open_runtime():
        ref = spawn(collect, ran)
        ref.send("hello")
        ref.kill()
        await ref.ended()
        assert ref.exit_reason is KILLED
    assert ran == []


async def test_plain_processes_are_stopped_with_the_block() -> None:
    cleaned: list[str] = []

    async def holder(me: Mailbox) -> None:
        try:
            await me.receive()
        finally:
            cleaned.append("released")

    async with open_runtime():
        ref = spawn(holder)
        await all_tasks_blocked()
    assert cleaned == ["released"]
    assert ref.exit_reason is SHUTDOWN
