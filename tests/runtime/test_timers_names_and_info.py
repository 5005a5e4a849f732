"""Timers, idle times, registered names, and looking at a process from outside."""

from __future__ import annotations

import pytest
from dspex.runtime import (
    IDLE,
    Actor,
    BadProcess,
    CallingSelf,
    Down,
    Mailbox,
    NameTaken,
    TimerFired,
    UnknownProcess,
    open_runtime,
    process_info,
    spawn,
)
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


class Log(Actor):
    def __init__(self, idle: float | None = None) -> None:
        self.got: list[object] = []
        self.idle = idle

    async def init(self) -> None:
        if self.idle is not None:
            self.idle_after(self.idle)

    def work(self, seconds: float) -> str:
        self.idle_after(seconds)
        return "answered"

    async def finish_then_idle(self, seconds: float) -> None:
        self.continue_with(Log.work, seconds)

    def nothing(self) -> None:
        pass

    def read(self) -> list[object]:
        return self.got

    async def handle_info(self, message: object) -> None:
        self.got.append(message if message is not IDLE else (IDLE, self.rt.now()))


async def test_timers_can_be_told_apart() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Log())
        first, second = rt.start_timer(2, ref, "x"), rt.start_timer(1, ref, "x")
        await rt.sleep(3)
        assert await ref.call(Log.read) == [TimerFired(second, "x"), TimerFired(first, "x")]


async def test_cancelling_a_timer_says_whether_it_was_in_time() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Log())
        timer = rt.send_after(1, ref, "x")
        assert timer.active
        assert timer.cancel() is True
        assert timer.cancel() is False
        fired = rt.send_after(1, ref, "y")
        await rt.sleep(2)
        assert fired.cancel() is False
        assert await ref.call(Log.read) == ["y"]


async def test_a_timer_ends_with_its_receiver_and_not_with_its_creator() -> None:
    async def creator(me: Mailbox, to: object) -> None:
        me.send_after(1, to, "from the grave")  # type: ignore[arg-type]

    async with open_runtime() as rt:
        ref = await rt.start(Log())
        await spawn(creator, ref).ended()
        doomed = await rt.start(Log())
        timer = rt.send_after(1, doomed, "x")
        await doomed.stop()
        assert not timer.active
        assert timer.cancel() is False
        late = rt.send_after(1, doomed, "x")
        assert not late.active
        assert late.when is None
        await rt.sleep(2)
        assert await ref.call(Log.read) == ["from the grave"]


async def test_a_timer_for_a_name_finds_whoever_has_it_then() -> None:
    async with open_runtime() as rt:
        named = rt.ref("log")
        rt.send_after(1, named, "nobody there")
        rt.send_after(3, named, "hello")
        await rt.sleep(2)
        ref = await rt.start(Log(), name="log")
        await rt.sleep(2)
        assert await ref.call(Log.read) == ["hello"]


async def test_a_timer_does_not_run_backwards() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Log())
        with pytest.raises(ValueError, match="seconds"):
            rt.send_after(-1, ref, "x")
        with pytest.raises(BadProcess):
            rt.send_after(1, "nobody", "x")  # type: ignore[arg-type]


async def test_an_idle_actor_is_told_once() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Log())
        assert await ref.call(Log.work, 3) == "answered"
        await rt.sleep(20)
        assert await ref.call(Log.read) == [(IDLE, pytest.approx(3))]


async def test_any_message_calls_the_idle_time_off() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Log())
        await ref.call(Log.work, 3)
        await rt.sleep(2)
        await ref.call(Log.nothing)
        await rt.sleep(20)
        assert await ref.call(Log.read) == []
        ref.cast(Log.work, 3)
        ref.cast(Log.nothing)
        await rt.sleep(20)
        assert await ref.call(Log.read) == []


async def test_an_idle_time_may_be_set_in_init_and_in_a_continuation() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Log(idle=1))
        await rt.sleep(2)
        ref.cast(Log.finish_then_idle, 2)
        await rt.sleep(5)
        assert await ref.call(Log.read) == [(IDLE, pytest.approx(1)), (IDLE, pytest.approx(4))]


async def test_an_idle_actor_can_be_stopped() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Log(idle=100))
        await ref.stop()
        assert rt.now() < 1
        other = await rt.start(Log())
        with pytest.raises(Exception, match="idle"):
            await other.call(Log.work, -1)


async def test_a_process_can_be_given_a_name_and_lose_it() -> None:
    async with open_runtime() as rt:
        a, b = await rt.start(Log()), await rt.start(Log())
        rt.register("log", a)
        assert rt.whereis("log") == a
        with pytest.raises(NameTaken):
            rt.register("log", b)
        with pytest.raises(ValueError, match="one name"):
            rt.register("other", a)
        rt.unregister("log")
        assert rt.whereis("log") is None
        assert a.alive
        with pytest.raises(UnknownProcess):
            rt.unregister("log")
        rt.register("log", b)
        await b.stop()
        rt.register("log", a)
        assert rt.whereis("log") == a
        with pytest.raises(ValueError, match="dead"):
            rt.register("dead", b)
        with pytest.raises(ValueError, match="non-empty"):
            rt.register("", a)


async def test_a_monitor_on_a_name_watches_who_has_it_now() -> None:
    got: list[object] = []

    async def watcher(me: Mailbox) -> None:
        monitor = me.monitor(me.rt.ref("log"))
        missing = me.monitor(me.rt.ref("nobody"))
        first, second = await me.receive(Down), await me.receive(Down)
        got.append((first.monitor is missing, first.monitor.name, first.ref))
        got.append((second.monitor is monitor, second.monitor.name, second.ref))

    async with open_runtime() as rt:
        ref = await rt.start(Log(), name="log")
        spawn(watcher)
        await all_tasks_blocked()
        rt.unregister("log")
        await ref.stop()
        await all_tasks_blocked()
    assert got == [(True, "nobody", None), (True, "log", ref)]


async def test_a_process_can_be_looked_at_while_it_is_busy() -> None:
    class Busy(Log):
        trap_exit = True

        async def spend(self, seconds: float) -> None:
            await self.rt.sleep(seconds)

    async def neighbour(me: Mailbox, of: Busy) -> None:
        me.link(of.ref)
        me.monitor(of.ref)
        await me.receive()

    async with open_runtime() as rt:
        actor = Busy()
        ref = await rt.start(actor, name="busy")
        ref.cast(Busy.spend, 10)
        other = spawn(neighbour, actor)
        await all_tasks_blocked()
        ref.send("waiting")
        info, far = process_info(ref), process_info(other)
        assert info is not None
        assert far is not None
        assert (info.name, info.trap_exit, info.messages) == ("busy", True, 1)
        assert info.links == (other,)
        assert [who for _, who in info.monitored_by] == [other]
        assert info.monitors == ()
        assert [who for _, who in far.monitors] == [ref]
        ref.kill()
        await ref.ended()
        assert process_info(ref) is None


async def test_nobody_is_told_of_its_own_end() -> None:
    class Narcissus(Log):
        def look(self) -> None:
            self.link(self.ref)
            self.monitor(self.ref)

    async with open_runtime() as rt:
        ref = await rt.start(Narcissus())
        await ref.call(Narcissus.look)
        info = process_info(ref)
        assert info is not None
        assert (info.links, info.monitors) == ((), ())


async def test_an_actor_cannot_wait_for_its_own_stop_but_its_helper_may_call_it() -> None:
    class Loop(Log):
        async def end(self) -> None:
            await self.ref.stop()

        def ask_myself(self) -> None:
            self.task(self._ask)

        async def _ask(self) -> None:
            self.got.append(await self.ref.call(Log.work, 100))

    async with open_runtime() as rt:
        ref = await rt.start(Loop())
        await ref.call(Loop.ask_myself)
        await all_tasks_blocked()
        assert await ref.call(Log.read) == ["answered"]
        ref.cast(Loop.end)
        await ref.ended()
        assert isinstance(ref.exit_reason.error, CallingSelf)  # type: ignore[union-attr]
