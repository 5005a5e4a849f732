"""One warmed warden for all tests of a backend, since importing dspy is what would make the tests slow.

The process, its forks and everything about the workers is real; only its start and its end are taken from the pools that ask
for an ordinary one. A test of a warden's own life asks for another (`own_warden`), by settings that nothing else has.
"""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from dspex.legacy import PoolOptions, SignatureProgram
from dspex.legacy.warden import Warden
from legacy_pools import HERE
from own_processes import keep

Start = Callable[[str, PoolOptions], Awaitable[Warden]]


class SharedWardens:
    """By backend, since a warden's events belong to one kind of loop."""

    def __init__(self) -> None:
        self._wardens: dict[str, Warden] = {}
        self._start: Start = Warden.start
        self._close = Warden.close

    def prepare(self, backend: str) -> Warden:
        """Starts the warden of `backend`, or another if somebody has killed it."""
        if backend not in self._wardens or not self._wardens[backend].alive:
            self._wardens[backend] = anyio.run(self._warmed, backend=backend)
            keep(self._wardens[backend].pid)
        return self._wardens[backend]

    async def _warmed(self) -> Warden:
        options = PoolOptions({"qa": SignatureProgram("question -> answer")}, import_paths=(str(HERE),))
        warden = await self._start("shared.warden", options)
        async with anyio.create_task_group() as group:
            group.start_soon(warden.run)
            await warden.ready()
            group.cancel_scope.cancel()
        return warden

    def lend(self, patch: pytest.MonkeyPatch, backend: str) -> None:
        """Pools of ordinary settings get the shared one until `patch` is undone."""
        shared = self.prepare(backend)

        async def start(name: str, options: PoolOptions) -> Warden:
            ordinary = PoolOptions({"qa": SignatureProgram("question -> answer")}, import_paths=(str(HERE),))
            for setting in ("python", "import_paths", "env", "warm", "preload"):
                if getattr(options, setting) != getattr(ordinary, setting):
                    return await self._start(name, options)
            return shared

        async def close(warden: Warden) -> None:
            if warden is not shared:
                await self._close(warden)

        patch.setattr(Warden, "start", start)
        patch.setattr(Warden, "close", close)

    def close(self) -> None:
        for backend, warden in self._wardens.items():
            anyio.run(self._close, warden, backend=backend)

    def pids(self) -> set[int]:
        return {warden.pid for warden in self._wardens.values()}


