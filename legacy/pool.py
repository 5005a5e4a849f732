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
from .arguments import check_count, check_program, check_request, check_session
from .crew import Crew
from .dispatch import Dispatcher
from .errors import (
    LegacyError,
    LegacyTimeout,
    PoolUnavailable,
    SessionError,
    SessionLost,
    UnknownProgram,
    WorkerCrashed,
)
from .ledger import Ledger
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
from .results import LegacyResult, PoolStatistics
from .slots import Slots
from .specs import LMSettings, PoolOptions, Program
from .tracing import RequestTracer
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
        self._queue = RequestQueue(options.queue, options.overflow)
        self._hoping: list[tuple[int, Reply]] = []
        self._draining = False
        self._tick_number = 0
        self._tick: Timer | None = None
        self._late = 0

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
        tracer: RequestTracer | None = None,
    ) -> LegacyResult:
        """Runs `program` on `inputs` in some worker. The deadline of the call is the request's, see the module.

        `lm` replaces the session's and the pool's, `idempotent` the program's declaration. `timeout` in seconds ends the
        request earlier than the call's deadline would, with `LegacyTimeout`. `streaming`: see `streams.open_stream`.
        `tracer` hears of the calls that its program makes, see `tracing`.

        Refuses with TypeError, ValueError, `UnknownProgram`, `UnknownSession`, `PoolOverloaded`, `PoisonRequest`,
        `CircuitOpen`, `MissingLegacy` or `PoolUnavailable` at once; with `RemoteError`, `FrameTooLarge`,
        `Unserializable`, `WorkerCrashed`, `PoisonRequest`, `SessionBusy`, `SessionLost` or `LegacyTimeout` later.
        """
        check_request(
            self._options,
            program,
            inputs,
            lm=lm,
            idempotent=idempotent,
            timeout=timeout,
            session=session,
            streaming=streaming,
        )
        if self._draining:
            raise Refuse(PoolUnavailable("the pool is draining and takes no more requests; ask another, or start one"))
        try:
            known = self._admission.session(session)
            declared = known.programs.get(program) if known is not None else None
            declared = declared or self._options.programs.get(program)
            if declared is None:
                raise UnknownProgram(program, (*self._options.programs, *(known.programs if known else ())))
            self._crew.fail_if_hopeless()
            mark = self._admission.mark(program, inputs)
            self._dispatcher.fail_if_full(program)
            permit = self._admission.permit(program)
        except LegacyError as error:
            raise Refuse(error) from None
        chosen = lm or (known.lm if known is not None else None) or self._options.lm
        request = Request(
            program,
            dict(inputs),  # the caller may change its own afterwards
            lm=chosen,
            idempotent=declared.idempotent if idempotent is None else idempotent,
            reply=self.defer(),
            since=self.rt.now(),
            timeout=timeout,
            session=session,
            streaming=streaming,
            fingerprint=mark,
            tracer=tracer,
        )
        request.permit = permit
        ref, number, ledger = self.ref, request.number, self._ledger
        request.reply.on_abandoned(lambda: ref.send(_Abandoned(number)) if number in ledger else None)
        if timeout is not None:
            request.expiry = self.send_after(timeout, ref, _Expired(number))
        ledger.accept(request)
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
        one and goes on; "fail" tells the next request `SessionLost` first. Refuses with `SessionLimit`, TypeError, ValueError.
        """
        check_session(self._options, session, programs, lm)
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

        Refuses with `UnknownSession`, `SessionLimit`, TypeError, ValueError.
        """
        check_session(self._options, session, None, None)
        check_program(self._options, program, spec)
        self._admission.expire_sessions()
        try:
            self._admission.sessions.define(session, program, spec, self.rt.now())
        except SessionError as error:
            raise Refuse(error) from None

    def close_session(self, session: str) -> bool:
        """Forgets a session; what runs for it goes on. False: there was none."""
        check_session(self._options, session, None, None)
        closed = self._admission.sessions.close(session)
        if closed:
            self.rt.events.emit("legacy.session.closed", session=session, expired=False)
        return closed

    def drain(self) -> None:
        """Takes no more requests (they are refused with `PoolUnavailable`) and returns when those accepted are answered.

        There is no way back: stop the pool's supervisor then; it returns when all of its processes are gone.
        """
        self._draining = True
        if len(self._ledger):
            self._ledger.when_empty(self.defer())

    def wait_ready(self, workers: int = 1) -> int:
        """Waits until so many workers have loaded dspy, and returns how many have.

        Refuses with `MissingLegacy` or `PoolUnavailable` when all have given up, TypeError, and ValueError for more than
        the pool can have.
        """
        check_count("workers", workers)
        if workers > self._options.slots:
            raise Refuse(ValueError(f"the pool has at most {self._options.slots} workers: {workers} are never ready"))
        try:
            self._crew.fail_if_hopeless()
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
            running=self._ledger.running,
            accepted=self._ledger.accepted,
            completed=self._ledger.completed,
            failed=self._ledger.failed,
            retried=self._ledger.retried,
            rejected=self._dispatcher.rejected,
            abandoned=self._ledger.abandoned,
            late=self._late,
            start="fork" if self._slots.forks else "spawn",
            active=len(self._slots.active),
            sessions=len(self._admission.sessions),
            quarantined=self._admission.quarantined,
            open_circuits=self._admission.open_circuits(),
            recycled=self._crew.recycled,
            shed=self._ledger.shed,
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
        self._ledger = Ledger(self.rt, self._queue, self._admission)
        self._crew = Crew(self.rt, self._name, self._options, self._slots, monitor=self.monitor, leave=self._left)
        self._dispatcher = Dispatcher(
            self.rt,
            self._options,
            self._queue,
            self._crew,
            self._admission.sessions,
            pool=cast("Ref[object]", self.ref),
            refuse=self._ledger.answer,
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
                request = self._ledger.find(message.number)
                if request is not None:
                    self._end_early(request, None)
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
            self._crew.fail_if_hopeless()
        except LegacyError as error:
            hoping, self._hoping = self._hoping, []
            for _, reply in hoping:
                reply.refuse(error)
            for request in self._queue:
                self._ledger.answer(request, error)

    def _left(self, seat: Seat, reason: object) -> None:
        """A process is gone, and perhaps requests with it. Only the first of them can have begun."""
        held, incarnation = list(seat.held.values()), seat.incarnation
        seat.held.clear()
        seat.ready = False
        for session in self._admission.sessions.incarnation_gone(incarnation):
            self.rt.events.emit("legacy.session.lost", session=session.name, incarnation=incarnation)
        crash = crash_of(reason, seat.worker, incarnation)
        for position, request in reversed([*enumerate(held)]):  # each goes before those that wait: the first comes last
            if request is not None:
                maybe = crash if position == 0 else crash.about_request(maybe_started=False)
                self._ledger.crashed_under(request, maybe)
        self._dispatcher.dispatch()

    # --- answers ----------------------------------------------------------------------------------------------------

    def _finished(self, message: Finished) -> None:
        seat = self._crew.seats.get(message.worker)
        request = self._ledger.find(message.number)
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
            self._ledger.crashed_under(request, outcome)
            self._dispatcher.dispatch()
            return
        if isinstance(outcome, RunOutcome):
            seat.rss_bytes = outcome.rss_bytes or seat.rss_bytes
            self._ledger.answer(request, self._ledger.result(request, outcome, message))
        else:
            seat.failures += 1
            if isinstance(outcome, SessionLost) and request.session is not None:
                seat.untold(request.session)
            self._ledger.answer(request, outcome)
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

    def _end_early(self, request: Request, answer: LegacyError | None) -> None:
        seat = self._ledger.end_early(request, answer)
        if seat is not None:
            if request.number in seat.held:
                seat.held[request.number] = None  # the place is taken until the worker says that it is free
            seat.ref.cast(WorkerActor.abandon, request.number)

    def _expire(self, number: int) -> None:
        request = self._ledger.find(number)
        if request is not None:
            assert request.timeout is not None
            started = request.seat is not None
            self._end_early(request, LegacyTimeout(request.program, request.timeout, started=started))
