"""A process: a task with a mailbox, links, monitors and one exit reason.

Everything here follows Erlang's processes: exit signals, what trapping changes, when a link fires, what a monitor on a
dead process says. Two things differ because Python cannot interrupt code that never awaits: a process that was told to
die takes no further message at once, but is *gone* (links and monitors told, name free) when its task has unwound; and
cleanup in ``finally`` blocks runs before that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, Final, Protocol, final

import anyio

from .backend import Backend, Slot
from .deadlines import Bucket, Deadlines
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
    ReceiveTimeout,
    StartFailed,
)
from .signals import Address, Down, ExitSignal, Monitor

Envelope = tuple[Any, Any, Any, Slot | None, Bucket | None]
"""(handler, args, kwargs, reply slot, deadline); a plain message has no handler and stands in the place of args."""

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
        self.runtime: object = None
        """The Runtime these processes live in."""
        self.emptied: Slot | None = None
        """Filled when the last process is gone, while somebody waits for that."""
        self._numbers = itertools.count(1)

    def number(self) -> int:
        return next(self._numbers)

    def remember(self, process: Process) -> None:
        self.processes[process] = None

    def forget(self, process: Process) -> None:
        self.processes.pop(process, None)
        self.top.pop(process, None)
        if not self.processes and self.emptied is not None and not self.emptied.done():
            self.emptied.set_result(None)

    def dead_letter(self, process: Process, kind: str) -> None:
        self.events.emit("runtime.dead_letter", process=process.label, kind=kind)


@final
class Process:
    """One incarnation. It is created by ``launch`` and lives until ``gone``."""

    __slots__ = (
        "address",
        "attention",
        "batch",
        "body",
        "cause",
        "control",
        "exit_slots",
        "gone",
        "host",
        "inbox",
        "kernel",
        "kind",
        "label",
        "links",
        "monitors",
        "name",
        "number",
        "parent",
        "parent_first",
        "pending",
        "reason",
        "scope",
        "started",
        "timers",
        "trap",
        "waiter",
        "watchers",
    )

    def __init__(self, kernel: Kernel, kind: str, parent: Process | None, *, name: str | None, trap: bool) -> None:
        self.kernel = kernel
        self.kind = kind
        self.parent = parent
        self.number = kernel.number()
        self.name = name
        self.label = f"{name or kind}#{self.number}"
        self.trap = trap
        self.parent_first = False
        """An actor: the parent's exit signal is an order to terminate, not a message (gen_server)."""
        self.address = Address(self)
        self.host: object = None
        """The object that handles the messages, if there is one."""
        self.body: Body | None = None
        # A list that the receiver takes whole: empty it is 56 bytes, a deque 760.
        self.inbox: list[Envelope] = []
        self.batch: list[Envelope] = []
        """What the receiver has taken and not handled yet, last first."""
        self.control: list[object] = []
        """Orders of the system; they overtake messages and are never dropped."""
        self.attention = False
        """True: look at more than the mailbox before the next message. One truth test a message instead of five."""
        self.waiter: Slot | None = None
        self.reason: Reason | None = None
        """None while alive. From the moment it is set, no message is handled any more."""
        self.gone = False
        self.cause: BaseException | None = None
        """What is behind an orderly-looking reason: why a supervisor gave up."""
        self.scope: anyio.CancelScope | None = None
        self.started: Slot | None = None
        self.links: dict[Process, None] = {}
        self.monitors: dict[Monitor, Process] = {}
        self.watchers: dict[Monitor, tuple[Process, str | None]] = {}
        self.pending: dict[Slot, None] = {}
        """Calls taken from the mailbox and not answered: they fail when the process ends."""
        self.exit_slots: list[Slot] = []
        self.timers: set[Cancellable] | None = None
        """Messages to come that have no other receiver."""

    @property
    def alive(self) -> bool:
        return self.reason is None

    def __repr__(self) -> str:
        return f"<Process {self.label}>"

    def __str__(self) -> str:
        return self.label

    # --- messages -----------------------------------------------------------------------------------------------

    def post(self, envelope: Envelope) -> bool:
        """Put a message at the end of the mailbox. False: the process is dead and the message was not taken."""
        if self.reason is not None:
            return False
        self.inbox.append(envelope)
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            # A cancellation may have got there first.
            if not waiter.done():
                waiter.set_result(None)
        return True

    def order(self, order: object) -> None:
        """Put a system order before all messages."""
        if self.reason is None:
            self.control.append(order)
            self.attention = True
            self.wake()

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def park(self) -> None:
        """Wait until something is posted or ordered. Cancelled: nothing is lost."""
        self.waiter = slot = self.kernel.backend.slot()
        try:
            await slot
        except BaseException:
            self.waiter = None
            raise

    async def park_until(self, when: float) -> bool:
        """As ``park``, at most until ``when`` in seconds of the clock. False: the time is over."""
        timer = self.kernel.backend.call_at(when, self.wake)
        try:
            await self.park()
            return timer.active
        finally:
            timer.cancel()

    async def receive(self, wanted: Callable[[object], bool] | None, when: float | None) -> object:
        """Take the first plain message that is wanted out of the mailbox; the others stay, in order.

        Raises ReceiveTimeout when there is none until ``when``. Cancelled: nothing is lost.
        """
        if CURRENT.get() is not self or self.waiter is not None:
            raise BadProcess(f"{self.label} is already waiting for messages, or this is not its own task")
        batch = self.batch
        for i in range(len(batch) - 1, -1, -1):
            if batch[i][0] is None and (wanted is None or wanted(batch[i][1])):
                return batch.pop(i)[1]
        inbox = self.inbox
        seen = 0
        while True:
            while seen < len(inbox):
                if inbox[seen][0] is None and (wanted is None or wanted(inbox[seen][1])):
                    return inbox.pop(seen)[1]
                seen += 1
            if when is None:
                await self.park()
            elif not await self.park_until(when) and seen == len(inbox):
                raise ReceiveTimeout(self.label)

    def waiting(self) -> Iterator[Envelope]:
        """What is in the mailbox, in order."""
        yield from reversed(self.batch)
        yield from self.inbox

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
            self.reason = reason
            self.attention = True
            if self.scope is not None:
                self.scope.cancel()

    def link(self, other: Process) -> None:
        """Tie two lives together. Raises ActorExit(NOPROC) if the other is gone and this one does not trap exits."""
        if other is self:
            return
        if other.gone:
            if not self.trap:
                raise ActorExit(NOPROC, other.label)
            self.post((None, ExitSignal(other.address, NOPROC), None, None, None))
            return
        self.links[other] = None
        other.links[self] = None

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

    def discard(self, unwanted: Callable[[object], bool]) -> list[object]:
        """Take plain messages out of the mailbox; returns them in order."""
        found: list[object] = []

        def keep(envelope: Envelope) -> bool:
            if envelope[0] is None and unwanted(envelope[1]):
                found.append(envelope[1])
                return False
            return True

        self.batch[:] = [e for e in reversed(self.batch) if keep(e)][::-1]
        self.inbox[:] = [e for e in self.inbox if keep(e)]
        return found

    # --- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The task of the process. Whatever happens in it, ``finish`` is the end."""
        backend = self.kernel.backend
        assert self.body is not None
        CURRENT.set(self)
        try:
            with anyio.CancelScope() as scope:
                self.scope = scope
                if self.reason is None:
                    reason = await self._outcome(self.body, backend.cancelled)
                    if self.reason is None:
                        self.reason = reason
        finally:
            if self.reason is None:
                self.reason = KILLED  # the task itself was cancelled, by none of ours
            self.finish()

    async def _outcome(self, body: Body, cancelled: type[BaseException]) -> Reason:
        try:
            return await body()
        except cancelled:
            raise
        except Exit as exit_:
            return exit_.reason
        except Exception as error:
            return Crash(error)
        except BaseException as error:
            self.kernel.escalate(error)
            return Crash(error)

    def finish(self) -> None:
        """Tell everybody, once: callers, the registry, the bus, links, watchers, whoever waits for the end."""
        reason = self.reason
        assert reason is not None
        self.gone = True
        kernel = self.kernel
        for _, _, _, slot, _ in self.waiting():
            if slot is None:
                kernel.dead_letter(self, "message")
            elif not slot.done():
                slot.set_exception(ActorExit(reason, self.label))
        self.batch, self.inbox, self.control = [], [], []
        pending, self.pending = self.pending, {}
        for slot in pending:
            if not slot.done():
                slot.set_exception(ActorExit(reason, self.label))
        if self.name is not None and kernel.names.get(self.name) is self:
            del kernel.names[self.name]
        timers, self.timers = self.timers, None
        for timer in timers or ():
            timer.cancel()
        if self.started is not None and not self.started.done():
            self.started.set_exception(StartFailed(reason, self.label))
        kernel.events.emit("runtime.process.exited", process=self.label, kind=self.kind, reason=reason)
        monitors, self.monitors = self.monitors, {}
        for monitor, other in monitors.items():
            other.watchers.pop(monitor, None)
        links, self.links = self.links, {}
        for other in reversed(links):  # OTP tells the one linked last first
            other.links.pop(self, None)
            other.exit_signal(self, reason, by_link=True)
        watchers, self.watchers = self.watchers, {}
        for monitor, (watcher, _) in watchers.items():
            watcher.monitors.pop(monitor, None)
            watcher.post((None, Down(monitor, self.address, reason), None, None, None))
        exit_slots, self.exit_slots = self.exit_slots, []
        for slot in exit_slots:
            if not slot.done():
                slot.set_result(reason)
        self.body = None
        self.host = None
        kernel.forget(self)

    async def ended(self, within: float | None = None) -> bool:
        """Wait until the process is gone, at most ``within`` seconds. False: it is still there."""
        if self.gone:
            return True
        kernel = self.kernel
        slot = kernel.backend.slot()
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
            if slot in self.exit_slots:
                self.exit_slots.remove(slot)
        return self.gone


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
    if process.name is not None:
        holder = kernel.names.get(process.name)
        if holder is not None:
            raise NameTaken(process.name, holder.address)
        kernel.names[process.name] = process
    process.body = body
    process.started = started = kernel.backend.slot()
    kernel.remember(process)
    if link is not None:
        link.link(process)
    kernel.backend.spawn(process.run, process.label)
    kernel.events.emit("runtime.process.started", process=process.label, kind=process.kind)
    return started
