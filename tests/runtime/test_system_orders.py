"""Orders to a live actor, as Erlang's sys: they overtake its messages, also while it is suspended."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from dspex.runtime import (
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorExit,
    CallingSelf,
    CallTimeout,
    NotAHandler,
    Ref,
    Runtime,
    Traced,
    UnknownProcess,
    get_state,
    open_runtime,
    replace_state,
    resume,
    spawn,
    suspend,
    trace,
)
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, Supervisor

pytestmark = pytest.mark.anyio


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start
        self.ended_with: object = None

    def add(self, n: int) -> int:
        self.value += n
        return self.value

    async def slow_add(self, n: int, seconds: float) -> int:
        await self.rt.sleep(seconds)
        return self.add(n)

    async def look_at_myself(self) -> Any:
        return await get_state(self.ref)

    async def handle_info(self, message: object) -> None:
        self.add(100)

    async def terminate(self, reason: object) -> None:
        self.ended_with = reason


class Guarded(Counter):
    trap_exit = True


async def test_the_state_is_seen_between_two_messages_and_before_those_that_wait() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter(5))
        assert await get_state(ref) == {"value": 5, "ended_with": None}
        ref.cast(Counter.slow_add, 1, 2)
        await all_tasks_blocked()
        for _ in range(10):
            ref.cast(Counter.add, 1)
        assert (await get_state(ref))["value"] == 6
        assert rt.now() == pytest.approx(2)
        assert await ref.call(Counter.add, 0) == 16


async def test_the_state_can_be_replaced() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter(5), name="counter")
        named = rt.ref("counter")
        assert await replace_state(named, lambda state: {**state, "value": 40}) == {"value": 40, "ended_with": None}
        assert await ref.call(Counter.add, 2) == 42
        with pytest.raises(ZeroDivisionError):
            await replace_state(ref, lambda _: 1 / 0)
        with pytest.raises(TypeError, match="mapping"):
            await replace_state(ref, lambda _: 7)
        assert await ref.call(Counter.add, 0) == 42


async def test_an_actor_may_say_itself_what_its_state_is() -> None:
    class Own(Counter):
        def system_get_state(self) -> int:
            return self.value

        def system_replace_state(self, state: int) -> None:
            self.value = state

    async with open_runtime() as rt:
        ref = await rt.start(Own(3))
        assert await get_state(ref) == 3
        assert await replace_state(ref, lambda state: state * 2) == 6
        assert await ref.call(Counter.add, 0) == 6


async def test_a_suspended_actor_handles_no_message_and_obeys_orders() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        await suspend(ref)
        await suspend(ref)
        ref.cast(Counter.add, 1)
        ref.send("hello")
        with pytest.raises(CallTimeout):
            await ref.within(1).call(Counter.add, 1)
        assert (await get_state(ref))["value"] == 0
        assert ref.statistics().messages == 3
        await replace_state(ref, lambda state: {**state, "value": 10})
        await resume(ref)
        assert await ref.call(Counter.add, 0) == 112
        await resume(ref)


async def test_a_suspended_actor_can_be_stopped_and_killed() -> None:
    async with open_runtime() as rt:
        for stop in (lambda ref: ref.stop(), lambda ref: ref.kill()):
            actor = Counter()
            ref = await rt.start(actor)
            await suspend(ref)
            ref.cast(Counter.add, 1)
            waiting = stop(ref)
            if waiting is not None:
                await waiting
            await ref.ended()
            assert ref.exit_reason in (NORMAL, KILLED)
            assert actor.value == 0
        assert actor.ended_with is None


async def test_a_supervisor_s_shutdown_reaches_a_suspended_child() -> None:
    children: list[Guarded] = []

    def make() -> Guarded:
        children.append(Guarded())
        return children[-1]

    async with open_runtime() as rt:
        root = await rt.start(Supervisor([Child("c", make, name="c")]))
        await suspend(rt.ref("c"))
        rt.ref("c").cast(Counter.add, 1)
        began = rt.now()
        await root.stop()
        assert rt.now() == began
        assert children[0].ended_with is SHUTDOWN
        assert children[0].value == 0


async def test_an_exit_signal_of_somebody_else_waits_like_a_message_while_it_is_suspended() -> None:
    async with open_runtime() as rt:
        guarded, other = await rt.start(Guarded()), await rt.start(Counter())
        await suspend(guarded)
        other.exit("reason")
        guarded.exit("reason")
        await all_tasks_blocked()
        assert guarded.alive
        assert not other.alive
        await resume(guarded)
        assert await guarded.call(Counter.add, 0) == 100


async def test_continuations_and_idle_times_wait_for_the_end_of_a_suspension() -> None:
    class Busy(Counter):
        def work(self) -> None:
            self.continue_with(Busy.add, 1)
            self.continue_with(Busy.work)
            self.add(0)

    async with open_runtime() as rt:
        ref = await rt.start(Busy())
        ref.cast(Busy.work)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        await suspend(ref)
        before = await get_state(ref)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert await get_state(ref) == before
        ref.kill()


async def test_whoever_waits_for_an_order_learns_of_the_end_of_the_actor() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        ref.cast(Counter.slow_add, 1, 60)
        await all_tasks_blocked()
        with pytest.raises(CallTimeout):
            await get_state(ref, within=1)
        reasons: list[object] = []

        async def look() -> None:
            with pytest.raises(ActorExit) as exit_:
                await get_state(ref, within=None)
            reasons.append(exit_.value.reason)

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            await all_tasks_blocked()
            ref.kill()
        assert reasons == [KILLED]
        with pytest.raises(ActorExit) as exit_:
            await suspend(ref)
        assert exit_.value.reason is NOPROC


async def test_an_order_that_nobody_waits_for_any_more_is_not_carried_out() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        ref.cast(Counter.slow_add, 1, 3)
        await all_tasks_blocked()
        with pytest.raises(CallTimeout):
            await suspend(ref, within=1)
        assert await ref.call(Counter.add, 1) == 2


async def test_who_cannot_be_ordered_says_so() -> None:
    async def idle(me: object) -> None:
        await anyio.sleep_forever()

    async with open_runtime() as rt:
        with pytest.raises(NotAHandler, match="plain process"):
            await get_state(spawn(idle))
        with pytest.raises(UnknownProcess):
            await suspend(rt.ref("nobody"))
        ref = await rt.start(Counter())
        with pytest.raises(ActorExit) as exit_:
            await ref.call(Counter.look_at_myself)
        assert isinstance(exit_.value.__cause__, CallingSelf)


async def traced(rt: Runtime) -> tuple[Ref[Counter], list[Traced]]:
    seen: list[Traced] = []
    ref = await rt.start(Counter())
    await trace(ref, seen.append)
    return ref, seen


async def test_a_tracer_sees_every_message_and_answer() -> None:
    async with open_runtime() as rt:
        ref, seen = await traced(rt)
        await ref.call(Counter.slow_add, 1, seconds=2)
        ref.cast(Counter.add, 2)
        ref.send("hello")
        await all_tasks_blocked()
        assert seen == [
            Traced(0, "call", "Counter.slow_add", ((1,), {"seconds": 2})),
            Traced(2, "answered", "Counter.slow_add", None),
            Traced(2, "cast", "Counter.add", ((2,), {})),
            Traced(2, "info", None, "hello"),
        ]
        await trace(ref, None)
        await ref.call(Counter.add, 1)
        assert len(seen) == 4


async def test_a_tracer_that_raises_is_called_no_more_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Traced] = []

    def broken(message: Traced) -> None:
        calls.append(message)
        raise ValueError("broken tracer")

    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        await trace(ref, broken)
        assert await ref.call(Counter.add, 1) == 1
        assert await ref.call(Counter.add, 1) == 2
        assert len(calls) == 1
    assert "broken tracer" in caplog.text


async def test_statistics_of_an_actor_count_what_it_did_and_what_waits() -> None:
    async with open_runtime() as rt:
        await rt.sleep(3)
        ref = await rt.start(Counter())
        for _ in range(10):
            ref.cast(Counter.add, 1)
        await ref.call(Counter.add, 1)
        ref.cast(Counter.slow_add, 1, 60)
        await all_tasks_blocked()
        for _ in range(4):
            ref.send("waits")
        statistics = ref.statistics()
        assert statistics.started_at == 3
        assert (statistics.handled, statistics.messages) == (12, 4)
        assert (statistics.dropped, statistics.rejected, statistics.waiting_senders) == (0, 0, 0)
        assert rt.statistics()["messages"] == 4
        ref.kill()
        await ref.ended()
        assert ref.statistics().messages == 0


async def test_statistics_count_calls_that_are_not_answered_yet() -> None:
    class Patient(Actor):
        def __init__(self) -> None:
            self.replies: list[Any] = []

        def ask(self) -> None:
            self.replies.append(self.defer())

    async with open_runtime() as rt:
        actor = Patient()
        ref = await rt.start(actor)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ref.call, Patient.ask)
            await all_tasks_blocked()
            assert ref.statistics().unanswered == 3
            for reply in actor.replies:
                reply.send(None)
        assert ref.statistics().unanswered == 0
