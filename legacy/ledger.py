"""Requests that were accepted and not answered: each is entered once, leaves once, and is counted.

Whoever ends a request ends it here, so that nothing of it stays behind: its place in the queue, its timer, the permit of its
breaker, the caller's reply.
"""

from __future__ import annotations

from ..runtime import Reply, Runtime
from .admission import Admission
from .errors import LegacyError, PoolOverloaded, WorkerCrashed
from .messages import Finished, RunOutcome
from .queueing import RequestQueue
from .requests import Request, Seat
from .results import LegacyResult, plain

__all__ = ["Ledger"]


class Ledger:
    """One for each incarnation of the pool. `queue` holds those of its requests that wait."""

    def __init__(self, rt: Runtime, queue: RequestQueue, admission: Admission) -> None:
        self._rt = rt
        self._queue = queue
        self._admission = admission
        self._requests: dict[int, Request] = {}
        self._watchers: list[Reply] = []
        self.accepted = self.completed = self.failed = self.retried = self.shed = self.abandoned = 0

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, number: int) -> bool:
        return number in self._requests

    def find(self, number: int) -> Request | None:
        """None: it has been answered, or its caller has gone."""
        return self._requests.get(number)

    @property
    def running(self) -> int:
        """Requests that are in a worker's hands."""
        return sum(request.seat is not None for request in self._requests.values())

    def when_empty(self, reply: Reply) -> None:
        """Answers `reply` when all are answered."""
        self._watchers.append(reply)
        self._look_empty()

    def accept(self, request: Request) -> None:
        """Enters a request and lets it wait; the one that has to make room for it, if any, is refused."""
        self.accepted += 1
        self._requests[request.number] = request
        shed = self._queue.shed()
        self._queue.add(request)
        if shed is not None:
            self.shed += 1
            waiting = len(self._queue)
            self._rt.events.emit("legacy.request.shed", request=shed.number, program=shed.program, waiting=waiting)
            self.answer(shed, PoolOverloaded(waiting, shed=True))

    def answer(self, request: Request, answer: LegacyResult | LegacyError) -> None:
        """The end of a request, for its caller to see."""
        self._strike(request)
        if isinstance(answer, LegacyError):
            self.failed += 1
            self._admission.settle(request, answer)
            request.reply.refuse(answer)
        else:
            self.completed += 1
            self._admission.settle(request, None)
            request.reply.send(answer)
        self._look_empty()

    def result(self, request: Request, outcome: RunOutcome, message: Finished) -> LegacyResult:
        """What the caller gets of `outcome`."""
        return LegacyResult(
            values=plain(outcome.values),
            usage=plain(outcome.usage),
            latency_s=self._rt.now() - request.since,
            run_s=outcome.run_s,
            worker=message.worker,
            incarnation=message.incarnation,
            attempts=request.attempts,
            typed=outcome.values,
            lm_calls=outcome.lm_calls,
        )

    def crashed_under(self, request: Request, crash: WorkerCrashed) -> None:
        """Its worker crashed: it waits again, before all others, or its caller is told."""
        request.seat = None
        refused = self._admission.try_again(request, crash)
        if refused is not None:
            self.answer(request, refused)
            return
        self.retried += 1
        self._rt.events.emit(
            "legacy.request.retried",
            request=request.number,
            program=request.program,
            worker=crash.worker,
            kills=request.kills,
        )
        self._queue.add(request, first=True)  # it has waited already

    def end_early(self, request: Request, answer: LegacyError | None) -> Seat | None:
        """A request ends before its worker has answered: its caller gets `answer`, or has gone (None).

        Returns where it sat, if it was in a worker's hands.
        """
        seat, request.seat = request.seat, None
        if answer is not None:
            self.answer(request, answer)
            return seat
        self._strike(request)
        self._admission.withdraw(request)
        self.abandoned += 1
        self._rt.events.emit(
            "legacy.request.abandoned", request=request.number, program=request.program, running=seat is not None
        )
        self._look_empty()
        return seat

    def _strike(self, request: Request) -> None:
        del self._requests[request.number]
        self._queue.remove(request)
        if request.expiry is not None:
            request.expiry.cancel()

    def _look_empty(self) -> None:
        if self._watchers and not self._requests:
            watchers, self._watchers = self._watchers, []
            for reply in watchers:
                reply.send(None)
