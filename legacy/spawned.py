"""A worker process that this process started itself: an OS process and its lifeline, with its descendants.

On Linux the process that was started is the worker's keeper (`worker/keeper.py`), whose end and status are the worker's; the
worker is its only child, and known from its hello on.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress

import anyio

from ..runtime.os_process import EndWatch, OsProcessHandle, OsProcessStuck
from .descendants import Descendants, children_of

__all__ = ["SpawnedProcess"]


_DEATH_BOUND = 5.0


class SpawnedProcess:
    """See `forked.ChildProcess`. Descendants in sessions of their own die with it, whoever ends it."""

    def __init__(self, handle: OsProcessHandle, lifeline: int) -> None:
        self._handle = handle
        self._lifeline: int | None = lifeline
        self._pidfd: int | None = None
        """Of the worker: it is its keeper's child and not ours, so nobody else says whether it lives."""
        self._end: EndWatch | None = None
        self.pid = handle.pid

    def identify(self, pid: object) -> None:
        """The worker has said who it is; it is believed if the kernel says so too."""
        if self._pidfd is None and isinstance(pid, int) and pid in children_of(self._handle.pid):
            with suppress(OSError):
                if sys.platform == "linux":
                    self._pidfd = os.pidfd_open(pid)
                    self._end = EndWatch(self._pidfd)
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
            for child in children_of(self._handle.pid):  # one that was never heard of, or the one that is known
                self.identify(child)
            descendants = Descendants.of(self._handle.pid)  # found before they lose their parent; the worker is one
            self._handle.kill()
            descendants.kill()
        elif self._pidfd is not None and self._lives() and sys.platform == "linux":  # its keeper was killed
            descendants = Descendants.of(self.pid)
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            descendants.kill()

    async def aclose(self) -> None:
        """Kills it and waits until it is gone. Idempotent, shielded, bounded to 10 s. Raises `OsProcessStuck`."""
        self.kill()
        try:
            await self._handle.aclose()
            self._cut()
            with anyio.CancelScope(shield=True):
                await self._gone()
        finally:
            self._close()

    async def _gone(self) -> None:
        limit = time.monotonic() + _DEATH_BOUND  # of real time: the loop's clock may be a virtual one
        while self._lives() and self._end is not None:
            left = limit - time.monotonic()
            if left <= 0:
                raise OsProcessStuck(self.pid, _DEATH_BOUND)
            with anyio.move_on_after(left):
                await self._end.wait()

    def _lives(self) -> bool:
        if self._pidfd is None:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def __del__(self) -> None:
        if hasattr(self, "_lifeline"):
            self._close()

    def _cut(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            os.close(lifeline)

    def _close(self) -> None:
        self._cut()
        end, self._end, self._pidfd = self._end, None, None
        if end is not None:
            end.close()
