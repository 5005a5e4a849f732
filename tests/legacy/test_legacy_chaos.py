"""The chaos run at a size that fits into CI, and what ten thousand calls leave behind, at a smaller count."""

import gc
import os
import resource
import threading
from pathlib import Path

import anyio
import pytest
from chaos import storm
from dspex.legacy import LegacyPool
from legacy_pools import OpenPool
from test_legacy_pool import run

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("own_warden")
async def test_under_a_storm_of_kills_no_request_is_lost_or_run_twice_and_nothing_is_left(anyio_backend: str) -> None:
    report = await storm(kills=40, seed=20261124 + (anyio_backend == "trio"))
    assert report.broken == [], report.as_json()
    assert report.answered > 0
    assert report.blows["kill"] > report.blows["stop"] > 0


async def test_many_calls_leave_descriptors_threads_memory_and_shared_memory_as_they_were(open_pool: OpenPool) -> None:
    def state() -> tuple[int, int, list[str]]:
        return len(os.listdir("/proc/self/fd")), threading.active_count(), sorted(os.listdir("/dev/shm"))

    def resident(pid: int) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()

    async with open_pool(max_in_flight=4) as pool:

        async def calls(count: int) -> None:
            async def some() -> None:
                for number in range(count // 8):
                    assert (await run(pool, "echo", x=number)).values == {"x": number}

            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(some)

        await calls(400)
        pool.events.clear()
        gc.collect()
        before = state()
        (worker,) = (await pool.ref.call(LegacyPool.statistics)).workers
        sizes = resident(os.getpid()), resident(worker.pid)
        await calls(1600)
        pool.events.clear()
        gc.collect()
        assert state() == before
        grown = [after - size for after, size in zip((resident(os.getpid()), resident(worker.pid)), sizes, strict=True)]
        assert max(grown) < 8 * 2**20, grown
        assert (await pool.ref.call(LegacyPool.statistics)).workers[0].incarnation == worker.incarnation


async def test_without_descriptors_a_worker_does_not_start_and_the_pool_recovers(open_pool: OpenPool) -> None:
    async with open_pool(workers=1) as pool:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
        try:
            while True:
                try:
                    taken.append(os.dup(0))
                except OSError:
                    break
            os.kill((await pool.ref.call(LegacyPool.statistics)).workers[0].pid, 9)
            await pool.heard("legacy.worker.exited")
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await pool.heard("legacy.worker.ready", 2)
        assert (await run(pool, "echo", x=1)).values == {"x": 1}


async def test_a_worker_that_hogs_memory_fails_its_request_only(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        with pytest.raises(Exception, match="MemoryError"):
            await run(pool, "does", what="hog", limit=2**30)
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        assert pool.named("legacy.worker.exited") == []


