"""A worker process that this process started itself: an OS process and its lifeline, with its descendants.

On Linux the process that was started is the worker's keeper (`worker/keeper.py`), whose end and status are the worker's; the
worker is its only child, and known from its hello on.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress

from ..runtime.os_process import OsProcessHandle
from .descendants import Descendants, children_of

__all__ = ["SpawnedProcess"]


class SpawnedProcess:
    """See `forked.ChildProcess`. Descendants in sessions of their own die with it, whoever ends it."""

    def __init__(self, handle: OsProcessHandle, lifeline: int) -> None:
        self._handle = handle
        self._lifeline: int | None = lifeline
        self._worker: int | None = None
        """A pidfd, for the case that somebody kills the keeper: then nobody else can say whether the worker lives."""
        self.pid = handle.pid

    def identify(self, pid: object) -> None:
        """The worker has said who it is; it is believed if the kernel says so too."""
        if self._worker is None and isinstance(pid, int) and pid in children_of(self._handle.pid):
            with suppress(OSError):
                self._worker = os.pidfd_open(pid) if sys.platform == "linux" else None
                self.pid = pid

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
            descendants = Descendants.of(self._handle.pid)  # found before they lose their parent; the worker is one
            self._handle.kill()
            descendants.kill()
        elif self._worker is not None and sys.platform == "linux":
            poll = select.poll()
            poll.register(self._worker, select.POLLIN)
            if not poll.poll(0):  # its keeper was killed, and it is still there
                descendants = Descendants.of(self.pid)
                signal.pidfd_send_signal(self._worker, signal.SIGKILL)
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
        worker, self._worker = self._worker, None
        if worker is not None:
            os.close(worker)
