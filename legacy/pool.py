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
from .breaker import Breaker
from .crew import Crew
from .errors import (
    CircuitOpen,
    LegacyError,
    LegacyTimeout,
    MissingLegacy,
    PoisonRequest,
    PoolOverloaded,
    PoolUnavailable,
    SessionBusy,
    SessionError,
    SessionLost,
    UnknownProgram,
    WorkerCrashed,
)
from .messages import (
    Assignment,
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
from .quarantine import Quarantine, fingerprint
from .queueing import RequestQueue
from .requests import Request, Seat
from .results import LegacyResult, PoolStatistics, plain
from .retries import RetryBudget
from .routing import choose_seat
from .sessions import Session, SessionTable
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
        self._sessions = SessionTable(options.sessions)
        self._breakers: dict[str, Breaker] = {}
        self._quarantine = Quarantine(options.max_kills, options.quarantine_seconds)
        self._budget = RetryBudget(options.retries)
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
        now = self.rt.now()
        known = self._session(session, now)
        declared = known.programs.get(program) if known is not None else None
        if declared is None:
            declared = self._options.programs.get(program)
        if declared is None:
            raise Refuse(UnknownProgram(program, (*self._options.programs, *(known.programs if known else ()))))
        if self._draining:
            raise Refuse(PoolUnavailable("the pool is draining and takes no more requests"))
        self._refuse_if_hopeless()
        mark = self._refuse_poison(program, inputs, now)
        if self._queue.refuses and not any(
            seat.room(self._options.max_in_flight) > 0 for seat in self._crew.seats.values()
        ):
            self._rejected += 1
            self.rt.events.emit("legacy.request.rejected", program=program, waiting=len(self._queue))
            raise Refuse(PoolOverloaded(len(self._queue)))
        permit = self._admitted(program, now)
        chosen = lm or (known.lm if known is not None else None) or self._options.lm
        request = Request(
            program,
            inputs,
            lm=chosen,
            idempotent=declared.idempotent if idempotent is None else idempotent,
            reply=self.defer(),
            since=now,
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
        self._dispatch()
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
        self._sessions_expire()
        try:
            self._sessions.open(
                session, programs or {}, self.rt.now(), lm=lm, affinity=affinity, on_loss=on_loss
            )
        except (SessionError, ValueError) as error:
            raise Refuse(error) from None
        self.rt.events.emit("legacy.session.opened", session=session)

    def define(self, session: str, program: str, spec: Program) -> None:
        """Adds a program to a session or replaces it; workers load the new one at its next request.

        Refuses with `UnknownSession`, `SessionLimit`.
        """
        self._sessions_expire()
        try:
            self._sessions.define(session, program, spec, self.rt.now())
        except SessionError as error:
            raise Refuse(error) from None

    def close_session(self, session: str) -> bool:
        """Forgets a session; what runs for it goes on. False: there was none."""
        closed = self._sessions.close(session)
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
        self._refuse_if_hopeless()
        ready = self._crew.ready
        if ready < workers:
            self._hoping.append((workers, self.defer()))
        return ready

    def statistics(self) -> PoolStatistics:
        """What the pool holds and has done. Costs nothing but a message."""
        now = self.rt.now()
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
            sessions=len(self._sessions),
            quarantined=len(self._quarantine),
            open_circuits=tuple(name for name, one in self._breakers.items() if one.state(now) != "closed"),
            recycled=self._crew.recycled,
            shed=self._shed,
        )

    def tree_detail(self) -> str:
        """See `Actor.tree_detail`."""
        return f"{self._crew.ready} of {len(self._slots.active)} workers ready, {len(self._queue)} waiting"

    # --- callbacks --------------------------------------------------------------------------------------------------

    async def init(self) -> None:
        self._crew = Crew(self.rt, self._name, self._options, self._slots, monitor=self.monitor, leave=self._left)
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
        self._sessions_expire()
        self._next_tick()

    # --- workers ----------------------------------------------------------------------------------------------------

    def _worker_ready(self, message: WorkerReady) -> None:
        if self._crew.arrived(message) is None:
            return
        for hope in [hope for hope in self._hoping if hope[0] <= self._crew.ready]:
            self._hoping.remove(hope)
            hope[1].send(self._crew.ready)
        self._dispatch()

    def _worker_gave_up(self, message: WorkerGaveUp) -> None:
        self._crew.given_up[message.worker] = message
        try:
            self._refuse_if_hopeless()
        except Refuse as refusal:
            hoping, self._hoping = self._hoping, []
            for _, reply in hoping:
                reply.refuse(refusal.error)
            for request in self._queue:
                self._answer(request, cast("LegacyError", refusal.error))

    def _left(self, seat: Seat, reason: object) -> None:
        """A process is gone, and perhaps requests with it. Only the first of them can have begun."""
        held, incarnation = list(seat.held.values()), seat.incarnation
        seat.held.clear()
        seat.ready = False
        for session in self._sessions.incarnation_gone(incarnation):
            self.rt.events.emit("legacy.session.lost", session=session.name, incarnation=incarnation)
        crash = crash_of(reason, seat.worker, incarnation)
        for position, request in enumerate(held):
            if request is not None:
                maybe = crash if position == 0 else crash.about_request(maybe_started=False)
                self._crashed_under(request, maybe)

    def _refuse_if_hopeless(self) -> None:
        error = self._crew.hopeless()
        if error is None:
            return
        if isinstance(error, MissingLegacy):
            raise Refuse(error)
        unavailable = PoolUnavailable(str(error))
        unavailable.__cause__ = error
        raise Refuse(unavailable)

    # --- acceptance -------------------------------------------------------------------------------------------------

    def _session(self, name: str | None, now: float) -> Session | None:
        if name is None:
            return None
        self._sessions_expire()
        try:
            session = self._sessions.use(name, now)
        except SessionError as error:
            raise Refuse(error) from None
        if session.lost is not None:
            lost, session.lost = session.lost, None
            raise Refuse(SessionLost(name, lost))
        return session

    def _sessions_expire(self) -> None:
        for session in self._sessions.expire(self.rt.now()):
            self.rt.events.emit("legacy.session.closed", session=session.name, expired=True)

    def _refuse_poison(self, program: str, inputs: Mapping[str, object], now: float) -> bytes | None:
        if not len(self._quarantine):
            return None  # nothing has killed anything: no request is worth a hash
        mark = fingerprint(program, inputs, self._options.frame_limit)
        if mark is not None and self._quarantine.refuses(mark, now):
            kills = self._quarantine.kills(mark, now)
            self.rt.events.emit("legacy.request.poisoned", request=None, program=program, kills=kills)
            crash = WorkerCrashed(
                "a worker", "", returncode=None, maybe_started=False, reason="an equal request has crashed workers"
            )
            raise Refuse(PoisonRequest(crash, kills=kills))
        return mark

    def _admitted(self, program: str, now: float) -> bool:
        """True: on trial. Refuses with `CircuitOpen`."""
        breaker = self._breakers.get(program)
        if breaker is None:
            return False
        verdict = breaker.admit(now)
        if verdict == "no":
            raise Refuse(CircuitOpen(program, breaker.retry_after(now)))
        return verdict == "permit"

    # --- dispatch ---------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while (request := self._queue.first()) is not None:
            if self._placed(request):
                continue
            # Nobody has room for the first; if it waits for the worker of its session, others may pass it.
            if request.session is None or not any(self._placed(other) for other in self._queue):
                return

    def _placed(self, request: Request) -> bool:
        """True: it was given away, or refused; it does not wait any more."""
        session = self._sessions.get(request.session)
        seat = choose_seat(self._crew.seats.values(), self._options.max_in_flight, session)
        if seat is not None:
            self._queue.remove(request)
            self._give(request, seat, session)
            return True
        if session is not None and session.affinity == "fail" and session.incarnation is not None:
            self._answer(request, SessionBusy(session.name, session.worker))
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
            if seat.scopes.get(session.name) != session.version:
                seat.scopes[session.name] = session.version
                define = session.definition()
        self.rt.events.emit(
            "legacy.request.started", request=request.number, program=request.program, worker=seat.worker
        )
        seat.ref.cast(
            WorkerActor.execute,
            Assignment(
                request.number,
                request.program,
                request.inputs,
                request.lm,
                cast("Ref[object]", self.ref),
                request.session,
                define,
                request.streaming,
            ),
        )

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
            self._dispatch()
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
            self._answer(request, outcome)
        self._vacated(seat, message.number)
        self._dispatch()

    def _released(self, message: Released) -> None:
        seat = self._crew.seats.get(message.worker)
        if seat is not None and seat.incarnation == message.incarnation:
            self._vacated(seat, message.number)
            self._dispatch()

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
        """Decides whether a request goes on after its worker crashed."""
        request.seat = None
        if crash.maybe_started:
            request.kills += 1
            kills = self._kills_of(request)
            if kills >= self._options.max_kills and request.idempotent:
                self.rt.events.emit(
                    "legacy.request.poisoned", request=request.number, program=request.program, kills=kills
                )
                poison = PoisonRequest(crash, kills=kills)
                poison.__cause__ = crash
                self._answer(request, poison)
                return
            streamed = request.streaming is not None and request.streaming.began()
            if not request.idempotent or streamed or not self._budget.take():
                self._answer(request, crash)
                return
            self._record(request, ok=False)
        self._retried += 1
        self.rt.events.emit(
            "legacy.request.retried",
            request=request.number,
            program=request.program,
            worker=crash.worker,
            kills=request.kills,
        )
        self._queue.add(request, first=True)  # it has waited already
        self._dispatch()

    def _kills_of(self, request: Request) -> int:
        """Kills by this request and by equal ones before it."""
        if request.fingerprint is None:
            request.fingerprint = fingerprint(request.program, request.inputs, self._options.frame_limit)
        if request.fingerprint is None:
            return request.kills
        return self._quarantine.killed(request.fingerprint, self.rt.now())

    def _answer(self, request: Request, answer: LegacyResult | LegacyError) -> None:
        del self._requests[request.number]
        self._queue.remove(request)
        if request.expiry is not None:
            request.expiry.cancel()
        if isinstance(answer, LegacyError):
            self._failed += 1
            crashed = isinstance(answer, WorkerCrashed | LegacyTimeout)
            if crashed or not isinstance(answer, PoolOverloaded | PoolUnavailable | MissingLegacy | SessionError):
                self._record(request, ok=not crashed)
            elif request.permit:
                self._breakers[request.program].release()
            request.reply.refuse(answer)
        else:
            self._completed += 1
            self._budget.finished()
            if request.fingerprint is not None and len(self._quarantine):
                self._quarantine.survived(request.fingerprint)
            self._record(request, ok=True)
            request.reply.send(answer)
        self._look_drained()

    def _look_drained(self) -> None:
        if self._drained and not self._requests:
            drained, self._drained = self._drained, []
            for reply in drained:
                reply.send(None)

    def _record(self, request: Request, *, ok: bool) -> None:
        breaker = self._breakers.get(request.program)
        if breaker is None:
            if ok or self._options.breaker is None:
                return  # a program that never crashed anything needs no breaker
            breaker = self._breakers[request.program] = Breaker(self._options.breaker)
        permit, request.permit = request.permit, False
        now = self.rt.now()
        if breaker.record(now, ok=ok, permit=permit):
            self.rt.events.emit("legacy.circuit.changed", program=request.program, state=breaker.state(now))

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
            if request.permit:
                self._breakers[request.program].release()
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
