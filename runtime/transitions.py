"""What goes into a state machine's handler and what comes out of it: events, transitions and actions.

    case Called(Door.push, (code,)):          # events: what happened
        return Next("open", state_timeout(10))  # a transition: where to go, and what to do on the way

The words are gen_statem's: ``next_state``, ``keep_state``, ``repeat_state`` and ``stop_and_reply`` are ``Next``, ``Keep``,
``Repeat`` and ``Halt``; ``next_event`` is ``Insert``. A handler only *returns* these: nothing has happened until it has
returned, so one that raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeVar, final

from .exits import NORMAL, ActorError, Reason
from .replies import Reply

S = TypeVar("S")


class Clock(Enum):
    """The two timers every machine has; all others go by names of the machine's own."""

    STATE = "state"
    """Stopped when the state changes."""
    EVENT = "event"
    """Stopped by whatever event is handled next."""


# --- events -----------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Called:
    """A method declared with ``@event`` was called or cast: ``case Called(Door.push, (code,))``."""

    method: Callable[..., object]
    args: tuple[Any, ...]
    """All arguments in the order of the signature, defaults filled in."""
    reply: Reply = field(compare=False)
    """Answers the caller, now or later, from anywhere; for a cast it does nothing. ``reply.deadline`` is its caller's."""
    expects_reply: bool = True
    """False: it was cast."""


@final
@dataclass(frozen=True, slots=True)
class Info:
    """A plain message: ``ref.send``, Down, ExitSignal, a timer of the runtime's."""

    message: Any


@final
@dataclass(frozen=True, slots=True)
class Internal:
    """What a machine tells itself, by ``Insert``."""

    content: Any = None


@final
@dataclass(frozen=True, slots=True)
class TimedOut:
    """A time-out: ``case TimedOut(Clock.STATE)``, ``case TimedOut("retry", attempt)``."""

    clock: Clock | Hashable
    content: Any = None


@final
@dataclass(frozen=True, slots=True)
class Entered:
    """A state begins; only with ``state_enter = True``. At the start, and when repeated, ``previous`` is the state itself."""

    previous: Any


StateEvent = Called | Info | Internal | TimedOut | Entered
"""What a handler is given."""


# --- actions ----------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a call, this one or one kept from before."""

    call: Called
    value: object = None


@final
class Postpone:
    """Keep this event for later: it is handled again, before newer ones, when the state has changed. There is ``POSTPONE``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "POSTPONE"


POSTPONE: Final = Postpone()


@final
@dataclass(frozen=True, slots=True)
class Insert:
    """Handle this event next, before all that wait; several keep their order."""

    event: StateEvent


@final
@dataclass(frozen=True, slots=True)
class SetTimeout:
    """Use ``state_timeout``, ``event_timeout`` or ``named_timeout``."""

    clock: Clock | Hashable
    seconds: float | None
    content: Any
    at: float | None = None


@final
@dataclass(frozen=True, slots=True)
class UpdateTimeout:
    """Give a running time-out new content; if it does not run, it is due at once."""

    clock: Clock | Hashable
    content: Any


Action = Answer | Postpone | Insert | SetTimeout | UpdateTimeout
"""What may go with a transition."""


def state_timeout(seconds: float | None, content: Any = None) -> SetTimeout:
    """``TimedOut(Clock.STATE, content)`` after ``seconds`` in this state; None stops it. A new one replaces the old one.

    0 is due at once: after the events that wait already, before anything from the mailbox.
    """
    return named_timeout(Clock.STATE, seconds, content)


def event_timeout(seconds: float | None, content: Any = None) -> SetTimeout:
    """``TimedOut(Clock.EVENT, content)`` if no other event is handled for ``seconds``."""
    return named_timeout(Clock.EVENT, seconds, content)


def named_timeout(name: Clock | Hashable, seconds: float | None, content: Any = None) -> SetTimeout:
    """``TimedOut(name, content)`` after ``seconds``, whatever happens meanwhile; None stops it. Raises ValueError below 0."""
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"a time-out is in seconds >= 0, or None to stop it, not {seconds!r}")
    return SetTimeout(name, seconds, content)


def timeout_at(name: Clock | Hashable, when: float, content: Any = None) -> SetTimeout:
    """As ``named_timeout``, at an absolute time in seconds of ``rt.now``; one that has passed is due at once."""
    return SetTimeout(name, None, content, when)


def cancel_timeout(name: Clock | Hashable) -> SetTimeout:
    """Stop a time-out; one that does not run is fine."""
    return SetTimeout(name, None, None)


# --- transitions ------------------------------------------------------------------------------------------------


class Next(Generic[S]):
    """Go to this state. The same state (by ``==``) is ``Keep``: nothing postponed is tried again, no timer stops."""

    __slots__ = ("actions", "state")
    __match_args__ = ("state", "actions")

    def __init__(self, state: S, *actions: Action) -> None:
        self.state = state
        self.actions = actions


@final
class Keep:
    """Stay in this state."""

    __slots__ = ("actions",)

    def __init__(self, *actions: Action) -> None:
        self.actions = actions


@final
class Repeat:
    """Stay, and with ``state_enter`` begin the state once more; its timers go on, nothing postponed is tried again."""

    __slots__ = ("actions",)

    def __init__(self, *actions: Action) -> None:
        self.actions = actions


@final
class Halt:
    """Answer these, then end with this reason. What is queued or postponed is not handled: its callers get ActorExit."""

    __slots__ = ("answers", "reason")

    def __init__(self, reason: Reason = NORMAL, *answers: Answer) -> None:
        self.reason = reason
        self.answers = answers


@final
class Unhandled:
    """This handler has nothing to say to this event: ``handle_event`` is asked. There is ``UNHANDLED``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNHANDLED"


UNHANDLED: Final = Unhandled()

Transition = Next[S] | Keep | Repeat | Halt | Unhandled


# --- errors -----------------------------------------------------------------------------------------------------


class UnexpectedCall(ActorError):
    """The machine does not answer that call in the state it is in; it lives on. ``state`` and ``method`` say which."""

    def __init__(self, who: str, state: object, method: str) -> None:
        super().__init__(who, state, method)
        self.who = who
        self.state = state
        self.method = method

    def __str__(self) -> str:
        return (
            f"{self.who} does not answer {self.method} in state {self.state!r}: answer it there, POSTPONE it, or return "
            "Keep() to answer it later"
        )


class BadTransition(ActorError, TypeError):
    """A handler returned what no handler may return there; the machine crashes with it. The message names the rule."""
