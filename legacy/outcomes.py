"""From a worker's `result` message, whose shape is not trusted, to what its request's caller is told; and from an end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from ..runtime import Crash, Reason
from .errors import (
    FrameTooLarge,
    LegacyError,
    ProtocolError,
    RemoteError,
    RequestCancelled,
    SessionLost,
    UnknownProgram,
    Unserializable,
    WorkerCrashed,
)
from .messages import Assignment, RunOutcome

__all__ = ["crash_of", "outcome_of"]


def crash_of(reason: Reason, worker: str, incarnation: str) -> WorkerCrashed:
    """What a request's caller must be told when the worker's actor ended with `reason`."""
    error = reason.error if isinstance(reason, Crash) else None
    if isinstance(error, WorkerCrashed):
        return error
    described = str(error) if error is not None else f"its actor ended with {reason!r}"
    crash = WorkerCrashed(worker, incarnation, returncode=None, maybe_started=True, reason=described)
    crash.__cause__ = error
    return crash


def outcome_of(
    message: dict[str, Any], assignment: Assignment, *, programs: Iterable[str], frame_limit: int, log: tuple[str, ...]
) -> RunOutcome | LegacyError:
    """The end of a request. `log` is the last that its worker printed. Raises `ProtocolError`."""
    ok, value, error = message.get("ok"), message.get("value"), message.get("error")
    if ok is True and isinstance(value, dict) and error is None:
        usage, timing = _object(message.get("usage")), _object(message.get("timing"))
        run_s, rss, lm_calls = timing.get("run_s"), message.get("rss"), timing.get("lm_calls")
        values = cast("dict[str, object]", value)
        return RunOutcome(
            values,
            usage,
            float(run_s) if isinstance(run_s, int | float) else 0.0,
            rss if isinstance(rss, int) else 0,
            lm_calls if isinstance(lm_calls, int) else None,
        )
    if ok is not False or not isinstance(error, dict) or value is not None:
        raise ProtocolError("a result must hold either ok=true and a value, or ok=false and an error")
    facts = cast("dict[str, object]", error)
    kind, text = facts.get("kind"), str(facts.get("message"))
    match kind:
        case "program":
            return RemoteError(
                type_name=str(facts.get("type")),
                module=str(facts.get("module")),
                message=text,
                remote_traceback=str(facts.get("traceback")),
                retriable=facts.get("retriable") is True,
                log=log,
            )
        case "unknown_program":
            return UnknownProgram(assignment.program, tuple(programs))
        case "too_large":
            size, limit = facts.get("size"), facts.get("limit")
            return FrameTooLarge(
                size if isinstance(size, int) else -1,
                limit if isinstance(limit, int) else frame_limit,
                direction="reply",
            )
        case "unserializable" | "result":
            return Unserializable(f"the reply of {assignment.program!r}: {text}")
        case "config":
            return LegacyError(f"program {assignment.program!r} cannot be built: {text}")
        case "cancelled":
            return RequestCancelled(assignment.program, started=text == "interrupted")
        case "session_lost":
            return SessionLost(assignment.session or "", "")
        case "incarnation":
            return WorkerCrashed("", "", returncode=None, maybe_started=False, reason=text)
        case _:
            raise ProtocolError(f"a result with an error of kind {kind!r:.40}, which this host does not know")


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
