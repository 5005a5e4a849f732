"""What a supervisor remembers of its restarts: counts, and the last few with their reasons."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, final

from ..runtime import Reason

REMEMBERED: Final = 20
"""Restarts kept with their reasons; older ones are only counted."""


@final
@dataclass(frozen=True, slots=True)
class RestartNote:
    """One decision to restart."""

    child: str
    reason: Reason
    at: float
    """Seconds of ``rt.now``."""


@final
@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """What ``statistics`` of a supervisor gives."""

    children: int
    """Specs it has; for a dynamic supervisor, children."""
    active: int
    """Children with a live process."""
    restarting: int
    """Children that wait for their next attempt."""
    restarts: int
    """Restarts decided since the supervisor started, one for each child that ended or failed to start again."""
    restarts_in_period: int
    """How many of them count against ``intensity`` now."""
    by_child: dict[str, int]
    """The same by id, for the children it still has. A dynamic supervisor has one id for all."""
    last: tuple[RestartNote, ...]
    """The latest ones, oldest first, at most 20."""


@final
class RestartRecord:
    """Counts and remembers."""

    __slots__ = ("_last", "by_child", "total")

    def __init__(self) -> None:
        self.total = 0
        self.by_child: dict[str, int] = {}
        self._last: deque[tuple[str, Reason, float]] = deque(maxlen=REMEMBERED)

    def note(self, child: str, reason: Reason, at: float) -> None:
        """One more."""
        self.total += 1
        self.by_child[child] = self.by_child.get(child, 0) + 1
        self._last.append((child, reason, at))

    @property
    def last(self) -> tuple[RestartNote, ...]:
        """Oldest first. Notes are made when somebody looks: a restart does without."""
        return tuple(RestartNote(*noted) for noted in self._last)

    def forget(self, child: str) -> None:
        """The child is gone for good; it stays in the total."""
        self.by_child.pop(child, None)
