"""What the pool's tests share: a pool with its events, and how to learn what its workers are doing."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
from dspex.legacy import ImportedProgram, LegacyPool, SignatureProgram
from dspex.runtime import Event, NamedRef, Runtime
from openai_server import OpenAIServer

HERE = Path(__file__).parent

PROGRAMS = {
    "qa": SignatureProgram("question -> answer"),
    "safe": SignatureProgram("question -> answer", idempotent=True),
    "does": ImportedProgram("legacy_programs:does"),
    "does-safely": ImportedProgram("legacy_programs:does", idempotent=True),
    "echo": ImportedProgram("legacy_programs:Echo"),
    "typed": ImportedProgram("legacy_programs:Asking"),
}


class Pool:
    """A running pool, its runtime, and what happened in it."""

    def __init__(self, rt: Runtime, ref: NamedRef[LegacyPool], events: list[Event]) -> None:
        self.rt = rt
        self.ref = ref
        self.events = events

    def named(self, name: str) -> list[dict]:
        return [event.data for event in self.events if event.name == name]

    async def heard(self, name: str, count: int = 1) -> dict:
        """Waits for the `count`-th event of that name."""
        with anyio.fail_after(15):
            while len(self.named(name)) < count:
                happened = anyio.Event()
                unsubscribe = self.rt.events.subscribe(lambda _, happened=happened: happened.set(), prefix=name)
                await happened.wait()
                unsubscribe()
        return self.named(name)[count - 1]


OpenPool = Callable[..., AbstractAsyncContextManager[Pool]]


async def said(marker: Path) -> list[int]:
    """Waits until a program has said, through `marker`, that it runs; returns the process ids that it told."""

    def read() -> list[int]:
        with open(marker) as pipe:
            return [int(word) for word in pipe.read().split()]

    with anyio.fail_after(15):
        return await anyio.to_thread.run_sync(read, abandon_on_cancel=True)


async def tell(marker: Path, text: str = "go on") -> None:
    """Lets a program go on that waits for `marker`, a named pipe."""
    await anyio.to_thread.run_sync(lambda: marker.write_text(text))


async def arrived(server: OpenAIServer) -> None:
    """Waits until one more request has arrived at the language model."""
    assert await anyio.to_thread.run_sync(lambda: server.arrived.acquire(timeout=30)), "no request arrived"


def alive(pid: int) -> bool:
    """True unless the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def threads_gone_within(seconds: float, pid: int) -> bool:
    """True when no thread of a dead process is left but the first, which stays until it is reaped."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            if len(os.listdir(f"/proc/{pid}/task")) <= 1:
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def gone_within(seconds: float, *pids: int) -> bool:
    """True when all are gone, at the latest after `seconds`; for processes that are not our children to wait for."""
    limit = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True
