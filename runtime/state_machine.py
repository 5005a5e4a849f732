"""State machines: gen_statem as a class. All that one is written with can be imported from here.

    class Door(StateMachine[str]):
        initial = "locked"

        def __init__(self, code: str) -> None:
            self.code = code

        @event
        def push(self, code: str) -> bool: ...                      # declares a message; states handle it

        @in_state("locked")
        def locked(self, event: StateEvent) -> Transition[str] | None:
            match event:
                case Called(Door.push, (code,)) as call:
                    if code != self.code:
                        return Keep(Answer(call, False))
                    return Next("open", Answer(call, True), state_timeout(10))

        @in_state("open")
        def open(self, event: StateEvent) -> Transition[str] | None:
            match event:
                case Called(Door.push):
                    return Keep(POSTPONE)                           # again when the door is locked
                case TimedOut(Clock.STATE):
                    return Next("locked")

    door = await rt.start(Door("1234"))
    assert await door.call(Door.push, "1234") is True               # typed, as for any actor

The order of things is gen_statem's, release 25, compared with traces recorded from it:

* an event is handled to its end, with all that it inserts, before the next message is looked at;
* inserted events come first, then, if the state has changed, the postponed ones from the oldest on, then the mailbox;
* the state changes if the new value differs (``==``) from the old: only then does STATE stop and postponed events return;
* EVENT stops at whatever event is handled next;
* a time-out of 0 comes after the events that wait inside the machine and before the mailbox;
* with ``state_enter``, ``Entered`` is handled at the start, after each change and at ``Repeat``, before time-outs are set.

What it handles are events; its methods without ``@event`` are messages like those of any actor, answered in every state.

Its events:

    runtime.state_machine.changed       process, before, after
    runtime.state_machine.unexpected    process, state, method         a call that this state does not answer
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Hashable
from types import CoroutineType
from typing import Any, ClassVar, Final, Generic, TypeVar, cast, final

from .actor import Actor
from .exits import BadProcess, NotAHandler, Reason, Refuse
from .process import REDUCTIONS, Body, Process
from .runtime import Runtime
from .state_handlers import StateHandler, event, handlers_of, in_state
from .timers import Timer
from .transitions import (
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
    Postpone,
    Repeat,
    SetTimeout,
    StateEvent,
    TimedOut,
    Transition,
    UnexpectedCall,
    Unhandled,
    UpdateTimeout,
    cancel_timeout,
    event_timeout,
    named_timeout,
    state_timeout,
    timeout_at,
)

__all__ = [
    "POSTPONE",
    "UNHANDLED",
    "Answer",
    "BadTransition",
    "Called",
    "Clock",
    "Entered",
    "Halt",
    "Info",
    "Insert",
    "Internal",
    "Keep",
    "Next",
    "Postpone",
    "Repeat",
    "SetTimeout",
    "StateEvent",
    "StateHandler",
    "StateMachine",
    "TimedOut",
    "Transition",
    "UnexpectedCall",
    "Unhandled",
    "UpdateTimeout",
    "cancel_timeout",
    "event",
    "event_timeout",
    "in_state",
    "named_timeout",
    "state_timeout",
    "timeout_at",
]

S = TypeVar("S")

_UNSET: Final = object()

# Made once: at each event, the union of five classes costs as much as the handler.
_ANSWERS: Final = (Next, Keep, Repeat, Halt, Unhandled)
_TIMEOUTS: Final = (SetTimeout, UpdateTimeout)


class _Running:
    """A time-out that is set: the token tells a late message of an earlier one apart."""

    __slots__ = ("content", "timer")

    def __init__(self, content: Any) -> None:
        self.content = content
        self.timer: Timer | None = None
        """None: it is due at once."""


@final
class _Due:
    """The message by which a time-out arrives."""

    __slots__ = ("clock", "running")

    def __init__(self, clock: Hashable, running: _Running) -> None:
        self.clock = clock
        self.running = running


class StateMachine(Actor, Generic[S]):
    """Subclass it; give it ``initial`` or call ``begin`` in ``init``; handle events ``in_state`` or in ``handle_event``.

    A handler returns a Transition. None is ``Keep()``; a call that was neither answered nor postponed then counts as
    unhandled, so that no caller waits for nothing. ``Refuse(error)`` raised for a call is the answer, and keeps the state.
    Any other exception is a crash. Raises BadProcess at the start for a class that breaks a rule.
    """

    initial: S
    """The state it begins in."""

    state_enter: bool = False
    """True: ``Entered`` is handled when a state begins. Its handler may set time-outs and answer, and neither go on to
    another state nor postpone nor insert."""

    __handlers: ClassVar[dict[Hashable, Callable[[Any, StateEvent], object]]] = {}
    __own_handle_event: ClassVar[bool] = False
    __state: Any = _UNSET
    __first: tuple[Any, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__handlers = handlers_of(cls)
        cls.__own_handle_event = any(
            "handle_event" in vars(base) for base in cls.__mro__[: cls.__mro__.index(StateMachine)]
        )

    # --- callbacks ----------------------------------------------------------------------------------------------

    async def handle_event(self, event: StateEvent) -> Transition[S] | None:
        """Called with what no ``in_state`` method handles. By default calls are refused and messages reported."""
        return UNHANDLED

    def tree_detail(self) -> str:
        """Its state."""
        return f"state {self.__state!r}" if self.__state is not _UNSET else ""

    # --- for the machine ----------------------------------------------------------------------------------------

    @property
    def state(self) -> S:
        """The state it is in. Raises BadProcess before it has begun."""
        if self.__state is _UNSET:
            raise BadProcess(f"{type(self).__name__} has no state yet: it begins when init has returned")
        return self.__state

    def begin(self, state: S, *actions: Insert | SetTimeout | UpdateTimeout) -> None:
        """In ``init``: the state to begin in, with its first actions. Raises BadProcess later."""
        if self.__state is not _UNSET:
            raise BadProcess(f"{type(self).__name__} has begun: a handler goes on by returning Next(state)")
        self.initial = state
        self.__first = actions

    def statistics(self) -> dict[str, int]:
        """Counts: events handled, state changes, postponed events, time-outs that are set."""
        if self.__state is _UNSET:
            return {"events": 0, "changes": 0, "postponed": 0, "timeouts": 0}
        return {
            "events": self.__handled,
            "changes": self.__changes,
            "postponed": len(self.__postponed),
            "timeouts": len(self.__timers),
        }

    # --- the inside ---------------------------------------------------------------------------------------------

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """See ``Startable``."""
        kind = type(self).__name__
        if self.concurrency != 1:
            raise BadProcess(f"{kind}.concurrency is {self.concurrency}: a state machine handles one event at a time")
        if not inspect.iscoroutinefunction(self.handle_event):
            raise BadProcess(f"{kind}.handle_event must be written with async def")
        self.__queue: deque[StateEvent] = deque()
        self.__postponed: list[StateEvent] = []
        self.__timers: dict[Hashable, _Running] = {}
        self.__handled = self.__changes = 0
        started = super().__start__(runtime, parent, name)
        self.continue_with(StateMachine[Any].__begin)
        return started

    async def __begin(self) -> None:
        state: Any = getattr(self, "initial", _UNSET)
        if state is _UNSET:
            raise BadTransition(f"{type(self).__name__} has no state to begin in: set initial, or call begin in init")
        self.__require_handler(state)
        self.__state = state
        inserted: list[StateEvent] = []
        timeouts: list[SetTimeout | UpdateTimeout] = []
        for action in self.__first:
            if isinstance(action, Insert):
                inserted.append(action.event)
            elif isinstance(action, SetTimeout | UpdateTimeout):
                timeouts.append(action)
            else:
                raise BadTransition(f"{action!r} is no action to begin with: insert events or set time-outs")
        self.__queue.extend(inserted)
        if self.state_enter and not await self.__enter(state, timeouts):
            return
        self.__set(timeouts)
        await self.__run()

    async def handle_info(self, message: Any) -> None:
        """Turns a plain message into ``Info``, and a timer's into ``TimedOut``. Handle those instead."""
        if isinstance(message, _Due):
            if self.__timers.get(message.clock) is not message.running:
                return  # stopped or replaced when it was on its way
            del self.__timers[message.clock]
            self.__queue.append(TimedOut(message.clock, message.running.content))
        else:
            self.__queue.append(Info(message))
        await self.__run()

    async def __deliver__(self, method: Callable[..., object], args: tuple[Any, ...]) -> None:
        """A declared message arrives."""
        reply = self.defer()
        self.__queue.append(Called(method, args, reply, reply.expected))
        await self.__run()

    def __turn_down__(self, method: Callable[..., object], error: TypeError) -> None:
        """The arguments do not fit the event: the sender's mistake, as for any actor."""
        reply = self.defer()
        if reply.expected:
            reply.refuse(NotAHandler(f"{method.__qualname__} cannot be called so: {error}"))
        else:
            self.rt.kernel.dead_letter(self.ref.process, "cast")

    async def __run(self) -> None:
        """Handle what is queued, and time-outs that are due at once, until only the mailbox is left."""
        left = REDUCTIONS
        while True:
            if self.__queue:
                event = self.__queue.popleft()
            elif not self.__timers:
                return
            else:
                due = next((clock for clock, running in self.__timers.items() if running.timer is None), _UNSET)
                if due is _UNSET:
                    return
                event = TimedOut(due, self.__timers.pop(due).content)
            left -= 1
            if not left:
                left = REDUCTIONS
                await self.rt.kernel.backend.relax()
            if not await self.__handle(event):
                return

    async def __handle(self, event: StateEvent) -> bool:
        """One event to its end. False: the machine is to stop."""
        self.__handled += 1
        transition = await self.__ask(event)
        if isinstance(transition, Halt):
            return self.__halt(transition)
        before, repeated = self.__state, isinstance(transition, Repeat)
        after: Any = transition.state if isinstance(transition, Next) else before
        changed = isinstance(transition, Next) and not before == after  # noqa: SIM201 - only == is asked of a state
        if changed:
            self.__require_handler(after)
        # All of it is looked at before any of it is done.
        inserted: list[StateEvent] = []
        timeouts: list[SetTimeout | UpdateTimeout] = []
        answers: list[Answer] = []
        postponed = False
        for action in transition.actions:
            if isinstance(action, Answer):
                answers.append(action)
            elif isinstance(action, Postpone):
                postponed = True
            elif isinstance(action, Insert):
                inserted.append(action.event)
            else:
                timeouts.append(self.__timeout(action))
        for answer in answers:
            answer.call.reply.send(answer.value)
        if postponed:
            self.__postponed.append(event)
        if self.__timers:
            self.__stop_timer(Clock.EVENT)
        if changed:
            self.__change(after)
        if inserted:
            self.__queue.extendleft(reversed(inserted))
        if (changed or repeated) and self.state_enter and not await self.__enter(before, timeouts):
            return False
        if timeouts:
            self.__set(timeouts)
        return True

    def __change(self, state: Any) -> None:
        before, self.__state = self.__state, state
        self.__changes += 1
        if self.__timers:
            self.__stop_timer(Clock.STATE)
        if self.__postponed:
            self.__queue.extendleft(reversed(self.__postponed))
            self.__postponed.clear()
        if self.rt.events.heard:
            self.rt.events.emit("runtime.state_machine.changed", process=self.ref.label, before=before, after=state)

    async def __enter(self, previous: Any, timeouts: list[SetTimeout | UpdateTimeout]) -> bool:
        """The state begins; its time-outs are added. False: the machine is to stop."""
        while True:
            self.__handled += 1
            transition = await self.__ask(Entered(previous))
            if isinstance(transition, Halt):
                return self.__halt(transition)
            if isinstance(transition, Next) and not self.__state == transition.state:
                raise BadTransition(f"on entering {self.__state!r} a machine cannot go on to {transition.state!r}")
            for action in transition.actions:
                if isinstance(action, Answer):
                    action.call.reply.send(action.value)
                elif isinstance(action, Postpone | Insert):
                    raise BadTransition(
                        f"on entering {self.__state!r} a machine can neither postpone nor insert events"
                    )
                else:
                    timeouts.append(self.__timeout(action))
            if not isinstance(transition, Repeat):
                return True

    async def __ask(self, event: StateEvent) -> Next[Any] | Keep | Repeat | Halt:
        """What the handlers say to this event. Never None or UNHANDLED."""
        try:
            answer: object = UNHANDLED
            handler = self.__handler(self.__state)
            if handler is not None:
                answer = handler(self, event)
                if type(answer) is CoroutineType:
                    answer = await cast("CoroutineType[Any, Any, object]", answer)
                answer = self.__checked(event, answer)
            if isinstance(answer, Unhandled):
                answer = self.__checked(event, await self.handle_event(event))
        except Refuse as refusal:
            if isinstance(event, Called):
                event.reply.refuse(refusal.error)
            return Keep()
        if not isinstance(answer, Unhandled):
            return answer
        if isinstance(event, Called):
            name = getattr(event.method, "__qualname__", repr(event.method))
            self.rt.events.emit(
                "runtime.state_machine.unexpected", process=self.ref.label, state=self.__state, method=name
            )
            event.reply.refuse(UnexpectedCall(self.ref.label, self.__state, name))
        elif isinstance(event, Info):
            await super().handle_info(event.message)
        return Keep()

    def __checked(self, event: StateEvent, answer: object) -> Next[Any] | Keep | Repeat | Halt | Unhandled:
        if answer is None:
            unanswered = isinstance(event, Called) and event.expects_reply and not event.reply.answered
            return UNHANDLED if unanswered else Keep()
        if isinstance(answer, _ANSWERS):
            return cast("Next[Any] | Keep | Repeat | Halt | Unhandled", answer)
        raise BadTransition(
            f"{type(self).__name__} returned {answer!r} in state {self.__state!r}: a handler returns Next, Keep, Repeat, "
            "Halt, UNHANDLED or None"
        )

    def __timeout(self, action: object) -> SetTimeout | UpdateTimeout:
        if not isinstance(action, _TIMEOUTS):
            raise BadTransition(f"{action!r} is no action: give Answer, POSTPONE, Insert or a time-out")
        return action

    def __halt(self, transition: Halt) -> bool:
        for answer in transition.answers:
            answer.call.reply.send(answer.value)
        self.__stopped(transition.reason)
        return False

    def __stopped(self, reason: Reason) -> None:
        self.__queue.clear()
        for clock in tuple(self.__timers):
            self.__stop_timer(clock)
        self.stop(reason)

    # --- states and timers --------------------------------------------------------------------------------------

    def __handler(self, state: Any) -> Callable[[Any, StateEvent], object] | None:
        try:
            return self.__handlers.get(state)
        except TypeError:
            return None  # a state that cannot be hashed has no method of its own

    def __require_handler(self, state: Any) -> None:
        if self.__handler(state) is None and not self.__own_handle_event:
            known = ", ".join(map(repr, self.__handlers)) or "none"
            raise BadTransition(f"{type(self).__name__} has no handler for state {state!r}; there are: {known}")

    def __set(self, timeouts: list[SetTimeout | UpdateTimeout]) -> None:
        # As gen_statem: of several for one clock in one transition, only the last counts.
        last: dict[Hashable, SetTimeout | UpdateTimeout] = {}
        for action in timeouts:
            last.pop(action.clock, None)
            last[action.clock] = action
        for action in last.values():
            clock, content = action.clock, action.content
            if isinstance(action, UpdateTimeout):
                running = self.__timers.get(clock)
                if running is not None:
                    running.content = content
                    continue
                seconds = 0.0
            elif action.at is not None:
                seconds = action.at - self.rt.now()
            elif action.seconds is None:
                self.__stop_timer(clock)
                continue
            else:
                seconds = action.seconds
            self.__stop_timer(clock)
            self.__timers[clock] = running = _Running(content)
            if seconds > 0:
                running.timer = self.send_after(seconds, self.ref, _Due(clock, running))

    def __stop_timer(self, clock: Hashable) -> None:
        running = self.__timers.pop(clock, None)
        if running is not None and running.timer is not None:
            running.timer.cancel()
