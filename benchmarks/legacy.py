"""The legacy pool: how fast and how light workers are there, and what a request costs on its way.

    python benchmarks/legacy.py [--quick] [--json FILE] [--workers N] [--backend trio]

Start: N workers with real dspy, each having answered one prediction, forked from the pool's warden beside each importing dspy
for itself, in turns. Seconds from nothing to the last answer; memory is PSS (pages shared by k processes count 1/k) of all
processes, the warden's and its template's included. The language model is served by this process and answers at once.

Requests: an echo program in one worker. `floor` is the same number of bytes over a socketpair to a process that does nothing
but send them back, with blocking calls: what any protocol pays at least on this machine, now. Overhead is latency at the
caller minus the time inside the program.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import anyio
from dspex.legacy import (
    ImportedProgram,
    LegacyPool,
    LMCall,
    LMSettings,
    PoolOptions,
    SignatureProgram,
    start_legacy_pool,
)
from dspex.runtime import Event, NamedRef, open_runtime

ECHO = """
import dspy
class Echo(dspy.Module):
    def forward(self, **inputs):
        return dspy.Prediction(**inputs)
"""

FLOOR = """
import socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
while data := sock.recv(65536):
    sock.sendall(data)
"""


async def model(call: LMCall) -> str:
    return "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


async def start(workers: int, how: Literal["fork", "spawn"]) -> dict[str, float]:
    """Seconds and megabytes until each of `workers` has answered one prediction."""
    options = PoolOptions(
        {"qa": SignatureProgram("question -> answer")},
        workers=workers,
        concurrent_starts=os.cpu_count() or 2,
        start_timeout=300,
        lm=LMSettings("bench", host=True),
        lm_server=model,
        start=how,
    )
    events: list[Event] = []
    began = time.perf_counter()
    async with open_runtime() as rt:
        rt.events.subscribe(events.append, prefix="legacy.warden.")
        pool = await start_legacy_pool(rt, options)
        await pool.within(300).call(LegacyPool.wait_ready, workers)
        ready = time.perf_counter() - began
        async with anyio.create_task_group() as group:
            for number in range(workers):
                inputs = {"question": str(number)}
                group.start_soon(lambda inputs=inputs: pool.within(60).call(LegacyPool.run, "qa", inputs))
        answered = time.perf_counter() - began
        told = await pool.call(LegacyPool.statistics)
        assert told.start == how
        assert all(worker.requests == 1 for worker in told.workers)
        pids = [worker.pid for worker in told.workers]
        imported = 0.0
        for event in events:
            if event.name == "legacy.warden.started":
                pids += [event.data["pid"], event.data["template"]]
            elif event.name == "legacy.warden.ready":
                imported = event.data["load_s"] + event.data["warm_s"]
        return {"ready_s": ready, "answered_s": answered, "pss_mb": sum(map(pss_mb, pids)), "import_s": imported}


def floor(count: int, size: int) -> dict[str, float]:
    """Round trips over a socketpair, blocking, in microseconds."""
    ours, theirs = socket.socketpair()
    with subprocess.Popen([sys.executable, "-c", FLOOR, str(theirs.fileno())], pass_fds=(theirs.fileno(),)) as process:
        theirs.close()
        data = b"x" * size
        times: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            ours.sendall(data)
            ours.recv(65536)
            times.append(time.perf_counter() - began)
        ours.close()
        process.wait()
    return {"floor_p50_us": quantile(times, 0.5), "floor_p99_us": quantile(times, 0.99)}


def quantile(times: list[float], part: float) -> float:
    return sorted(times)[int(len(times) * part)] * 1e6


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def requests(count: int, folder: str) -> dict[str, float]:
    """One echo worker (`folder` holds its program): overhead of one request at a time, and throughput with many."""
    inputs = {"text": "x" * 150, "number": 1}
    options = PoolOptions(
        {"echo": ImportedProgram("bench_echo:Echo")}, workers=1, max_in_flight=16, queue=1000, import_paths=(folder,)
    )
    async with open_runtime() as rt:
        pool: NamedRef[LegacyPool] = await start_legacy_pool(rt, options)
        await pool.within(60).call(LegacyPool.wait_ready, 1)
        for _ in range(200):
            await pool.call(LegacyPool.run, "echo", inputs)
        overheads: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            result = await pool.call(LegacyPool.run, "echo", inputs)
            overheads.append(time.perf_counter() - began - result.run_s)
        (worker,) = (await pool.call(LegacyPool.statistics)).workers
        theirs, ours, began = cpu(worker.pid), time.process_time(), time.perf_counter()

        async def some() -> None:
            for _ in range(count // 50):
                await pool.within(60).call(LegacyPool.run, "echo", inputs)

        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(some)
        total = count // 50 * 200
        took = time.perf_counter() - began
        return {
            "overhead_p50_us": quantile(overheads, 0.5),
            "overhead_p99_us": quantile(overheads, 0.99),
            "requests_per_s": total / took,
            "host_cpu_us": (time.process_time() - ours) / total * 1e6,
            "worker_cpu_us": (cpu(worker.pid) - theirs) / total * 1e6,
        }


def median(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer workers and turns: under a minute")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    arguments = parser.parse_args()
    forks, spawns, count, rounds = (2, 4, 1000, 2) if arguments.quick else (5, 16, 5000, 5)
    workers = arguments.workers or 16
    spawns = min(spawns, workers)
    started: dict[str, list[dict[str, float]]] = {"fork": [], "spawn": []}
    for turn in range(forks):
        started["fork"].append(anyio.run(start, workers, "fork", backend=arguments.backend))
        if turn == 0:
            started["spawn"].append(anyio.run(start, spawns, "spawn", backend=arguments.backend))
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bench_echo.py").write_text(ECHO)
        for _ in range(rounds):
            rows.append({**anyio.run(requests, count, folder, backend=arguments.backend), **floor(count, 250)})
    fork, spawn, request = median(started["fork"]), median(started["spawn"]), median(rows)
    spawn = {name: value * workers / spawns for name, value in spawn.items()}
    scaled = "" if spawns == workers else f" ({spawns} measured, times {workers / spawns:g})"
    print(f"{workers} workers, first prediction included{scaled and ', spawned' + scaled}; {os.cpu_count()} cores")
    print(f"{'':34}{'forked':>12}{'spawned':>12}{'ratio':>8}")
    for name, title in (("answered_s", "seconds to the last answer"), ("pss_mb", "MB of memory (PSS)")):
        print(f"{title:34}{fork[name]:>12.2f}{spawn[name]:>12.2f}{spawn[name] / fork[name]:>8.1f}")
    print(f"{'of it importing dspy once, seconds':34}{fork['import_s']:>12.2f}")
    print("\none echo worker, 200 bytes")
    for name, value in request.items():
        print(f"{name:34}{value:>12.0f}")
    if arguments.json:
        result: dict[str, Any] = {"workers": workers, "fork": fork, "spawn": spawn, "requests": request}
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
