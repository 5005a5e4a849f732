"""What became of a request at an arm, told once to whoever keeps count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from ..runtime import Actor
from .request import Answer, Engine, Request


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """One engine's end of one request. ``error`` is the class of the exception; None: it answered.

    A request whose caller went away has no outcome: it says nothing of the engine. One whose deadline passed was a
    CallTimeout.
    """

    program: str
    engine: Engine
    latency_s: float
    """Inside the arm: not the router's time, and not that of an engine that was tried before."""
    error: str | None = None
    shadow: bool = False
    """True: nobody waited for it; it was asked only to be compared."""
    overhead_s: float | None = None
    """Seconds from the caller's asking until the engine was asked: what the router itself cost. None for a shadow, and
    after another engine had failed."""
    usd: float | None = None
    """What the answer cost; None: not known."""
    request: Request | None = field(default=None, repr=False)
    """Given when it is to be asked of the other engine as well."""
    answer: Answer | None = field(default=None, repr=False)
    """The answer, where ``request`` is given."""
    counted: bool = False
    """True: it stands in the book already."""


class Observer(Actor):
    """Hears of outcomes: what an arm needs to know of it."""

    def observe(self, outcome: Outcome) -> None:
        """Take note of one."""
        raise NotImplementedError
