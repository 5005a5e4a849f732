"""The chaos run at a size that fits into CI, and what ten thousand calls leave behind."""

import os
import resource

import pytest
from chaos import long_haul, storm
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


async def test_ten_thousand_calls_leave_descriptors_threads_memory_and_shared_memory_as_they_were() -> None:
    hauled = await long_haul(calls=10_000, workers=1)
    assert hauled["broken"] == [], hauled
    assert hauled["calls"] >= 11_000


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
