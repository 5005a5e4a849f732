"""Chaos, seeded: a pool under load while its processes are killed, stopped, starved and spoken to in gibberish.

    python tests/legacy/chaos.py --kills 1000 --seed 7 [--backend trio] [--workers 4]
    python tests/legacy/chaos.py --calls 10000 [--backend trio] [--workers 4]

Prints one line of figures and ends with status 0 only if every promise was kept:

* each request was answered exactly once, or failed with a typed error;
* no request that is not idempotent ran twice (each leaves a line in a file when it begins);
* the pool was back at its size within 5 seconds of the last blow;
* nothing was left: processes, descriptors, entries in /dev/shm.

With `--calls` nothing is killed: so many calls, small and large ones, must leave descriptors, threads, memory and /dev/shm
of this process and of the workers as they were after a first tenth of them.

`test_legacy_chaos.py` runs it at a size that fits into CI; `make chaos` at full size.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from dspex.legacy import (
    ImportedProgram,
    LegacyError,
    LegacyPool,
    PoolOptions,
    RetryPolicy,
    start_legacy_pool,
)
from dspex.runtime import ActorExit, CallTimeout, Event, NamedRef, Runtime, open_runtime

HERE = Path(__file__).parent

BACK_WITHIN = 5.0
"""Seconds from the last blow until all workers are ready again."""

BLOWS = ("kill", "kill", "kill", "stop", "template", "warden")
"""What is done to a process, drawn at random: mostly SIGKILL to a worker."""


@dataclass
class Report:
    """What happened. `broken` lists the promises that were not kept."""

    seed: int
    kills: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    back_after: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        facts = {**vars(self), "blows": dict(self.blows), "errors": dict(self.errors)}
        return json.dumps(facts)


class Storm:
    """One run over one pool."""

    def __init__(self, rt: Runtime, pool: NamedRef[LegacyPool], report: Report, log: Path, *, random_: random.Random):
        self.rt = rt
        self.pool = pool
        self.report = report
        self.log = log
        self.random = random_
        self.over = False
        self.pids: dict[str, int] = {}
        """Live workers by incarnation."""
        self.warden = self.template = 0

    def heard(self, event: Event) -> None:
        if event.name == "legacy.worker.started":
            self.pids[event.data["incarnation"]] = event.data["pid"]
        elif event.name == "legacy.worker.exited":
            self.pids.pop(event.data["incarnation"], None)
        elif event.name == "legacy.warden.started":
            self.warden, self.template = event.data["pid"], event.data["template"]

    async def ask(self, name: int) -> None:
        """One caller: asks until the storm is over; every answer must be its own."""
        number = 0
        while not self.over:
            number += 1
            program = "safe" if self.random.random() < 0.5 else "once"
            mark = f"{program}.{name}.{number}"
            self.report.asked += 1
            try:
                inputs = {"mark": mark, "log": str(self.log), "seconds": self.random.choice((0, 0, 0.001, 0.01))}
                result = await self.pool.within(30).call(LegacyPool.run, program, inputs)
            except (LegacyError, CallTimeout, ActorExit) as error:
                self.report.errors[type(error).__name__] += 1
            else:
                self.report.answered += 1
                if result.values.get("mark") != mark:
                    self.report.broken.append(f"{mark} got the answer of {result.values.get('mark')}")

    async def strike(self, kills: int, pause: float) -> None:
        while self.report.kills < kills:
            await anyio.sleep(pause * self.random.random() * 2)
            blow = self.random.choice(BLOWS)
            if blow == "warden" and self.random.random() > 0.1:
                blow = "kill"  # importing dspy anew takes seconds: now and then is enough
            if blow == "template" and self.random.random() > 0.1:
                blow = "kill"
            pid = {"warden": self.warden, "template": self.template}.get(blow) or self._victim()
            if not pid:
                continue
            try:
                os.kill(pid, signal.SIGSTOP if blow == "stop" else signal.SIGKILL)
            except ProcessLookupError:
                continue
            if blow in ("warden", "template"):
                self.warden = self.template = 0
            self.report.blows[blow] += 1
            self.report.kills += 1

    def _victim(self) -> int:
        return self.random.choice(list(self.pids.values())) if self.pids else 0


async def storm(
    *, kills: int, seed: int, workers: int = 2, callers: int = 6, pause: float = 0.05, only: str | None = None
) -> Report:
    """Runs it on the current event loop. `only` is one of `BLOWS`, to try a single one."""
    report = Report(seed)
    began = time.monotonic()
    shared = set(os.listdir("/dev/shm"))
    before = _descriptors()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        log.touch()
        programs = {
            "safe": ImportedProgram("legacy_programs:Marking", idempotent=True),
            "once": ImportedProgram("legacy_programs:Marking"),
        }
        options = PoolOptions(
            programs,
            workers=workers,
            import_paths=(str(HERE),),
            heartbeat=0.1,
            heartbeat_timeout=0.3,
            max_kills=10_000,
            breaker=None,
            retries=RetryPolicy(burst=1_000_000),
        )
        async with open_runtime() as rt:
            chance = random.Random(seed)
            events: list[Event] = []
            rt.events.subscribe(events.append, prefix="legacy.")
            pool = await start_legacy_pool(rt, options)
            run = Storm(rt, pool, report, log, random_=chance)
            for event in events:
                run.heard(event)
            rt.events.subscribe(run.heard, prefix="legacy.")
            await pool.within(60).call(LegacyPool.wait_ready, workers)
            if only is not None:
                chance.choice = lambda options, choose=chance.choice: (  # type: ignore[method-assign]
                    only if options is BLOWS else choose(options)
                )
            async with anyio.create_task_group() as group:
                for name in range(callers):
                    group.start_soon(run.ask, name)
                await run.strike(kills, pause)
                run.over = True
            last = time.monotonic()
            with anyio.move_on_after(BACK_WITHIN * 6):
                await _whole(pool, workers, log)
            report.back_after = time.monotonic() - last
            pids = [*run.pids.values(), run.warden, run.template]
        ran = Counter(log.read_text().split())
        twice = [mark for mark, times in ran.items() if times > 1 and mark.startswith("once")]
    report.seconds = time.monotonic() - began
    if twice:
        report.broken.append(f"{len(twice)} requests that are not idempotent ran twice")
    if report.back_after > BACK_WITHIN:
        report.broken.append(f"the pool was back at its size after {report.back_after:.1f} s")
    if report.asked != report.answered + report.errors.total():
        report.broken.append(f"{report.asked} asked, {report.answered} answered, {report.errors.total()} failed")
    unexpected = set(report.errors) - {"WorkerCrashed"}
    if unexpected:
        report.broken.append(f"errors that nothing here explains: {unexpected}")
    if left := [pid for pid in pids if pid and _alive(pid)]:
        report.broken.append(f"processes left: {left}")
    if left := set(os.listdir("/dev/shm")) - shared:
        report.broken.append(f"shared memory left: {left}")
    if _descriptors() > before + 2:
        report.broken.append(f"{_descriptors() - before} descriptors left")
    return report


async def _whole(pool: NamedRef[LegacyPool], workers: int, log: Path) -> None:
    """Returns when as many workers as there should be have each answered a request, all at the same time.

    A stopped process still counts as ready until its silence is noticed; only an answer shows that it serves.
    """
    while True:
        served: set[str] = set()

        async def ask(number: int, served: set[str] = served) -> None:
            inputs = {"mark": f"safe.after.{number}", "log": str(log), "seconds": 0.05}
            with suppress(CallTimeout, ActorExit, LegacyError):
                served.add((await pool.within(2).call(LegacyPool.run, "safe", inputs)).worker)

        async with anyio.create_task_group() as group:
            for number in range(workers):
                group.start_soon(ask, number)
        if len(served) == workers:
            return


GROWTH = 16 * 2**20
"""Bytes that a process may have grown by: an allocator does not give everything back."""


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    descriptors: int
    threads: int
    rss_bytes: int

    @classmethod
    def by(cls, pid: int) -> Held:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors, threads = (len(os.listdir(f"/proc/{pid}/{what}")) for what in ("fd", "task"))
        return cls(descriptors, threads, pages * os.sysconf("SC_PAGE_SIZE"))


async def long_haul(*, calls: int, workers: int = 2, callers: int = 8) -> dict[str, Any]:
    """So many calls, every hundredth with 200 KB each way. Returns what was held before and after, and `broken`."""
    options = PoolOptions(
        {"echo": ImportedProgram("legacy_programs:Echo")}, workers=workers, max_in_flight=4, import_paths=(str(HERE),)
    )
    began, big, broken = time.monotonic(), "x" * 200_000, list[str]()
    async with open_runtime() as rt:
        pool = await start_legacy_pool(rt, options)
        await pool.within(60).call(LegacyPool.wait_ready, workers)
        statistics = await pool.call(LegacyPool.statistics)
        pids = {"host": os.getpid(), **{worker.worker: worker.pid for worker in statistics.workers}}

        async def turn(count: int) -> None:
            async def some() -> None:
                for number in range(count // callers):
                    sent = big if number % 100 == 0 else number
                    result = await pool.within(60).call(LegacyPool.run, "echo", {"x": sent})
                    if result.values != {"x": sent}:
                        broken.append("an answer of somebody else")

            async with anyio.create_task_group() as group:
                for _ in range(callers):
                    group.start_soon(some)

        await turn(calls // 10)
        gc.collect()
        shared = sorted(os.listdir("/dev/shm"))
        before = {name: Held.by(pid) for name, pid in pids.items()}
        await turn(calls)
        gc.collect()
        after = {name: Held.by(pid) for name, pid in pids.items()}
        for name, was in before.items():
            now = after[name]
            if now.descriptors > was.descriptors or now.threads > was.threads or now.rss_bytes > was.rss_bytes + GROWTH:
                broken.append(f"{name} has grown from {was} to {now}")
        if sorted(os.listdir("/dev/shm")) != shared:
            broken.append("/dev/shm is not as it was")
        completed = (await pool.call(LegacyPool.statistics)).completed
    return {
        "calls": completed,
        "seconds": time.monotonic() - began,
        "before": {name: vars(held) for name, held in before.items()},
        "after": {name: vars(held) for name, held in after.items()},
        "broken": broken,
    }


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    arguments = parser.parse_args()
    if arguments.calls:

        async def haul() -> dict[str, Any]:
            return await long_haul(calls=arguments.calls, workers=arguments.workers)

        hauled = anyio.run(haul, backend=arguments.backend)
        print(json.dumps(hauled))
        return 1 if hauled["broken"] else 0
    settings: dict[str, Any] = {name: getattr(arguments, name) for name in ("kills", "seed", "workers", "callers")}

    async def run() -> Report:
        return await storm(**settings)

    report = anyio.run(run, backend=arguments.backend)
    print(report.as_json())
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
