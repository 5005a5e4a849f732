"""The pool: who gets a request, where it waits, what happens when its worker dies under it.

    options = PoolOptions({"qa": SignatureProgram("question -> answer")}, lm=LMSettings("openai/gpt-4o-mini"))
    pool = await start_legacy_pool(rt, options)
    result = await pool.within(30).call(LegacyPool.run, "qa", {"question": "Why?"})
    result.values["answer"]

Requests wait in one bounded queue, first come first served, and go to workers one at a time. The caller's deadline is
the request's: when the caller goes away (it was cancelled, its time is over), a waiting request is dropped, and a
running one has its worker killed and replaced, since nothing else stops Python code that does not want to stop.

When a worker crashes under a request, the request is given to another only if repeating it is safe: its program was
declared `idempotent` (or the call says so), or no byte of it had been sent. A request that was at `max_kills` crashes
is refused as poison. Errors that the program raised are the caller's: they cost no worker and are not repeated here.

Events, besides those of `worker_actor`, each with `request` (a number) and `program` where not said otherwise:

    legacy.request.started     worker                     given to a worker
    legacy.request.retried     worker, kills              given to another worker after a crash
    legacy.request.poisoned    kills                      refused: it was at too many crashes
    legacy.request.abandoned   running                    its caller went away
    legacy.request.rejected    program, waiting           the queue was full (no number: it was never accepted)
    legacy.reply.late          request, worker            an answer that nobody waits for any more; dropped
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..runtime import Actor, Down, Monitor, Ref, Refuse, Reply, Timer
from .errors import (
    LegacyError,
    LegacyTimeout,
    MissingLegacy,
    PoisonRequest,
    PoolOverloaded,
    PoolUnavailable,
    UnknownProgram,
    WorkerCrashed,
)
from .messages import Assignment, Finished, RunOutcome, WorkerGaveUp, WorkerReady
from .results import LegacyResult, PoolStatistics, WorkerStatistics
from .specs import LMSettings, PoolOptions, worker_names
from .worker_actor import WorkerActor, crash_of

__all__ = ["LegacyPool"]

_numbers = itertools.count(1)


class _Request:
    """A request from acceptance to answer."""

    __slots__ = (
        "attempts", "expiry", "idempotent", "inputs", "kills", "lm", "number", "program", "reply", "seat", "since",
        "timeout",
    )  # fmt: skip

    def __init__(
        self,
        program: str,
        inputs: Mapping[str, object],
        *,
        lm: LMSettings | None,
        idempotent: bool,
        reply: Reply,
        since: float,
        timeout: float | None,
    ) -> None:
        self.number = next(_numbers)
        self.program = program
        self.inputs = inputs
        self.lm = lm
        self.idempotent = idempotent
        self.reply = reply
        self.since = since
        self.timeout = timeout
        self.expiry: Timer | None = None
        self.seat: _Seat | None = None
        self.attempts = 0
        self.kills = 0


class _Seat:
    """A worker as the pool sees it."""

    __slots__ = ("dspy", "failures", "incarnation", "monitor", "ready", "ref", "request", "requests", "worker")

    def __init__(self, worker: str, ref: Ref[WorkerActor], monitor: Monitor) -> None:
        self.worker = worker
        self.ref = ref
        self.monitor = monitor
        self.incarnation = ""
        self.dspy = ""
        self.ready = False
        """Loaded, as far as the pool was told; with no request it is idle."""
        self.request: _Request | None = None
        self.requests = 0
        self.failures = 0


@dataclass(frozen=True, slots=True)
class _Abandoned:
    number: int


@dataclass(frozen=True, slots=True)
class _Expired:
    number: int


class LegacyPool(Actor):
    """See the module. `tree` starts it with its workers; `name` is that tree's."""

    def __init__(self, options: PoolOptions, *, name: str) -> None:
        self._options = options
        self._name = name
        self._requests: dict[int, _Request] = {}
        """Accepted and not answered."""
        self._queue: OrderedDict[int, _Request] = OrderedDict()
        self._seats: dict[str, _Seat] = {}
        self._idle: OrderedDict[str, _Seat] = OrderedDict()
        self._given_up: dict[str, WorkerGaveUp] = {}
        self._hoping: list[tuple[int, Reply]] = []
        self._accepted = self._completed = self._failed = self._retried = 0
        self._rejected = self._abandoned = self._late = 0

    # --- messages ---------------------------------------------------------------------------------------------------

    def run(
        self,
        program: str,
        inputs: Mapping[str, object],
        *,
        lm: LMSettings | None = None,
        idempotent: bool | None = None,
        timeout: float | None = None,
    ) -> LegacyResult:
        """Runs `program` on `inputs` in some worker. The deadline of the call is the request's, see the module.

        `lm` replaces the pool's, `idempotent` the program's declaration. `timeout` in seconds ends the request
        earlier than the call's deadline would, with `LegacyTimeout`.

        Refuses with `UnknownProgram`, `PoolOverloaded`, `MissingLegacy` or `PoolUnavailable` at once; with
        `RemoteError`, `FrameTooLarge`, `Unserializable`, `WorkerCrashed`, `PoisonRequest` or `LegacyTimeout` later.
        """
        declared = self._options.programs.get(program)
        if declared is None:
            raise Refuse(UnknownProgram(program, tuple(self._options.programs)))
        self._refuse_if_hopeless()
        if not self._idle and len(self._queue) >= self._options.queue:
            self._rejected += 1
            self.rt.events.emit("legacy.request.rejected", program=program, waiting=len(self._queue))
            raise Refuse(PoolOverloaded(len(self._queue)))
        request = _Request(
            program,
            inputs,
            lm=lm if lm is not None else self._options.lm,
            idempotent=declared.idempotent if idempotent is None else idempotent,
            reply=self.defer(),
            since=self.rt.now(),
            timeout=timeout,
        )
        ref, number = self.ref, request.number
        request.reply.on_abandoned(lambda: ref.send(_Abandoned(number)) if number in self._requests else None)
        if timeout is not None:
            request.expiry = self.send_after(timeout, ref, _Expired(number))
        self._accepted += 1
        self._requests[number] = request
        self._queue[number] = request
        self._dispatch()
        return cast("LegacyResult", None)  # the reply is deferred

    def wait_ready(self, workers: int = 1) -> int:
        """Waits until so many workers have loaded dspy, and returns how many have.

        Refuses with `MissingLegacy` or `PoolUnavailable` when all have given up.
        """
        self._refuse_if_hopeless()
        ready = self._ready()
        if ready < workers:
            self._hoping.append((workers, self.defer()))
        return ready

    def statistics(self) -> PoolStatistics:
        """What the pool holds and has done. Costs nothing but a message."""
        return PoolStatistics(
            workers=tuple(
                WorkerStatistics(
                    seat.worker,
                    seat.incarnation,
                    seat.dspy,
                    "replacing" if not seat.ready else "idle" if seat.request is None else "busy",
                    seat.requests,
                    seat.failures,
                )
                for seat in self._seats.values()
            ),
            waiting=len(self._queue),
            running=sum(seat.request is not None for seat in self._seats.values()),
            accepted=self._accepted,
            completed=self._completed,
            failed=self._failed,
            retried=self._retried,
            rejected=self._rejected,
            abandoned=self._abandoned,
            late=self._late,
        )

    def tree_detail(self) -> str:
        """See `Actor.tree_detail`."""
        return f"{self._ready()} of {self._options.workers} workers ready, {len(self._queue)} waiting"

    # --- callbacks --------------------------------------------------------------------------------------------------

    async def init(self) -> None:
        # After a crash of the pool its workers are still there: they are asked to announce themselves.
        for worker in worker_names(self._name, self._options):
            ref = self.rt.whereis(worker)
            if ref is not None:
                ref.cast(WorkerActor.report)

    async def handle_info(self, message: Any) -> None:
        match message:
            case WorkerReady():
                self._worker_ready(message)
            case Finished():
                self._finished(message)
            case Down():
                self._worker_down(message)
            case _Abandoned():
                self._drop(message.number, None)
            case _Expired():
                self._expire(message.number)
            case WorkerGaveUp():
                self._worker_gave_up(message)
            case _:
                await super().handle_info(message)

    # --- workers ----------------------------------------------------------------------------------------------------

    def _worker_ready(self, message: WorkerReady) -> None:
        seat = self._seats.get(message.worker)
        if seat is None or seat.ref != message.ref:
            if seat is not None:
                self._leave(seat, f"replaced by incarnation {message.incarnation}")
            if not message.ref.alive:
                return  # it announced itself and died; the next one announces itself too
            ref = cast("Ref[WorkerActor]", message.ref)
            seat = self._seats[message.worker] = _Seat(message.worker, ref, self.monitor(ref))
        if seat.incarnation != message.incarnation:
            seat.incarnation, seat.dspy = message.incarnation, message.dspy
            seat.requests = seat.failures = 0
        self._given_up.pop(message.worker, None)
        seat.ready = True
        if seat.request is None:
            self._idle[seat.worker] = seat
        for hope in [hope for hope in self._hoping if hope[0] <= self._ready()]:
            self._hoping.remove(hope)
            hope[1].send(self._ready())
        self._dispatch()

    def _worker_gave_up(self, message: WorkerGaveUp) -> None:
        self._given_up[message.worker] = message
        try:
            self._refuse_if_hopeless()
        except Refuse as refusal:
            hoping, self._hoping = self._hoping, []
            for _, reply in hoping:
                reply.refuse(refusal.error)
            for request in tuple(self._queue.values()):
                self._answer(request, cast("LegacyError", refusal.error))

    def _worker_down(self, message: Down) -> None:
        seat = next((seat for seat in self._seats.values() if seat.monitor is message.monitor), None)
        if seat is not None:
            self._leave(seat, message.reason)

    def _leave(self, seat: _Seat, reason: object) -> None:
        """A worker is gone, and perhaps a request with it."""
        self._seats.pop(seat.worker, None)
        self._idle.pop(seat.worker, None)
        request, seat.request = seat.request, None
        if request is not None:
            self._crashed_under(request, crash_of(reason, seat.worker, seat.incarnation))

    def _refuse_if_hopeless(self) -> None:
        if len(self._given_up) < self._options.workers:
            return
        error = next(iter(self._given_up.values())).error
        if isinstance(error, MissingLegacy):
            raise Refuse(error)
        unavailable = PoolUnavailable(str(error))
        unavailable.__cause__ = error
        raise Refuse(unavailable)

    def _ready(self) -> int:
        return sum(seat.ready for seat in self._seats.values())

    # --- requests ---------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._queue and self._idle:
            _, request = self._queue.popitem(last=False)
            _, seat = self._idle.popitem(last=False)
            request.attempts += 1
            request.seat, seat.request = seat, request
            seat.requests += 1
            self.rt.events.emit(
                "legacy.request.started", request=request.number, program=request.program, worker=seat.worker
            )
            me = cast("Ref[object]", self.ref)
            seat.ref.cast(
                WorkerActor.execute, Assignment(request.number, request.program, request.inputs, request.lm, me)
            )

    def _finished(self, message: Finished) -> None:
        seat = self._seats.get(message.worker)
        request = self._requests.get(message.number)
        if request is None or seat is None or request.seat is not seat:
            # Its caller has gone. The worker was told to abandon it, found nothing to abandon, and announces itself.
            self._late += 1
            self.rt.events.emit("legacy.reply.late", request=message.number, worker=message.worker)
            return
        request.seat = seat.request = None
        outcome = message.outcome
        if isinstance(outcome, WorkerCrashed):
            seat.ready = False  # it was not ready for a request; it announces itself when it is
            self._crashed_under(request, outcome)
            return
        self._idle[seat.worker] = seat
        if isinstance(outcome, LegacyError):
            seat.failures += 1
            self._answer(request, outcome)
        else:
            self._answer(request, self._result(request, outcome, message))
        self._dispatch()

    def _result(self, request: _Request, outcome: RunOutcome, message: Finished) -> LegacyResult:
        return LegacyResult(
            values=outcome.values,
            usage=outcome.usage,
            latency_s=self.rt.now() - request.since,
            run_s=outcome.run_s,
            worker=message.worker,
            incarnation=message.incarnation,
            attempts=request.attempts,
        )

    def _crashed_under(self, request: _Request, crash: WorkerCrashed) -> None:
        """Decides whether a request goes on after its worker crashed."""
        request.seat = None
        if crash.maybe_started:
            request.kills += 1
            if request.kills >= self._options.max_kills and request.idempotent:
                self.rt.events.emit(
                    "legacy.request.poisoned", request=request.number, program=request.program, kills=request.kills
                )
                poison = PoisonRequest(crash, kills=request.kills)
                poison.__cause__ = crash
                self._answer(request, poison)
                return
            if not request.idempotent:
                self._answer(request, crash)
                return
        self._retried += 1
        self.rt.events.emit(
            "legacy.request.retried",
            request=request.number,
            program=request.program,
            worker=crash.worker,
            kills=request.kills,
        )
        self._queue[request.number] = request
        self._queue.move_to_end(request.number, last=False)  # it has waited already
        self._dispatch()

    def _answer(self, request: _Request, answer: LegacyResult | LegacyError) -> None:
        del self._requests[request.number]
        self._queue.pop(request.number, None)
        if request.expiry is not None:
            request.expiry.cancel()
        if isinstance(answer, LegacyError):
            self._failed += 1
            request.reply.refuse(answer)
        else:
            self._completed += 1
            request.reply.send(answer)

    def _drop(self, number: int, answer: LegacyError | None) -> None:
        """A request ends before its worker has answered: its caller has gone, or gets `answer`."""
        request = self._requests.get(number)
        if request is None:
            return
        seat, request.seat = request.seat, None
        if answer is not None:
            self._answer(request, answer)
        else:
            del self._requests[number]
            self._queue.pop(number, None)
            if request.expiry is not None:
                request.expiry.cancel()
            self._abandoned += 1
            self.rt.events.emit(
                "legacy.request.abandoned", request=number, program=request.program, running=seat is not None
            )
        if seat is not None:
            seat.request = None
            seat.ready = False
            seat.ref.cast(WorkerActor.abandon, number)

    def _expire(self, number: int) -> None:
        request = self._requests.get(number)
        if request is not None:
            assert request.timeout is not None
            self._drop(number, LegacyTimeout(request.program, request.timeout, started=request.seat is not None))
