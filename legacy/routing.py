"""Which worker gets a request: the idlest that may have it; for a session, its own."""

from __future__ import annotations

from collections.abc import Iterable

from .requests import Seat
from .sessions import Session

__all__ = ["choose_seat"]


def choose_seat(seats: Iterable[Seat], max_in_flight: int, session: Session | None) -> Seat | None:
    """The seat for a request (of `session`, if it is of one) now.

    None: none has room, or the request has to wait for its own (affinity "queue" and "fail").

    An idle worker before a busy one with room, the one that has been idle longest first, so that all stay warm.
    """
    best: Seat | None = None
    for seat in seats:
        if seat.room(max_in_flight) <= 0:
            continue
        if session is not None and session.incarnation == seat.incarnation:
            return seat
        if best is None or (len(seat.held), seat.idle_since) < (len(best.held), best.idle_since):
            best = seat
    if session is None or session.incarnation is None or session.affinity == "hint":
        return best
    return None
