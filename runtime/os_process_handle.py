"""The life of one operating-system process after its fork: who it is, when it ends, how it is ended.

Which process is meant is decided by a pidfd (elsewhere, and for groups on older kernels, by its number while it is not
yet reaped, which keeps the number its own). Its end makes that descriptor readable. It is reaped here and nowhere else,
and the rest of its group is killed just before.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio
from anyio.lowlevel import checkpoint

from .os_process_end import EndWatch

__all__ = ["ForkingThread", "OsProcessHandle", "OsProcessStuck", "forking_thread", "read_pipe"]

_DEATH_BOUND = 5.0
"""Seconds to vanish after SIGKILL; milliseconds do, unless the process is stuck in the kernel (dead network disk)."""

_LOST_STATUS = 255
"""Exit code when somebody else in this program reaped the child; the same convention as asyncio's child watchers."""

_SIGNAL_PROCESS_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP of pidfd_send_signal(2), Linux 6.9


class OsProcessStuck(Exception):
    """A process did not vanish in time after SIGKILL: it dies when the system call that it is in returns."""

    def __init__(self, pid: int, seconds: float) -> None:
        super().__init__(
            f"process {pid} is still there {seconds:g} s after SIGKILL; look at its state in /proc/{pid}/status "
            "(D means that it waits for a disk or network file system)"
        )
        self.pid = pid
        self.seconds = seconds


async def read_pipe(descriptor: int) -> bytes:
    """What has arrived on a handle's `stdout` or `stderr`, waiting for at least one byte; b"" at the end.

    Cancelled, it has taken nothing. Raises `anyio.ClosedResourceError` when the handle is closed meanwhile.
    """
    while True:
        try:
            return os.read(descriptor, 65536)
        except BlockingIOError:
            await anyio.wait_readable(descriptor)


class OsProcessHandle:
    """One child process: its identity, its pipes, its end. Made by `spawn_os_process`.

    Leave it with `await aclose()` (or `async with`): then the process and its group are dead, it is reaped, and the
    pipes are closed. A handle that is dropped instead kills the group and warns (`ResourceWarning`); the interpreter's
    end kills what is left.
    """

    __slots__ = (
        "__weakref__",
        "_end",
        "_lock",
        "_owner",
        "_pidfd",
        "_popen",
        "_returncode",
        "pid",
        "stderr",
        "stdin",
        "stdout",
    )

    pid: int
    """Process id, also the id of its session and process group. For display; signal it through this handle only."""
    stdin: int | None
    """Our non-blocking end of the pipe, if `PIPE` was asked for. `aclose` closes it; if you do, set it to None."""
    stdout: int | None
    stderr: int | None

    def __init__(self, popen: subprocess.Popen[bytes], pipes: tuple[int | None, int | None, int | None]) -> None:
        self._popen = popen
        self._lock = threading.Lock()  # reaping and signalling exclude each other; held for one or two system calls
        self._owner = os.getpid()
        self._returncode: int | None = None
        self.pid = popen.pid
        self.stdin, self.stdout, self.stderr = pipes
        self._pidfd = _open_pidfd(popen.pid)
        self._end = EndWatch(self._pidfd if self._pidfd is not None else _watch_by_thread(popen.pid))
        _alive[popen.pid] = weakref.ref(self)

    @property
    def returncode(self) -> int | None:
        """None while the process runs; then its exit status, or minus the number of the signal that ended it."""
        return self._poll()

    async def wait(self) -> int:
        """Waits for the end of the process and returns its `returncode`.

        Any number of tasks may wait at once. Cancelling a wait leaves the process alone.
        """
        await checkpoint()
        while (code := self._poll()) is None:
            with contextlib.suppress(anyio.ClosedResourceError):  # another thread has just reaped it
                await self._end.wait()
        return code

    def kill(self) -> None:
        """SIGKILL to the process and its group. Does nothing when it is over."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM to the process and its group. Does nothing when it is over."""
        self._signal(signal.SIGTERM)

    async def aclose(self, *, grace: float = 0.0) -> None:
        """Ends it: SIGTERM and up to `grace` seconds if `grace` > 0, then SIGKILL; reaps it and closes its pipes.

        Idempotent. Bounded by `grace` + 5 s, and not interruptible: cancellation is delivered after it. Raises
        `OsProcessStuck` if the kernel does not let the process die within that bound.
        """
        try:
            if grace > 0 and self._poll() is None:
                self.terminate()
                await self._wait_within(grace)
            self.kill()
            if not await self._wait_within(_DEATH_BOUND):
                raise OsProcessStuck(self.pid, _DEATH_BOUND)
        finally:
            for pipe in (self.stdin, self.stdout, self.stderr):
                if pipe is not None:
                    anyio.notify_closing(pipe)  # a task that waits for it gets ClosedResourceError, not eternity
            self._close_pipes()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "running" if self._returncode is None else f"returncode={self._returncode}"
        return f"<OsProcessHandle pid={self.pid} {state}>"

    def __del__(self) -> None:
        if not hasattr(self, "_end") or self._owner != os.getpid():
            return  # never fully made, or a copy inside a forked child of the host
        abandoned = self._poll() is None
        if abandoned:
            self.kill()
            # Reaped off the event loop. SimpleQueue.put, unlike Queue.put, may be called inside a finalizer.
            forking_thread.submit(functools.partial(_bury, self._popen))
        self._close_pipes()
        self._close_end()
        if abandoned:
            warnings.warn(f"{self!r} was never closed; it is killed now", ResourceWarning, stacklevel=2)

    async def _wait_within(self, seconds: float) -> bool:
        # Processes live in real time; the event loop's clock may be virtual, and its jumps must not count as waiting.
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            with anyio.move_on_after(left, shield=True):
                await self.wait()
                return True
        return self._poll() is not None

    def _poll(self) -> int | None:
        """Reaps the process if it has ended; just before, while the id is its own, kills the rest of the group."""
        with self._lock:
            if self._returncode is not None:
                return self._returncode
            try:
                code = self._inspect(os.WNOWAIT)
                if code is None:
                    return None
                self._signal_group(signal.SIGKILL)
                _alive.pop(self.pid, None)
                self._inspect(0)
            except ChildProcessError:
                _alive.pop(self.pid, None)
                code = _LOST_STATUS
            self._returncode = self._popen.returncode = code
            self._close_end()
            return code

    def _inspect(self, extra: int) -> int | None:
        """The status, None while it runs; reaps unless `extra` is WNOWAIT. ChildProcessError: not ours any more."""
        options = os.WEXITED | os.WNOHANG | extra
        if sys.platform == "linux" and self._pidfd is not None:
            info = os.waitid(os.P_PIDFD, self._pidfd, options)
        else:
            info = os.waitid(os.P_PID, self.pid, options)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self._returncode is None:
                self._signal_group(number)

    def _signal_group(self, number: signal.Signals) -> None:
        """Called with the lock held and before the process is reaped, so that its id cannot have been given away."""
        try:
            if sys.platform == "linux" and self._pidfd is not None:
                try:
                    signal.pidfd_send_signal(self._pidfd, number, None, _SIGNAL_PROCESS_GROUP)
                    return
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    # An older kernel does not know the flag: signal by number.
            self._inspect(os.WNOWAIT)  # raises if somebody else reaped our child: then the number means nothing to us
            os.killpg(self.pid, number)
        except (ProcessLookupError, ChildProcessError, PermissionError):
            pass  # nobody is left in the group, or only members that changed their user

    def _close_pipes(self) -> None:
        pipes = self.stdin, self.stdout, self.stderr
        self.stdin = self.stdout = self.stderr = None
        for pipe in pipes:
            if pipe is not None:
                os.close(pipe)

    def _close_end(self) -> None:
        self._pidfd = None
        self._end.close()


def _bury(popen: subprocess.Popen[bytes]) -> None:
    """Reaps a killed process whose handle was dropped."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(_DEATH_BOUND)


class ForkingThread:
    """The one thread that forks. Started at first use, again in a forked child of the host, never ended."""

    __slots__ = ("_jobs", "_lock", "_started")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._started = False

    def start(self) -> None:
        with self._lock:
            if not self._started:
                threading.Thread(target=self._work, args=(self._jobs,), name="dspex-spawner", daemon=True).start()
                self._started = True

    def submit(self, job: Callable[[], object]) -> None:
        self._jobs.put(job)

    @staticmethod
    def _work(jobs: queue.SimpleQueue[Callable[[], object]]) -> None:
        while True:
            jobs.get()()


def _open_pidfd(pid: int) -> int | None:
    """A descriptor of the process, or None where the platform, kernel or sandbox has none."""
    if sys.platform == "linux":
        try:
            return os.pidfd_open(pid)
        except OSError:
            return None
    return None


def _watch_by_thread(pid: int) -> int:
    """A descriptor that becomes readable when child `pid` has ended, for platforms without pidfd. Does not reap it."""
    if not hasattr(os, "waitid"):
        raise NotImplementedError("needs os.pidfd_open or os.waitid: use Linux, or macOS with Python 3.13")
    reading, writing = os.pipe()

    def watch() -> None:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass
        finally:
            os.close(writing)

    threading.Thread(target=watch, name=f"dspex-wait-{pid}", daemon=True).start()
    return reading


forking_thread = ForkingThread()
"""The only one: the event loops of all threads queue here."""

_alive: dict[int, weakref.ref[OsProcessHandle]] = {}


def _kill_all() -> None:
    """At the interpreter's end: the loop that owned these processes is gone without closing them."""
    for reference in list(_alive.values()):
        process = reference()
        if process is not None and process._owner == os.getpid():  # pyright: ignore[reportPrivateUsage]
            process.kill()


atexit.register(_kill_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forking_thread.forget)
