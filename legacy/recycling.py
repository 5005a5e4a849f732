"""When a healthy worker has done enough."""

from __future__ import annotations

from .policies import RecyclingPolicy
from .requests import Seat

__all__ = ["recycling_due"]


def recycling_due(policy: RecyclingPolicy, seat: Seat, now: float) -> str | None:
    """The reason to replace the process of `seat` now, in a word; None: there is none."""
    if seat.orphaned:
        return "orphaned"
    if policy.requests is not None and seat.requests >= policy.requests:
        return "requests"
    if policy.age is not None and now - seat.since >= policy.age:
        return "age"
    if policy.rss_bytes is not None and seat.rss_bytes > policy.rss_bytes:
        return "memory"
    return None
