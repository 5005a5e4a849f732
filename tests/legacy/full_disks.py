"""Run in a mount namespace of its own: a pool whose `/dev/shm` and whose cache directory are full.

    unshare -rm python tests/legacy/full_disks.py asyncio

Prints "kept" when all large payloads arrived both ways, predictions were made, and no worker ended.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import anyio  # noqa: E402
from dspex.legacy import ImportedProgram, LegacyPool, LMSettings, PoolOptions, SignatureProgram, start_legacy_pool  # noqa: E402
from dspex.runtime import Event, open_runtime  # noqa: E402
from openai_server import OpenAIServer  # noqa: E402


def mount(folder: str) -> None:
    """Mounts a small file system on `folder`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)


def fill(folder: str) -> None:
    """Leaves no byte of it."""
    with open(Path(folder, "everything"), "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert not os.statvfs(folder).f_bavail


def refill(folder: str) -> None:
    """Nothing of a cache that was there is left, and no room for another."""
    for file in Path(folder).glob("**/*.db*"):
        file.unlink()
    Path(folder, "everything").unlink()
    fill(folder)


async def main(cache: str, server: OpenAIServer) -> None:
    options = PoolOptions(
        {"does": ImportedProgram("legacy_programs:does"), "qa": SignatureProgram("question -> answer")},
        workers=1,
        import_paths=(str(HERE),),
        cache_dir=cache,
        lm=LMSettings("openai/tiny", api_base=server.url, api_key="k", options={"num_retries": 0}),
    )
    big = "x" * 2_000_000
    events: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(events.append, prefix="legacy.worker.")
        pool = (await start_legacy_pool(rt, options)).within(60)

        async def work(turn: str) -> None:
            for number in range(3):
                swollen = await pool.call(LegacyPool.run, "does", {"what": "swell", "size": len(big)})
                assert swollen.values["text"] == big
                question = {"question": f"{turn}{number}{big[:200_000]}"}
                assert (await pool.call(LegacyPool.run, "qa", question)).values["answer"]

        def heard(name: str) -> list[Event]:
            return [event for event in events if event.name == f"legacy.worker.{name}"]

        await pool.call(LegacyPool.wait_ready, 1)
        fill(cache)
        await work("full while it serves")
        assert not heard("exited")
        assert not heard("uncached")
        refill(cache)
        os.kill((await pool.call(LegacyPool.statistics)).workers[0].pid, 9)
        while len(heard("ready")) < 2:
            await anyio.sleep(0.01)
        await work("full from the start")
        assert len(heard("exited")) == 1
        print(*(event.name for event in events))
    print("kept")


if __name__ == "__main__":
    assert os.path.ismount("/dev/shm")
    model = OpenAIServer()
    with tempfile.TemporaryDirectory() as folder:
        mount("/dev/shm")
        fill("/dev/shm")
        mount(folder)
        try:
            anyio.run(main, folder, model, backend=sys.argv[1])
        finally:
            subprocess.run(["umount", folder], check=True)
            model.close()
