"""Restart intensity: how many restarts in how many seconds before a supervisor gives up.

Counted as OTP 25 does: in whole seconds of the monotonic clock, the edge included. A restart in second s still counts in
second n if s >= n - period.
"""

from __future__ import annotations

import math
from collections import deque
from typing import final


@final
class Intensity:
    """At most ``limit`` restarts within ``period`` seconds."""

    __slots__ = ("_seconds", "limit", "period")

    def __init__(self, limit: int, period: float) -> None:
        self.limit = limit
        self.period = period
        self._seconds: deque[int] = deque()

    def allow(self, now: float) -> bool:
        """Count a restart at ``now`` (seconds). False: that is one too many."""
        second = math.floor(now)
        while self._seconds and self._seconds[0] < second - self.period:
            self._seconds.popleft()
        self._seconds.append(second)
        return len(self._seconds) <= self.limit

    def recent(self, now: float) -> int:
        """How many restarts count at ``now``."""
        second = math.floor(now)
        return sum(counted >= second - self.period for counted in self._seconds)
