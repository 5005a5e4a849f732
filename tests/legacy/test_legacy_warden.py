"""The warden: workers forked from one warmed process, which die with the runtime and outlive everything else."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspex.legacy import LegacyError, LegacyPool, MissingLegacy, PoolOptions, WorkerCrashed, WorkerStartFailed
from dspex.legacy.process import WorkerProcess
from dspex.legacy.warden import Warden, WardenGone
from legacy_pools import HERE, PROGRAMS, OpenPool, alive, gone_within, parent_of, said, tell
from test_legacy_pool import Later, run

pytestmark = pytest.mark.anyio


def options(**changes: Any) -> PoolOptions:
    return PoolOptions(**{"programs": PROGRAMS, "import_paths": (str(HERE),), **changes})


@asynccontextmanager
async def running(chosen: PoolOptions | None = None) -> AsyncGenerator[Warden]:
    warden = await Warden.start("w.warden", chosen or options())
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(warden.run)
            yield warden
            group.cancel_scope.cancel()
    finally:
        await warden.close()


# --- forking --------------------------------------------------------------------------------------------------------


async def test_a_forked_worker_is_private_leads_its_session_and_shares_no_random_numbers() -> None:
    async with running() as warden:
        workers = [await WorkerProcess.start(name, options(), warden) for name in ("a", "b")]
        told: list[dict[str, Any]] = []
        for worker in workers:
            await worker.load()
            replies: list[dict[str, Any]] = []
            async with anyio.create_task_group() as group:
                group.start_soon(worker.run, replies.append)
                for number, what in enumerate(("describe", "roll")):
                    message = {"op": "run", "id": number, "incarnation": worker.incarnation, "program": "does"}
                    worker.channel.post({**message, "lm": None, "inputs": {"what": what}})
                    with anyio.fail_after(20):
                        while len(replies) <= number:
                            await anyio.sleep(0.005)
                group.cancel_scope.cancel()
            told.append({**replies[0]["value"], **replies[1]["value"]})
        for worker, value in zip(workers, told, strict=True):
            assert value["pid"] == worker.pid
            assert value["session_leader"] is True
            assert value["parent"] == warden.pid, "its parent is the warden, not the process that forked it"
            assert value["inheritable"] == []
            assert sum(target.startswith("socket:") for target in value["descriptors"]) == 1
        assert told[0]["numbers"] != told[1]["numbers"]
        for worker in workers:
            await worker.close()
        assert not any(alive(worker.pid) for worker in workers)


async def test_the_true_exit_status_reaches_the_runtime() -> None:
    async with running() as warden:
        for number in (signal.SIGKILL, signal.SIGSEGV):
            worker = await WorkerProcess.start("a", options(), warden)
            os.kill(worker.pid, number)
            with anyio.fail_after(10):
                await worker._process.wait()
            assert worker.returncode == -number
            assert f"ended by {number.name}" in str(worker.crashed())
            await worker.close()


async def test_a_cancelled_fork_leaves_no_worker() -> None:
    async with running() as warden:
        for wait in (0.0, 0.001, 0.004, 0.01):
            with anyio.move_on_after(wait):
                worker = await WorkerProcess.start("a", options(), warden)
                await worker.close()
        with anyio.fail_after(10):
            while len(children_of(warden.pid)) > 1:  # the template
                await anyio.sleep(0.01)


def children_of(pid: int) -> list[int]:
    """Whichever thread started them."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for thread in threads for word in thread.joinpath("children").read_text().split()]


async def test_what_a_worker_leaves_behind_dies_with_it_sessions_of_its_own_or_not(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool() as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what="scatter", marker=str(marker))
        worker, *family = await said(marker)
        assert len(family) == 3, "a child, one with a session of its own, one whose parent has ended"
        assert all(alive(pid) for pid in family)
        os.kill(worker, signal.SIGKILL)
        await call.outcome()
        assert await anyio.to_thread.run_sync(gone_within, 5, worker, *family)
        # The child in its own group may have died with the group; those with sessions of their own had to be found.
        assert (await pool.heard("legacy.worker.exited"))["swept"] in (2, 3)


@pytest.mark.parametrize("by", ["us", "a stranger who kills it", "a stranger who kills its keeper"])
async def test_the_same_holds_where_workers_are_spawned(marker: Path, by: str) -> None:
    worker = await WorkerProcess.start("a", options(start="spawn"))
    await worker.load()
    end: LegacyError | None = None
    family: list[int] = []

    async def serve() -> None:
        nonlocal end
        end = await worker.run(lambda _: None)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            message = {"op": "run", "id": 1, "incarnation": worker.incarnation, "program": "does", "lm": None}
            worker.channel.post({**message, "inputs": {"what": "scatter", "marker": str(marker)}})
            family = await said(marker)
            assert worker.pid == family[0]
            if by == "us":
                group.cancel_scope.cancel()
            elif by == "a stranger who kills it":
                os.kill(worker.pid, signal.SIGKILL)
            else:
                os.kill(parent_of(worker.pid), signal.SIGKILL)
    await worker.close()
    assert await anyio.to_thread.run_sync(gone_within, 10, *family)
    if by != "us":
        assert isinstance(end, WorkerCrashed)
        assert end.signal == signal.SIGKILL


async def test_a_spawned_workers_exit_status_is_its_own() -> None:
    for what, expected in (({"what": "die", "status": 7}, 7), ({"what": "abort"}, -signal.SIGABRT)):
        worker = await WorkerProcess.start("a", options(start="spawn"))
        try:
            await worker.load()
            message = {"op": "run", "id": 1, "incarnation": worker.incarnation, "program": "does", "lm": None}
            worker.channel.post({**message, "inputs": what})
            with anyio.fail_after(60):
                end = await worker.run(lambda _: None)
        finally:
            await worker.close()
        assert isinstance(end, WorkerCrashed)
        assert end.returncode == expected


# --- deaths ---------------------------------------------------------------------------------------------------------

RUNTIME = """
import sys, anyio
from dspex.legacy import ImportedProgram, LegacyPool, PoolOptions, start_legacy_pool
from dspex.runtime import open_runtime

async def main():
    programs = {"does": ImportedProgram("legacy_programs:does")}
    async with open_runtime() as rt:
        pool = await start_legacy_pool(rt, PoolOptions(programs, workers=8, import_paths=(sys.argv[1],)))
        await pool.within(60).call(LegacyPool.wait_ready, 8)
        warden = rt.whereis("legacy.warden")
        statistics = await pool.call(LegacyPool.statistics)
        print(statistics.start, *(worker.pid for worker in statistics.workers), flush=True)
        async with anyio.create_task_group() as group:
            for what in ("scatter", "hold_the_gil"):
                inputs = {"what": what, "marker": sys.argv[2] + what}
                group.start_soon(lambda inputs=inputs: pool.within(None).call(LegacyPool.run, "does", inputs))

anyio.run(main, backend=sys.argv[3])
"""


@pytest.mark.usefixtures("own_warden")
async def test_when_the_runtime_is_killed_nothing_of_it_is_left_within_a_second(
    tmp_path: Path, anyio_backend: str
) -> None:
    markers = {what: tmp_path / f"marker{what}" for what in ("scatter", "hold_the_gil")}
    for path in markers.values():
        os.mkfifo(path)
    argv = [sys.executable, "-c", RUNTIME, str(HERE), str(tmp_path / "marker"), anyio_backend]
    host = await anyio.to_thread.run_sync(lambda: subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
    try:
        assert host.stdout is not None
        start, *words = (await anyio.to_thread.run_sync(host.stdout.readline)).split()
        assert start == "fork"
        pids = [int(word) for word in words]
        assert len(set(pids)) == 8
        (warden,) = children_of(host.pid)
        for path in markers.values():
            pids += await said(path)
        pids += [warden, *children_of(warden)]
        assert all(alive(pid) for pid in pids)
    finally:
        host.kill()
        host.wait()
        if host.stdout is not None:
            host.stdout.close()
    assert await anyio.to_thread.run_sync(gone_within, 1, *pids)


@pytest.mark.usefixtures("own_warden")
async def test_a_killed_warden_takes_no_worker_with_it_is_replaced_and_its_workers_are_recycled(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool(workers=2, ready=2) as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what="wait_for", marker=str(marker))
        (busy,) = await said(marker)
        before = {event["pid"] for event in pool.named("legacy.worker.started")}
        os.kill(pool.named("legacy.warden.started")[0]["pid"], signal.SIGKILL)
        assert (await pool.heard("legacy.warden.exited"))["returncode"] == -signal.SIGKILL
        assert alive(busy), "its life hangs on the runtime, not on the warden"
        assert (await run(pool, "does", what="describe")).values["pid"] in before
        await tell(marker)
        assert (await call.outcome()).values == {"waited": True}
        await pool.heard("legacy.warden.ready", 2)
        await pool.heard("legacy.worker.recycled", 2)
        after = {(await run(pool, "does", what="describe")).values["pid"] for _ in range(4)}
        assert not after & before
        assert not any(alive(pid) for pid in before)
        assert (await pool.ref.call(LegacyPool.statistics)).recycled == 2


@pytest.mark.usefixtures("own_warden")
async def test_a_killed_template_is_replaced_by_the_warden_and_its_end_is_told(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        started = pool.named("legacy.warden.started")[0]
        os.kill(started["template"], signal.SIGKILL)
        lost = await pool.heard("legacy.warden.template")
        assert (lost["pid"], lost["returncode"]) == (started["template"], -signal.SIGKILL)
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        os.kill(pool.named("legacy.worker.started")[0]["pid"], signal.SIGKILL)
        await pool.heard("legacy.worker.ready", 2)
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        assert pool.named("legacy.warden.exited") == []


# --- what it refuses ------------------------------------------------------------------------------------------------


async def test_without_dspy_or_with_a_broken_one_it_says_so(bare_python: str, tmp_path: Path) -> None:
    with pytest.raises(MissingLegacy, match=r"dspex\[legacy\]"):
        await Warden.start("w", options(python=bare_python))
    with pytest.raises(WorkerStartFailed, match="could not be started"):
        await Warden.start("w", options(python="/nowhere/python"))
    broken = tmp_path / "dspy"
    broken.mkdir()
    broken.joinpath("__init__.py").write_text("import os\nprint('so far', flush=True)\nos._exit(5)\n")
    async with running(options(python=bare_python, import_paths=(str(tmp_path),))) as warden:
        with pytest.raises(WorkerStartFailed, match="ended the template with status 5") as raised:
            await warden.ready()
        assert raised.value.log == ("so far",)
        with pytest.raises((WorkerStartFailed, WardenGone)):
            await WorkerProcess.start("a", options(), warden)


async def test_a_dspy_that_starts_threads_is_not_forked_and_the_pool_says_so(
    open_pool: OpenPool, bare_python: str, tmp_path: Path
) -> None:
    threaded = tmp_path / "dspy"
    threaded.mkdir()
    threaded.joinpath("__init__.py").write_text(
        "import threading\n__version__ = '3.4.0'\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "def configure_cache(**_): pass\nclass Example: pass\n"
    )
    settings = {"python": bare_python, "import_paths": (str(tmp_path),)}
    async with open_pool(**settings) as pool:
        assert pool.named("legacy.warden.unfit")[0]["threads"] == 2
        assert (await pool.ref.call(LegacyPool.statistics)).start == "spawn"
        assert pool.named("legacy.worker.started")[0]["forked"] is False


@pytest.mark.usefixtures("own_warden")
async def test_what_the_template_imports_and_whether_it_is_warmed_are_options(
    bare_python: str, tmp_path: Path
) -> None:
    small = tmp_path / "dspy"
    small.mkdir()
    small.joinpath("__init__.py").write_text("__version__ = '3.4.0'\n")
    tmp_path.joinpath("preloaded.py").write_text("print('preloaded', flush=True)\n")
    settings = {"python": bare_python, "import_paths": (str(tmp_path),)}
    async with running(options(**settings, warm=False, preload=("preloaded",))) as cold:
        await cold.ready()
        cold.output.drain()
        assert cold.output.tail() == ("preloaded",)
    async with running(options(**settings)) as warm:  # this dspy cannot be warmed: said, and no reason not to serve
        await warm.ready()
        warm.output.drain()
        assert "warming dspy up stopped short" in warm.output.tail()[0]
    async with running(options(**settings, preload=("absent",))) as failing:
        with pytest.raises(MissingLegacy, match="absent"):
            await failing.ready()


async def test_how_workers_start_is_an_option(open_pool: OpenPool) -> None:
    async with open_pool(start="spawn") as pool:
        assert (await pool.ref.call(LegacyPool.statistics)).start == "spawn"
        assert pool.rt.whereis("legacy.warden") is None
    async with open_pool(start="fork") as pool:
        assert (await pool.ref.call(LegacyPool.statistics)).start == "fork"


async def test_the_embedding_process_is_left_as_it_was(open_pool: OpenPool) -> None:
    def state() -> tuple[object, ...]:
        handlers = tuple(signal.getsignal(number) for number in signal.valid_signals())
        status = Path("/proc/self/status").read_text().splitlines()
        masks = tuple(line for line in status if line.startswith(("SigBlk", "SigIgn")))
        stdio = tuple(os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2))
        return handlers, masks, stdio, dict(os.environ), os.getcwd(), subreaper()

    before = state()
    async with open_pool(workers=2, ready=2) as pool:
        await run(pool, "echo", x=1)
        assert state() == before
    assert state() == before


def subreaper() -> int:
    import ctypes

    flag = ctypes.c_int(-1)
    assert ctypes.CDLL(None).prctl(37, ctypes.byref(flag), 0, 0, 0) == 0  # PR_GET_CHILD_SUBREAPER
    return flag.value
