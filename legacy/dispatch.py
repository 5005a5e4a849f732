"""From the queue to the workers: who is next, and which seat takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..runtime import Ref, Runtime
from .crew import Crew
from .errors import LegacyError, PoolOverloaded, SessionBusy
from .messages import Assignment
from .queueing import RequestQueue
from .requests import Request, Seat
from .routing import choose_seat
from .sessions import Session, SessionTable
from .specs import PoolOptions
from .worker_actor import WorkerActor

__all__ = ["Dispatcher"]


class Dispatcher:
    """`refuse` is called with a request that is not to wait, and why."""

    def __init__(
        self,
        rt: Runtime,
        options: PoolOptions,
        queue: RequestQueue,
        crew: Crew,
        sessions: SessionTable,
        *,
        pool: Ref[object],
        refuse: Callable[[Request, LegacyError], None],
    ) -> None:
        self._rt = rt
        self._in_flight = options.max_in_flight
        self._queue = queue
        self._crew = crew
        self._sessions = sessions
        self._pool = pool
        self._refuse = refuse
        self.rejected = 0
        """Requests that were refused because the queue was full."""

    def fail_if_full(self, program: str) -> None:
        """Raises `PoolOverloaded` when one more request of `program` can neither be placed nor wait."""
        if not self._queue.refuses or any(seat.room(self._in_flight) > 0 for seat in self._crew.seats.values()):
            return
        self.rejected += 1
        self._rt.events.emit("legacy.request.rejected", program=program, waiting=len(self._queue))
        raise PoolOverloaded(len(self._queue))

    def dispatch(self) -> None:
        """Gives away what can be given away now."""
        while (request := self._queue.first()) is not None:
            if self._placed(request):
                continue
            # Nobody has room for the first; if it waits for the worker of its session, others may pass it.
            if request.session is None or not any(self._placed(other) for other in self._queue):
                return

    def _placed(self, request: Request) -> bool:
        """True: it was given away, or refused; it does not wait any more."""
        session = self._sessions.get(request.session)
        seat = choose_seat(self._crew.seats.values(), self._in_flight, session)
        if seat is not None:
            self._queue.remove(request)
            self._give(request, seat, session)
            return True
        if session is not None and session.affinity == "fail" and session.incarnation is not None:
            self._refuse(request, SessionBusy(session.name, session.worker))
            return True
        return False

    def _give(self, request: Request, seat: Seat, session: Session | None) -> None:
        request.attempts += 1
        request.seat = seat
        seat.held[request.number] = request
        seat.requests += 1
        define: Mapping[str, object] | None = None
        if session is not None:
            session.incarnation, session.worker = seat.incarnation, seat.worker  # bound before it is given away
            session.requests += 1
            define = seat.told(session.name, session.version, session.definition())
        self._rt.events.emit(
            "legacy.request.started", request=request.number, program=request.program, worker=seat.worker
        )
        seat.ref.cast(
            WorkerActor.execute,
            Assignment(
                request.number,
                request.program,
                request.inputs,
                request.lm,
                self._pool,
                request.session,
                define,
                request.streaming,
                request.tracer,
            ),
        )
