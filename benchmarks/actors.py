"""The runtime beside what an actor costs at the least: a loop of one's own over a queue, on the same event loop.

    python benchmarks/actors.py [--quick] [--json FILE]

Every contender does the same work in the same run, in turns, so that a busy machine weighs on all alike. Figures are
process CPU time, the median of the turns; ratios are to raw ``asyncio.Queue`` with a future per call. uvloop and trio
take part where they are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
import tracemalloc
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import anyio
from anyio.lowlevel import checkpoint
from dspex.runtime import Actor, ActorExit, Ref, Runtime, open_runtime
from dspex.supervisors import Child, Supervisor


class Subject(Protocol):
    """A counter behind a mailbox."""

    def cast(self, n: int) -> None: ...
    async def call(self, n: int) -> int: ...
    async def stop(self) -> None: ...


class Floor:
    """A deque, a future to park on, a future per call: nothing else."""

    def __init__(self) -> None:
        self.value = 0
        self.inbox: deque[tuple[int, asyncio.Future[int] | None]] = deque()
        self.parked: asyncio.Future[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.task = self.loop.create_task(self.run())

    async def run(self) -> None:
        while True:
            while self.inbox:
                n, reply = self.inbox.popleft()
                self.value += n
                if reply is not None:
                    reply.set_result(self.value)
            self.parked = self.loop.create_future()
            await self.parked

    def put(self, message: tuple[int, asyncio.Future[int] | None]) -> None:
        self.inbox.append(message)
        if self.parked is not None and not self.parked.done():
            self.parked.set_result(None)

    def cast(self, n: int) -> None:
        self.put((n, None))

    async def call(self, n: int) -> int:
        reply: asyncio.Future[int] = self.loop.create_future()
        self.put((n, reply))
        return await reply

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Queue:
    """asyncio.Queue, and a future per call: what people write by hand."""

    def __init__(self) -> None:
        self.value = 0
        self.inbox: asyncio.Queue[tuple[int, asyncio.Future[int] | None]] = asyncio.Queue()
        self.task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        while True:
            n, reply = await self.inbox.get()
            self.value += n
            if reply is not None:
                reply.set_result(self.value)

    def cast(self, n: int) -> None:
        self.inbox.put_nowait((n, None))

    async def call(self, n: int) -> int:
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.inbox.put_nowait((n, reply))
        return await reply

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Counter(Actor):
    def __init__(self) -> None:
        self.value = 0

    def add(self, n: int) -> int:
        self.value += n
        return self.value

    def crash(self) -> None:
        raise RuntimeError("crash")


class Ours:
    def __init__(self, ref: Ref[Counter]) -> None:
        self.ref = ref

    def cast(self, n: int) -> None:
        self.ref.cast(Counter.add, n)

    async def call(self, n: int) -> int:
        return await self.ref.call(Counter.add, n)

    async def stop(self) -> None:
        await self.ref.stop()


Make = Callable[[], Awaitable[Subject]]
Row = Callable[[Make, int], Awaitable[float]]


async def cast(make: Make, count: int) -> float:
    subject = await make()
    began = time.process_time()
    for _ in range(count // 1000):
        for _ in range(1000):
            subject.cast(1)
        await subject.call(0)
    took = time.process_time() - began
    await subject.stop()
    return took / count


async def sequential_call(make: Make, count: int) -> float:
    subject = await make()
    began = time.process_time()
    for _ in range(count):
        await subject.call(1)
    took = time.process_time() - began
    await subject.stop()
    return took / count


async def hundred_callers(make: Make, count: int) -> float:
    subject = await make()

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


async def spawn_and_stop(make: Make, count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        subject = await make()
        await subject.stop()
    return (time.process_time() - began) / count


async def idle_memory(make: Make, count: int) -> float:
    """Kilobytes that Python has allocated for an actor that waits, its task and registration included."""
    gc.collect()
    tracemalloc.start()
    subjects = [await make() for _ in range(count)]
    await checkpoint()
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for subject in subjects:
        await subject.stop()
    return used / count / 1024


async def longest_hold(make: Make, count: int) -> float:
    """Seconds that another task waits for its turn at most, while a backlog is worked off. Wall time."""
    subject = await make()
    for _ in range(count):
        subject.cast(1)
    longest = 0.0
    done = False

    async def watch() -> None:
        nonlocal longest
        while not done:
            began = time.perf_counter()
            await checkpoint()
            longest = max(longest, time.perf_counter() - began)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await subject.call(0)
        done = True
    await subject.stop()
    return longest


async def crash_to_answer(runtime: Runtime, count: int) -> float:
    """CPU seconds from a crash under a supervisor to the next answer."""
    supervisor = await runtime.start(Supervisor([Child("c", Counter, name="c")], intensity=count + 1, period=3600))
    name = runtime.ref("c")
    began = time.process_time()
    for _ in range(count):
        with suppress(ActorExit):
            await name.call(Counter.crash)
        while not name.alive:
            await checkpoint()
        await name.call(Counter.add, 1)
    took = time.process_time() - began
    await supervisor.stop()
    return took / count


ROWS: dict[str, tuple[Row, int, str]] = {
    "cast": (cast, 200_000, "us"),
    "sequential call": (sequential_call, 20_000, "us"),
    "100 concurrent callers": (hundred_callers, 50_000, "us"),
    "spawn + stop": (spawn_and_stop, 5_000, "us"),
    "idle actor": (idle_memory, 10_000, "KB"),
    "longest hold, backlog of 100k": (longest_hold, 100_000, "ms"),
}
SCALE = {"us": 1e6, "KB": 1.0, "ms": 1e3}


async def by_hand(kind: Callable[[], Subject], row: Row, count: int) -> float:
    async def make() -> Subject:
        return kind()

    return await row(make, count)


async def ours(row: Row, count: int) -> float:
    async with open_runtime() as runtime:

        async def make() -> Subject:
            return Ours(await runtime.start(Counter()))

        return await row(make, count)


async def ours_crashing(count: int) -> float:
    async with open_runtime() as runtime:
        return await crash_to_answer(runtime, count)


def loops() -> dict[str, Callable[[Callable[..., Awaitable[float]], Any], float]]:
    """The event loops there are: name to a function that runs a coroutine function on it."""

    def on(backend: str, **options: Any) -> Callable[[Callable[..., Awaitable[float]], Any], float]:
        return lambda function, *args: anyio.run(function, *args, backend=backend, backend_options=options)

    found = {"asyncio": on("asyncio")}
    if find_spec("uvloop"):
        found["uvloop"] = on("asyncio", use_uvloop=True)
    if find_spec("trio"):
        found["trio"] = on("trio")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, three turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    options = parser.parse_args()
    turns, share = (3, 10) if options.quick else (7, 1)
    run = loops()
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, (row, count, unit) in ROWS.items():
        contenders: dict[str, Callable[[], float]] = {
            "asyncio.Queue": lambda row=row, count=count: run["asyncio"](by_hand, Queue, row, count // share),
            "deque + future": lambda row=row, count=count: run["asyncio"](by_hand, Floor, row, count // share),
        }
        for loop in run:
            contenders[f"dspex, {loop}"] = lambda loop=loop, row=row, count=count: run[loop](ours, row, count // share)
        results[name] = report(name, unit, contenders, turns)
    crashing = {f"dspex, {loop}": lambda loop=loop: run[loop](ours_crashing, max(50, 500 // share)) for loop in run}
    results["crash to next answer"] = report("crash to next answer", "us", crashing, turns)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def report(name: str, unit: str, contenders: dict[str, Callable[[], float]], turns: int) -> dict[str, dict[str, float]]:
    figures: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(turns):
        for who, measure in contenders.items():
            figures[who].append(measure() * SCALE[unit])
    medians = {who: statistics.median(values) for who, values in figures.items()}
    base = medians.get("asyncio.Queue")
    print(f"\n{name} ({unit})")
    rows: dict[str, dict[str, float]] = {}
    for who, median in medians.items():
        ratio = f"{median / base:8.2f}x" if base and base > 0 else ""
        print(f"  {who:18}{median:10.2f}{ratio}")
        rows[who] = {"median": round(median, 3)} | ({"ratio": round(median / base, 3)} if base and base > 0 else {})
    return rows


if __name__ == "__main__":
    main()
