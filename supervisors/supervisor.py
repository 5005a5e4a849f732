"""A supervisor starts its children in order, restarts what ends as their specs say, and stops them in reverse.

    root = Supervisor(
        [
            Child("cache", Cache),
            Child("pool", lambda: Pool(size=4), shutdown=30, name="pool"),
        ],
        strategy="rest_for_one",
        intensity=3,
        period=5,
    )
    async with open_runtime() as rt:
        await rt.start(root, name="root")

The rules are those of OTP's supervisor(3), release 25: which child is restarted when, that a failed restart is tried
again and counts, that a start that fails unwinds what was started, that more than ``intensity`` restarts in ``period``
seconds end the supervisor itself with SHUTDOWN.

Events: supervisor.child.started (child, incarnation), supervisor.child.terminated (child, reason),
supervisor.child.start_failed (child, reason), supervisor.child.shutdown_failed (child, reason), supervisor.gave_up
(child, restarts, period). Each carries ``supervisor``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final, get_args

from ..runtime import (
    SHUTDOWN,
    Actor,
    Crash,
    Exit,
    ExitSignal,
    Process,
    Reason,
    Ref,
    Refuse,
    Runtime,
    Shutdown,
    StartFailed,
    Stop,
    is_orderly,
)
from ..runtime.process import Body
from .children import Record, is_child
from .intensity import Intensity
from .specs import (
    AutoShutdown,
    BadChildSpec,
    Child,
    ChildNotFound,
    ChildPresent,
    ChildRestarting,
    ChildRunning,
    RestartLimitReached,
    Strategy,
    check_children,
)


@final
@dataclass(frozen=True, slots=True)
class FailedToStart:
    """In the reason of a supervisor that could not start: which child, and why."""

    child: str
    reason: Reason


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
    ref: Ref[Any] | None
    """None while it has no process."""
    type: str
    restarting: bool
    incarnation: int


@final
@dataclass(frozen=True, slots=True)
class _TryAgain:
    """The supervisor's message to itself after a restart that failed: other messages go between the attempts."""

    record: Record
    reason: Reason


class Supervisor(Actor):
    """See the module. ``intensity`` counts restarts, ``period`` is in seconds; OTP's defaults, 1 in 5.

    Raises BadChildSpec.
    """

    trap_exit = True
    shutdown = None
    escalates = True

    def __init__(
        self,
        children: Iterable[Child] = (),
        *,
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        name: str | None = None,
    ) -> None:
        if strategy not in get_args(Strategy):
            raise BadChildSpec(f"a strategy is one of {', '.join(get_args(Strategy))}, not {strategy!r}")
        if auto_shutdown not in get_args(AutoShutdown):
            raise BadChildSpec(f"auto_shutdown is one of {', '.join(get_args(AutoShutdown))}, not {auto_shutdown!r}")
        if isinstance(intensity, bool) or not isinstance(intensity, int) or intensity < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec(f"intensity counts restarts, an int >= 0, not {intensity!r}")
        if isinstance(period, bool) or not isinstance(period, int | float) or not period > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec(f"period is seconds > 0, not {period!r}")
        self.strategy: Strategy = strategy
        self.intensity = intensity
        self.period = period
        self.auto_shutdown: AutoShutdown = auto_shutdown
        self._name = name
        self._records = [Record(spec) for spec in check_children(children)]
        """In start order."""
        for record in self._records:
            self._check_significant(record.spec)
        self._restarts = Intensity(intensity, period)

    def _check_significant(self, spec: Child) -> None:
        if spec.significant and self.auto_shutdown == "never":
            raise BadChildSpec(f'child {spec.id!r} is significant, and this supervisor has auto_shutdown="never"')

    # --- messages -----------------------------------------------------------------------------------------------

    async def start_child(self, spec: Child) -> Ref[Any] | None:
        """Start one more child, the last in order; None if its init asked to be ignored.

        Refuses with ChildPresent, BadChildSpec, StartFailed; in the last case the spec is not kept.
        """
        try:
            check_children([spec])
            self._check_significant(spec)
        except BadChildSpec as error:
            raise Refuse(error) from None
        if (present := self._find(spec.id)) is not None:
            raise Refuse(ChildPresent(spec.id, present.ref))
        record = Record(spec)
        try:
            await self._start(record)
        except StartFailed as error:
            raise Refuse(error) from error
        if record.process is not None or spec.restart != "temporary":
            self._records.append(record)
        return record.ref

    async def terminate_child(self, id: str) -> None:
        """Stop a child and keep its spec, unless it is temporary. Refuses with ChildNotFound."""
        record = self._need(id)
        await self._stop(record)
        if record.spec.restart == "temporary":
            self._records.remove(record)

    async def restart_child(self, id: str) -> Ref[Any] | None:
        """Start a child that was stopped. Refuses with ChildNotFound, ChildRunning, ChildRestarting, StartFailed."""
        record = self._idle(id)
        try:
            await self._start(record)
        except StartFailed as error:
            raise Refuse(error) from error
        return record.ref

    def delete_child(self, id: str) -> None:
        """Forget a child that was stopped. Refuses with ChildNotFound, ChildRunning, ChildRestarting."""
        self._records.remove(self._idle(id))

    def child(self, id: str) -> Ref[Any] | None:
        """The child's current process, if it has one. Refuses with ChildNotFound."""
        return self._need(id).ref

    def get_childspec(self, id: str) -> Child:
        """The spec of a child. Refuses with ChildNotFound."""
        return self._need(id).spec

    def which_children(self) -> list[ChildInfo]:
        """All children, the one started last first, as OTP lists them."""
        return [info(record) for record in reversed(self._records)]

    def count_children(self) -> ChildCounts:
        """How many specs there are, and how many of them have a live process."""
        return ChildCounts(
            specs=len(self._records),
            active=sum(r.process is not None and not r.process.gone for r in self._records),
            supervisors=sum(r.spec.type == "supervisor" for r in self._records),
            workers=sum(r.spec.type == "worker" for r in self._records),
        )

    # --- callbacks ----------------------------------------------------------------------------------------------

    async def init(self) -> None:
        """Start all children in order; if one fails, stop those started and fail."""
        for record in tuple(self._records):
            try:
                await self._start(record)
            except StartFailed as failed:
                self._emit("start_failed", record, reason=failed.reason)
                record.process = None
                await self._stop_all(self._records)
                raise Exit(Shutdown(FailedToStart(record.spec.id, failed.reason))) from failed
            if record.process is None and record.spec.restart == "temporary":
                self._records.remove(record)

    async def handle_info(self, message: Any) -> None:
        """A child's exit signal is what a supervisor lives for; other messages are reported, as in OTP."""
        if isinstance(message, ExitSignal):
            for record in self._records:
                if is_child(record, message.ref):
                    await self._ended(record, message.reason)
                    return
        elif isinstance(message, _TryAgain):
            record = self._find(message.record.spec.id)
            if record is not None and record.restarting:
                await self._restart(record, message.reason)
        else:
            await super().handle_info(message)

    async def terminate(self, reason: Reason) -> None:
        """Stop all children, the last one first."""
        await self._stop_all(self._records)

    # --- decisions ----------------------------------------------------------------------------------------------

    async def _ended(self, record: Record, reason: Reason) -> None:
        restart = record.spec.restart
        if restart == "permanent" or (restart == "transient" and not is_orderly(reason)):
            self._emit("terminated", record, reason=reason)
            await self._restart(record, reason)
            return
        if not is_orderly(reason):
            self._emit("terminated", record, reason=reason)
        record.process = None
        if restart == "temporary":
            self._records.remove(record)
        if record.spec.significant and self._should_stop(record):
            raise Stop(SHUTDOWN)

    def _should_stop(self, ended: Record) -> bool:
        if self.auto_shutdown == "any_significant":
            return True
        return not any(r is not ended and r.spec.significant and (r.process is not None or r.restarting) for r in self._records)

    async def _restart(self, record: Record, reason: Reason) -> None:
        if not self._restarts.allow(self.rt.now()):
            ended, record.process = record.process, None
            record.restarting = False
            self.rt.events.emit(
                "supervisor.gave_up",
                supervisor=self.ref.label,
                child=record.spec.id,
                restarts=self._restarts.recent(),
                period=self.period,
            )
            limit = RestartLimitReached(record.spec.id, self._restarts.recent(), self.period)
            limit.__cause__ = reason.error if isinstance(reason, Crash) else ended.cause if ended is not None else None
            self.ref.process.cause = limit
            raise Stop(SHUTDOWN)
        if self.strategy == "one_for_one":
            await self._try([record])
            return
        first = self._records.index(record) if self.strategy == "rest_for_one" else 0
        record.process = None
        affected = self._records[first:]
        await self._stop_all(affected)
        await self._try([r for r in affected if r in self._records])

    async def _try(self, records: list[Record]) -> None:
        for record in records:
            try:
                await self._start(record)
            except StartFailed as failed:
                self._emit("start_failed", record, reason=failed.reason)
                record.restarting = True
                self.ref.send(_TryAgain(record, failed.reason))
                return
            if record.process is None and record.spec.restart == "temporary":
                self._records.remove(record)

    # --- one child ----------------------------------------------------------------------------------------------

    async def _start(self, record: Record) -> None:
        await record.start(self.rt, self.ref.process)
        if record.process is not None:
            self._emit("started", record, incarnation=record.incarnation)

    async def _stop(self, record: Record) -> None:
        complaint = await record.stop(self.ref.process)
        if complaint is not None:
            self._emit("shutdown_failed", record, reason=complaint)

    async def _stop_all(self, records: list[Record]) -> None:
        """Last first; temporary children are forgotten."""
        for record in reversed(records[:]):
            await self._stop(record)
            if record.spec.restart == "temporary" and record in self._records:
                self._records.remove(record)

    def _emit(self, what: str, record: Record, **data: object) -> None:
        self.rt.events.emit(f"supervisor.child.{what}", supervisor=self.ref.label, child=record.spec.id, **data)

    def _find(self, id: str) -> Record | None:
        return next((record for record in self._records if record.spec.id == id), None)

    def _need(self, id: str) -> Record:
        record = self._find(id)
        if record is None:
            raise Refuse(
                ChildNotFound(f"no child has the id {id!r}; there are: {', '.join(r.spec.id for r in self._records)}")
            )
        return record

    def _idle(self, id: str) -> Record:
        record = self._need(id)
        if record.restarting:
            raise Refuse(ChildRestarting(f"child {id!r} is being restarted"))
        if record.process is not None:
            raise Refuse(ChildRunning(f"child {id!r} is running: terminate_child it first"))
        return record

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """See ``Startable``; the name given in the constructor holds if none is given to start."""
        return super().__start__(runtime, parent, name or self._name)

    @property
    def records(self) -> list[Record]:
        """For the tree: what it knows of its children, in start order."""
        return self._records


def info(record: Record) -> ChildInfo:
    """What ``which_children`` says of one child."""
    return ChildInfo(record.spec.id, record.ref, record.spec.type, record.restarting, record.incarnation)
