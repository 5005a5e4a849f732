"""What the router costs on top of the engine: latency and throughput of the same program, asked in three ways.

    python benchmarks/router.py [--quick] [--json FILE]

In one process and in turns: the program actor directly (`ProgramActor.run`), through the router actor (`Router.run`), and
through the app (`Dspex.call`); with a stub LM that answers at once, so that all that is measured is ours. The latency is a
sequential request's, the throughput that of 50 callers. Figures are medians of the turns; the difference to the first row
is the router's. Then a stub LM of 20 ms, as a fast provider would be: how much of the throughput is left.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
from dspex.engine import BaseLM, Predict
from dspex.engine.actors import ProgramActor
from dspex.router import Dspex, FlagStore, ProgramSpec, Router
from dspex.runtime import Runtime

TEXT = "[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]"
INPUTS = {"question": "2 + 2?"}
CALLERS = 50

Way = Callable[[], Awaitable[object]]


class Stub(BaseLM):
    """Answers after `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__("stub", cache=False)
        self.seconds = seconds

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Mapping[str, Any]:
        if self.seconds:
            await anyio.sleep(self.seconds)
        return {"model": "stub", "choices": [{"message": {"content": TEXT}}], "usage": {}}


def program(seconds: float) -> Predict:
    made = Predict("question -> answer")
    made.lm = Stub(seconds)
    return made


def ways(rt: Runtime, app: Dspex) -> dict[str, Way]:
    actor, router = rt.ref("native.qa").within(60), rt.ref("router").within(60)
    return {
        "program actor": lambda: actor.call(ProgramActor.run, INPUTS),
        "router": lambda: router.call(Router.run, "qa", INPUTS),
        "app": lambda: app.call("qa", INPUTS),
    }


async def latency(way: Way, calls: int) -> float:
    """Microseconds of a sequential request."""
    began = time.perf_counter()
    for _ in range(calls):
        await way()
    return (time.perf_counter() - began) / calls * 1e6


async def throughput(way: Way, calls: int, callers: int = CALLERS) -> float:
    """Requests a second with so many callers."""

    async def caller() -> None:
        for _ in range(calls // callers):
            await way()

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(caller)
    return calls / (time.perf_counter() - began)


async def measured(turns: int, calls: int) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for seconds, kind in ((0.0, "instant LM"), (0.02, "20 ms LM")):
        spec = ProgramSpec("qa", native=lambda seconds=seconds: program(seconds), concurrency=CALLERS)
        async with Dspex([spec], flags=FlagStore()) as app:
            found: dict[str, dict[str, list[float]]] = {}
            for turn in range(turns + 1):
                for name, way in ways(app.runtime, app).items():
                    row = found.setdefault(f"{name}, {kind}", {"us": [], "per_s": []})
                    one = await latency(way, calls if not seconds else 10)
                    many = await throughput(way, calls if not seconds else 5 * CALLERS)
                    if turn:  # the first one warms up
                        row["us"].append(one)
                        row["per_s"].append(many)
            for name, row in found.items():
                rows[name] = {key: statistics.median(values) for key, values in row.items()}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()
    turns, calls = (5, 500) if options.quick else (15, 2000)
    rows = anyio.run(measured, turns, calls, backend=options.backend)
    print(f"{'median of ' + str(turns) + ' turns, ' + options.backend:<32}{'us a request':>14}{'+ us':>8}{'per s':>10}{'':>8}")
    for name, row in rows.items():
        floor = rows["program actor, " + name.split(", ", 1)[1]]
        print(
            f"{name:<32}{row['us']:>14.1f}{row['us'] - floor['us']:>8.1f}{row['per_s']:>10.0f}"
            f"{row['per_s'] / floor['per_s']:>8.0%}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
