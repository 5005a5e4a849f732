"""How each program fares on each engine: counts, errors by class, latency by quantile, what the router itself costs.

Latencies go into an HDR histogram (one microsecond to an hour, two digits, 26 KB an arm): adding one costs about 2 us,
and quantiles are exact to 1 %, however many requests there were. Beside it stand the last ``RECENT`` answers, for who
routes by them: a histogram of everything never forgets a bad hour, and a request of now is no concern of it.
"""

from __future__ import annotations

import importlib
import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from .outcomes import Outcome
from .requirement import Measured

_LONGEST_US: Final = 3_600_000_000

RECENT: Final = 500
"""Answers that a requirement looks at."""

_REFRESH: Final = 16
"""Answers after which it looks anew: sorting 500 numbers takes 30 us, more than all else that the router does."""


@final
@dataclass(frozen=True, slots=True)
class ArmStatistics:
    """One engine's record with one program. Latencies are seconds, None before the first request."""

    requests: int
    failed: int
    errors: Mapping[str, int]
    """By the class of the error."""
    shadowed: int
    """Of the requests, those that were asked only to be compared."""
    total_s: float
    """All latencies together."""
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    overhead_p50_s: float | None = None
    """What the router itself cost: from the caller's asking until the engine was asked, mailboxes and decision included.
    None before the first request that somebody waited for."""
    overhead_p95_s: float | None = None
    overhead_p99_s: float | None = None
    usd_mean: float | None = None
    """US dollars for an answer, in the mean of those that told; None: none did."""

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed, 0 to 1."""
        return self.failed / self.requests if self.requests else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "error_rate": self.error_rate,
            "errors": dict(self.errors),
            "shadowed": self.shadowed,
            "latency_s": {"total": self.total_s, "p50": self.p50_s, "p95": self.p95_s, "p99": self.p99_s},
            "overhead_s": {"p50": self.overhead_p50_s, "p95": self.overhead_p95_s, "p99": self.overhead_p99_s},
            "usd_mean": self.usd_mean,
        }


@final
class _Histogram:
    """Seconds, by quantile."""

    __slots__ = ("_histogram", "count")

    def __init__(self) -> None:
        hdr: Any = importlib.import_module("hdrh.histogram")  # untyped; 20 ms, which only who routes pays
        self._histogram: Any = hdr.HdrHistogram(1, _LONGEST_US, 2)
        self.count = 0

    def add(self, seconds: float) -> None:
        self.record(round(seconds * 1e6), 1)

    def record(self, micros: int, times: int) -> None:
        self.count += times
        self._histogram.record_value(min(max(1, micros), _LONGEST_US), times)

    def record_all(self, micros: Sequence[int]) -> None:
        for value, times in Counter(micros).items():
            self.record(value, times)

    def merge(self, other: _Histogram) -> None:
        self.count += other.count
        self._histogram.add(other._histogram)

    def quantile(self, percent: float) -> float | None:
        return self._histogram.get_value_at_percentile(percent) / 1e6 if self.count else None


@final
class _ShortTimes:
    """Microseconds, of which many are equal: collected, and counted into a histogram 500 at a time, for a tenth of the
    price. It stands in the way of every request, and is there to tell how little does."""

    __slots__ = ("_histogram", "_waiting")

    def __init__(self) -> None:
        self._histogram = _Histogram()
        self._waiting: list[int] = []

    def add(self, seconds: float) -> None:
        self._waiting.append(round(seconds * 1e6))
        if len(self._waiting) >= 500:
            waiting, self._waiting = self._waiting, []
            self._histogram.record_all(waiting)

    def quantiles(self, *percents: float) -> list[float | None]:
        """Changes nothing, so another thread may ask."""
        together = _Histogram()
        together.merge(self._histogram)
        together.record_all(tuple(self._waiting))
        return [together.quantile(percent) for percent in percents]


@final
class ArmCounter:
    """Counts outcomes. For one event loop."""

    __slots__ = (
        *("_errors", "_latency", "_measured", "_overhead", "_priced", "_recent"),
        *("_requests", "_shadowed", "_total", "_usd"),
    )

    def __init__(self) -> None:
        self._latency = _Histogram()
        self._overhead = _ShortTimes()
        self._requests = 0
        self._shadowed = 0
        self._total = 0.0
        self._errors: Counter[str] = Counter()
        self._priced = 0
        self._usd = 0.0
        self._recent: deque[tuple[float, float | None]] = deque(maxlen=RECENT)
        self._measured: dict[float, tuple[int, Measured]] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self._requests += 1
        self._shadowed += outcome.shadow
        self._total += outcome.latency_s
        self._latency.add(outcome.latency_s)
        if outcome.overhead_s is not None:
            self._overhead.add(outcome.overhead_s)
        if outcome.error is not None:
            self._errors[outcome.error] += 1
            return
        self._recent.append((outcome.latency_s, outcome.usd))
        if outcome.usd is not None:
            self._priced += 1
            self._usd += outcome.usd

    @property
    def requests(self) -> int:
        """How many were counted; quicker than a snapshot."""
        return self._requests

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self._errors.total()

    def quantile(self, percent: float) -> float | None:
        """The latency that ``percent`` of the requests did not exceed, in seconds."""
        return self._latency.quantile(percent)

    def measured(self, percentile: float) -> Measured:
        """What the last ``RECENT`` answers were like; a shadow's count too. Up to 15 answers late, once there are 100."""
        before = self._measured.get(percentile)
        if before is not None and self._requests - before[0] < min(_REFRESH, 1 + before[1].samples // 100 * _REFRESH):
            return before[1]
        latencies = sorted(latency for latency, _ in self._recent)
        prices = [usd for _, usd in self._recent if usd is not None]
        made = Measured(
            len(latencies),
            latencies[math.ceil(len(latencies) * percentile / 100) - 1] if latencies else None,
            sum(prices) / len(prices) if prices else None,
            len(prices),
        )
        self._measured[percentile] = (self._requests, made)
        return made

    def snapshot(self) -> ArmStatistics:
        """The counts as they are."""
        overhead = self._overhead.quantiles(50, 95, 99)
        return ArmStatistics(
            requests=self._requests,
            failed=self._errors.total(),
            errors=dict(self._errors),
            shadowed=self._shadowed,
            total_s=self._total,
            p50_s=self.quantile(50),
            p95_s=self.quantile(95),
            p99_s=self.quantile(99),
            overhead_p50_s=overhead[0],
            overhead_p95_s=overhead[1],
            overhead_p99_s=overhead[2],
            usd_mean=self._usd / self._priced if self._priced else None,
        )
