"""The pool's workers: who is there, who may be asked for what, who has to go. It gives orders to their actors only.

Nothing here waits: an order is a message, and what became of it comes back as one (`WorkerReady`, `ReplacementReady`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from ..runtime import Monitor, NamedRef, Ref, Runtime
from .errors import MissingLegacy, PoolUnavailable
from .messages import ReplacementReady, WorkerGaveUp, WorkerReady
from .recycling import recycling_due
from .requests import Seat
from .results import WorkerStatistics
from .scaling import scaling_step
from .slots import Slots
from .specs import PoolOptions, worker_names
from .worker_actor import WorkerActor

__all__ = ["Crew"]


class Crew:
    """`monitor` is the pool actor's; `leave` is called with a seat that has been given up, and why."""

    def __init__(
        self,
        rt: Runtime,
        name: str,
        options: PoolOptions,
        slots: Slots,
        *,
        monitor: Callable[[Ref[WorkerActor]], Monitor],
        leave: Callable[[Seat, object], None],
    ) -> None:
        self._rt = rt
        self._options = options
        self._slots = slots
        self._monitor = monitor
        self._leave = leave
        self._names = worker_names(name, options)
        self.seats: dict[str, Seat] = {}
        self.given_up: dict[str, WorkerGaveUp] = {}
        self.recycled = 0
        self._missing_since: dict[str, float] = {}

    @property
    def ready(self) -> int:
        """Workers that can take requests, or are at one."""
        return sum(seat.ready for seat in self.seats.values())

    def call_roll(self) -> None:
        """After a crash of the pool its workers are still there: they are asked to announce themselves."""
        for worker in self._names:
            ref = self._rt.whereis(worker)
            if ref is not None:
                ref.cast(WorkerActor.report)

    def arrived(self, message: WorkerReady) -> Seat | None:
        """A worker announced itself. None: it has died since; the next one announces itself too."""
        now = self._rt.now()
        seat = self.seats.get(message.worker)
        if seat is None or seat.ref != message.ref:
            if seat is not None:
                self.remove(seat, f"replaced by incarnation {message.incarnation}")
            if not message.ref.alive:
                return None
            ref = cast("Ref[WorkerActor]", message.ref)
            seat = self.seats[message.worker] = Seat(message.worker, ref, self._monitor(ref), now)
        if seat.incarnation != message.incarnation:
            if seat.incarnation:
                self._leave(seat, f"replaced by incarnation {message.incarnation}")
            seat.renew(message.incarnation, message.dspy, now)
            seat.pid, seat.forked, seat.load_s = message.pid, message.forked, message.load_s
        self.given_up.pop(message.worker, None)
        self._missing_since.pop(message.worker, None)
        seat.ready = True
        return seat

    def find(self, monitor: Monitor) -> Seat | None:
        return next((seat for seat in self.seats.values() if seat.monitor is monitor), None)

    def remove(self, seat: Seat, reason: object) -> None:
        """Its actor is gone, or it is to be parked."""
        if self.seats.get(seat.worker) is seat:
            del self.seats[seat.worker]
        self._leave(seat, reason)

    def fail_if_hopeless(self) -> None:
        """Raises `MissingLegacy` or `PoolUnavailable` when all workers have given up; while one has not, it may serve."""
        if len(self.given_up) < len(self._slots.active):
            return
        error = next(iter(self.given_up.values())).error
        if isinstance(error, MissingLegacy):
            raise error
        raise PoolUnavailable(f"no legacy worker can serve: {error}") from error

    # --- recycling --------------------------------------------------------------------------------------------------

    def look_after(self, seat: Seat) -> None:
        """Starts a replacement if one is due; changes over when the old process has nothing in hand any more."""
        if seat.retiring:
            if not seat.held:
                seat.ready = False
                self.recycled += 1
                seat.ref.cast(WorkerActor.swap)
        elif not seat.preparing and seat.ready and recycling_due(self._options.recycling, seat, self._rt.now()):
            seat.preparing = True
            seat.ref.cast(WorkerActor.prepare)

    def replacement_ready(self, message: ReplacementReady) -> None:
        seat = self.seats.get(message.worker)
        if seat is None or seat.incarnation != message.incarnation:
            return
        if message.error is not None:
            seat.preparing = False  # tried again at the next look
            return
        seat.retiring = True
        self.look_after(seat)

    # --- size -------------------------------------------------------------------------------------------------------

    def tick(self, waited: float | None) -> None:
        """Called now and then: scales, recycles by age, and finds workers that nobody has heard of."""
        now = self._rt.now()
        idle = [seat for seat in self.seats.values() if seat.ready and not seat.held and not seat.retiring]
        active = self._slots.active
        step = scaling_step(
            self._options.scaling,
            least=self._options.workers,
            most=self._options.slots,
            active=len(active),
            coming=sum(name not in self.seats or not self.seats[name].ready for name in active),
            waited=waited,
            idle=max((now - seat.idle_since for seat in idle), default=None),
        )
        if step > 0:
            name = next(name for name in self._names if name not in active)
            active.add(name)
            self._rt.events.emit("legacy.pool.scaled", worker=name, active=len(active), step=1)
            self._named(name).cast(WorkerActor.unpark)
        elif step < 0:
            seat = max(idle, key=lambda seat: now - seat.idle_since)
            active.discard(seat.worker)
            self._rt.events.emit("legacy.pool.scaled", worker=seat.worker, active=len(active), step=-1)
            self.remove(seat, "parked")
            seat.ref.cast(WorkerActor.park)
        for seat in tuple(self.seats.values()):
            self.look_after(seat)
        self._reconcile(now)

    def _reconcile(self, now: float) -> None:
        """A worker that is wanted, whose actor lives, and that has not announced itself for long, is asked who it is."""
        for name in self._slots.active:
            if name in self.seats or name in self.given_up:
                self._missing_since.pop(name, None)
            elif now - self._missing_since.setdefault(name, now) > self._options.start_timeout:
                self._missing_since[name] = now
                ref = self._rt.whereis(name)
                if ref is not None:
                    ref.cast(WorkerActor.report)
                    ref.cast(WorkerActor.unpark)

    def _named(self, name: str) -> NamedRef[WorkerActor]:
        return self._rt.ref(name)

    def statistics(self) -> tuple[WorkerStatistics, ...]:
        return tuple(
            WorkerStatistics(
                seat.worker,
                seat.incarnation,
                seat.dspy,
                "replacing" if not seat.ready else "busy" if seat.held else "idle",
                seat.requests,
                seat.failures,
                seat.pid,
                seat.rss_bytes,
                len(seat.held),
                seat.load_s,
            )
            for seat in self.seats.values()
        )
