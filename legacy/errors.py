"""Everything that can go wrong with the legacy pool, as one small tree.

    LegacyError
    ├── MissingLegacy            the workers' interpreter has no usable dspy (a configuration error: nothing is retried)
    ├── WorkerStartFailed        a worker process could not be started, or did not become ready in time
    ├── WorkerCrashed            a worker process ended, or stopped answering, while it was needed
    │   └── PoisonRequest        the same request ended several workers; it is not given to another one
    ├── ProtocolError            a worker wrote something that is not the protocol
    ├── FrameTooLarge            a message is over the limit; nothing of it was sent
    ├── Unserializable           a value has no form between processes
    ├── RemoteError              the program raised an exception inside the worker
    ├── UnknownProgram           the pool was not configured with a program of that name
    ├── LegacyTimeout            the time that the request was given is over
    ├── RequestCancelled         the request was interrupted before it had a result
    ├── PoolOverloaded           the queue is full, or the request was shed to make room
    ├── CircuitOpen              the program has crashed too many workers lately and is not given to them for a while
    ├── SessionError
    │   ├── UnknownSession       no session of that name: never made, closed, or unused for too long
    │   ├── SessionBusy          affinity "fail", and the session's worker is not idle
    │   ├── SessionLost          the worker that held the session's state is gone, and it was not to be replayed
    │   └── SessionLimit         as many sessions, or programs of one, as the pool allows
    └── PoolUnavailable          no worker can serve, and none is about to

Each says by `retriable` whether the same request may succeed later or elsewhere *and* cannot have had effects already, so
that repeating it is safe. Each carries its facts as attributes. None carries payloads of requests in its message, except
`RemoteError`, whose text is the program's own.
"""

from __future__ import annotations

import signal as signals
from typing import Literal

__all__ = [
    "CircuitOpen",
    "CrashKind",
    "FrameTooLarge",
    "LegacyError",
    "LegacyTimeout",
    "MissingLegacy",
    "PoisonRequest",
    "PoolOverloaded",
    "PoolUnavailable",
    "ProtocolError",
    "RemoteError",
    "RequestCancelled",
    "SessionBusy",
    "SessionError",
    "SessionLimit",
    "SessionLost",
    "UnknownProgram",
    "UnknownSession",
    "Unserializable",
    "WorkerCrashed",
    "WorkerStartFailed",
]


class LegacyError(Exception):
    """Base of all errors of this room."""

    retriable: bool = False
    """True: the same request may succeed later, and repeating it is safe."""


class MissingLegacy(LegacyError):
    """The interpreter that was named for the workers cannot import `dspy`.

    `python` is that interpreter, `remote_traceback` what it said. Retrying does not help; the pool does not.
    """

    def __init__(self, python: str, remote_traceback: str) -> None:
        last = remote_traceback.strip().splitlines()[-1] if remote_traceback.strip() else "no traceback"
        super().__init__(
            f"the legacy pool needs dspy in {python}, and importing it failed ({last}); "
            'install the extra `legacy` there (pip install "dspex[legacy]", or any dspy from 2.6 on), '
            "or name another interpreter with `python=`"
        )
        self.python = python
        self.remote_traceback = remote_traceback


class WorkerStartFailed(LegacyError):
    """A worker did not come up. What was started has been killed.

    `remote_traceback` is the worker's, if it had one to send.
    """

    def __init__(self, worker: str, reason: str, *, remote_traceback: str = "", log: tuple[str, ...] = ()) -> None:
        super().__init__(f"{worker} did not start: {reason}{_quoted(log)}")
        self.worker = worker
        self.reason = reason
        self.remote_traceback = remote_traceback
        self.log = log


class WorkerCrashed(LegacyError):
    """A worker process is gone: it ended by itself, was killed by somebody else, or stopped answering and was killed.

    `exit_code` (or `signal`, the other is None) is its end, None for both if it is not known. `maybe_started` says
    whether the request may have had effects: False means that no byte of it was sent. `log` is the end of what it
    printed.
    """

    def __init__(
        self,
        worker: str,
        incarnation: str,
        *,
        returncode: int | None,
        maybe_started: bool,
        reason: str = "",
        log: tuple[str, ...] = (),
    ) -> None:
        self.worker = worker
        self.incarnation = incarnation
        self.returncode = returncode
        self.retriable = not maybe_started
        self.signal = _signal_of(returncode)
        self.exit_code = returncode if returncode is not None and returncode >= 0 else None
        self.maybe_started = maybe_started
        self.reason = reason or self._end()
        self.log = log
        self.kind: CrashKind = crash_kind(returncode, reason)
        doubt = "; the request may have run" if maybe_started else ""
        super().__init__(f"{worker} (incarnation {incarnation}) crashed: {self.reason}{doubt}{_quoted(log)}")

    def _end(self) -> str:
        if self.signal is not None:
            return f"ended by {self.signal.name}"
        if self.exit_code is not None:
            return f"exited with status {self.exit_code}"
        return "it is gone"

    def about_request(self, *, maybe_started: bool) -> WorkerCrashed:
        """The same crash, as the caller of one request must see it."""
        return WorkerCrashed(
            self.worker,
            self.incarnation,
            returncode=self.returncode,
            maybe_started=maybe_started,
            reason=self.reason,
            log=self.log,
        )


CrashKind = Literal["signal", "exit", "out_of_memory", "silent", "protocol", "host_gone", "not_ready", "unknown"]
"""How a worker ended. signal: somebody's or its own (see `signal`). exit: it left by itself (see `exit_code`).
out_of_memory: SIGKILL that was not ours, while the kernel counted an out-of-memory kill. silent: it stopped answering and
was killed by us. protocol: it wrote garbage. host_gone: it lost its channel. not_ready: it ended before it took a request."""

_EXIT_KINDS: dict[int, CrashKind] = {81: "host_gone", 82: "protocol", 83: "not_ready"}


def crash_kind(returncode: int | None, reason: str) -> CrashKind:
    """The class of an end, from its status and from what we did about it."""
    if "silent" in reason:
        return "silent"
    if "memory" in reason:
        return "out_of_memory"
    if "not ready" in reason:
        return "not_ready"
    if returncode is None:
        return "unknown"
    return "signal" if returncode < 0 else _EXIT_KINDS.get(returncode, "exit")


class PoisonRequest(WorkerCrashed):
    """A request was in a worker's hands at `kills` crashes in a row, or an equal one was.

    It is refused instead of ending yet another one. `maybe_started` is False where this one was never run.
    """

    def __init__(self, crash: WorkerCrashed, *, kills: int) -> None:
        super().__init__(
            crash.worker,
            crash.incarnation,
            returncode=crash.returncode,
            maybe_started=crash.maybe_started,
            reason=f"{crash.reason}; this request has ended {kills} workers and is not tried again",
            log=crash.log,
        )
        self.kills = kills
        self.retriable = False

    @classmethod
    def like_another(cls, program: str, *, kills: int, seconds: float) -> PoisonRequest:
        """For a request that was not run, because equal ones ended workers."""
        crash = WorkerCrashed("no worker", "", returncode=None, maybe_started=False)
        error = cls(crash, kills=kills)
        error.reason = f"equal requests to {program!r} have ended {kills} workers"
        error.args = (
            f"{error.reason}: it is refused until {seconds:g} s have passed since the last one, and nothing was run; "
            "send other inputs, mend the program, or see `max_kills` and `quarantine_seconds` in the pool's options",
        )
        return error


class ProtocolError(LegacyError):
    """The worker wrote bytes that are not the protocol, or broke its rules. It is killed and replaced."""


class FrameTooLarge(LegacyError):
    """A request or a reply is over the frame limit. The sender refused it; the worker is well."""

    def __init__(self, size: int, limit: int, *, direction: str) -> None:
        super().__init__(
            f"the {direction} is {size} bytes and the limit is {limit}; "
            "send less, or raise `frame_limit` in the pool's options"
        )
        self.size = size
        self.limit = limit
        self.direction = direction


class Unserializable(LegacyError):
    """A value of a request or a reply cannot be told to another process. The text names the place and the type."""


class RemoteError(LegacyError):
    """The program raised. `type_name` and `module` name the exception's class, `remote_traceback` is the worker's.

    `retriable` is dspy's own verdict (a rate limit, a timeout or an outage of the provider): the same request may
    succeed later. The pool itself does not repeat it, since dspy already did. `log` is the last that the worker printed.
    """

    def __init__(
        self,
        *,
        type_name: str,
        module: str,
        message: str,
        remote_traceback: str,
        retriable: bool,
        log: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{module}.{type_name}: {message}")
        self.log = log
        self.type_name = type_name
        self.module = module
        self.message = message
        self.remote_traceback = remote_traceback
        self.retriable = retriable


class UnknownProgram(LegacyError):
    """No program of that name was declared in the pool's options. Only declared programs are ever loaded."""

    def __init__(self, program: str, known: tuple[str, ...]) -> None:
        super().__init__(f"the pool has no program {program!r}; it was given {', '.join(map(repr, known)) or 'none'}")
        self.program = program
        self.known = known


class LegacyTimeout(LegacyError):
    """The request's own time (`timeout=`) ended.

    If it was running, its worker has been killed and is being replaced.
    """

    def __init__(self, program: str, seconds: float, *, started: bool) -> None:
        where = "while it ran" if started else "while it waited for a worker"
        super().__init__(f"{program!r} had {seconds:g} s and they ended {where}")
        self.program = program
        self.seconds = seconds
        self.started = started


class PoolOverloaded(LegacyError):
    """As many requests as the queue holds are already waiting. Try again later, or add workers.

    `shed`: this one had waited longest, and was refused to make room for a newer one.
    """

    retriable = True

    def __init__(self, waiting: int, *, shed: bool = False) -> None:
        what = "this request waited longest and made room for a newer one" if shed else "the queue is full"
        super().__init__(
            f"{waiting} requests are waiting already and {what}; slow down, or raise `workers` or `queue`"
        )
        self.waiting = waiting
        self.shed = shed


class RequestCancelled(LegacyError):
    """The program was interrupted at the host's wish. Callers see it only if they asked for the interruption."""

    def __init__(self, program: str, *, started: bool) -> None:
        super().__init__(f"{program!r} was cancelled {'while it ran' if started else 'before it began'}")
        self.program = program
        self.started = started


class CircuitOpen(LegacyError):
    """`program` has crashed workers, or run out of time, too often lately. Nothing was run.

    `retry_after`: seconds until the next request is let through to try.
    """

    retriable = True

    def __init__(self, program: str, retry_after: float) -> None:
        super().__init__(
            f"{program!r} has crashed too many workers lately; the next attempt is allowed in {retry_after:.1f} s"
        )
        self.program = program
        self.retry_after = retry_after


class SessionError(LegacyError):
    """Base of what has to do with sessions. `session` is its name."""

    def __init__(self, session: str, text: str) -> None:
        super().__init__(text)
        self.session = session


class UnknownSession(SessionError):
    """No session of that name: it was never opened, was closed, or was not used for longer than `ttl`."""

    def __init__(self, session: str) -> None:
        super().__init__(session, f"there is no session {session!r}: open it, or open it again if it has expired")


class SessionBusy(SessionError):
    """The session's affinity is "fail" and its worker has something else in hand. Nothing was run."""

    retriable = True

    def __init__(self, session: str, worker: str) -> None:
        super().__init__(session, f"session {session!r} is bound to {worker}, which is busy")
        self.worker = worker


class SessionLost(SessionError):
    """The worker that held the session is gone and the session says that it must not be replayed. Nothing was run.

    The loss is told once; the session then goes on in another worker, without what the old one remembered.
    """

    def __init__(self, session: str, incarnation: str) -> None:
        super().__init__(session, f"session {session!r} lost what it had in worker incarnation {incarnation}")
        self.incarnation = incarnation


class SessionLimit(SessionError):
    """The pool holds as many sessions as it may, or the session has as many programs."""

    def __init__(self, session: str, what: str, limit: int) -> None:
        super().__init__(session, f"session {session!r}: {limit} {what} are the limit; close some, or raise it")
        self.limit = limit


class PoolUnavailable(LegacyError):
    """The pool takes no requests any more: it is draining, or every worker has given up for a reason that a restart does
    not mend, which is the `__cause__`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


def _signal_of(returncode: int | None) -> signals.Signals | None:
    if returncode is None or returncode >= 0:
        return None
    try:
        return signals.Signals(-returncode)
    except ValueError:  # a real-time signal has a number but no name
        return None


def _quoted(log: tuple[str, ...]) -> str:
    return "" if not log else "\nthe last it printed:\n" + "\n".join(f"  | {line}" for line in log[-10:])
