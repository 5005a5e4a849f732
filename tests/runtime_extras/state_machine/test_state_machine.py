"""State machines beyond what gen_statem's traces show: typed calls, states of any kind, mistakes, life and death."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

import anyio.lowlevel
import pytest
from dspex.runtime import (
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorExit,
    BadProcess,
    CallTimeout,
    Crash,
    Down,
    Event,
    NotAHandler,
    Reason,
    Refuse,
    StartFailed,
    open_runtime,
)
from dspex.runtime import state_machine as sm
from dspex.runtime.state_machine import (
    POSTPONE,
    UNHANDLED,
    Answer,
    BadTransition,
    Called,
    Clock,
    Entered,
    Halt,
    Info,
    Insert,
    Internal,
    Keep,
    Next,
    Repeat,
    StateMachine,
    TimedOut,
    Transition,
    UnexpectedCall,
    event,
    event_timeout,
    in_state,
    named_timeout,
    state_timeout,
    timeout_at,
)
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, Supervisor, tree

pytestmark = pytest.mark.anyio


class Door(StateMachine[str]):
    initial = "locked"

    def __init__(self, code: str = "1234") -> None:
        self.code = code
        self.ended: Reason = None

    @event
    def push(self, code: str, *, times: int = 1) -> bool: ...

    @event
    def look(self) -> str: ...

    @in_state("locked")
    def locked(self, event: sm.StateEvent) -> Transition[str] | None:
        match event:
            case Called(Door.push, (code, _)) as call:
                if code == "":
                    raise Refuse(ValueError("no code"))
                if code != self.code:
                    return Keep(Answer(call, False))
                return Next("open", Answer(call, True), state_timeout(10))
            case Called(Door.look):
                return UNHANDLED
        return None

    @in_state("open")
    async def open(self, event: sm.StateEvent) -> Transition[str] | None:
        match event:
            case Called(Door.push):
                return Keep(POSTPONE)
            case TimedOut(Clock.STATE):
                await anyio.lowlevel.checkpoint()
                return Next("locked")
            case Called(Door.look, _, reply):
                reply.send("wide open")
                return None
        return None

    def count(self) -> int:
        return self.statistics()["events"]

    async def terminate(self, reason: Reason) -> None:
        self.ended = reason


async def test_a_door_opens_locks_itself_and_keeps_early_pushes_for_later() -> None:
    async with open_runtime() as rt:
        door = await rt.start(Door())
        assert await door.call(Door.push, "0000") is False
        assert await door.call(Door.push, "1234", times=2) is True
        begun = rt.now()
        assert await door.within(60).call(Door.push, code="1234") is True
        assert rt.now() - begun == pytest.approx(10)
        assert await door.call(Door.look) == "wide open"


async def test_a_call_that_a_state_does_not_answer_is_refused_and_said() -> None:
    heard: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(heard.append, prefix="runtime.state_machine")
        door = await rt.start(Door(), name="door")
        with pytest.raises(UnexpectedCall, match=r"does not answer Door.look in state 'locked'") as caught:
            await door.call(Door.look)
        assert caught.value.state == "locked"
        with pytest.raises(ValueError, match="no code"):
            await door.call(Door.push, "")
        assert await door.call(Door.push, "1234")
        assert tree(rt).find("door").detail == "state 'open'"  # type: ignore[union-attr]
    assert [(e.name, e.data.get("method"), e.data.get("after")) for e in heard] == [
        ("runtime.state_machine.unexpected", "Door.look", None),
        ("runtime.state_machine.changed", None, "open"),
    ]


async def test_arguments_that_do_not_fit_are_the_callers_mistake() -> None:
    heard: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(heard.append, prefix="runtime.dead_letter")
        door = await rt.start(Door())
        with pytest.raises(NotAHandler, match="push cannot be called so"):
            await door.call(Door.push)  # type: ignore[call-arg]
        door.cast(Door.push, "1", "2", "3")  # type: ignore[call-arg]
        await all_tasks_blocked()
        assert door.alive
        assert len(heard) == 1


async def test_the_methods_of_states_are_no_messages_and_others_are() -> None:
    async with open_runtime() as rt:
        door = await rt.start(Door())
        with pytest.raises(NotAHandler):
            await door.call(Door.locked, Internal())  # type: ignore[arg-type, call-overload]
        assert await door.call(Door.count) == 0


async def test_a_crash_in_a_state_fails_the_callers_and_runs_terminate() -> None:
    class Bomb(Door):
        @in_state("open")
        def open(self, event: sm.StateEvent) -> Transition[str] | None:
            if isinstance(event, Info):
                raise RuntimeError("boom")
            return Keep(POSTPONE) if isinstance(event, Called) else None

    async with open_runtime() as rt:
        bomb = Bomb()
        door = await rt.start(bomb)
        await door.call(Door.push, "1234")
        rt.send_after(1, door, "now")
        with pytest.raises(ActorExit) as caught:
            await door.call(Door.push, "x")
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert isinstance(bomb.ended, Crash)


async def test_a_postponed_caller_learns_why_the_machine_died() -> None:
    class Bomb(StateMachine[int]):
        initial = 0

        @event
        def ask(self) -> int: ...

        async def handle_event(self, event: sm.StateEvent) -> Transition[int] | None:
            if isinstance(event, Called):
                return Keep(POSTPONE, state_timeout(1))
            raise RuntimeError("boom")

    async with open_runtime() as rt:
        bomb = await rt.start(Bomb())
        with pytest.raises(ActorExit) as caught:
            await bomb.call(Bomb.ask)
        assert isinstance(caught.value.__cause__, RuntimeError)


class Mode(Enum):
    OFF = 1
    ON = 2


class Lamp(StateMachine[Mode]):
    initial = Mode.OFF
    state_enter = True

    def __init__(self) -> None:
        self.log: list[object] = []

    @event
    def toggle(self) -> None: ...

    @event
    def flash(self) -> None: ...

    @event
    def off(self) -> str: ...

    @in_state(Mode.OFF, Mode.ON)
    def either(self, event: sm.StateEvent) -> Transition[Mode] | None:
        match event:
            case Entered(previous):
                self.log.append((previous, self.state))
                return Keep(named_timeout("warm", 1))
            case Called(Lamp.toggle) as call:
                return Next(Mode.ON if self.state is Mode.OFF else Mode.OFF, Answer(call))
            case Called(Lamp.flash) as call:
                return Repeat(Answer(call), Insert(Internal("again")))
            case Called(Lamp.off) as call:
                return Halt(SHUTDOWN, Answer(call, "bye"))
            case _:
                self.log.append(event)
                return None


async def test_states_may_be_enums_and_are_entered_at_start_change_and_repeat() -> None:
    async with open_runtime() as rt:
        lamp = Lamp()
        ref = await rt.start(lamp)
        await ref.call(Lamp.toggle)
        await ref.call(Lamp.flash)
        await rt.sleep(2)
        assert lamp.log == [
            (Mode.OFF, Mode.OFF),
            (Mode.OFF, Mode.ON),
            (Mode.ON, Mode.ON),
            Internal("again"),
            TimedOut("warm"),
        ]
        assert await ref.call(Lamp.off) == "bye"
        await ref.ended()
        assert ref.exit_reason is SHUTDOWN


async def test_states_may_be_values_that_cannot_be_hashed() -> None:
    class Stack(StateMachine[list[int]]):
        @event
        def push(self, n: int) -> list[int]: ...

        @event
        def wait(self) -> str: ...

        async def init(self) -> None:
            self.begin([], Insert(Internal(7)))

        async def handle_event(self, event: sm.StateEvent) -> Transition[list[int]] | None:
            match event:
                case Called(Stack.push, (n,)) as call:
                    return Next([*self.state, n], Answer(call, [*self.state, n]))
                case Called(Stack.wait) as call:
                    return Keep(Answer(call, "long")) if len(self.state) > 2 else Keep(POSTPONE)
                case Internal(n):
                    return Next([n])
            return None

    async with open_runtime() as rt:
        stack = await rt.start(Stack())
        assert await stack.call(Stack.push, 1) == [7, 1]
        with pytest.raises(CallTimeout):
            await stack.within(1).call(Stack.wait)
        stack.cast(Stack.push, 2)
        assert await stack.call(Stack.wait) == "long"


async def test_a_timer_that_was_stopped_when_it_was_on_its_way_is_not_heard() -> None:
    heard: list[object] = []

    class Busy(StateMachine[str]):
        initial = "busy"

        async def handle_event(self, event: sm.StateEvent) -> Transition[str] | None:
            heard.append(event)
            if event == Info("work"):
                await self.rt.sleep(5)  # the time-out becomes due meanwhile
                return Next("done", event_timeout(1))
            return Keep(state_timeout(2)) if event == Info("set") else None

    async with open_runtime() as rt:
        ref = await rt.start(Busy())
        ref.send("set")
        ref.send("work")
        await rt.sleep(20)
    assert heard == [Info("set"), Info("work"), TimedOut(Clock.EVENT)]


async def test_a_time_out_may_be_at_a_time() -> None:
    heard: list[object] = []

    class Alarm(StateMachine[str]):
        initial = "on"

        async def handle_event(self, event: sm.StateEvent) -> Transition[str] | None:
            heard.append((event, round(self.rt.now() - begun, 3)))
            if event == Info("set"):
                return Keep(timeout_at("later", begun + 5, "x"), timeout_at("past", begun - 5, "y"))
            return None

    async with open_runtime() as rt:
        begun = rt.now()
        alarm = Alarm()
        assert alarm.statistics() == {"events": 0, "changes": 0, "postponed": 0, "timeouts": 0}
        ref = await rt.start(alarm)
        await rt.sleep(2)
        ref.send("set")
        await rt.sleep(1)
        assert alarm.statistics() == {"events": 2, "changes": 0, "postponed": 0, "timeouts": 1}
        await rt.sleep(5)
    assert heard == [(Info("set"), 2), (TimedOut("past", "y"), 2), (TimedOut("later", "x"), 5)]


async def test_a_machine_under_a_supervisor_begins_anew_and_stops_in_order() -> None:
    class Fragile(Door):
        trap_exit: ClassVar[bool] = True

        def break_down(self) -> None:
            raise RuntimeError("boom")

    made: list[Fragile] = []

    def make() -> Fragile:
        made.append(Fragile())
        return made[-1]

    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("door", make, name="door")], intensity=3))
        door: Any = rt.ref("door")
        assert await door.call(Door.push, "1234")
        door.cast(Fragile.break_down)
        await all_tasks_blocked()
        assert await door.call(Door.push, "0000") is False  # locked again
    assert len(made) == 2
    assert made[1].ended is SHUTDOWN


async def test_a_machine_that_inserts_for_ever_lets_others_run_and_can_be_killed() -> None:
    class Mill(StateMachine[int]):
        initial = 0

        async def handle_event(self, event: sm.StateEvent) -> Transition[int] | None:
            return Keep(Insert(Internal()))

    async with open_runtime() as rt:
        mill = await rt.start(Mill())
        mill.send("turn")
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        assert mill.alive
        mill.kill()
        await mill.ended()


async def test_down_arrives_as_info_and_unknown_messages_are_reported() -> None:
    got: list[object] = []

    class Watch(StateMachine[str]):
        initial = "watching"

        def __init__(self, whom: Any) -> None:
            self.whom = whom

        async def init(self) -> None:
            self.monitor(self.whom)

        @in_state("watching")
        def watching(self, event: sm.StateEvent) -> Transition[str] | None:
            match event:
                case Info(Down(_, _, reason)):
                    got.append(reason)
                    return None
            return UNHANDLED

    heard: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(heard.append, prefix="runtime.unhandled")
        door = await rt.start(Door())
        watch = await rt.start(Watch(door))
        await door.stop()
        watch.send("what?")
        await all_tasks_blocked()
    assert got == [NORMAL]
    assert len(heard) == 1


class Answering:
    def __init__(self, kind: Any, what: str) -> None:
        self.kind = kind
        self.what = what

    def with_answer(self, call: Called) -> Any:
        answer = Answer(call, "done")
        return self.kind(self.what, answer) if self.kind is Next else self.kind(answer, self.what)


async def test_a_crash_on_entering_the_first_state_comes_after_the_start_as_in_gen_statem() -> None:
    class Bad(Door):
        state_enter = True

        @in_state("locked")
        def locked(self, event: sm.StateEvent) -> Transition[str] | None:
            raise OSError("no hinge")

    async with open_runtime() as rt:
        bad = Bad()
        ref = await rt.start(bad)
        await ref.ended()
        assert isinstance(ref.exit_reason, Crash)
        assert isinstance(bad.ended, Crash)  # terminate ran


async def test_what_breaks_a_rule_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="two handlers for state 'a'"):

        class Twice(StateMachine[str]):
            @in_state("a")
            def first(self, event: sm.StateEvent) -> None: ...

            @in_state("a", "b")
            def second(self, event: sm.StateEvent) -> None: ...

    with pytest.raises(TypeError, match="needs a state"):
        in_state()
    with pytest.raises(ValueError, match="seconds >= 0"):
        state_timeout(-1)

    class Wide(Door):
        concurrency = 2

    class Nowhere(StateMachine[str]):
        pass

    class Typo(StateMachine[str]):
        initial = "a"
        says: Any = Next("b")

        @event
        def go(self) -> None: ...

        @in_state("a")
        def a(self, event: sm.StateEvent) -> Any:
            if isinstance(self.says, Answering):
                assert isinstance(event, Called)
                return self.says.with_answer(event)  # nobody is answered by a transition that cannot be made
            return self.says

    with pytest.raises(BadProcess, match="has no state yet"):
        _ = Door().state
    async with open_runtime() as rt:
        with pytest.raises(BadProcess, match="one event at a time"):
            await rt.start(Wide())
        lost = await rt.start(Nowhere())
        await lost.ended()
        assert "no state to begin in" in str(lost.exit_reason.error)  # type: ignore[union-attr]
        for says, message in [
            (Next("b"), "no handler for state 'b'; there are: 'a'"),
            ("b", "a handler returns Next"),
            (Keep("later"), "is no action"),  # type: ignore[arg-type]
            (Answering(Next, "b"), "no handler for state 'b'"),
            (Answering(Keep, "later"), "is no action"),
        ]:
            typo = Typo()
            typo.says = says
            ref = await rt.start(typo)
            with pytest.raises(ActorExit) as caught:
                await ref.call(Typo.go)
            assert isinstance(caught.value.__cause__, BadTransition)
            assert message in str(caught.value.__cause__)
        door = Door()
        await rt.start(door)
        await all_tasks_blocked()
        with pytest.raises(BadProcess, match="has begun"):
            door.begin("open")


async def test_init_may_fail_as_in_any_actor() -> None:
    class Bad(Door):
        async def init(self) -> None:
            raise OSError("no hinge")

    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as caught:
            await rt.start(Bad())
        assert isinstance(caught.value.__cause__, OSError)


def test_a_machine_is_an_actor() -> None:
    assert issubclass(StateMachine, Actor)
