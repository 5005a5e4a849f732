"""What telemetry costs a request: none, the API package alone, and OpenTelemetry's SDK with a batching exporter.

    python benchmarks/telemetry.py [--quick] [--json FILE]

The same program (a `Predict`, which is four spans) with a stub LM that answers at once, asked through the app in turns, each
a number of sequential requests. Figures are medians of the turns. The last row is what a user would do by hand: four nested
spans of the SDK's around the untraced call, as the floor that any such telemetry has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import anyio
from dspex.engine import BaseLM, Predict
from dspex.router import Dspex, OpenTelemetry, ProgramSpec
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

TEXT = "[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]"


class Stub(BaseLM):
    """Answers at once."""

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Mapping[str, Any]:
        usage = {"prompt_tokens": 3, "completion_tokens": 4}
        return {"model": "stub", "choices": [{"message": {"content": TEXT}}], "usage": usage}


class Nowhere(SpanExporter):
    """Takes what it is given, in the thread of the batch processor."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def program() -> Predict:
    made = Predict("question -> answer")
    made.lm = Stub("openai/stub", cache=False)
    return made


def app(telemetry: OpenTelemetry | None) -> Dspex:
    return Dspex([ProgramSpec("qa", native=program)], telemetry=telemetry)


async def measured(turns: int, calls: int) -> dict[str, float]:
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
    tracer = tracers.get_tracer("by hand")
    found: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(app(None))
        api = await stack.enter_async_context(app(OpenTelemetry()))
        sdk = OpenTelemetry(tracer_provider=tracers, meter_provider=MeterProvider())
        told = await stack.enter_async_context(app(sdk))

        def ask(one: Dspex) -> Callable[[], Awaitable[object]]:
            return lambda: one.call("qa", question="2 + 2?")

        async def by_hand() -> None:
            with ExitStack() as spans:
                for name in ("route", "invoke_agent", "module", "chat"):
                    spans.enter_context(tracer.start_as_current_span(name))
                await plain.call("qa", question="2 + 2?")

        ways: dict[str, Callable[[], Awaitable[object]]] = {
            "no telemetry": ask(plain),
            "the API alone": ask(api),
            "SDK, batching": ask(told),
            "four spans by hand": by_hand,
        }
        for turn in range(turns + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                for _ in range(calls):
                    await way()
                if turn:  # the first one warms up
                    found.setdefault(name, []).append((time.perf_counter() - began) / calls * 1e6)
    tracers.shutdown()
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()
    turns, calls = (5, 300) if options.quick else (15, 1000)
    rows = anyio.run(measured, turns, calls, backend=options.backend)
    floor = rows["no telemetry"]
    print(f"{'median of ' + str(turns) + ' turns, ' + options.backend:<32}{'us a request':>14}{'+ us':>8}")
    for name, value in rows.items():
        print(f"{name:<32}{value:>14.1f}{value - floor:>8.1f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
