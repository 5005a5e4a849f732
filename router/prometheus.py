"""The app's statistics for Prometheus: read when they are scraped, nothing is counted twice.

    from prometheus_client import REGISTRY

    REGISTRY.register(AppCollector(app))

Metrics, each by ``program`` and ``engine``: ``dspex_requests_total``, ``dspex_shadow_requests_total``,
``dspex_failures_total`` (by ``error`` as well), ``dspex_latency_seconds`` (summary: quantiles 0.5, 0.95, 0.99 and the count),
``dspex_router_overhead_seconds`` (what the router itself cost; gauge by ``quantile``).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, final

from ..engine import MissingExtra
from .app import Dspex

_LABELS = ("program", "engine")


@final
class AppCollector:
    """A collector for a ``prometheus_client`` registry. Raises MissingExtra without that package.

    It reads what the app has counted, from any thread, and sends nothing to it: scraping works while the app is busy,
    restarting, or not running.
    """

    def __init__(self, app: Dspex) -> None:
        try:
            self._core: Any = importlib.import_module("prometheus_client.core")  # an extra
        except ImportError:
            raise MissingExtra("prometheus", module="prometheus_client", purpose="metrics for Prometheus") from None
        self._app = app

    def describe(self) -> list[Any]:
        """Nothing to announce: the metrics depend on what was asked."""
        return []

    def collect(self) -> Iterator[Any]:
        """The metrics as they are now."""
        counter, summary = self._core.CounterMetricFamily, self._core.SummaryMetricFamily
        requests = counter("dspex_requests", "Requests that somebody waited for.", labels=_LABELS)
        shadows = counter("dspex_shadow_requests", "Requests that were asked only to be compared.", labels=_LABELS)
        failures = counter("dspex_failures", "Requests that failed, by the error's class.", labels=(*_LABELS, "error"))
        latency = summary("dspex_latency_seconds", "Seconds inside the arm.", labels=_LABELS)
        overhead = self._core.GaugeMetricFamily(
            "dspex_router_overhead_seconds",
            "Seconds from the caller's asking until the engine was asked.",
            labels=(*_LABELS, "quantile"),
        )
        for program, arms in self._app.counted().programs.items():
            for engine, arm in arms.items():
                labels = [program, engine]
                requests.add_metric(labels, arm.requests - arm.shadowed)
                shadows.add_metric(labels, arm.shadowed)
                for error, count in arm.errors.items():
                    failures.add_metric([*labels, error], count)
                latency.add_metric(labels, count_value=arm.requests, sum_value=arm.total_s)
                for quantile, value in (("0.5", arm.p50_s), ("0.95", arm.p95_s), ("0.99", arm.p99_s)):
                    if value is not None:
                        names = dict(zip(_LABELS, labels, strict=True))
                        latency.add_sample("dspex_latency_seconds", {**names, "quantile": quantile}, value)
                shares = (("0.5", arm.overhead_p50_s), ("0.95", arm.overhead_p95_s), ("0.99", arm.overhead_p99_s))
                for quantile, value in shares:
                    if value is not None:
                        overhead.add_metric([*labels, quantile], value)
        yield from (requests, shadows, failures, latency)
        if overhead.samples:  # a gauge of nothing would be read as none needed
            yield overhead
