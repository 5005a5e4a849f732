"""Servers, pools and the promise that every test here leaves nothing behind."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dspex.legacy import LegacyPool, LMSettings, PoolOptions, start_legacy_pool
from dspex.runtime import Event, open_runtime
from legacy_pools import HERE, PROGRAMS, OpenPool, Pool
from openai_server import OpenAIServer
from own_processes import children
from shared_wardens import SharedWardens


@pytest.fixture(scope="session")
def shared_wardens() -> Iterator[SharedWardens]:
    wardens = SharedWardens()
    yield wardens
    wardens.close()


@pytest.fixture
def own_warden(request: pytest.FixtureRequest) -> None:
    """Asked for by a test that needs a warden of its own."""


@pytest.fixture(autouse=True)
def lent_warden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Async tests get the warden of their backend, unless they ask for their own."""
    if "anyio_backend" in request.fixturenames and "own_warden" not in request.fixturenames:
        wardens: SharedWardens = request.getfixturevalue("shared_wardens")
        wardens.lend(monkeypatch, request.getfixturevalue("anyio_backend"))


@pytest.fixture
def open_pool() -> OpenPool:
    @asynccontextmanager
    async def open_(*, ready: int = 1, **options: object):
        settings = {"programs": PROGRAMS, "workers": 1, "import_paths": (str(HERE),), **options}
        async with open_runtime() as rt:
            events: list[Event] = []
            rt.events.subscribe(events.append, prefix="legacy.")
            ref = await start_legacy_pool(rt, PoolOptions(**settings))
            if ready:
                await ref.within(60).call(LegacyPool.wait_ready, ready)
            yield Pool(rt, ref, events)

    return open_


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


@pytest.fixture
def lm(server: OpenAIServer) -> LMSettings:
    return LMSettings(
        "openai/tiny", api_base=server.url, api_key="sk-secret-7", cache=False, options={"num_retries": 0}
    )


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter in whose environment nothing is installed."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    return str(home / "bin" / "python")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A named pipe by which a program says that it is running: `await said(marker)`."""
    path = tmp_path / "marker"
    os.mkfifo(path)
    return path


def _descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith(("socket:", "pipe:", "anon_inode:")):
            found.append(target)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_behind(lent_warden: None) -> Iterator[None]:
    """No process, descriptor or thread outlives a test; the one thread that forks stays for the interpreter's life."""
    before, descriptors = children(), len(_descriptors())
    yield
    assert children() <= before, "a process was left behind"
    assert len(_descriptors()) <= descriptors, _descriptors()
    # Idle threads of the event loop's pool end by themselves after some seconds (trio, anyio); ours are named.
    assert [t.name for t in threading.enumerate() if t.name.startswith(("openai", "dspex-wait"))] == []
