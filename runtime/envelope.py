"""What lies in a mailbox."""

from __future__ import annotations

from typing import Any

from .backend import Slot
from .deadlines import Bucket
from .signals import Down, ExitSignal

Envelope = tuple[Any, Any, Any, Slot | None, Bucket | None]
"""(handler, args, kwargs or None, reply slot, deadline); a plain message has no handler and stands in the place of args."""


def kind_of(envelope: Envelope) -> str:
    """ "info", "cast" or "call"."""
    if envelope[0] is None:
        return "info"
    return "cast" if envelope[3] is None else "call"


def is_signal(envelope: Envelope) -> bool:
    """True for what a process hears of another's end."""
    return envelope[0] is None and isinstance(envelope[1], ExitSignal | Down)
