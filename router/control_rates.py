"""Requests a second of now: from what was counted a minute ago and what is counted now."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, final

from .request import Engine

WINDOW: Final = 60.0
"""Seconds that a rate looks back, or since the start, if that is less."""

INTERVAL: Final = 2.0
"""Seconds between two samples: 30 small tuples an arm are kept."""

ArmKey = tuple[str, Engine]


class Count(NamedTuple):
    """Of one engine with one program, since the app was made."""

    requests: int
    failed: int


_ZERO: Final = Count(0, 0)


@final
@dataclass(frozen=True, slots=True)
class Rate:
    """Of one engine with one program, over the last ``seconds``."""

    requests_per_s: float
    failures_per_s: float
    seconds: float


@final
class Rates:
    """Samples of counts. For one event loop."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[ArmKey, Count]]] = deque()

    def sample(self, now: float, counts: Mapping[ArmKey, Count]) -> None:
        """Take note of the counts; what is older than the window is dropped, but for the one that it begins with."""
        self._samples.append((now, counts))
        while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()

    def now(self, now: float, counts: Mapping[ArmKey, Count]) -> dict[ArmKey, Rate]:
        """By arm; empty before there is a sample that is older than now."""
        if not self._samples or now <= self._samples[0][0]:
            return {}
        then, before = self._samples[0]
        seconds = now - then
        rates: dict[ArmKey, Rate] = {}
        for arm, count in counts.items():
            was = before.get(arm, _ZERO)
            rates[arm] = Rate(
                (count.requests - was.requests) / seconds, (count.failed - was.failed) / seconds, round(seconds, 3)
            )
        return rates
