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

Its events are listed in ``supervision``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final, get_args

from ..runtime import Exit, Reason, Ref, Refuse, Shutdown, StartFailed
from .backoff import Backoff
from .children import Record
from .specs import (
    AutoShutdown,
    BadChildSpec,
    Child,
    ChildNotFound,
    ChildPresent,
    ChildRestarting,
    ChildRunning,
    Strategy,
    check_children,
)
from .supervision import ChildCounts, ChildInfo, Supervision, info


@final
@dataclass(frozen=True, slots=True)
class FailedToStart:
    """In the reason of a supervisor that could not start: which child, and why."""

    child: str
    reason: Reason


class Supervisor(Supervision):
    """See the module. ``intensity`` counts restarts, ``period`` is in seconds; OTP's defaults, 1 in 5.

    ``backoff`` puts restarts off, see there. Raises BadChildSpec.
    """

    def __init__(
        self,
        children: Iterable[Child] = (),
        *,
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        backoff: Backoff | None = None,
        name: str | None = None,
    ) -> None:
        if strategy not in get_args(Strategy):
            options = ", ".join(get_args(Strategy))
            raise BadChildSpec("strategy", strategy, f"a strategy is one of {options}, not {strategy!r}")
        super().__init__(intensity=intensity, period=period, auto_shutdown=auto_shutdown, backoff=backoff, name=name)
        self.strategy: Strategy = strategy
        self._records = [Record(spec) for spec in check_children(children, auto_shutdown)]
        """In start order."""

    # --- messages -----------------------------------------------------------------------------------------------

    async def start_child(self, spec: Child) -> Ref[Any] | None:
        """Start one more child, the last in order; None if its init asked to be ignored.

        Refuses with ChildPresent, BadChildSpec, StartFailed; in the last case the spec is not kept.
        """
        try:
            check_children([spec], self.auto_shutdown)
        except BadChildSpec as error:
            raise Refuse(error) from None
        if (present := self._find(spec.id)) is not None:
            process = present.last if present.restarting else present.process
            ref: Ref[Any] | None = Ref(process) if process is not None else None
            raise Refuse(ChildPresent(spec.id, ref, restarting=present.restarting))
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
            self._forget(record)

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
        self._forget(self._idle(id))

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
                self._emit("child.start_failed", record, reason=failed.reason)
                await self._stop_all(self._records)
                raise Exit(Shutdown(FailedToStart(record.spec.id, failed.reason))) from failed
            if record.process is None and record.spec.restart == "temporary":
                self._forget(record)

    # --- the kind's own -----------------------------------------------------------------------------------------

    @property
    def records(self) -> Iterable[Record]:
        """What it knows of its children, in start order; for the tree."""
        return self._records

    def _knows(self, record: Record) -> bool:
        return record in self._records

    def _forget(self, record: Record) -> None:
        if record in self._records:
            self._records.remove(record)
            self._history.forget(record.spec.id)

    def _goes_with(self, record: Record) -> list[Record]:
        """Those who are restarted together with it, itself included."""
        if self.strategy == "one_for_one":
            return [record]
        return self._records[self._records.index(record) if self.strategy == "rest_for_one" else 0 :]

    async def _make_way(self, record: Record) -> None:
        if self.strategy != "one_for_one":
            await self._stop_all(self._goes_with(record), record)

    async def _revive(self, record: Record) -> None:
        if self.strategy == "one_for_one":
            group = [record]
        else:
            group = self._goes_with(record)
            self._lose(record)
            await self._stop_all(group, record)
        for member in group:
            if not self._knows(member):
                continue  # temporary: it was dropped when it was stopped
            if not await self._start_or_try_again(member):
                return
            if member.process is None and member.spec.restart == "temporary":
                self._forget(member)

    async def _stop_everything(self) -> None:
        await self._stop_all(self._records)

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        return "  ".join(filter(None, (self.strategy, super().tree_detail())))

    async def _start(self, record: Record) -> None:
        await super()._start(record)
        record.last = record.process

    async def _stop_all(self, records: list[Record], ended: Record | None = None) -> None:
        """Last first; temporary children are forgotten. ``ended``: whose end is the reason."""
        for record in reversed(records[:]):
            await self._stop(record)
            if record is not ended:
                record.last = None
            if record.spec.restart == "temporary":
                self._forget(record)

    # --- ids ----------------------------------------------------------------------------------------------------

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
