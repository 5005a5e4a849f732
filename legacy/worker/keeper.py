"""The keeper of a spawned worker: its parent, which does nothing but wait for its end and clear away what it leaves behind.

A worker that is killed by a stranger cannot take its descendants along: those with sessions of their own would live on, as
nobody's. As a child subreaper the keeper inherits them, kills them, and then ends as the worker did, so that whoever waits
for the keeper learns the worker's true status. Forked workers need none: their warden does this for all of them.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import suppress
from typing import NoReturn

from . import mortal

_SWEEP_SECONDS = 2.0


def part_from_keeper(host_pid: int) -> int:
    """Splits this process, which must have one thread: returns in the worker, a session leader, its keeper's id.

    The keeper never returns. It holds none of the worker's descriptors.
    """
    keeper = os.getpid()
    mortal.adopt_orphans()
    mortal.die_with_parent(host_pid, signal.SIGTERM)
    worker = os.fork()
    if worker == 0:
        os.setsid()
        return keeper
    try:
        _keep(worker)
    finally:
        os._exit(mortal.EXIT_PROTOCOL)


def _keep(worker: int) -> NoReturn:
    def host_is_gone(*_: object) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGKILL)  # not reaped yet: the number is its own

    signal.signal(signal.SIGTERM, host_is_gone)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2:
            with suppress(OSError):  # the one that listed them
                os.close(fd)
    mortal.show_as("dspex-keeper")
    while (ended := os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)) is None:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.waitpid(worker, 0)
    _sweep()
    if ended.si_code == os.CLD_EXITED:
        os._exit(ended.si_status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker has left its own
    with suppress(OSError, ValueError):  # SIGKILL takes no disposition
        signal.signal(ended.si_status, signal.SIG_DFL)
    os.kill(os.getpid(), ended.si_status)
    os._exit(mortal.EXIT_PROTOCOL)


def _sweep() -> None:
    limit = time.monotonic() + _SWEEP_SECONDS
    while (left := mortal.children()) and time.monotonic() < limit:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
