"""A circuit breaker that only counts: it runs nothing, and what it let through is told to it afterwards.

Why none of the libraries: those tried let every caller through as the half-open probe, count consecutive failures only, or
fail on trio. Here failures are those in a window of time, permits are counted and given back, also by who goes away.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from .policies import BreakerPolicy

__all__ = ["Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """Of one program. `now` is always the runtime's clock."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._opened: float | None = None
        self._permits = 0
        """Given out while half open."""
        self.opened_times = 0

    def state(self, now: float) -> BreakerState:
        if self._opened is None:
            return "closed"
        return "open" if now - self._opened < self._policy.open_for else "half_open"

    def retry_after(self, now: float) -> float:
        """Seconds until the next attempt is let through; 0 if one may be."""
        return 0.0 if self._opened is None else max(0.0, self._opened + self._policy.open_for - now)

    def admit(self, now: float) -> Literal["free", "permit", "no"]:
        """free: pass. permit: pass on trial, and tell by `record` or `release` what became of it. no: refused."""
        state = self.state(now)
        if state == "closed":
            return "free"
        if state == "open" or self._permits >= self._policy.permits:
            return "no"
        self._permits += 1
        return "permit"

    def release(self) -> None:
        """A permit was not used to the end: its caller went away."""
        self._permits = max(0, self._permits - 1)

    def record(self, now: float, *, ok: bool, permit: bool) -> bool:
        """How a request ended. True: it opened, or closed, the breaker."""
        if permit:
            self._permits = max(0, self._permits - 1)
        if self._opened is not None:
            if not permit:
                return False  # let through before it opened: old news
            if ok:
                self._opened = None
                self._outcomes.clear()
                self._failures = 0
                return True
            self._opened = now
            return False
        self._outcomes.append((now, ok))
        self._failures += not ok
        while self._outcomes and now - self._outcomes[0][0] > self._policy.window:
            self._failures -= not self._outcomes.popleft()[1]
        if not ok and self._failures >= max(self._policy.failures, self._policy.ratio * len(self._outcomes)):
            self._opened = now
            self.opened_times += 1
            return True
        return False
