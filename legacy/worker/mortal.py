"""How a process of ours is made mortal, and its descendants with it. Linux does the work; elsewhere the channel's end does.

A lifeline is a pipe whose writing end only the host holds. The worker asks the kernel to be told of changes at the
reading end (O_ASYNC), and to be told with SIGKILL, its whole process group at once (F_SETOWN, F_SETSIG). When the host
closes its end, or dies in whatever way, the kernel kills the worker: also inside a C call that holds the GIL, also
when the worker's parent is somebody else or gone. It names no process id, so it can never hit a stranger, and unlike
PR_SET_PDEATHSIG it does not depend on which thread or process forked.
"""

from __future__ import annotations

import os
import select
import signal
import sys

EXIT_STOPPED = 0
EXIT_HOST_GONE = 81
EXIT_PROTOCOL = 82
EXIT_NOT_LOADED = 83

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def prctl(option: int, argument: object) -> bool:
    """True if the kernel took it."""
    if sys.platform != "linux":
        return False
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) == 0
    except (ImportError, OSError, AttributeError):
        return False


def die_with_parent(host_pid: int, number: int = signal.SIGKILL) -> None:
    """Asks for signal `number` at the death of the thread that forked this process, which must be a lasting one."""
    parent = os.getppid()
    if prctl(_PR_SET_PDEATHSIG, int(number)) and (os.getppid() != parent or (parent == 1 and host_pid != 1)):
        os._exit(EXIT_HOST_GONE)  # the host died before the kernel knew of our wish


def hold_lifeline(fd: int) -> bool:
    """Binds the life of this process and its group (it must lead one) to the other end of the pipe `fd`.

    False where the platform cannot; then the channel's end and the parent's death must do. Ends the process at once
    if the other end is closed already.
    """
    import fcntl

    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is None or os.getpgrp() != os.getpid():
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(fd, set_signal, int(signal.SIGKILL))
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    except OSError:
        return False
    if lifeline_cut(fd):
        os._exit(EXIT_HOST_GONE)  # it was cut before the kernel watched it
    return True


def lifeline_cut(fd: int) -> bool:
    """True when nobody holds the other end of the pipe any more."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def adopt_orphans() -> bool:
    """Descendants whose parents end become children of this process, so that none of them gets lost."""
    return prctl(_PR_SET_CHILD_SUBREAPER, 1)


def show_as(name: str) -> None:
    """The name in `ps` and `top`, at most 15 bytes."""
    prctl(_PR_SET_NAME, name.encode()[:15])


def children() -> set[int]:
    """Process ids of the children of this process, zombies included. They stay ours until we reap them."""
    try:
        found: set[int] = set()
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
        return found
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == os.getpid()}


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return -1
