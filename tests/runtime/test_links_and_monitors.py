"""Links, monitors and exit signals, by Erlang's rules."""

from __future__ import annotations

import pytest
from dspex.runtime import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    Actor,
    ActorExit,
    Address,
    BadProcess,
    Crash,
    Down,
    ExitSignal,
    Monitor,
    Ref,
    open_runtime,
)
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


class Peer(Actor):
    def __init__(self) -> None:
        self.got: list[object] = []

    def messages(self) -> list[object]:
        return self.got

    def tie(self, other: Address) -> None:
        self.link(other)

    def untie(self, other: Address) -> None:
        self.unlink(other)

    def watch(self, other: Address) -> Monitor:
        return self.monitor(other)

    def unwatch(self, monitor: Monitor, flush: bool) -> bool:
        return self.demonitor(monitor, flush=flush)

    def signal(self, other: Ref[Peer], reason: object) -> None:
        other.exit(reason)

    def crash(self, error: Exception) -> None:
        raise error

    async def adopt(self) -> Ref[Peer]:
        return await self.start_link(Peer())

    async def doze(self, seconds: float) -> None:
        await self.rt.sleep(seconds)

    async def handle_info(self, message: object) -> None:
        self.got.append(message)


class Trapper(Peer):
    trap_exit = True


async def test_a_crash_takes_linked_processes_along() -> None:
    async with open_runtime() as rt:
        a, b, c = [await rt.start(Peer()) for _ in range(3)]
        await a.call(Peer.tie, b)
        await b.call(Peer.tie, c)
        error = ValueError("boom")
        a.cast(Peer.crash, error)
        await c.ended()
        assert b.exit_reason == c.exit_reason == Crash(error)


async def test_an_ordinary_end_does_not_disturb_linked_processes() -> None:
    async with open_runtime() as rt:
        a, b, t = await rt.start(Peer()), await rt.start(Peer()), await rt.start(Trapper())
        await a.call(Peer.tie, b)
        await t.call(Peer.tie, a)
        await a.stop()
        assert b.alive
        assert await t.call(Peer.messages) == [ExitSignal(a, NORMAL)]


async def test_a_process_that_traps_exits_gets_a_message_instead() -> None:
    async with open_runtime() as rt:
        a, t = await rt.start(Peer()), await rt.start(Trapper())
        await t.call(Peer.tie, a)
        error = ValueError("boom")
        a.cast(Peer.crash, error)
        await a.ended()
        assert await t.call(Peer.messages) == [ExitSignal(a, Crash(error))]


async def test_what_was_sent_before_an_end_is_read_before_it() -> None:
    class Farewell(Actor):
        def leave(self, to: Address) -> None:
            assert isinstance(to, Ref)
            to.send("last words")
            self.stop("gone")

    async with open_runtime() as rt:
        t = await rt.start(Trapper())
        f = await rt.start(Farewell())
        await t.call(Peer.tie, f)
        monitor = await t.call(Peer.watch, f)
        f.cast(Farewell.leave, t)
        await f.ended()
        assert await t.call(Peer.messages) == ["last words", ExitSignal(f, "gone"), Down(monitor, f, "gone")]


async def test_unlink_undoes_a_link() -> None:
    async with open_runtime() as rt:
        a, b = await rt.start(Peer()), await rt.start(Peer())
        await a.call(Peer.tie, b)
        await b.call(Peer.untie, a)
        a.exit("boom")
        await a.ended()
        assert b.alive


async def test_linking_to_the_dead_fails_or_is_a_message() -> None:
    async with open_runtime() as rt:
        dead = await rt.start(Peer())
        await dead.stop()
        t, p = await rt.start(Trapper()), await rt.start(Peer())
        await t.call(Peer.tie, dead)
        assert await t.call(Peer.messages) == [ExitSignal(dead, NOPROC)]
        with pytest.raises(ActorExit) as exit_:
            await p.call(Peer.tie, dead)
        assert isinstance(exit_.value.__cause__, ActorExit)
        assert exit_.value.__cause__.reason is NOPROC


async def test_an_exit_signal_ends_a_process_that_does_not_trap() -> None:
    async with open_runtime() as rt:
        a, b = await rt.start(Peer()), await rt.start(Peer())
        await a.call(Peer.signal, b, "go away")
        await b.ended()
        assert b.exit_reason == "go away"


async def test_a_normal_signal_is_ignored_by_others_and_not_by_oneself() -> None:
    async with open_runtime() as rt:
        a, b, t = await rt.start(Peer()), await rt.start(Peer()), await rt.start(Trapper())
        await a.call(Peer.signal, b, NORMAL)
        await a.call(Peer.signal, t, NORMAL)
        assert b.alive
        assert await t.call(Peer.messages) == [ExitSignal(a, NORMAL)]
        a.cast(Peer.signal, a, NORMAL)
        await a.ended()
        assert a.exit_reason is NORMAL


async def test_kill_cannot_be_trapped_and_its_links_see_killed() -> None:
    async with open_runtime() as rt:
        victim, t = await rt.start(Trapper()), await rt.start(Trapper())
        await t.call(Peer.tie, victim)
        victim.exit(KILL)
        await victim.ended()
        assert await t.call(Peer.messages) == [ExitSignal(victim, KILLED)]


async def test_a_kill_that_travels_a_link_can_be_trapped() -> None:
    class Suicidal(Actor):
        def leave(self) -> None:
            self.stop(KILL)

    async with open_runtime() as rt:
        s, t = await rt.start(Suicidal()), await rt.start(Trapper())
        await t.call(Peer.tie, s)
        s.cast(Suicidal.leave)
        await s.ended()
        assert await t.call(Peer.messages) == [ExitSignal(s, KILL)]


async def test_a_monitor_tells_once_and_harms_nobody() -> None:
    async with open_runtime() as rt:
        watcher, a = await rt.start(Peer()), await rt.start(Peer())
        first = await watcher.call(Peer.watch, a)
        second = await watcher.call(Peer.watch, a)
        a.exit("boom")
        await a.ended()
        assert await watcher.call(Peer.messages) == [Down(first, a, "boom"), Down(second, a, "boom")]


async def test_a_monitor_on_the_dead_says_so_at_once() -> None:
    async with open_runtime() as rt:
        watcher, a = await rt.start(Peer()), await rt.start(Peer())
        await a.stop()
        monitor = await watcher.call(Peer.watch, a)
        assert await watcher.call(Peer.messages) == [Down(monitor, a, NOPROC)]


async def test_demonitor_stops_watching_and_flush_takes_the_message_back() -> None:
    async with open_runtime() as rt:
        watcher, a = await rt.start(Peer()), await rt.start(Peer())
        quiet = await watcher.call(Peer.watch, a)
        flushed = await watcher.call(Peer.watch, a)
        late = await watcher.call(Peer.watch, a)
        assert await watcher.call(Peer.unwatch, quiet, False) is True
        watcher.cast(Peer.doze, 1.0)
        await all_tasks_blocked()
        a.exit("boom")
        await a.ended()
        # The watcher is busy: two Downs wait behind this call, and one of them is taken back.
        watcher.cast(Peer.unwatch, flushed, True)
        await rt.sleep(2)
        assert await watcher.call(Peer.unwatch, late, False) is False
        assert await watcher.call(Peer.messages) == [Down(flushed, a, "boom"), Down(late, a, "boom")]


async def test_flush_takes_back_a_down_that_waits() -> None:
    class Careful(Peer):
        async def look(self, other: Ref[Peer]) -> bool:
            monitor = self.monitor(other)
            other.exit("boom")
            await other.ended()
            return self.demonitor(monitor, flush=True)

    async with open_runtime() as rt:
        watcher, a = await rt.start(Careful()), await rt.start(Peer())
        assert await watcher.call(Careful.look, a) is False
        assert await watcher.call(Peer.messages) == []


async def test_a_child_ends_with_its_parent() -> None:
    async with open_runtime() as rt:
        parent = await rt.start(Peer())
        child = await parent.call(Peer.adopt)
        parent.exit("boom")
        await child.ended()
        assert child.exit_reason == "boom"


async def test_a_trapping_child_is_ordered_to_terminate_by_its_parent() -> None:
    class Child(Trapper):
        async def terminate(self, reason: object) -> None:
            self.got.append(("terminate", reason))

    class Parent(Peer):
        async def have(self, child: Child) -> Ref[Child]:
            return await self.start_link(child)

    async with open_runtime() as rt:
        parent = await rt.start(Parent())
        child = Child()
        ref = await parent.call(Parent.have, child)
        parent.exit("boom")
        await ref.ended()
        assert child.got == [("terminate", "boom")]
        assert ref.exit_reason == "boom"


async def test_no_message_is_handled_after_a_process_has_been_told_to_die() -> None:
    class SelfKiller(Peer):
        async def handle_info(self, message: object) -> None:
            self.got.append(message)
            if message == "die":
                self.ref.exit("enough")

    async with open_runtime() as rt:
        actor = SelfKiller()
        ref = await rt.start(actor)
        for message in ("a", "die", "b"):
            ref.send(message)
        await ref.ended()
        assert actor.got == ["a", "die"]


async def test_only_processes_can_be_linked() -> None:
    async with open_runtime() as rt:
        a = await rt.start(Peer())
        with pytest.raises(ActorExit) as exit_:
            await a.call(Peer.tie, "nobody")  # type: ignore[arg-type]
        assert isinstance(exit_.value.__cause__, BadProcess)


async def test_a_kill_gets_through_to_code_that_ignores_cancellation_once() -> None:
    class Stubborn(Actor):
        async def handle_info(self, message: object) -> None:
            try:
                await self.rt.sleep(1e9)
            except BaseException:
                await self.rt.sleep(1e9)

    async with open_runtime() as rt:
        ref = await rt.start(Stubborn())
        ref.send("go")
        await all_tasks_blocked()
        ref.kill()
        assert await ref.ended(1)
        assert rt.now() < 1
