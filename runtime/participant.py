"""What a running process can do to itself and to others; actors and plain processes share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar

from .exits import BadProcess
from .process import BESIDE, Process
from .ref import NamedRef, Ref, process_of
from .runtime import Runtime, Startable
from .signals import Address, Monitor
from .timers import Interval, Timer

S = TypeVar("S", bound=Startable)
M = TypeVar("M")


class Participant:
    """Links, monitors, timers, children, and messages picked out of one's own mailbox."""

    # The two underscores keep these out of the way of what subclasses call their own.
    __process: Process | None = None
    __runtime: Runtime | None = None

    def __bind__(self, process: Process, runtime: Runtime) -> None:
        """From now on it is this process. For the rooms that make processes."""
        self.__process = process
        self.__runtime = runtime

    @property
    def rt(self) -> Runtime:
        """The runtime it runs in. Raises BadProcess before it is started."""
        if self.__runtime is None:
            raise BadProcess(f"{type(self).__name__} has not been started: its runtime is known from init on")
        return self.__runtime

    @property
    def ref(self) -> Ref[Self]:
        """A reference to itself, to hand to others."""
        return Ref(self.__own)

    @property
    def __own(self) -> Process:
        if self.__process is None:
            raise BadProcess(f"{type(self).__name__} has not been started: use rt.start or a child spec")
        return self.__process

    def trap_exits(self, on: bool) -> bool:
        """Get exit signals as ExitSignal messages from now on, or no longer. Returns what it was."""
        process = self.__own
        before, process.trap = process.trap, on
        return before

    def link(self, other: Address) -> None:
        """If either ends abnormally, so does the other, or gets ExitSignal if it traps exits.

        Linking to the dead gives ExitSignal(NOPROC), or raises ActorExit in one that does not trap. Raises BadProcess
        for what is no process: a name cannot be linked.
        """
        self.__own.link(process_of(other))

    def unlink(self, other: Address) -> None:
        """Undo ``link``. A signal already in the mailbox stays there."""
        self.__own.unlink(process_of(other))

    def monitor(self, other: Address | NamedRef[Any]) -> Monitor:
        """Watch: exactly one Down with this monitor arrives when the other ends, at once if it is gone.

        A monitor on a name watches who has it now; ``Monitor.name`` tells.
        """
        if isinstance(other, NamedRef):
            return self.__own.monitor(other.holder(), other.name)
        return self.__own.monitor(process_of(other))

    def demonitor(self, monitor: Monitor, *, flush: bool = True) -> bool:
        """Stop watching; ``flush`` also removes a Down that waits in the mailbox. True if it was still watching."""
        return self.__own.demonitor(monitor, flush=flush)

    def send_after(self, seconds: float, to: Address | NamedRef[Any], message: object) -> Timer:
        """Send a plain message later; ``cancel()`` on what is returned. It outlives the sender, not the receiver."""
        return self.rt.send_after(seconds, to, message)

    def start_timer(self, seconds: float, to: Address | NamedRef[Any], message: object) -> Timer:
        """As ``send_after``, but what arrives is TimerFired(timer, message), so that timers can be told apart."""
        return self.rt.start_timer(seconds, to, message)

    def send_interval(self, seconds: float, to: Address | NamedRef[Any], message: object) -> Interval:
        """Send a plain message every ``seconds``; ``cancel()`` on what is returned. It ends with the receiver."""
        return self.rt.send_interval(seconds, to, message)

    async def start_link(self, child: S, *, name: str | NamedRef[Any] | None = None) -> Ref[S]:
        """Start a process of which this one is the parent: linked, and ordered to terminate when this one ends.

        Raises StartFailed, NameTaken, BadProcess. As in OTP, a child that fails to start also sends its exit signal: a
        process that does not trap exits ends with it.
        """
        return await self.rt.start_under(self.__own, child, name=name)

    async def receive(
        self, wanted: type[M] | Callable[[Any], bool] | None = None, *, within: float | None = None
    ) -> Any:
        """Take the next plain message out of the mailbox; with ``wanted``, the first that is of that class or for which
        it is true. The others stay where they are. Calls and casts of an actor are no plain messages.

        ``within`` is in seconds, None waits for ever. Raises ReceiveTimeout; BadProcess in a helper task, which has no
        mailbox of its own. Cancelled: nothing is lost.
        """
        process = self.__own
        if BESIDE.get():
            raise BadProcess(
                f"{process.label}: a helper task or concurrent call cannot receive, only the process itself"
            )
        when = None if within is None else self.rt.now() + within
        if isinstance(wanted, type):
            kind = wanted
            return await process.receive(lambda message: isinstance(message, kind), when)
        return await process.receive(wanted, when)

    def flush(self) -> list[Any]:
        """Take all plain messages that wait in the mailbox, in order."""
        return self.__own.discard(lambda _: True)
