"""The process that shall take a worker's place: loaded while the old one still serves, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .errors import LegacyError
from .process import WorkerProcess
from .slots import Slots

__all__ = ["Successor"]


class Successor:
    """At most one. `start` makes a process; `close` ends one that never took over."""

    def __init__(self, slots: Slots, start: Callable[[], Awaitable[WorkerProcess]]) -> None:
        self._slots = slots
        self._start = start
        self._coming = False
        self.process: WorkerProcess | None = None
        """Loaded, and waiting to take over."""

    def called_for(self) -> bool:
        """True, once: nobody is here or on the way, so `prepare` is to be run."""
        if self._coming or self.process is not None:
            return False
        self._coming = True
        return True

    async def prepare(self) -> LegacyError | None:
        """Starts and loads one. Returns why there is none; cancelled, there is none either."""
        process: WorkerProcess | None = None
        try:
            process = await self._start()
            async with self._slots.gate:
                await process.load()
            self.process, process = process, None
        except LegacyError as failure:
            return failure
        finally:
            self._coming = False
            if process is not None:
                await process.close()
        return None

    def take(self) -> WorkerProcess | None:
        """The process, which is the caller's to close now."""
        process, self.process = self.process, None
        return process

    async def close(self) -> None:
        process = self.take()
        if process is not None:
            await process.close()
