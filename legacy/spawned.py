"""A worker process that this process started itself: an OS process and its lifeline, with its descendants."""

from __future__ import annotations

import os

from ..runtime.os_process import OsProcessHandle
from .descendants import Descendants

__all__ = ["SpawnedProcess"]


class SpawnedProcess:
    """See `forked.ChildProcess`. Descendants in sessions of their own die with it when it is ended from here."""

    def __init__(self, handle: OsProcessHandle, lifeline: int) -> None:
        self._handle = handle
        self._lifeline: int | None = lifeline
        self.pid = handle.pid

    @property
    def stdout(self) -> int | None:
        return self._handle.stdout

    @property
    def returncode(self) -> int | None:
        """None while it lives; then its exit status, or minus the number of the signal that ended it."""
        return self._handle.returncode

    async def wait(self) -> int:
        """Waits for its end."""
        return await self._handle.wait()

    def kill(self) -> None:
        """SIGKILL to it, its group and its descendants, at once. Does nothing when it is over."""
        if self._handle.returncode is None:
            descendants = Descendants.of(self.pid)  # found before they lose their parent
            self._handle.kill()
            descendants.kill()

    async def aclose(self) -> None:
        """Kills it and waits until it is gone; bounded as `OsProcessHandle.aclose`. Idempotent."""
        self.kill()
        try:
            await self._handle.aclose()
        finally:
            self._cut()

    def __del__(self) -> None:
        if hasattr(self, "_lifeline"):
            self._cut()

    def _cut(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            os.close(lifeline)
