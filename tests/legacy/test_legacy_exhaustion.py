"""What happens when the machine has no more to give: descriptors, memory, room for files."""

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from dspex.legacy import LegacyPool, WorkerCrashed
from dspex.legacy.channel import Channel
from legacy_pools import OpenPool, said, tell
from small_memory import memory_bounded
from test_legacy_pool import Later, run

pytestmark = pytest.mark.anyio

BIG = "x" * 1_000_000


@contextmanager
def limited(which: int, value: int) -> Iterator[None]:
    """This process bears a limit for a while."""
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def no_more_descriptors() -> "contextmanager[None]":
    """Every number below the limit is taken."""
    free = os.dup(0)
    os.close(free)
    return limited(resource.RLIMIT_NOFILE, free)


@pytest.mark.parametrize("limit", ["descriptors", "file size"])
async def test_without_a_memory_file_a_large_message_goes_through_the_stream(limit: str) -> None:
    pair = socket.socketpair()
    a, b = Channel(pair[0]), Channel(pair[1])
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(a.pump)
            with no_more_descriptors() if limit == "descriptors" else limited(resource.RLIMIT_FSIZE, 100_000):
                a.post({"op": "big", "value": BIG})
            assert a.waiting > 0, "it went by a memory file: this test tests nothing"
            a.post({"op": "next"})
            assert (await b.receive())["value"] == BIG
            assert (await b.receive())["op"] == "next"
            a.close()
    b.close()


async def test_a_large_message_that_cannot_be_taken_for_want_of_descriptors_says_so() -> None:
    pair = socket.socketpair()
    a, b = Channel(pair[0]), Channel(pair[1])
    a.post({"op": "big", "value": BIG})
    with no_more_descriptors(), pytest.raises(Exception, match="no descriptor left to take it; raise ulimit -n"):
        await b.receive()
    a.close()
    b.close()


@pytest.mark.parametrize(("limit", "value"), [("RLIMIT_FSIZE", 100_000), ("RLIMIT_NOFILE", 0)])
async def test_a_worker_without_descriptors_or_room_for_files_still_gives_large_answers(
    open_pool: OpenPool, limit: str, value: int
) -> None:
    async with open_pool() as pool:
        await run(pool, "does", what="bear", limit=limit, value=value)
        assert (await run(pool, "does", what="swell", size=len(BIG))).values == {"text": BIG}
        assert pool.named("legacy.worker.exited") == []


async def test_without_descriptors_requests_are_served_or_fail_typed_and_the_pool_recovers(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        await run(pool, "echo", x=1)
        with no_more_descriptors():
            assert (await run(pool, "echo", x=1)).values == {"x": 1}
            assert len((await run(pool, "does", what="talk", text=BIG, lines=1)).values) == 1  # large on its way there
            with pytest.raises(WorkerCrashed, match="no descriptor left to take it") as crash:
                await run(pool, "does", what="swell", size=len(BIG))
            assert crash.value.maybe_started
            assert not crash.value.retriable
            await pool.heard("legacy.worker.exited")
        await pool.heard("legacy.worker.ready", 2)
        assert len((await run(pool, "does", what="swell", size=len(BIG))).values["text"]) == len(BIG)


async def test_a_worker_that_the_kernel_ends_for_want_of_memory_is_told_from_one_that_somebody_killed(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool() as pool, anyio.create_task_group() as group:
        (worker,) = (await pool.ref.call(LegacyPool.statistics)).workers
        call = await Later.start(group, pool, "does", what="swallow", marker=str(marker), size=2**30)
        await said(marker)
        with memory_bounded(worker.pid, 200 * 2**20):
            await tell(marker)
            crash = await call.outcome()
        assert isinstance(crash, WorkerCrashed)
        assert (crash.kind, crash.signal, crash.maybe_started) == ("out_of_memory", 9, True)
        assert "for want of memory" in str(crash)
        await pool.heard("legacy.worker.ready", 2)
        os.kill((await pool.ref.call(LegacyPool.statistics)).workers[0].pid, 9)
        assert (await pool.heard("legacy.worker.exited", 2))["reason"].kind == "signal"


@pytest.mark.usefixtures("own_warden")
def test_full_disks_cost_no_answer_and_no_worker(anyio_backend: str) -> None:
    """In a mount namespace of its own: `/dev/shm` and the directory of dspy's cache are file systems without room."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare(1) and a kernel that lets this user make namespaces")
    script = Path(__file__).parent / "full_disks.py"
    done = subprocess.run(
        [unshare, "-rm", sys.executable, str(script), anyio_backend],
        capture_output=True, text=True, timeout=120, check=False, cwd=script.parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["kept"]), done.stdout + done.stderr
    assert "legacy.worker.uncached" in done.stdout, "the cache could be opened: this tests nothing"
