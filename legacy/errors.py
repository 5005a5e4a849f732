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
    ├── PoolOverloaded           the queue is full
    └── PoolUnavailable          no worker can serve, and none is about to

Each carries its facts as attributes. None carries payloads of requests in its message, except `RemoteError`, whose
text is the program's own.
"""

from __future__ import annotations

import signal as signals

__all__ = [
    "FrameTooLarge",
    "LegacyError",
    "LegacyTimeout",
    "MissingLegacy",
    "PoisonRequest",
    "PoolOverloaded",
    "PoolUnavailable",
    "ProtocolError",
    "RemoteError",
    "UnknownProgram",
    "Unserializable",
    "WorkerCrashed",
    "WorkerStartFailed",
]


class LegacyError(Exception):
    """Base of all errors of this room."""


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
        self.signal = _signal_of(returncode)
        self.exit_code = returncode if returncode is not None and returncode >= 0 else None
        self.maybe_started = maybe_started
        self.reason = reason or self._end()
        self.log = log
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


class PoisonRequest(WorkerCrashed):
    """A request was in a worker's hands at `kills` crashes in a row.

    It is refused instead of ending yet another one.
    """

    def __init__(self, crash: WorkerCrashed, *, kills: int) -> None:
        super().__init__(
            crash.worker,
            crash.incarnation,
            returncode=crash.returncode,
            maybe_started=True,
            reason=f"{crash.reason}; this request has ended {kills} workers and is not tried again",
            log=crash.log,
        )
        self.kills = kills


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
    succeed later. The pool itself does not repeat it, since dspy already did.
    """

    def __init__(self, *, type_name: str, module: str, message: str, remote_traceback: str, retriable: bool) -> None:
        super().__init__(f"{module}.{type_name}: {message}")
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
    """As many requests as the queue holds are already waiting. Try again later, or add workers."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"{waiting} requests are waiting already and the queue is full; slow down, or raise `workers` or `queue`"
        )
        self.waiting = waiting


class PoolUnavailable(LegacyError):
    """Every worker has given up for a reason that a restart does not mend; `__cause__` is that reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no legacy worker can serve: {reason}")


def _signal_of(returncode: int | None) -> signals.Signals | None:
    if returncode is None or returncode >= 0:
        return None
    try:
        return signals.Signals(-returncode)
    except ValueError:  # a real-time signal has a number but no name
        return None


def _quoted(log: tuple[str, ...]) -> str:
    return "" if not log else "\nthe last it printed:\n" + "\n".join(f"  | {line}" for line in log[-10:])
