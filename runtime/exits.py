"""Why a process ended, and the errors that say so to others.

An exit reason is a value, any object. These have a meaning of their own, as in Erlang:

    NORMAL        finished its work; links that do not trap exits ignore it
    SHUTDOWN      told to stop, usually by its supervisor
    Shutdown(x)   stopped in order, with an explanation
    KILL          as a *signal*: cannot be trapped, the receiver ends with KILLED
    KILLED        was killed
    NOPROC        there was no such process
    Crash(error)  an exception left a handler

The error tree of the runtime:

    ActorError
    ├── ActorExit(reason)        the process called is dead, or died before it answered
    ├── CallTimeout              no answer in time; the request may still be carried out   (also a TimeoutError)
    ├── ReceiveTimeout           no such message in time                                   (also a TimeoutError)
    ├── CallingSelf              an actor that calls itself would wait for ever
    ├── NotAHandler              what was named is no message of that actor                (also a TypeError)
    ├── MailboxFull              a bounded mailbox did not take, or did not keep, the message
    ├── StartFailed(reason)      init did not succeed; nothing of it is left behind
    │   └── NameTaken            the name belongs to a live process
    ├── BadProcess               what was given cannot be started                          (also a TypeError)
    ├── UnknownProcess           no process has that name                                  (also a LookupError)
    ├── RuntimeClosed            the runtime has stopped or is stopping
    ├── WrongThread              rt.from_thread used in the thread of the event loop       (also a RuntimeError)
    └── TreeFailed(reason)       a top-level supervisor gave up; leaves ``open_runtime``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

Reason = object
"""An exit reason: one of the values above or any object of the user's."""


@final
class ExitReason:
    """A named exit reason; compared by identity."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


NORMAL: Final = ExitReason("NORMAL")
SHUTDOWN: Final = ExitReason("SHUTDOWN")
KILL: Final = ExitReason("KILL")
KILLED: Final = ExitReason("KILLED")
NOPROC: Final = ExitReason("NOPROC")


@dataclass(frozen=True, slots=True)
class Shutdown:
    """An orderly stop with an explanation; supervisors treat it as SHUTDOWN."""

    detail: object


@final
class Crash:
    """An exception left a handler. Two crashes are equal when they carry the same exception object."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crash) and other.error is self.error

    def __hash__(self) -> int:
        return id(self.error)

    def __repr__(self) -> str:
        return f"Crash({self.error!r})"


def is_orderly(reason: Reason) -> bool:
    """True for NORMAL, SHUTDOWN and Shutdown(x): a transient child that ends so is not restarted (supervisor(3))."""
    return reason is NORMAL or reason is SHUTDOWN or isinstance(reason, Shutdown)


class ActorError(Exception):
    """Base of the runtime's errors."""


class ActorExit(ActorError):
    """The process called is dead or died before answering. ``__cause__`` is the crash, where there was one."""

    def __init__(self, reason: Reason, who: str) -> None:
        super().__init__(reason, who)
        self.reason = reason
        self.who = who
        if isinstance(reason, Crash):
            self.__cause__ = reason.error

    def __str__(self) -> str:
        if self.reason is NOPROC:
            return f"{self.who} is not alive: call a restarted actor through its name (rt.ref(name)) or its supervisor"
        return f"{self.who} ended before it answered: {self.reason!r}"


class CallTimeout(ActorError, TimeoutError):
    """No answer within the time given. The request may still be carried out: a call is not withdrawn by waiting."""

    def __init__(self, who: str, seconds: float) -> None:
        super().__init__(who, seconds)
        self.who = who
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.who} did not answer within {self.seconds:g} s; give it longer with ref.within(seconds).call(...)"


class ReceiveTimeout(ActorError, TimeoutError):
    """No message of the kind that was waited for arrived in time."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} got no such message in time")


class CallingSelf(ActorError):
    """An actor called itself and would have waited for ever."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} called itself: await the method directly, or cast to yourself")


class NotAHandler(ActorError, TypeError):
    """The method named in a call or cast is no method of the actor."""


class MailboxFull(ActorError):
    """A bounded mailbox had no room for a message, or gave the room of a call to a newer one. It was not handled."""

    def __init__(self, who: str, limit: int, overflow: str) -> None:
        super().__init__(who, limit, overflow)
        self.who = who
        self.limit = limit
        self.overflow = overflow

    def __str__(self) -> str:
        hint = "wait for room with `await ref.cast_wait(...)`" if self.overflow == "wait" else "send less, or later"
        return f"the mailbox of {self.who} is full ({self.limit} messages, overflow={self.overflow!r}): {hint}"


class BadProcess(ActorError, TypeError):
    """What was given to start or spawn cannot be started; the message names the rule."""


class StartFailed(ActorError):
    """``init`` failed, so nothing was started. ``reason`` says why; ``__cause__`` is the exception, if one was raised."""

    def __init__(self, reason: Reason, who: str) -> None:
        super().__init__(reason, who)
        self.reason = reason
        self.who = who
        if isinstance(reason, Crash):
            self.__cause__ = reason.error

    def __str__(self) -> str:
        return f"{self.who} did not start: {self.reason!r}"


class NameTaken(StartFailed):
    """The name belongs to a live process, ``ref``; stop that one first or choose another name."""

    def __init__(self, name: str, ref: object) -> None:
        super().__init__(("already_started", ref), f"process named {name!r}")
        self.name = name
        self.ref = ref

    def __str__(self) -> str:
        return f"the name {self.name!r} is taken by {self.ref!r}"


class UnknownProcess(ActorError, LookupError):
    """No live process has that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no process is registered as {self.name!r}"


class RuntimeClosed(ActorError):
    """The runtime has stopped, is stopping, or belongs to another event loop."""


class WrongThread(ActorError, RuntimeError):
    """``rt.from_thread`` was used where one would wait for oneself; the message says what to do instead."""


class TreeFailed(ActorError):
    """A top-level supervisor ended by itself: its restart limit was reached or it crashed."""

    def __init__(self, who: str, reason: Reason, cause: BaseException | None = None) -> None:
        super().__init__(who, reason)
        self.who = who
        self.reason = reason
        self.__cause__ = reason.error if isinstance(reason, Crash) else cause

    def __str__(self) -> str:
        return f"{self.who} ended with {self.reason!r}" + (f": {self.__cause__}" if self.__cause__ is not None else "")


class Exit(Exception):
    """Raise to end the process with this reason (Erlang's ``exit/1``). It is not an error of the program."""

    def __init__(self, reason: Reason = NORMAL) -> None:
        super().__init__(reason)
        self.reason = reason


class Stop(Exception):
    """Raise in a handler to stop the actor in order with this reason. The call in hand gets no reply."""

    def __init__(self, reason: Reason = NORMAL) -> None:
        super().__init__(reason)
        self.reason = reason


class Ignore(Exception):
    """Raise in ``init``: do not start, and this is no failure. A supervisor keeps the child's spec without a process."""


class Refuse(Exception):
    """Raise ``Refuse(error)`` in a handler: the caller sees ``error`` raised, the actor lives on.

    A subclass may be raised and caught itself: ``class OutOfStock(Refuse)`` with no ``error`` reaches the caller as it is.
    """

    def __init__(self, error: BaseException | None = None, *details: object) -> None:
        super().__init__(error, *details)
        self._error = error

    @property
    def error(self) -> BaseException:
        """What the caller sees."""
        return self if self._error is None else self._error
