"""What the legacy pool uses of the kernel and how much it is allowed: asked by doing it, in a way that changes nothing."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["limit_findings", "missing_features"]

_OPEN_FILES = 1024
_PROCESSES = 256
_MEMORY_BYTES = 512 * 1024 * 1024
_DISK_BYTES = 100 * 1024 * 1024
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def missing_features() -> list[tuple[str, str]]:
    """What this kernel, or this sandbox, does not give: its name, and what to do about it."""
    found: list[tuple[str, str]] = []
    for name, works, advice in _FEATURES:
        try:
            there = works()
        except (OSError, AttributeError):
            there = False
        if not there:
            found.append((name, advice))
    return found


def _pidfd() -> bool:
    if sys.platform != "linux":
        return False
    os.close(os.pidfd_open(os.getpid()))
    return True


def _memory_file() -> bool:
    fd = os.memfd_create("dspex-doctor")
    try:
        return os.write(fd, b"x" * 4096) == 4096
    finally:
        os.close(fd)


def _lifeline() -> bool:
    """A pipe whose end is told by a signal: here by none, for the shortest while."""
    reading, writing = os.pipe()
    try:
        set_signal: int = fcntl.F_SETSIG  # type: ignore[attr-defined]
        fcntl.fcntl(reading, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(reading, set_signal, 0)
        return True
    finally:
        os.close(reading)
        os.close(writing)


def _subreaper() -> bool:
    import ctypes

    held = ctypes.c_int()
    get_child_subreaper = 37
    return ctypes.CDLL(None).prctl(get_child_subreaper, ctypes.byref(held), 0, 0, 0) == 0


def _children() -> bool:
    return Path("/proc/self/task", str(os.getpid()), "children").exists()


_FEATURES: tuple[tuple[str, Callable[[], bool], str], ...] = (
    ("pidfd", _pidfd, "Linux 5.3 or newer, or a container that allows pidfd_open: without it each worker imports dspy itself"),
    ("signals at the end of a pipe", _lifeline, "workers then end with their channel, not at once when the runtime is killed"),
    ("child subreaper", _subreaper, "what a worker leaves behind cannot be found then: let prctl pass in the container"),
    ("/proc/<pid>/task/<tid>/children", _children, "mount /proc, with a kernel that has CONFIG_PROC_CHILDREN"),
    ("anonymous memory files", _memory_file, "large requests then go through the socket: slower, and nothing is lost"),
)


def limit_findings() -> Iterator[tuple[str, str, str]]:
    """Each limit: of what, as it is, and what to do if it is low ("" if not)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield (
        "open files",
        f"{_count(soft)} (at most {_count(hard)})",
        f"ulimit -n {_OPEN_FILES} or more: a worker takes five, a connection one" if _below(soft, _OPEN_FILES) else "",
    )
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    yield (
        "processes",
        _count(soft),
        f"ulimit -u {_PROCESSES} or more: workers are processes" if _below(soft, _PROCESSES) else "",
    )
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != resource.RLIM_INFINITY:
        yield "file size", f"{soft} bytes", "ulimit -f unlimited: caches and journals are files"
    memory = _memory()
    if memory is not None:
        low = "about 65 MB for dspy and 10 MB for each worker: give it more, or fewer workers"
        yield "memory", f"{memory // 2**20} MB to be had", low if memory < _MEMORY_BYTES else ""
    folder = tempfile.gettempdir()
    try:
        status = os.statvfs(folder)
    except OSError as error:
        yield "temporary files", f"no folder for them ({error})", "set TMPDIR to a folder that exists"
    else:
        free = status.f_bavail * status.f_frsize
        yield "temporary files", f"{free // 2**20} MB free in {folder}", "make room there" if free < _DISK_BYTES else ""


def _memory() -> int | None:
    """Bytes that are free on the machine, or in the control group if that is less; None where nobody says."""
    known: list[int] = []
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                known.append(int(line.split()[1]) * 1024)
    for file in _CGROUPS:
        with suppress(OSError, ValueError):
            known.append(int(Path(file).read_text()))
    return min(known, default=None)


def _below(value: int, least: int) -> bool:
    return value != resource.RLIM_INFINITY and value < least


def _count(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)
