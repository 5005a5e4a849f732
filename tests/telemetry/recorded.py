"""OpenTelemetry's own SDK, with what it was told kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from dspex.engine.telemetry import OpenTelemetry
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Recorded:
    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))  # in memory, nothing is waited for
        self.meters = MeterProvider([self._reader])

    def telemetry(self, **options: Any) -> OpenTelemetry:
        return OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    def close(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()

    # --- spans ------------------------------------------------------------------------------------------------------

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in the order of their beginning."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def forget(self) -> None:
        """The spans so far."""
        self._spans.clear()

    def error(self, name: str) -> object:
        """The error that the one span of this name tells of."""
        return (self.one(name).attributes or {}).get("error.type")

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def path(self, span: ReadableSpan) -> list[str]:
        """The names from the root down to this span."""
        by_id = {each.context.span_id: each for each in self.spans}
        names = [span.name]
        while span.parent is not None:
            span = by_id[span.parent.span_id]
            names.insert(0, span.name)
        return names

    def tree(self) -> list[str]:
        """Every span as "root > ... > itself"."""
        return sorted(" > ".join(self.path(span)) for span in self.spans)

    def trace_ids(self) -> set[int]:
        return {span.context.trace_id for span in self.spans}

    async def until(self, enough: Callable[[Recorded], bool]) -> None:
        """Waits for spans that end after the caller has its answer."""
        with anyio.move_on_after(30):
            while not enough(self):
                await anyio.sleep(0.005)
            return
        raise AssertionError(f"not enough in 30 s: {self.tree()}")

    def everything(self) -> str:
        """All that was recorded, as text: for what must not be in it."""
        told = [(s.name, dict(s.attributes or {}), s.status.description, s.events, s.links) for s in self.spans]
        return repr(told) + repr(self.metrics())

    # --- metrics ----------------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, list[Any]]:
        """Data points by the metric's name."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        if data is not None:
            for resource in data.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        found.setdefault(metric.name, []).extend(metric.data.data_points)
        return found
