"""How each program fares on each engine: counts, errors by class, latency by quantile.

Latencies go into an HDR histogram (one microsecond to an hour, two digits, 26 KB an arm): adding one costs about 2 us,
and quantiles are exact to 1 %, however many requests there were.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from .outcomes import Outcome

_LONGEST_US: Final = 3_600_000_000


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

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed, 0 to 1."""
        return self.failed / self.requests if self.requests else 0.0


@final
class ArmCounter:
    """Counts outcomes. For one event loop."""

    __slots__ = ("_errors", "_latency", "_requests", "_shadowed", "_total")

    def __init__(self) -> None:
        histogram: Any = importlib.import_module("hdrh.histogram")  # untyped; 20 ms, which only who routes pays
        self._latency: Any = histogram.HdrHistogram(1, _LONGEST_US, 2)
        self._requests = 0
        self._shadowed = 0
        self._total = 0.0
        self._errors: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self._requests += 1
        self._shadowed += outcome.shadow
        self._total += outcome.latency_s
        if outcome.error is not None:
            self._errors[outcome.error] += 1
        self._latency.record_value(min(max(1, round(outcome.latency_s * 1e6)), _LONGEST_US))

    def quantile(self, percent: float) -> float | None:
        """The latency that ``percent`` of the requests did not exceed, in seconds."""
        return self._latency.get_value_at_percentile(percent) / 1e6 if self._requests else None

    def snapshot(self) -> ArmStatistics:
        """The counts as they are."""
        return ArmStatistics(
            requests=self._requests,
            failed=self._errors.total(),
            errors=dict(self._errors),
            shadowed=self._shadowed,
            total_s=self._total,
            p50_s=self.quantile(50),
            p95_s=self.quantile(95),
            p99_s=self.quantile(99),
        )
