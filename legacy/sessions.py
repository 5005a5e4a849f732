"""Sessions: programs, language model and affinity of one user of the pool, kept here so that they outlive any worker.

A session is bound to a worker *incarnation* when its first request is given to one. What a worker knows of it (its programs,
with demos and saved state) is told again to whichever process serves it next: that is the replay after a crash.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .errors import SessionLimit, UnknownSession
from .policies import Affinity, SessionPolicy
from .specs import LMSettings, Program

__all__ = ["Session", "SessionTable"]


@dataclass(slots=True)
class Session:
    """One session. `incarnation` is the worker process that it is bound to; None: none yet, or it is gone."""

    name: str
    programs: dict[str, Program]
    lm: LMSettings | None
    affinity: Affinity
    on_loss: Literal["replay", "fail"]
    version: int = 1
    incarnation: str | None = None
    worker: str = ""
    lost: str | None = None
    """The incarnation that was lost, until the session's user was told (`on_loss` "fail")."""
    used: float = 0.0
    requests: int = 0
    defined: dict[str, dict[str, Any]] = field(default_factory=lambda: {}, repr=False)

    def definition(self) -> Mapping[str, object]:
        """The programs as a worker is told of them; a changed one has another version, and is loaded again."""
        return self.defined


class SessionTable:
    """All sessions of a pool, bounded in number and life."""

    def __init__(self, policy: SessionPolicy) -> None:
        self._policy = policy
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self.expired = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def open(
        self,
        name: str,
        programs: Mapping[str, Program],
        now: float,
        *,
        lm: LMSettings | None,
        affinity: Affinity,
        on_loss: Literal["replay", "fail"],
    ) -> Session:
        """A new session, or nothing. Raises `SessionLimit`, `ValueError` for a name that is taken or no choice."""
        if not name or name in self._sessions:
            raise ValueError(f"session {name!r} is open already" if name else "a session's name is a non-empty str")
        if affinity not in get_args(Affinity):
            raise ValueError(f"affinity must be one of {get_args(Affinity)}, not {affinity!r}")
        if on_loss not in ("replay", "fail"):
            raise ValueError(f"on_loss must be 'replay' or 'fail', not {on_loss!r}")
        if len(programs) > self._policy.programs:
            raise SessionLimit(name, "programs in a session", self._policy.programs)
        if len(self._sessions) >= self._policy.limit:
            raise SessionLimit(name, "sessions", self._policy.limit)
        session = Session(name, dict(programs), lm, affinity, on_loss, used=now)
        self._define(session)
        self._sessions[name] = session
        return session

    def define(self, name: str, program: str, spec: Program, now: float) -> Session:
        """Adds a program to a session, or replaces it. Raises `UnknownSession`, `SessionLimit`."""
        session = self.use(name, now)
        if program not in session.programs and len(session.programs) >= self._policy.programs:
            raise SessionLimit(name, "programs in a session", self._policy.programs)
        session.programs[program] = spec
        session.version += 1
        self._define(session, program)
        return session

    @staticmethod
    def _define(session: Session, changed: str | None = None) -> None:
        for name, program in session.programs.items():
            if changed is None or name == changed:
                session.defined[name] = {**program.as_message(), "version": f"{session.version}"}

    def use(self, name: str, now: float) -> Session:
        """The session, which has been used now. Raises `UnknownSession`."""
        session = self._sessions.get(name)
        if session is None:
            raise UnknownSession(name)
        session.used = now
        self._sessions.move_to_end(name)
        return session

    def get(self, name: str | None) -> Session | None:
        return None if name is None else self._sessions.get(name)

    def close(self, name: str) -> bool:
        return self._sessions.pop(name, None) is not None

    def expire(self, now: float) -> list[Session]:
        """Removes what was not used for longer than the time to live; the oldest come first, so only they are looked at."""
        gone: list[Session] = []
        while self._sessions:
            name, session = next(iter(self._sessions.items()))
            if now - session.used <= self._policy.ttl:
                break
            del self._sessions[name]
            gone.append(session)
        self.expired += len(gone)
        return gone

    def incarnation_gone(self, incarnation: str) -> list[Session]:
        """Unbinds the sessions of a process that is gone. Returns them."""
        bound = [session for session in self._sessions.values() if session.incarnation == incarnation]
        for session in bound:
            session.incarnation = None
            if session.on_loss == "fail":
                session.lost = incarnation
        return bound
