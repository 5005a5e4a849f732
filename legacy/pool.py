"""The pool: who gets a request, where it waits, what happens when its worker dies under it.

    options = PoolOptions({"qa": SignatureProgram("question -> answer")}, lm=LMSettings("openai/gpt-4o-mini"))
    pool = await start_legacy_pool(rt, options)
    result = await pool.within(30).call(LegacyPool.run, "qa", {"question": "Why?"})
    result.values["answer"]

Requests wait in one bounded queue, first come first served. The caller's deadline is the request's: when the caller goes
away (it was cancelled, its time is over), a waiting request is dropped, and a running one is interrupted; a program that
does not let itself be interrupted has its worker killed and replaced.

When a worker crashes under a request, the request is given to another only if repeating it is safe: it had provably not
begun, or its program was declared `idempotent` (or the call says so), no piece of its answer was streamed, and the budget
for repetitions allows it. A request that was at `max_kills` crashes is refused as poison, and so are equal ones for a while.
A program that keeps crashing workers is refused by its breaker. Errors that the program raised are the caller's: they cost
no worker, trip no breaker, and are not repeated here.

Events, besides those of `worker_actor` and `warden_actor`; with `request` (a number) and `program` where not said otherwise:

    legacy.request.started     worker                     given to a worker
    legacy.request.retried     worker, kills              given to another worker after a crash
    legacy.request.poisoned    kills                      refused: it, or its like, was at too many crashes
    legacy.request.abandoned   running                    its caller went away
    legacy.request.rejected    program, waiting           the queue was full (no number: it was never accepted)
    legacy.request.shed        waiting                    refused to make room for a newer one
    legacy.reply.late          request, worker            an answer that nobody waits for any more; dropped
    legacy.circuit.changed     program, state             a breaker opened or closed
    legacy.session.opened      session
    legacy.session.closed      session, expired
    legacy.session.lost        session, incarnation       its worker is gone; it is replayed, or its user is told
    legacy.pool.scaled         worker, active, step       one worker more or less
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..runtime import Actor, Down, Ref, Refuse, Reply, Timer
from .admission import Admission
from .crew import Crew
from .dispatch import Dispatcher
from .errors import (
    LegacyError,
    LegacyTimeout,
    MissingLegacy,
    PoolOverloaded,
    PoolUnavailable,
    SessionError,
    SessionLost,
    UnknownProgram,
    WorkerCrashed,
)
from .messages import (
    Finished,
    Released,
    ReplacementReady,
    RunOutcome,
    Streaming,
    WorkerGaveUp,
    WorkerOrphaned,
    WorkerReady,
)
from .outcomes import crash_of
from .policies import Affinity
from .queueing import RequestQueue
from .requests import Request, Seat
from .results import LegacyResult, PoolStatistics, plain
from .slots import Slots
from .specs import LMSettings, PoolOptions, Program
from .worker_actor import WorkerActor

__all__ = ["LegacyPool"]


@dataclass(frozen=True, slots=True)
class _Abandoned:
    number: int


@dataclass(frozen=True, slots=True)
class _Expired:
    number: int


@dataclass(frozen=True, slots=True)
class _Tick:
    timer: int


class LegacyPool(Actor):
    """See the module. `tree` starts it with its workers; `name` is that tree's."""

    def __init__(self, options: PoolOptions, *, name: str, slots: Slots | None = None) -> None:
        self._options = options
        self._name = name
        self._slots = slots or Slots(name, options)
        self._requests: dict[int, Request] = {}
        """Accepted and not answered."""
        self._queue = RequestQueue(options.queue, options.overflow)
        self._hoping: list[tuple[int, Reply]] = []
        self._draining = False
        self._drained: list[Reply] = []
        self._tick_number = 0
        self._tick: Timer | None = None
        self._accepted = self._completed = self._failed = self._retried = self._shed = 0
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
        session: str | None = None,
        streaming: Streaming | None = None,
    ) -> LegacyResult:
        """Runs `program` on `inputs` in some worker. The deadline of the call is the request's, see the module.

        `lm` replaces the session's and the pool's, `idempotent` the program's declaration. `timeout` in seconds ends the
        request earlier than the call's deadline would, with `LegacyTimeout`. `streaming`: see `streams.open_stream`.

        Refuses with `UnknownProgram`, `UnknownSession`, `PoolOverloaded`, `PoisonRequest`, `CircuitOpen`, `MissingLegacy`
        or `PoolUnavailable` at once; with `RemoteError`, `FrameTooLarge`, `Unserializable`, `WorkerCrashed`,
        `PoisonRequest`, `SessionBusy`, `SessionLost` or `LegacyTimeout` later.
        """
        if self._draining:
            raise Refuse(PoolUnavailable("the pool is draining and takes no more requests"))
        try:
            known = self._admission.session(session)
            declared = known.programs.get(program) if known is not None else None
            declared = declared or self._options.programs.get(program)
            if declared is None:
                raise UnknownProgram(program, (*self._options.programs, *(known.programs if known else ())))
            self._fail_if_hopeless()
            mark = self._admission.mark(program, inputs)
            self._fail_if_full(program)
            permit = self._admission.permit(program)
        except LegacyError as error:
            raise Refuse(error) from None
        chosen = lm or (known.lm if known is not None else None) or self._options.lm
        request = Request(
            program,
            inputs,
            lm=chosen,
            idempotent=declared.idempotent if idempotent is None else idempotent,
            reply=self.defer(),
            since=self.rt.now(),
            timeout=timeout,
            session=session,
            streaming=streaming,
            fingerprint=mark,
        )
        request.permit = permit
        ref, number = self.ref, request.number
        request.reply.on_abandoned(lambda: ref.send(_Abandoned(number)) if number in self._requests else None)
        if timeout is not None:
            request.expiry = self.send_after(timeout, ref, _Expired(number))
        self._accepted += 1
        self._requests[number] = request
        shed = self._queue.shed()
        self._queue.add(request)
        if shed is not None:
            self._shed += 1
            self.rt.events.emit(
                "legacy.request.shed", request=shed.number, program=shed.program, waiting=len(self._queue)
            )
            self._answer(shed, PoolOverloaded(len(self._queue), shed=True))
        self._dispatcher.dispatch()
        return cast("LegacyResult", None)  # the reply is deferred

    def open_session(
        self,
        session: str,
        programs: Mapping[str, Program] | None = None,
        *,
        lm: LMSettings | None = None,
        affinity: Affinity = "hint",
        on_loss: Literal["replay", "fail"] = "replay",
    ) -> None:
        """Opens a session, whole or not at all. `programs` are its own, under names that may hide the pool's.

        `affinity`: see `policies.Affinity`. `on_loss`: when its worker dies, "replay" gives programs and settings to the next
        one and goes on; "fail" tells the next request `SessionLost` first. Refuses with `SessionLimit`, ValueError.
        """
        self._admission.expire_sessions()
        try:
            self._admission.sessions.open(
                session, programs or {}, self.rt.now(), lm=lm, affinity=affinity, on_loss=on_loss
            )
        except (SessionError, ValueError) as error:
            raise Refuse(error) from None
        self.rt.events.emit("legacy.session.opened", session=session)

    def define(self, session: str, program: str, spec: Program) -> None:
        """Adds a program to a session or replaces it; workers load the new one at its next request.

        Refuses with `UnknownSession`, `SessionLimit`.
        """
        self._admission.expire_sessions()
        try:
            self._admission.sessions.define(session, program, spec, self.rt.now())
        except SessionError as error:
            raise Refuse(error) from None

    def close_session(self, session: str) -> bool:
        """Forgets a session; what runs for it goes on. False: there was none."""
        closed = self._admission.sessions.close(session)
        if closed:
            self.rt.events.emit("legacy.session.closed", session=session, expired=False)
        return closed

    def drain(self) -> None:
        """Takes no more requests (they are refused with `PoolUnavailable`) and returns when those accepted are answered.

        There is no way back: stop the pool's supervisor then; it returns when all of its processes are gone.
        """
        self._draining = True
        if self._requests:
            self._drained.append(self.defer())

    def wait_ready(self, workers: int = 1) -> int:
        """Waits until so many workers have loaded dspy, and returns how many have.

        Refuses with `MissingLegacy` or `PoolUnavailable` when all have given up.
        """
        try:
            self._fail_if_hopeless()
        except LegacyError as error:
            raise Refuse(error) from None
        ready = self._crew.ready
        if ready < workers:
            self._hoping.append((workers, self.defer()))
        return ready

    def statistics(self) -> PoolStatistics:
        """What the pool holds and has done. Costs nothing but a message."""
        return PoolStatistics(
            workers=self._crew.statistics(),
            waiting=len(self._queue),
            running=sum(request.seat is not None for request in self._requests.values()),
            accepted=self._accepted,
            completed=self._completed,
            failed=self._failed,
            retried=self._retried,
            rejected=self._rejected,
            abandoned=self._abandoned,
            late=self._late,
            start="fork" if self._slots.forks else "spawn",
            active=len(self._slots.active),
            sessions=len(self._admission.sessions),
            quarantined=self._admission.quarantined,
            open_circuits=self._admission.open_circuits(),
            recycled=self._crew.recycled,
            shed=self._shed,
        )

    @property
    def ready_workers(self) -> int:
        """Workers that have loaded dspy. For who looks from outside, as `tree_detail`: read at any time, without a message."""
        return self._crew.ready

    def tree_detail(self) -> str:
        """See `Actor.tree_detail`."""
        return f"{self._crew.ready} of {len(self._slots.active)} workers ready, {len(self._queue)} waiting"

    # --- callbacks --------------------------------------------------------------------------------------------------

    async def init(self) -> None:
        self._admission = Admission(self.rt, self._options)
        self._crew = Crew(self.rt, self._name, self._options, self._slots, monitor=self.monitor, leave=self._left)
        self._dispatcher = Dispatcher(
            self.rt,
            self._options,
            self._queue,
            self._crew,
            self._admission.sessions,
            pool=cast("Ref[object]", self.ref),
            refuse=self._answer,
        )
        self._crew.call_roll()
        self._next_tick()

    async def handle_info(self, message: Any) -> None:
        match message:
            case Finished():
                self._finished(message)
            case WorkerReady():
                self._worker_ready(message)
            case Down():
                seat = self._crew.find(message.monitor)
                if seat is not None:
                    self._crew.remove(seat, message.reason)
            case _Abandoned():
                self._drop(message.number, None)
            case _Expired():
                self._expire(message.number)
            case Released():
                self._released(message)
            case WorkerGaveUp():
                self._worker_gave_up(message)
            case ReplacementReady():
                self._crew.replacement_ready(message)
            case WorkerOrphaned():
                seat = self._crew.seats.get(message.worker)
                if seat is not None and seat.incarnation == message.incarnation:
                    seat.orphaned = True
                    self._crew.look_after(seat)
            case _Tick():
                self._ticked(message)
            case _:
                await super().handle_info(message)

    def _next_tick(self) -> None:
        self._tick_number += 1
        self._tick = self.send_after(self._options.scaling.period, self.ref, _Tick(self._tick_number))

    def _ticked(self, tick: _Tick) -> None:
        if tick.timer != self._tick_number:
            return
        oldest = self._queue.oldest_since()
        self._crew.tick(None if oldest is None else self.rt.now() - oldest)
        self._admission.expire_sessions()
        self._next_tick()

    # --- workers ----------------------------------------------------------------------------------------------------

    def _worker_ready(self, message: WorkerReady) -> None:
        if self._crew.arrived(message) is None:
            return
        for hope in [hope for hope in self._hoping if hope[0] <= self._crew.ready]:
            self._hoping.remove(hope)
            hope[1].send(self._crew.ready)
        self._dispatcher.dispatch()

    def _worker_gave_up(self, message: WorkerGaveUp) -> None:
        self._crew.given_up[message.worker] = message
        try:
            self._fail_if_hopeless()
        except LegacyError as error:
            hoping, self._hoping = self._hoping, []
            for _, reply in hoping:
                reply.refuse(error)
            for request in self._queue:
                self._answer(request, error)

    def _left(self, seat: Seat, reason: object) -> None:
        """A process is gone, and perhaps requests with it. Only the first of them can have begun."""
        held, incarnation = list(seat.held.values()), seat.incarnation
        seat.held.clear()
        seat.ready = False
        for session in self._admission.sessions.incarnation_gone(incarnation):
            self.rt.events.emit("legacy.session.lost", session=session.name, incarnation=incarnation)
        crash = crash_of(reason, seat.worker, incarnation)
        for position, request in enumerate(held):
            if request is not None:
                maybe = crash if position == 0 else crash.about_request(maybe_started=False)
                self._crashed_under(request, maybe)

    def _fail_if_hopeless(self) -> None:
        """Raises `MissingLegacy` or `PoolUnavailable` when all workers have given up."""
        error = self._crew.hopeless()
        if isinstance(error, MissingLegacy):
            raise error
        if error is not None:
            raise PoolUnavailable(str(error)) from error

    def _fail_if_full(self, program: str) -> None:
        if not self._queue.refuses:
            return
        if any(seat.room(self._options.max_in_flight) > 0 for seat in self._crew.seats.values()):
            return
        self._rejected += 1
        self.rt.events.emit("legacy.request.rejected", program=program, waiting=len(self._queue))
        raise PoolOverloaded(len(self._queue))

    # --- answers ----------------------------------------------------------------------------------------------------

    def _finished(self, message: Finished) -> None:
        seat = self._crew.seats.get(message.worker)
        request = self._requests.get(message.number)
        if seat is None or request is None or request.seat is not seat:
            # Its caller has gone. The worker was told to abandon it, found nothing to abandon, and serves on.
            self._late += 1
            if seat is not None and seat.incarnation == message.incarnation:
                self._vacated(seat, message.number)
            self.rt.events.emit("legacy.reply.late", request=message.number, worker=message.worker)
            self._dispatcher.dispatch()
            return
        request.seat = None
        outcome = message.outcome
        if isinstance(outcome, WorkerCrashed):
            seat.held.pop(message.number, None)
            if message.incarnation != seat.incarnation or not seat.held:
                seat.ready = False  # it was not ready for a request; it announces itself when it is
            self._crashed_under(request, outcome)
            return
        if isinstance(outcome, RunOutcome):
            seat.rss_bytes = outcome.rss_bytes or seat.rss_bytes
            self._answer(request, self._result(request, outcome, message))
        else:
            seat.failures += 1
            if isinstance(outcome, SessionLost) and request.session is not None:
                seat.untold(request.session)
            self._answer(request, outcome)
        self._vacated(seat, message.number)
        self._dispatcher.dispatch()

    def _released(self, message: Released) -> None:
        seat = self._crew.seats.get(message.worker)
        if seat is not None and seat.incarnation == message.incarnation:
            self._vacated(seat, message.number)
            self._dispatcher.dispatch()

    def _vacated(self, seat: Seat, number: int) -> None:
        seat.held.pop(number, None)
        if not seat.held:
            seat.idle_since = self.rt.now()
        self._crew.look_after(seat)

    def _result(self, request: Request, outcome: RunOutcome, message: Finished) -> LegacyResult:
        return LegacyResult(
            values=plain(outcome.values),
            usage=plain(outcome.usage),
            latency_s=self.rt.now() - request.since,
            run_s=outcome.run_s,
            worker=message.worker,
            incarnation=message.incarnation,
            attempts=request.attempts,
            typed=outcome.values,
        )

    def _crashed_under(self, request: Request, crash: WorkerCrashed) -> None:
        """Goes on with a request after its worker crashed, or tells its caller."""
        request.seat = None
        refused = self._admission.try_again(request, crash)
        if refused is not None:
            self._answer(request, refused)
            return
        self._retried += 1
        self.rt.events.emit(
            "legacy.request.retried",
            request=request.number,
            program=request.program,
            worker=crash.worker,
            kills=request.kills,
        )
        self._queue.add(request, first=True)  # it has waited already
        self._dispatcher.dispatch()

    def _answer(self, request: Request, answer: LegacyResult | LegacyError) -> None:
        del self._requests[request.number]
        self._queue.remove(request)
        if request.expiry is not None:
            request.expiry.cancel()
        if isinstance(answer, LegacyError):
            self._failed += 1
            self._admission.settle(request, answer)
            request.reply.refuse(answer)
        else:
            self._completed += 1
            self._admission.settle(request, None)
            request.reply.send(answer)
        self._look_drained()

    def _look_drained(self) -> None:
        if self._drained and not self._requests:
            drained, self._drained = self._drained, []
            for reply in drained:
                reply.send(None)

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
            self._queue.remove(request)
            if request.expiry is not None:
                request.expiry.cancel()
            self._admission.withdraw(request)
            self._abandoned += 1
            self.rt.events.emit(
                "legacy.request.abandoned", request=number, program=request.program, running=seat is not None
            )
            self._look_drained()
        if seat is not None:
            if number in seat.held:
                seat.held[number] = None  # the place is taken until the worker says that it is free
            seat.ref.cast(WorkerActor.abandon, number)

    def _expire(self, number: int) -> None:
        request = self._requests.get(number)
        if request is not None:
            assert request.timeout is not None
            self._drop(number, LegacyTimeout(request.program, request.timeout, started=request.seat is not None))
