"""A process: a task with a mailbox, links, monitors and one exit reason.

Everything here follows Erlang's processes: exit signals, what trapping changes, when a link fires, what a monitor on a
dead process says. Two things differ because Python cannot interrupt code that never awaits: a process that was told to
die takes no further message at once, but is *gone* (links and monitors told, name free) when its task has unwound; and
cleanup in ``finally`` blocks runs before that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast, final

import anyio

from .backend import Backend, Slot
from .deadlines import Deadlines
from .envelope import kind_of
from .events import EventBus
from .exits import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    ActorExit,
    BadProcess,
    Crash,
    Exit,
    NameTaken,
    Reason,
    RuntimeClosed,
    StartFailed,
)
from .mailbox import NO_HANDLERS, ProcessMailbox
from .signals import Address, Down, ExitSignal, Monitor

# Shared by all who have none, and never written to: only the methods of Process give a process its own.
_NO_PROCESSES: Final[dict[Process, None]] = {}
_NO_MONITORS: Final[dict[Monitor, Process]] = {}
_NO_WATCHERS: Final[dict[Monitor, tuple[Process, str | None]]] = {}

REDUCTIONS: Final = 256
"""Messages a process handles before it lets others run: 15-20 ns a message, a hold of the loop below 2 ms."""


Body = Callable[[], Coroutine[Any, Any, Reason]]
"""What a process runs; what it returns is the exit reason."""

CURRENT: Final[ContextVar[Process | None]] = ContextVar("dspex_process", default=None)
"""The process whose task is running, if any: who sends an exit signal, who would call itself."""


class Cancellable(Protocol):
    """A timer."""

    def cancel(self) -> bool: ...


BESIDE: Final[ContextVar[bool]] = ContextVar("dspex_beside", default=False)
"""True in helper tasks and concurrent calls: they run beside the process's own turn and have no mailbox."""


@final
class Kernel:
    """What all processes of one runtime share."""

    def __init__(self, backend: Backend, escalate: Callable[[BaseException], None]) -> None:
        self.backend = backend
        self.events = EventBus(backend.now)
        self.deadlines = Deadlines(backend)
        self.names: dict[str, Process] = {}
        self.processes: dict[Process, None] = {}
        self.top: dict[Process, float | None] = {}
        """What was started at the top, in order, with the seconds each gets to stop in."""
        self.escalate = escalate
        """Makes the block fail: for what no supervisor may keep to itself, KeyboardInterrupt and SystemExit."""
        self.closed = False
        """True once the block has been left: there are no processes any more, and never will be."""
        self.runtime: object = None
        """The Runtime these processes live in."""
        self.emptied: Slot | None = None
        """Filled when the last process is gone, while somebody waits for that."""
        self._numbers = itertools.count(1)

    def number(self) -> int:
        return next(self._numbers)

    def forget(self, process: Process) -> None:
        self.processes.pop(process, None)
        self.top.pop(process, None)
        if not self.processes and self.emptied is not None and not self.emptied.done():
            self.emptied.set_result(None)

    def require_open(self) -> None:
        """Raises RuntimeClosed once the block has been left."""
        if self.closed:
            raise RuntimeClosed("the runtime of this process has stopped: nobody is there to get a message")

    def require_free(self, name: str | None) -> None:
        """Raises NameTaken if a process has the name, BadProcess for what can be no name; None is no name."""
        if name is None:
            return
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadProcess(f"a name is a non-empty str, not {name!r}")
        holder = self.names.get(name)
        if holder is not None:
            raise NameTaken(name, holder.address)

    def dead_letter(self, process: Process, kind: str) -> None:
        self.events.emit("runtime.dead_letter", process=process.label, kind=kind)


@final
@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """Counts of one process at the moment it was asked."""

    started_at: float
    """Seconds of the runtime's clock."""
    handled: int
    """Messages it has taken from its mailbox, the one in hand included."""
    messages: int
    """Messages that wait in its mailbox."""
    unanswered: int
    """Calls it has taken on beside the one in hand: deferred, handed over to it, or running concurrently."""
    dropped: int
    """Messages that its bounded mailbox let fall."""
    rejected: int
    """Messages whose sender was told that there is no room."""
    waiting_senders: int
    """Who waits for room in the mailbox now."""


@final
class Process(ProcessMailbox):
    """One incarnation. It is created by ``launch`` and lives until ``gone``."""

    __slots__ = (
        "body",
        "cause",
        "exit_slots",
        "gone",
        "host",
        "kernel",
        "kind",
        "links",
        "monitors",
        "name",
        "number",
        "parent",
        "parent_first",
        "scope",
        "since",
        "started",
        "timers",
        "trap",
        "watchers",
    )

    def __init__(self, kernel: Kernel, kind: str, parent: Process | None, *, name: str | None, trap: bool) -> None:
        number = kernel.number()
        super().__init__(f"{name or kind}#{number}")
        self.kernel = kernel
        self.kind = kind
        self.parent = parent
        self.number = number
        self.name = name
        self.trap = trap
        self.parent_first = False
        """An actor: the parent's exit signal is an order to terminate, not a message (gen_server)."""
        self.host: object = None
        """The object that handles the messages, if there is one."""
        self.body: Body | None = None
        self.since = kernel.backend.now()
        """When it was made, in seconds of the runtime's clock."""
        self.gone = False
        self.cause: BaseException | None = None
        """What is behind an orderly-looking reason: why a supervisor gave up."""
        self.scope: anyio.CancelScope | None = None
        self.started: Slot | None = None
        self.links = _NO_PROCESSES
        self.monitors = _NO_MONITORS
        self.watchers = _NO_WATCHERS
        self.exit_slots: list[Slot] | None = None
        self.timers: set[Cancellable] | None = None
        """Messages to come that have no other receiver."""

    @property
    def address(self) -> Address:
        return Address(self)

    @property
    def alive(self) -> bool:
        return self.reason is None

    @property
    def backend(self) -> Backend:
        return self.kernel.backend

    @property
    def events(self) -> EventBus:
        return self.kernel.events

    def __repr__(self) -> str:
        return f"<Process {self.label}>"

    def __str__(self) -> str:
        return self.label

    def statistics(self) -> ProcessStatistics:
        """Counts, read at once."""
        bound = self.bound
        crowd = len(self.crowd) if self.crowd is not None else 0
        return ProcessStatistics(
            started_at=self.since,
            handled=self.taken - len(self.batch) - crowd,
            messages=self.backlog,
            unanswered=self.unanswered - crowd,
            dropped=bound.dropped if bound is not None else 0,
            rejected=bound.rejected if bound is not None else 0,
            waiting_senders=bound.waiting if bound is not None else 0,
        )

    def receive(
        self, wanted: Callable[[object], bool] | None, when: float | None
    ) -> Coroutine[Any, Any, object]:
        """See ``pick``. Raises BadProcess in any task but the process's own."""
        if CURRENT.get() is not self or self.waiter is not None:
            raise BadProcess(f"{self.label} is already waiting for messages, or this is not its own task")
        return self.pick(wanted, when)

    # --- signals ------------------------------------------------------------------------------------------------

    def exit_signal(self, sender: Process | None, reason: Reason, *, by_link: bool = False) -> None:
        """An exit signal arrives, as erlang:exit/2 or a link sends it."""
        if self.reason is not None:
            return
        if reason is KILL and not by_link:
            self.die(KILLED)
        elif self.trap:
            # As gen_server: one that was started without a link is its own parent.
            parent = self if self.parent not in self.links else self.parent
            if self.parent_first and sender is not None and (sender is parent or sender is self.parent):
                self.order(ParentExit(reason))
            else:
                address = sender.address if sender is not None else None
                self.post((None, ExitSignal(address, reason), None, None, None))
        elif reason is not NORMAL or sender is self:
            self.die(reason)

    def die(self, reason: Reason) -> None:
        """End with this reason as soon as the task lets go; nothing in the process can refuse."""
        if self.reason is None:
            self._resolve(reason)
            self.attention = True
            if self.scope is not None:
                self.scope.cancel()

    def _begin(self) -> Coroutine[Any, Any, Reason]:
        body, self.body = self.body, None
        assert body is not None
        return body()

    def _resolve(self, reason: Reason) -> None:
        self.reason = reason
        self.handlers = NO_HANDLERS

    def link(self, other: Process) -> None:
        """Tie two lives together. Raises ActorExit(NOPROC) if the other is gone and this one does not trap exits."""
        if other is self:
            return
        if other.gone:
            if not self.trap:
                raise ActorExit(NOPROC, other.label)
            self.post((None, ExitSignal(other.address, NOPROC), None, None, None))
            return
        for one, another in ((self, other), (other, self)):
            if one.links is _NO_PROCESSES:
                one.links = {}
            one.links[another] = None

    def unlink(self, other: Process) -> None:
        self.links.pop(other, None)
        other.links.pop(self, None)

    def monitor(self, other: Process | None, name: str | None = None) -> Monitor:
        """Watch another process: exactly one ``Down`` will follow, unless ``demonitor`` comes first."""
        monitor = Monitor(name)
        if other is self:
            return monitor  # nobody hears of its own end
        if other is None or other.gone:
            address = other.address if other is not None else None
            self.post((None, Down(monitor, address, NOPROC), None, None, None))
        else:
            if self.monitors is _NO_MONITORS:
                self.monitors = {}
            if other.watchers is _NO_WATCHERS:
                other.watchers = {}
            self.monitors[monitor] = other
            other.watchers[monitor] = (self, name)
        return monitor

    def demonitor(self, monitor: Monitor, *, flush: bool = False) -> bool:
        """Stop watching. ``flush`` also takes a ``Down`` out of the mailbox. True if the monitor was still active."""
        other = self.monitors.pop(monitor, None)
        if other is not None:
            other.watchers.pop(monitor, None)
        if flush:
            self.discard(lambda message: isinstance(message, Down) and message.monitor is monitor)
        return other is not None

    # --- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The task of the process. Whatever happens in it, ``finish`` is the end."""
        CURRENT.set(self)
        # One frame for scope, outcome and end: each coroutine more that waits is a quarter of a kilobyte an actor.
        try:
            with self.kernel.backend.scope() as self.scope:
                if self.reason is None:
                    try:
                        reason = await self._begin()
                    except self.kernel.backend.cancelled:
                        raise
                    except Exit as exit_:
                        reason = exit_.reason
                    except Exception as error:
                        reason = Crash(error)
                    except BaseException as error:
                        rest = beside_cancellation(error, self.kernel.backend.cancelled)
                        if rest is None:
                            raise
                        if not isinstance(rest, Exception):
                            self.kernel.escalate(error)
                        reason = Crash(rest)
                    if self.reason is None:
                        self._resolve(reason)
        finally:
            if self.reason is None:
                self._resolve(KILLED)  # the task itself was cancelled, by none of ours
            self.finish()

    def finish(self) -> None:
        """Tell everybody, once: callers, the registry, the bus, links, watchers, whoever waits for the end."""
        reason = self.reason
        assert reason is not None
        self.gone = True
        kernel = self.kernel
        if self.backlog:
            for envelope in self.waiting():
                slot = envelope[3]
                if slot is None:
                    kernel.dead_letter(self, kind_of(envelope))
                elif not slot.done():
                    slot.set_exception(ActorExit(reason, self.label))
        if self.bound is not None:
            self.bound.close(ActorExit(reason, self.label))
        for order in self.control or ():
            if isinstance(order, Request) and not order.slot.done():
                order.slot.set_exception(ActorExit(reason, self.label))
        if self.pending:
            for slot in tuple(self.pending):
                if not slot.done():
                    slot.set_exception(ActorExit(reason, self.label))
        self.empty()
        if self.name is not None and kernel.names.get(self.name) is self:
            del kernel.names[self.name]
        timers, self.timers = self.timers, None
        for timer in timers or ():
            timer.cancel()
        if self.started is not None and not self.started.done():
            self.started.set_exception(StartFailed(reason, self.label))
        if kernel.events.heard:
            kernel.events.emit("runtime.process.exited", process=self.label, kind=self.kind, reason=reason)
        monitors, self.monitors = self.monitors, _NO_MONITORS
        for monitor, other in monitors.items():
            other.watchers.pop(monitor, None)
        links, self.links = self.links, _NO_PROCESSES
        for other in reversed(links):  # OTP tells the one linked last first
            other.links.pop(self, None)
            other.exit_signal(self, reason, by_link=True)
        watchers, self.watchers = self.watchers, _NO_WATCHERS
        for monitor, (watcher, _) in watchers.items():
            watcher.monitors.pop(monitor, None)
            watcher.post((None, Down(monitor, self.address, reason), None, None, None))
        exit_slots, self.exit_slots = self.exit_slots, None
        for slot in exit_slots or ():
            if not slot.done():
                slot.set_result(reason)
        self.body = None  # it may have been killed before it ran
        self.host = None
        kernel.forget(self)

    async def ended(self, within: float | None = None) -> bool:
        """Wait until the process is gone, at most ``within`` seconds. False: it is still there."""
        if self.gone:
            return True
        kernel = self.kernel
        slot = kernel.backend.slot()
        self.exit_slots = self.exit_slots or []
        self.exit_slots.append(slot)
        timer = None
        if within is not None:
            timer = kernel.backend.call_at(
                kernel.backend.now() + within, lambda: None if slot.done() else slot.set_result(None)
            )
        try:
            await slot
        finally:
            if timer is not None:
                timer.cancel()
            if not self.gone:
                self.exit_slots.remove(slot)
        return self.gone


def beside_cancellation(error: BaseException, cancelled: type[BaseException]) -> BaseException | None:
    """What an error is beside being cancelled; None: nothing. A nursery of trio's that is cancelled from inside and from
    outside at once raises its cancellation in a group."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return cast("BaseExceptionGroup[BaseException]", error).split(cancelled)[1]


@final
class Request:
    """An order that somebody waits for: between two messages, ``action`` is called with the inside of the actor.

    The slot is filled with what it returns or raises, or with ActorExit if the process ends first.
    """

    __slots__ = ("_action", "slot")

    def __init__(self, slot: Slot, action: Callable[[Any], object]) -> None:
        self._action = action
        self.slot = slot

    def carry_out(self, inside: object) -> None:
        if self.slot.done():
            return  # nobody waits any more
        try:
            value = self._action(inside)
        except Exception as error:
            self.slot.set_exception(error)
        else:
            self.slot.set_result(value)


@final
class ParentExit:
    """The order to terminate that an actor gets when its parent ends or tells it to stop."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def launch(
    kernel: Kernel,
    process: Process,
    body: Body,
    *,
    link: Process | None = None,
) -> Slot:
    """Give a new process its name, its link and its task. The slot is filled when it has started or failed to.

    Raises NameTaken before anything has happened if a live process has the name.
    """
    name = process.name
    if name is not None:
        if name in kernel.names:
            kernel.require_free(name)
        kernel.names[name] = process
    process.body = body
    process.started = started = kernel.backend.slot()
    kernel.processes[process] = None
    if link is not None:
        link.link(process)
    kernel.backend.spawn(process.run, process.label)
    if kernel.events.heard:
        kernel.events.emit("runtime.process.started", process=process.label, kind=process.kind)
    return started
