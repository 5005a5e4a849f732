"""What a tracer sees of an actor: sys:trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

from .envelope import Envelope, kind_of


@final
@dataclass(frozen=True, slots=True)
class Traced:
    """One message that an actor took from its mailbox, or one answer to a call."""

    at: float
    """Seconds of the runtime's clock."""
    kind: Literal["call", "cast", "info", "answered"]
    """``answered``: the caller of an earlier ``call`` waits no more; it has its answer, or has gone."""
    method: str | None
    """The method's qualified name; None for a plain message."""
    payload: Any
    """(args, kwargs) of a call or cast, the message of an info, None for ``answered``. It may be secret: do not log it
    as it is."""


Tracer = Callable[[Traced], None]
"""A plain function, called on the event loop before the message is handled. What it raises ends the tracing, not the actor."""


def traced(envelope: Envelope, now: float) -> Traced:
    """What a tracer is told of a message."""
    handler, args, kwargs, _, _ = envelope
    kind: Any = kind_of(envelope)
    if handler is None:
        return Traced(now, kind, None, args)
    return Traced(now, kind, getattr(handler, "__qualname__", repr(handler)), (args, kwargs or {}))
