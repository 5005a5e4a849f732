"""A pool's policies: numbers, and what they mean. Times are seconds, sizes bytes; everything is checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Affinity",
    "BreakerPolicy",
    "Overflow",
    "RecyclingPolicy",
    "RetryPolicy",
    "ScalingPolicy",
    "SessionPolicy",
]

Overflow = Literal["reject", "wait", "shed_oldest"]

Affinity = Literal["hint", "queue", "fail"]
"""Which worker a session's request goes to. hint: its own if that is idle, else any. queue: its own only; it waits for it.
fail: its own only; refused with `SessionBusy` if that is not idle."""


def _positive(policy: object, *names: str) -> None:
    for name in names:
        value = getattr(policy, name)
        if value is not None and not value > 0:
            raise ValueError(f"{type(policy).__name__}.{name} must be more than 0, not {value}")


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Opens for a program when at least `failures` of its requests within `window` crashed a worker or ran out of time,
    and these are at least `ratio` of all. Errors that the program raised are no failures.

    After `open_for` it lets `permits` requests try; one success closes it, one failure opens it again.
    """

    failures: int = 10
    ratio: float = 0.5
    window: float = 30.0
    open_for: float = 10.0
    permits: int = 1

    def __post_init__(self) -> None:
        _positive(self, "failures", "window", "open_for", "permits")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"BreakerPolicy.ratio must be above 0 and at most 1, not {self.ratio}")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many repetitions after crashes a pool allows itself: `burst` at once, refilled by `ratio` per finished request.

    What provably never started is not counted. Only requests that may be repeated are, whatever the budget.
    """

    burst: int = 10
    ratio: float = 0.2

    def __post_init__(self) -> None:
        if self.burst < 0 or not self.ratio >= 0:
            raise ValueError("RetryPolicy.burst and ratio must be 0 or more")


@dataclass(frozen=True, slots=True)
class RecyclingPolicy:
    """When a healthy worker is replaced: after so many requests, at an age, over a resident size. None: not for that reason.

    The replacement is started first; the old one finishes what it has in hand and gets nothing new.
    """

    requests: int | None = None
    age: float | None = None
    rss_bytes: int | None = None

    def __post_init__(self) -> None:
        _positive(self, "requests", "age", "rss_bytes")


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """One worker more when the request that has waited longest has waited `up_after`; one less when one was idle for
    `down_after`. Looked at every `period`."""

    up_after: float = 0.5
    down_after: float = 60.0
    period: float = 0.25

    def __post_init__(self) -> None:
        _positive(self, "up_after", "down_after", "period")


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Sessions live for `ttl` after their last use; `limit` of them at a time, `programs` of their own each."""

    limit: int = 1000
    ttl: float = 3600.0
    programs: int = 16

    def __post_init__(self) -> None:
        _positive(self, "limit", "ttl", "programs")
