"""A supervisor of many children of one kind, started as they are needed: OTP's simple_one_for_one.

    sessions = DynamicSupervisor(Session, restart="transient", intensity=10, name="sessions")
    async with open_runtime() as rt:
        ref = await rt.start(sessions)
        session = await ref.call(DynamicSupervisor.start_child, user_id)      # Session(user_id)

The factory is called with what is given to ``start_child``, and again with the same at each restart. Children have no
ids of their own; they are named by their references. When the supervisor stops, its children stop all at once,
under one time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from ..runtime import KILL, Address, Process, Reason, Ref, Refuse, Startable, StartFailed
from ..runtime.ref import process_of
from .backoff import Backoff
from .children import Record, last_words
from .specs import AutoShutdown, Child, ChildNotFound, Restart, check_significant
from .specs import Shutdown as ShutdownTime
from .supervision import ChildCounts, ChildInfo, Supervision, info


class DynamicSupervisor(Supervision):
    """See the module; ``restart``, ``shutdown``, ``type`` and ``significant`` are those of ``Child``, and hold for all.

    ``intensity`` counts restarts, ``period`` is in seconds; OTP's defaults, 1 in 5. Raises BadChildSpec.
    """

    keeps_specs = False

    def __init__(
        self,
        start: Callable[..., Startable],
        *,
        id: str = "child",
        restart: Restart = "permanent",
        shutdown: ShutdownTime | None = None,
        type: Literal["worker", "supervisor"] = "worker",
        significant: bool = False,
        intensity: int = 1,
        period: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        backoff: Backoff | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            intensity=intensity, period=period, auto_shutdown=auto_shutdown, backoff=backoff, name=name
        )
        self._factory = start
        self.template = Child(id, start, restart=restart, shutdown=shutdown, type=type, significant=significant)
        """What ``get_childspec`` gives."""
        check_significant(self.template, auto_shutdown)
        self._children: dict[Process, Record] = {}
        """By ``Record.last``."""

    # --- messages -----------------------------------------------------------------------------------------------

    async def start_child(self, *args: Any) -> Ref[Any] | None:
        """Start one more child with these arguments; None if its init asked to be ignored, it is then not kept.

        Refuses with StartFailed.
        """
        record = Record(self.template, lambda: self._factory(*args))
        try:
            await self._start(record)
        except StartFailed as error:
            raise Refuse(error) from error
        self._place(record)
        return record.ref

    async def terminate_child(self, ref: Address) -> None:
        """Stop a child and forget it. One that is dead already is fine. Refuses with ChildNotFound for another's process."""
        process = process_of(ref)
        record = self._children.get(process)
        if record is None:
            if process.alive:
                raise Refuse(ChildNotFound(f"{ref!r} is no child of this supervisor"))
            return
        await self._stop(record)
        self._forget(record)

    def get_childspec(self, ref: Address | None = None) -> Child:
        """The template. With a reference: if it is that of a child; refuses with ChildNotFound for another's live process."""
        if ref is not None:
            process = process_of(ref)
            if process.alive and process not in self._children:
                raise Refuse(ChildNotFound(f"{ref!r} is no child of this supervisor"))
        return self.template

    def which_children(self) -> list[ChildInfo]:
        """All children, the one started first first."""
        return [info(record) for record in self._children.values()]

    def count_children(self) -> ChildCounts:
        """As OTP counts: ``specs`` is 1, and all children that are not being restarted are active."""
        count = len(self._children)
        active = sum(not record.restarting for record in self._children.values())
        supervisors = count if self.template.type == "supervisor" else 0
        return ChildCounts(specs=1, active=active, supervisors=supervisors, workers=count - supervisors)

    # --- the kind's own -----------------------------------------------------------------------------------------

    @property
    def records(self) -> Iterable[Record]:
        """What it knows of its children, in start order; for the tree."""
        return self._children.values()

    def _place(self, record: Record) -> None:
        self._forget(record)
        if record.process is not None:
            record.last = record.process
            self._children[record.process] = record

    def _knows(self, record: Record) -> bool:
        return record.last is not None and self._children.get(record.last) is record

    def _forget(self, record: Record) -> None:
        if record.last is not None:
            self._children.pop(record.last, None)

    async def _revive(self, record: Record) -> None:
        if await self._start_or_try_again(record):
            self._place(record)  # unless it asks to be ignored now: OTP keeps a dead entry, we forget it

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        return "  ".join(filter(None, ("dynamic", super().tree_detail())))

    async def _stop_everything(self) -> None:
        """All at once: every child is asked, then there is one time limit for all."""
        spec = self.template
        supervisor = self._process
        asked = [(record, process) for record in self._children.values() if (process := self._lose(record)) is not None]
        self._children = {}
        if not asked:
            return
        sample = asked[0][0]
        self._emit("child.stopping", sample, seconds=spec.patience)
        processes = {process for _, process in asked}
        told = last_words(supervisor, processes)
        ended = [(process, record.ask_to_stop(process, supervisor, told)) for record, process in asked]
        limit = None if spec.brutal or spec.patience is None else self.rt.now() + spec.patience
        for process, _ in ended:
            if limit is None:
                await process.ended()
            elif not await process.ended(max(0.0, limit - self.rt.now())):
                break
        for process, _ in ended:
            process.exit_signal(supervisor, KILL)
        for process, _ in ended:
            await process.ended()
        last_words(supervisor, processes)
        self._emit("child.stopped", sample)
        complaints = [sample.complaint(before or process.reason) for process, before in ended]
        for reason, count in _counted(reason for reason in complaints if reason is not None):
            self._emit("child.shutdown_failed", sample, reason=reason, count=count)


def _counted(reasons: Iterable[Reason]) -> list[tuple[Reason, int]]:
    """How often each occurs. Reasons are any objects, hashable or not."""
    counts: dict[Reason, int] = {}
    others: list[tuple[Reason, int]] = []
    for reason in reasons:
        try:
            counts[reason] = counts.get(reason, 0) + 1
        except TypeError:
            known = next((i for i, (other, _) in enumerate(others) if other == reason), None)
            if known is None:
                others.append((reason, 1))
            else:
                others[known] = reason, others[known][1] + 1
    return [*counts.items(), *others]
