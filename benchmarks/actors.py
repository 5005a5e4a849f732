"""The runtime beside what an actor costs at the least, beside other actor libraries, and beside real Erlang/OTP.

    python benchmarks/actors.py [--quick] [--json FILE] [--only ROW]

Every contender does the same work in the same run, in turns, so that a busy machine weighs on all alike. Figures are process
CPU time, all threads included, the median of the turns; ratios are to raw ``asyncio.Queue`` with a future per call. Memory is
what Python has allocated and, beside it, by how much the resident set of a fresh interpreter grew. Erlang runs once, on one
scheduler.

What is not installed is named with how to install it. The aims are those the project set itself before the code was written.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
from actor_contenders import (
    Contender,
    open_floor,
    open_ours,
    open_queue,
    open_trio_channels,
    our_crashing,
    queue_crashing,
)
from actor_peers import missing, peers
from anyio.lowlevel import checkpoint

BASE = "asyncio.Queue"

Row = Callable[[Any, int], Awaitable[float]]


async def cast(place: Any, count: int) -> float:
    subject = await place.make()
    began = time.process_time()
    for _ in range(count // 1000):
        await subject.casts(1000)
        await subject.call(0)
    took = time.process_time() - began
    await subject.stop()
    return took / count


async def sequential_call(place: Any, count: int) -> float:
    subject = await place.make()
    began = time.process_time()
    for _ in range(count):
        await subject.call(1)
    took = time.process_time() - began
    await subject.stop()
    return took / count


async def hundred_callers(place: Any, count: int) -> float:
    subject = await place.make()

    async def caller() -> None:
        for _ in range(count // 100):
            await subject.call(1)

    began = time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(caller)
    took = time.process_time() - began
    await subject.stop()
    return took / count


async def fan_out(place: Any, count: int) -> float:
    """Seconds an actor, asked together with a thousand others."""
    subjects = [await place.make() for _ in range(min(1_000, count))]
    rounds = max(1, count // 1_000)
    began = time.process_time()
    for _ in range(rounds):
        await place.ask_all(subjects)
    took = time.process_time() - began
    for subject in subjects:
        await subject.stop()
    return took / rounds / len(subjects)


async def spawn_and_stop(place: Any, count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        subject = await place.make()
        await subject.stop()
    return (time.process_time() - began) / count


async def idle_memory(place: Any, count: int) -> float:
    """Kilobytes that Python has allocated for an actor that waits, its task and registration included."""
    gc.collect()
    tracemalloc.start()
    subjects = [await place.make() for _ in range(count)]
    await checkpoint()
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for subject in subjects:
        await subject.stop()
    return used / count / 1024


async def resident_memory(place: Any, count: int) -> float:
    """Kilobytes by which the process grows for an actor that waits: also what is not Python's. For a fresh interpreter."""
    await (await place.make()).stop()
    gc.collect()
    before = _resident()
    subjects = [await place.make() for _ in range(count)]
    await checkpoint()
    gc.collect()
    grown = _resident() - before
    for subject in subjects:
        await subject.stop()
    return grown / count / 1024


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


async def longest_hold(place: Any, count: int) -> float:
    """Seconds of the loop's thread that another task waits for its turn at most, while a backlog is worked off."""
    subject = await place.make()
    await subject.casts(count)
    longest = 0.0
    done = False

    async def watch() -> None:
        nonlocal longest
        while not done:
            began = time.thread_time()
            await checkpoint()
            longest = max(longest, time.thread_time() - began)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await subject.call(0)
        done = True
    await subject.stop()
    return longest


ROWS: dict[str, tuple[Row, int, str]] = {
    "cast": (cast, 200_000, "us"),
    "sequential call": (sequential_call, 20_000, "us"),
    "100 concurrent callers": (hundred_callers, 50_000, "us"),
    "fan-out to 1k": (fan_out, 20_000, "us"),
    "spawn + stop": (spawn_and_stop, 5_000, "us"),
    "idle actor": (idle_memory, 10_000, "KB"),
    "longest hold, backlog of 100k": (longest_hold, 100_000, "ms"),
}
CRASH = "crash to next answer"
RESIDENT = "idle actor, resident"
SCALE = {"us": 1e6, "KB": 1.0, "ms": 1e3}

AIMS: dict[str, tuple[str, str]] = {
    "cast": ("0.7 / 0.7 / 0.8", "1.0 / 1.0 / 1.1"),
    "sequential call": ("1.2 / 0.65 / 1.8", "1.4 / 0.8 / 2.2"),
    "100 concurrent callers": ("1.1 / 0.8 / 2.0", "1.5 / 1.1 / 2.5"),
    "fan-out to 1k": ("0.9 / 0.7 / 1.8", "1.3 / 1.0 / 2.3"),
    "spawn + stop": ("2.5 / 1.5 / 4.5", "3.5 / 2.2 / 5.5"),
    "idle actor": ("3.3 / 3.3 / 4.2 KB", "4.6 / 4.6 / 5.5 KB"),
    "longest hold, backlog of 100k": ("2 ms", "5 ms"),
    CRASH: ("2.0 / 1.3 / 3.0", "3.0 / 2.0 / 4.5"),
}
"""For ours on asyncio, uvloop and trio, in ratios unless a unit is given: the aim, and what it is never to be worse than."""

OURS = ("dspex, asyncio", "dspex, uvloop", "dspex, trio")


def contenders() -> list[Contender]:
    found = [
        Contender(BASE, "asyncio", open_queue, queue_crashing),
        Contender("deque + future", "asyncio", open_floor),
        Contender(OURS[0], "asyncio", open_ours, our_crashing),
    ]
    if find_spec("uvloop"):
        found.append(Contender(OURS[1], "uvloop", open_ours, our_crashing))
    if find_spec("trio"):
        found.append(Contender(OURS[2], "trio", open_ours, our_crashing))
        found.append(Contender("trio channel", "trio", open_trio_channels))
    return found + peers()


def run_on(loop: str, function: Callable[[], Awaitable[float]]) -> float:
    if loop == "uvloop":
        return anyio.run(function, backend="asyncio", backend_options={"use_uvloop": True})
    return anyio.run(function, backend=loop)


def measure(contender: Contender, row: Row, count: int) -> float:
    async def main() -> float:
        async with contender.open() as place:
            return await row(place, count)

    return run_on(contender.loop, main)


def measure_crashes(contender: Contender, count: int) -> float:
    """CPU seconds from a crash to the next answer."""

    async def main() -> float:
        assert contender.crashing is not None
        async with contender.crashing(count) as crash_and_answer:
            began = time.process_time()
            for _ in range(count):
                await crash_and_answer()
            return (time.process_time() - began) / count

    return run_on(contender.loop, main)


def measure_resident(name: str, count: int) -> float:
    """In an interpreter of its own, where no freed memory is used again."""
    command = [sys.executable, __file__, "--resident", name, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure_erlang(share: int) -> dict[str, float]:
    """Row to figure, from real OTP; empty where ``escript`` is not installed."""
    if shutil.which("escript") is None:
        return {}
    script = Path(__file__).with_name("actors.escript")
    done = subprocess.run(["escript", str(script), str(share)], capture_output=True, text=True, check=True)
    return {row: float(figure) for row, figure in (line.split("\t") for line in done.stdout.splitlines())}


Results = dict[str, dict[str, dict[str, float]]]


def in_turns(turns: int, contenders: dict[str, Callable[[], float]]) -> dict[str, float]:
    figures: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(turns):
        for who, one in contenders.items():
            figures[who].append(one())
    return {who: statistics.median(values) for who, values in figures.items()}


def report(name: str, unit: str, medians: dict[str, float], results: Results) -> None:
    base = medians.get(BASE)
    print(f"\n{name} ({unit})")
    rows: dict[str, dict[str, float]] = {}
    for who, median in medians.items():
        ratio = median / base if base else None
        print(f"  {who:18}{median:10.2f}" + (f"{ratio:8.2f}x" if ratio is not None else ""))
        rows[who] = {"median": round(median, 3)} | ({"ratio": round(ratio, 3)} if ratio is not None else {})
    results[name] = rows


def report_aims(results: Results) -> None:
    print("\nours on asyncio / uvloop / trio, beside the aims (never worse than)")
    for name, (aim, limit) in AIMS.items():
        rows = results.get(name)
        if rows is None:
            continue
        key = "median" if "KB" in aim or "ms" in aim else "ratio"
        measured = " / ".join(f"{rows[who][key]:.2f}" for who in OURS if who in rows)
        print(f"  {name:30}{measured:24}{aim} ({limit})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, two turns: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--only", metavar="ROW", help="only rows whose name contains this")
    parser.add_argument("--resident", nargs=2, metavar=("NAME", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    everybody = contenders()
    if options.resident:
        name, count = options.resident
        print(measure(next(c for c in everybody if c.name == name), resident_memory, int(count)))
        return
    turns, share = (2, 10) if options.quick else (5, 1)
    wanted = options.only or ""
    print(f"Python {sys.version.split()[0]}, {turns} turns" + (", a tenth of the work" if options.quick else ""))
    for package in missing():
        print(f"not installed: pip install {package}")
    if not find_spec("uvloop"):
        print("not installed: pip install uvloop")
    erlang = measure_erlang(share)
    if not erlang:
        print("not installed: erlang (escript), for real OTP")
    results: Results = {}
    for name, (row, full_count, unit) in ROWS.items():
        if wanted not in name:
            continue
        count = full_count // share
        medians = in_turns(
            turns,
            {
                c.name: lambda c=c, row=row, count=count, unit=unit: (
                    measure(c, row, int(min(count, c.most)) if row in (spawn_and_stop, idle_memory) else count)
                    * SCALE[unit]
                )
                for c in everybody
                if c.on_loop or row is not longest_hold
            },
        )
        report(name, unit, medians | _of_erlang(erlang, name), results)
    if wanted in CRASH:
        count = max(50, 500 // share)
        crashing = {c.name: lambda c=c: measure_crashes(c, count) * SCALE["us"] for c in everybody if c.crashing}
        report(CRASH, "us", in_turns(turns, crashing) | _of_erlang(erlang, CRASH), results)
    if wanted in RESIDENT and Path("/proc/self/statm").exists():
        count = 10_000 // min(share, 5)
        resident = {c.name: lambda c=c: measure_resident(c.name, int(min(count, c.most))) for c in everybody}
        report(RESIDENT, "KB", in_turns(1, resident), results)
    report_aims(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _of_erlang(erlang: dict[str, float], name: str) -> dict[str, float]:
    return {"Erlang/OTP": erlang[name]} if name in erlang else {}


if __name__ == "__main__":
    main()
