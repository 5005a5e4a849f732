"""Where in a long run a piece of work stands: a path that is the same whenever the run is made again.

    t3/e0.17        in the fourth trial, in its first evaluation, at the example with index 17

Calls that are made at the same time come in any order, so a journal cannot number them as they come. It files each under the
place it was made at, and counts equal ones there. Whoever lets things run side by side (`Parallel`, `Evaluate`, an
optimizer's trials) gives each a place of its own, by position. Outside a job there is no place, and that costs one look at
a context variable.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["PLACE", "Place", "next_place"]


class Place:
    """One place. What is counted here is counted in order: things side by side have places of their own."""

    __slots__ = ("_counts", "path")

    def __init__(self, path: str = "") -> None:
        self.path = path
        self._counts: dict[str, int] = {}

    def count(self, what: str) -> int:
        """How often this was asked here before."""
        before = self._counts.get(what, 0)
        self._counts[what] = before + 1
        return before

    def next(self, kind: str) -> Place:
        """The place of the next thing of this kind that happens here."""
        name = f"{kind}{self.count(kind)}"
        return Place(f"{self.path}/{name}" if self.path else name)

    def at(self, position: int) -> Place:
        """The place of one of several things side by side."""
        return Place(f"{self.path}.{position}")


PLACE: ContextVar[Place | None] = ContextVar("dspex place", default=None)
"""Where this code runs; None outside a job."""


def next_place(kind: str) -> Place | None:
    """The place of the next thing of this kind here; None outside a job."""
    place = PLACE.get()
    return None if place is None else place.next(kind)
