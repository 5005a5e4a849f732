"""The requests in one worker's hands, in the order in which it works through them."""

from __future__ import annotations

from collections import OrderedDict

from ..runtime import TaskHandle, Timer
from .messages import Assignment

__all__ = ["Held", "InHand"]


class Held:
    """One assignment and what belongs to it until its result arrives."""

    __slots__ = ("abandoned", "assignment", "calls", "lost_spans", "overdue", "sent")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.sent = False
        """Whether any byte of it may have reached the process."""
        self.abandoned = False
        self.overdue: Timer | None = None
        self.calls: set[TaskHandle] = set()
        """Calls of its program that this process is working on."""
        self.lost_spans = 0

    def end(self, error: str | None = None) -> None:
        """Nothing that belongs to it goes on. `error`: the worker went with it."""
        if self.overdue is not None:
            self.overdue.cancel()
        for call in self.calls:
            call.cancel()
        self.calls.clear()
        if self.assignment.tracer is not None:
            self.assignment.tracer.left(error, self.lost_spans)


class InHand:
    """A worker takes requests in order and tells each result before it begins the next; so only the first can have begun."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, assignment: Assignment) -> Held:
        held = self._held[assignment.number] = Held(assignment)
        return held

    def get(self, number: object) -> Held | None:
        return self._held.get(number) if isinstance(number, int) else None

    @property
    def first(self) -> Held | None:
        """The one that may be running."""
        return next(iter(self._held.values()), None)

    def remove(self, number: int) -> Held:
        held = self._held.pop(number)
        held.end()
        return held

    def clear(self, error: str) -> list[Held]:
        """Empties it; what was in it, in order. `error`: why, as a class."""
        held = list(self._held.values())
        self._held.clear()
        for one in held:
            one.end(error)
        return held
