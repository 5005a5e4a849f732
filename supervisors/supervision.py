"""What static and dynamic supervisors share: which end of a child leads to what, and when to give up.

The rules are those of OTP's supervisor(3), release 25. A permanent child is always restarted, a transient one after an
abnormal end, a temporary one never. A restart that fails is tried again through the supervisor's own mailbox, so that
calls are answered between two attempts, and counts like any other. One restart too many ends the supervisor itself.

Events, each with ``supervisor`` and ``child``:

    supervisor.child.started            incarnation
    supervisor.child.terminated         reason                 it ended by itself and that matters
    supervisor.child.start_failed       reason
    supervisor.child.delayed            seconds, attempt       its restart is put off, by the supervisor's ``backoff``
    supervisor.child.stopping           seconds                None: as long as it takes
    supervisor.child.stopped
    supervisor.child.shutdown_failed    reason                 it ended otherwise than asked; count: how many did, when all
                                                               children of a dynamic supervisor were stopped
    supervisor.gave_up                  restarts, period
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, final, get_args

from ..runtime import SHUTDOWN, Actor, Crash, ExitSignal, Process, Reason, Ref, Runtime, StartFailed, Stop, is_orderly
from ..runtime.process import Body
from ..runtime.ref import process_of
from .backoff import Backoff
from .children import Record
from .intensity import Intensity
from .specs import AutoShutdown, BadChildSpec, RestartLimitReached
from .statistics import RestartRecord, SupervisorStatistics


@final
@dataclass(frozen=True, slots=True)
class ChildCounts:
    """As supervisor:count_children/1."""

    specs: int
    active: int
    supervisors: int
    workers: int


@final
@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One line of ``which_children``."""

    id: str
    """Its spec's; all children of a dynamic supervisor have the template's."""
    ref: Ref[Any] | None
    """None while it has no process."""
    type: str
    restarting: bool
    incarnation: int
    """How often a start of it was tried."""


@final
@dataclass(frozen=True, slots=True)
class _TryAgain:
    record: Record
    reason: Reason


@final
@dataclass(frozen=True, slots=True)
class _Due:
    """A restart that was put off; the incarnation tells it from an older one that was called off."""

    record: Record
    incarnation: int


class Supervision(Actor):
    """The base of supervisors; use Supervisor or DynamicSupervisor."""

    trap_exit: ClassVar[bool] = True
    shutdown = None
    escalates = True
    keeps_specs: ClassVar[bool] = True
    """True: a child that ended for good can be started again by its id."""

    def __init__(
        self,
        *,
        intensity: int,
        period: float,
        auto_shutdown: AutoShutdown,
        name: str | None,
        backoff: Backoff | None = None,
    ) -> None:
        if isinstance(intensity, bool) or not isinstance(intensity, int) or intensity < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec("intensity", intensity, f"intensity counts restarts, an int >= 0, not {intensity!r}")
        if isinstance(period, bool) or not isinstance(period, int | float) or not period > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec("period", period, f"period is seconds > 0, not {period!r}")
        if auto_shutdown not in get_args(AutoShutdown):
            options = ", ".join(get_args(AutoShutdown))
            raise BadChildSpec(
                "auto_shutdown", auto_shutdown, f"auto_shutdown is one of {options}, not {auto_shutdown!r}"
            )
        if backoff is not None and not isinstance(backoff, Backoff):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec("backoff", backoff, f"backoff is a Backoff(...), not {backoff!r}")
        if name is not None and (not isinstance(name, str) or not name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec("name", name, f"a supervisor's name is a non-empty str, not {name!r}")
        self.intensity = intensity
        self.period = period
        self.auto_shutdown: AutoShutdown = auto_shutdown
        self._name = name
        self._process: Process
        """Its own: what ``ref`` is made of, asked for at every restart. Known when it is started."""
        self._running: dict[Process, Record] = {}
        """Whose end is whose: the current process of each child that has one."""
        self._restarts = Intensity(intensity, period)
        self._history = RestartRecord()
        self.backoff = backoff

    # --- what the two kinds differ in -------------------------------------------------------------------------------

    @property
    def records(self) -> Iterable[Record]:
        """What it knows of its children, in start order; for the tree."""
        raise NotImplementedError

    async def _revive(self, record: Record) -> None:
        """Start the child again, and whoever goes with it."""
        raise NotImplementedError

    def _forget(self, record: Record) -> None:
        """Drop the child and its spec."""
        raise NotImplementedError

    def _knows(self, record: Record) -> bool:
        """False once it was forgotten."""
        raise NotImplementedError

    async def _make_way(self, record: Record) -> None:
        """Its restart is put off: stop those who will be restarted with it."""

    async def _stop_everything(self) -> None:
        raise NotImplementedError

    # --- messages ---------------------------------------------------------------------------------------------------

    def statistics(self) -> SupervisorStatistics:
        """Children and restarts, in counts, and the last restarts with their reasons. Bounded."""
        records = tuple(self.records)
        history = self._history
        return SupervisorStatistics(
            children=len(records),
            active=sum(r.process is not None and r.process.alive for r in records),
            restarting=sum(r.restarting for r in records),
            restarts=history.total,
            restarts_in_period=self._restarts.recent(self.rt.now()),
            by_child=dict(history.by_child),
            last=history.last,
        )

    # --- callbacks --------------------------------------------------------------------------------------------------

    async def handle_info(self, message: Any) -> None:
        """A child's exit signal is what a supervisor lives for; other messages are reported, as in OTP."""
        if isinstance(message, ExitSignal):
            record = self._running.get(process_of(message.ref)) if message.ref is not None else None
            if record is not None:
                await self._ended(record, message.reason)
        elif isinstance(message, _TryAgain):
            if message.record.restarting and self._knows(message.record):
                await self._restart(message.record, message.reason)
        elif isinstance(message, _Due):
            record = message.record
            if record.restarting and record.incarnation == message.incarnation and self._knows(record):
                await self._revive(record)
        else:
            await super().handle_info(message)

    async def terminate(self, reason: Reason) -> None:
        """Stop all children."""
        await self._stop_everything()

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        restarts = self._restarts.recent(self.rt.now())
        return f"{restarts}/{self.intensity} restarts in {self.period:g} s" if restarts else ""

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """See ``Startable``; the name given in the constructor holds if none is given to start."""
        self._process, body = super().__start__(runtime, parent, name or self._name)
        return self._process, body

    # --- decisions --------------------------------------------------------------------------------------------------

    async def _ended(self, record: Record, reason: Reason) -> None:
        spec = record.spec
        if spec.restart == "permanent" or (spec.restart == "transient" and not is_orderly(reason)):
            if self._process.kernel.events.heard:
                self._emit("child.terminated", record, reason=reason)
            await self._restart(record, reason)
            return
        if not is_orderly(reason):
            self._emit("child.terminated", record, reason=reason)
        self._lose(record)
        if spec.restart == "temporary" or not self.keeps_specs:
            self._forget(record)
        if spec.significant and self._ends_with(record):
            raise Stop(SHUTDOWN)

    def _ends_with(self, ended: Record) -> bool:
        if self.auto_shutdown == "never":
            return False
        if self.auto_shutdown == "any_significant":
            return True
        return not any(r is not ended and r.spec.significant and r.present for r in self.records)

    async def _restart(self, record: Record, reason: Reason) -> None:
        now = self._process.kernel.backend.now()
        if self._restarts.allow(now):
            self._history.note(record.spec.id, reason, now)
            if self.backoff is None:
                await self._revive(record)
            else:
                await self._put_off(record, self.backoff)
            return
        process = self._lose(record)
        self._forget(record)
        restarts = self._restarts.recent(now)
        self._emit("gave_up", record, restarts=restarts, period=self.period)
        limit = RestartLimitReached(record.spec.id, restarts, self.period)
        limit.__cause__ = reason.error if isinstance(reason, Crash) else process.cause if process is not None else None
        self._process.cause = limit
        raise Stop(SHUTDOWN)

    async def _put_off(self, record: Record, backoff: Backoff) -> None:
        if record.since is not None and self.rt.now() - record.since >= backoff.stable:
            record.attempts = 0
        record.attempts += 1
        seconds = backoff.seconds(record.attempts)
        self._lose(record)
        await self._make_way(record)
        record.restarting = True
        record.timer = self.rt.send_after(seconds, self.ref, _Due(record, record.incarnation))
        self._emit("child.delayed", record, seconds=seconds, attempt=record.attempts)

    # --- one child --------------------------------------------------------------------------------------------------

    async def _start(self, record: Record) -> None:
        """Raises StartFailed."""
        self._lose(record)
        await record.start(self.rt, self._process)
        if record.process is not None:
            self._running[record.process] = record
            if self._process.kernel.events.heard:
                self._emit("child.started", record, incarnation=record.incarnation)

    async def _start_or_try_again(self, record: Record) -> bool:
        """False: it failed, and will be tried again after the messages that wait now."""
        try:
            await self._start(record)
        except StartFailed as failed:
            self._emit("child.start_failed", record, reason=failed.reason)
            record.restarting = True
            self.ref.send(_TryAgain(record, failed.reason))
            return False
        return True

    async def _stop(self, record: Record) -> None:
        process = self._lose(record)
        if process is None:
            return
        self._emit("child.stopping", record, seconds=record.spec.patience)
        complaint = await record.stop(process, self._process)
        self._emit("child.stopped", record)
        if complaint is not None:
            self._emit("child.shutdown_failed", record, reason=complaint)

    def _lose(self, record: Record) -> Process | None:
        """It has no process any more, and is not being restarted. Returns the process it had."""
        process, record.process = record.process, None
        record.restarting = False
        if record.timer is not None:
            record.timer.cancel()
            record.timer = None
        if process is not None:
            del self._running[process]
        return process

    def _emit(self, what: str, record: Record, **data: object) -> None:
        events = self._process.kernel.events
        if events.heard:
            events.emit(f"supervisor.{what}", supervisor=self._process.label, child=record.spec.id, **data)


def info(record: Record) -> ChildInfo:
    """What ``which_children`` says of one child."""
    return ChildInfo(record.spec.id, record.ref, record.spec.type, record.restarting, record.incarnation)
