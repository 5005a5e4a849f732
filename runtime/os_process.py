"""Operating-system processes that cannot be lost: started off the event loop, waited for without SIGCHLD.

    async with await spawn_os_process(["sleep", "60"]) as process:
        process.terminate()
        code = await process.wait()          # -15: ended by SIGTERM

Decisions, and why this is not `anyio.open_process`:

* every fork happens in one daemon thread of this module that lives as long as the interpreter. `Popen` blocks until
  the child's `exec`, which must not stop an event loop; and Linux sends PR_SET_PDEATHSIG when the *thread* that forked
  ends, so a child that asks for it must not have been started by a thread that some pool retires;
* exit is learnt from a pidfd (elsewhere: from a waiter thread), so no signal handler, signal disposition or child
  watcher of the host is touched, and several event loops in several threads may each own processes;
* each process leads a session of its own; signals go to its whole group, and stragglers of the group are killed when it
  ends. A signal is sent by pidfd, or while the process is not yet reaped: never to a number that may have been given to
  somebody else since.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Collection, Mapping, Sequence

import anyio

from .os_process_end import EndWatch
from .os_process_handle import OsProcessHandle, OsProcessStuck, forking_thread, read_pipe

__all__ = ["EndWatch", "OsProcessHandle", "OsProcessStuck", "read_pipe", "spawn_os_process"]


async def spawn_os_process(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    pass_fds: Collection[int] = (),
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.DEVNULL,
    stderr: int | None = subprocess.DEVNULL,
) -> OsProcessHandle:
    """Starts `argv` (no shell) as leader of a new session and returns when it has reached `exec`.

    `stdin`, `stdout` and `stderr` take what `subprocess.Popen` takes: a file descriptor, `PIPE`, `STDOUT` (stderr
    only), None to inherit, or `DEVNULL`, the default: a library does not write to its host's terminal. No other
    descriptor reaches the child but `pass_fds`; they must stay open until this returns or raises.

    Cancellation: either the child was never forked, or it is dead and reaped before the cancellation goes on.
    Raises what `subprocess.Popen` raises: `FileNotFoundError`, `PermissionError`, `ValueError`, other `OSError`.
    """
    forking_thread.start()
    job = _Job(_Command(tuple(os.fspath(part) for part in argv), env, cwd, tuple(pass_fds), stdin, stdout, stderr))
    forking_thread.submit(job.run)
    try:
        await job.wait()
    except GeneratorExit:  # the event loop itself is thrown away and nothing can be awaited: the handle's __del__ kills
        job.withdraw()
        raise
    except BaseException:
        with anyio.CancelScope(shield=True):
            if not job.withdraw():
                # It forks right now (some ms): pass_fds must not be closed, and their numbers reused, under it.
                await job.wait()
                if job.handle is not None:
                    await job.handle.aclose()
        raise
    finally:
        anyio.notify_closing(job.done)
        os.close(job.done)
    handle, job.handle = job.handle, None  # the spawner thread may hold the job for a moment longer than we do
    if handle is None:
        assert job.error is not None
        raise job.error
    return handle


class _Command:
    """What to start, ready to be started in the spawner thread."""

    __slots__ = ("argv", "cwd", "env", "pass_fds", "redirects")

    def __init__(
        self,
        argv: tuple[str, ...],
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
        pass_fds: tuple[int, ...],
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
    ) -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.pass_fds = pass_fds
        self.redirects = (stdin, stdout, stderr)

    def launch(self) -> OsProcessHandle:
        ours: list[int | None] = [None, None, None]
        theirs: list[int | None] = list(self.redirects)
        opened: list[int] = []
        try:
            for index, redirect in enumerate(self.redirects):
                if redirect == subprocess.PIPE:
                    reading, writing = os.pipe()
                    opened += (reading, writing)
                    ours[index], theirs[index] = (writing, reading) if index == 0 else (reading, writing)
            popen = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.cwd,
                pass_fds=self.pass_fds,
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                close_fds=True,
                start_new_session=True,
            )
        except BaseException:
            for descriptor in opened:
                os.close(descriptor)
            raise
        for mine in ours:
            if mine is not None:
                os.set_blocking(mine, False)
                opened.remove(mine)
        for descriptor in opened:
            os.close(descriptor)
        return OsProcessHandle(popen, (ours[0], ours[1], ours[2]))


class _Job:
    """A request to the spawner thread. `done` becomes readable when it is over, whatever came of it."""

    __slots__ = ("_command", "_done_writer", "_lock", "_over", "_taken", "_withdrawn", "done", "error", "handle")

    def __init__(self, command: _Command) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._taken = False
        self._withdrawn = False
        self._over = False
        self.done, self._done_writer = os.pipe()
        self.handle: OsProcessHandle | None = None
        self.error: BaseException | None = None

    async def wait(self) -> None:
        """Returns when it is over. A loop may report a descriptor as readable that is not; that is no answer."""
        await anyio.wait_readable(self.done)
        while not self._over:
            await anyio.wait_readable(self.done)

    def withdraw(self) -> bool:
        """True: it was not begun and never will be. False: it is being done, or is done."""
        with self._lock:
            self._withdrawn = not self._taken
            return self._withdrawn

    def run(self) -> None:
        with self._lock:
            self._taken = not self._withdrawn
        try:
            if self._taken:
                self.handle = self._command.launch()
        except BaseException as error:
            self.error = error
        finally:
            self._over = True
            os.close(self._done_writer)
