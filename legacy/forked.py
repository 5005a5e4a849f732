"""A worker process that somebody else forked for us: known by a pidfd, ended by its lifeline.

It has the face of `runtime.os_process.OsProcessHandle`, and its guarantees: no signal by number, a bounded end. Its exit
status comes from the warden, whose child it is; without a warden its end is still noticed, and its status unknown.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

import anyio
from anyio.lowlevel import checkpoint

from ..runtime.os_process import EndWatch, OsProcessStuck
from .descendants import Descendants

__all__ = ["ChildProcess", "ForkedProcess"]

_STATUS_SECONDS = 3.0
"""How long the warden may take to tell the status of a process that has ended; it sweeps up its children before."""

_DEATH_BOUND = 5.0
_SIGNAL_PROCESS_GROUP = 4


class ChildProcess(Protocol):
    """What `WorkerProcess` needs of a process, whoever started it."""

    @property
    def pid(self) -> int: ...

    @property
    def stdout(self) -> int | None: ...

    @property
    def returncode(self) -> int | None: ...
    def identify(self, pid: object) -> None: ...
    async def wait(self) -> object: ...
    def kill(self) -> None: ...
    async def aclose(self) -> None: ...


class ForkedProcess:
    """One forked worker. Leave it with `aclose`: then it and all its descendants are dead and the descriptors closed."""

    def __init__(self, pid: int, pidfd: int | None, lifeline: int, stdout: int) -> None:
        self.pid = pid
        self.stdout: int | None = stdout
        self.peak_bytes = 0
        """The most memory it had resident, known at its end."""
        self.swept = 0
        """Descendants that outlived it and were killed, known at its end."""
        self._pidfd = pidfd
        self._end = None if pidfd is None else EndWatch(pidfd)
        self._lifeline: int | None = lifeline
        self._returncode: int | None = None
        self._ended = pidfd is None
        self._reported = anyio.Event()
        self._warden_lives = True
        self._orphaned: Callable[[], None] | None = None

    def on_orphaned(self, told: Callable[[], None]) -> None:
        """`told` is called when the warden is gone; at once if it is."""
        self._orphaned = told
        if not self._warden_lives:
            told()

    @property
    def returncode(self) -> int | None:
        """Its exit status or minus its signal, once the warden has told; None before, and for ever without a warden."""
        return self._returncode

    def identify(self, pid: object) -> None:
        """Nothing to be learnt from the worker's own word: the kernel's descriptor says who it is."""

    def report(self, returncode: int, *, peak_bytes: int, swept: int) -> None:
        """The warden's word of its end."""
        self._returncode, self.peak_bytes, self.swept = returncode, peak_bytes, swept
        self._ended = True
        self._reported.set()

    def warden_gone(self) -> None:
        """Nobody will tell its exit status any more."""
        self._warden_lives = False
        self._reported.set()
        if self._orphaned is not None and self._lifeline is not None:
            self._orphaned()

    async def wait(self) -> None:
        """Returns when it has ended and its status is known, or will not be. Cancelling leaves it alone."""
        if self._ended and self._reported.is_set():
            await checkpoint()
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._await_end, group.cancel_scope)
            group.start_soon(self._await_report, group.cancel_scope)

    async def _await_report(self, both: anyio.CancelScope) -> None:
        await self._reported.wait()
        if self._ended:
            both.cancel()

    async def _await_end(self, both: anyio.CancelScope) -> None:
        """What the kernel says, in case that the warden cannot."""
        while not self._look() and self._end is not None:
            await self._end.wait()
        with anyio.move_on_after(_STATUS_SECONDS):
            await self._reported.wait()
        both.cancel()

    def _look(self) -> bool:
        """Whether it has ended; by its descriptor, if nobody has said so."""
        if not self._ended and self._pidfd is not None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            self._ended = bool(poll.poll(0))
        return self._ended

    def kill(self) -> None:
        """SIGKILL to it and its group, at once. Does nothing when it is over."""
        if self._pidfd is not None and sys.platform == "linux" and not self._ended:
            for flags in (_SIGNAL_PROCESS_GROUP, 0):  # kernels before 6.9 know no flag; the lifeline kills the group
                with suppress(OSError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL, None, flags)
                    break
        self._cut()

    async def aclose(self) -> None:
        """Kills it and waits until it is gone. Idempotent, bounded, not interruptible. Raises `OsProcessStuck`."""
        try:
            with anyio.CancelScope(shield=True):
                # With a warden its descendants are the warden's business; without, they are found before it dies.
                descendants = None if self._warden_lives or self._ended else Descendants.of(self.pid)
                self.kill()
                if descendants is not None:
                    descendants.kill()
                limit = time.monotonic() + _DEATH_BOUND  # of real time: the loop's clock may be a virtual one
                while time.monotonic() < limit and not (self._ended and self._reported.is_set()):
                    with anyio.move_on_after(limit - time.monotonic()):
                        await self.wait()
                        break
                if not self._ended:
                    raise OsProcessStuck(self.pid, _DEATH_BOUND)
        finally:
            self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_lifeline"):
            self._close()  # cuts the lifeline: a process whose handle is dropped dies

    def _cut(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            os.close(lifeline)

    def _close(self) -> None:
        self._cut()
        stdout, end = self.stdout, self._end
        self.stdout = self._pidfd = self._end = None
        if stdout is not None:
            with suppress(Exception):
                anyio.notify_closing(stdout)
            os.close(stdout)
        if end is not None:
            end.close()
