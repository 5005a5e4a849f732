"""Whether a request is let in, and whether it may be tried again: sessions, quarantine, breakers, the budget for repetitions.

It decides and counts; it holds no request and speaks to no worker.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..runtime import Runtime
from .breaker import Breaker
from .errors import (
    CircuitOpen,
    LegacyError,
    LegacyTimeout,
    MissingLegacy,
    PoisonRequest,
    PoolOverloaded,
    PoolUnavailable,
    SessionError,
    SessionLost,
    WorkerCrashed,
)
from .quarantine import Quarantine, fingerprint
from .requests import Request
from .retries import RetryBudget
from .sessions import Session, SessionTable
from .specs import PoolOptions

__all__ = ["Admission"]


class Admission:
    """One for each pool."""

    def __init__(self, rt: Runtime, options: PoolOptions) -> None:
        self._rt = rt
        self._options = options
        self.sessions = SessionTable(options.sessions)
        self._breakers: dict[str, Breaker] = {}
        """Of programs that have crashed something; others need none."""
        self._quarantine = Quarantine(options.max_kills, options.quarantine_seconds)
        self._budget = RetryBudget(options.retries)

    @property
    def quarantined(self) -> int:
        """Different requests that have killed a worker lately."""
        return len(self._quarantine)

    def open_circuits(self) -> tuple[str, ...]:
        """Programs that are refused, or on trial."""
        now = self._rt.now()
        return tuple(name for name, one in self._breakers.items() if one.state(now) != "closed")

    # --- before -----------------------------------------------------------------------------------------------------

    def session(self, name: str | None) -> Session | None:
        """The session of a request. Raises `UnknownSession`, or `SessionLost` if its user has to be told."""
        if name is None:
            return None
        self.expire_sessions()
        session = self.sessions.use(name, self._rt.now())
        if session.lost is not None:
            lost, session.lost = session.lost, None
            raise SessionLost(name, lost)
        return session

    def expire_sessions(self) -> None:
        for session in self.sessions.expire(self._rt.now()):
            self._rt.events.emit("legacy.session.closed", session=session.name, expired=True)

    def mark(self, program: str, inputs: Mapping[str, object]) -> bytes | None:
        """What the request is remembered by, if any has killed a worker lately. Raises `PoisonRequest` for one that has."""
        if not len(self._quarantine):
            return None  # no request is worth a hash
        mark = fingerprint(program, inputs, self._options.frame_limit)
        now = self._rt.now()
        if mark is not None and self._quarantine.refuses(mark, now):
            kills = self._quarantine.kills(mark, now)
            self._rt.events.emit("legacy.request.poisoned", request=None, program=program, kills=kills)
            raise PoisonRequest.like_another(program, kills=kills, seconds=self._options.quarantine_seconds)
        return mark

    def permit(self, program: str) -> bool:
        """True: let in on trial, by a permit that `settle` or `withdraw` takes back. Raises `CircuitOpen`."""
        breaker = self._breakers.get(program)
        if breaker is None:
            return False
        now = self._rt.now()
        verdict = breaker.admit(now)
        if verdict == "no":
            raise CircuitOpen(program, breaker.retry_after(now))
        return verdict == "permit"

    # --- after ------------------------------------------------------------------------------------------------------

    def try_again(self, request: Request, crash: WorkerCrashed) -> WorkerCrashed | None:
        """None: the request may be given to another worker. Else what its caller is told."""
        if not crash.maybe_started:
            return None
        request.kills += 1
        kills = self._kills_of(request)
        if kills >= self._options.max_kills and request.idempotent:
            self._rt.events.emit(
                "legacy.request.poisoned", request=request.number, program=request.program, kills=kills
            )
            poison = PoisonRequest(crash, kills=kills)
            poison.__cause__ = crash
            return poison
        streamed = request.streaming is not None and request.streaming.began()
        if not request.idempotent or streamed or not self._budget.take():
            return crash
        self._record(request, ok=False)
        return None

    def _kills_of(self, request: Request) -> int:
        """Kills by this request and by equal ones before it."""
        if request.fingerprint is None:
            request.fingerprint = fingerprint(request.program, request.inputs, self._options.frame_limit)
        if request.fingerprint is None:
            return request.kills
        return self._quarantine.killed(request.fingerprint, self._rt.now())

    def settle(self, request: Request, error: LegacyError | None) -> None:
        """The request is answered, with `error` or well. Crashes and overrun times are failures of its program."""
        if error is None:
            self._budget.finished()
            if request.fingerprint is not None:
                self._quarantine.survived(request.fingerprint)
            self._record(request, ok=True)
        elif isinstance(error, WorkerCrashed | LegacyTimeout):
            self._record(request, ok=False)
        elif isinstance(error, PoolOverloaded | PoolUnavailable | MissingLegacy | SessionError):
            self.withdraw(request)  # it was never run
        else:
            self._record(request, ok=True)

    def withdraw(self, request: Request) -> None:
        """The request came to no end that says anything of its program."""
        if request.permit:
            request.permit = False
            self._breakers[request.program].release()

    def _record(self, request: Request, *, ok: bool) -> None:
        breaker = self._breakers.get(request.program)
        if breaker is None:
            if ok or self._options.breaker is None:
                return
            breaker = self._breakers[request.program] = Breaker(self._options.breaker)
        permit, request.permit = request.permit, False
        now = self._rt.now()
        if breaker.record(now, ok=ok, permit=permit):
            self._rt.events.emit("legacy.circuit.changed", program=request.program, state=breaker.state(now))
