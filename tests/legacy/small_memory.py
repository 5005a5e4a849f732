"""A control group of one's own for a process: the kernel, not a simulation, ends what grows beyond its bounds."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_bounded(pid: int, size: int) -> Iterator[None]:
    """Puts process `pid` into a new control group that holds `size` bytes of memory. Skips where none can be made."""
    old = (_ROOT / "memory" / "memory.limit_in_bytes").exists()
    group = (_ROOT / "memory" if old else _ROOT) / f"dspex-test-{os.getpid()}"
    try:
        group.mkdir()
        limits = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if old else ("memory.max", "memory.swap.max")
        (group / limits[0]).write_text(str(size))
        with suppress(OSError):  # a kernel without accounting of swap
            (group / limits[1]).write_text(str(size if old else 0))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"needs a control group for memory that this user may make: {error}")
    try:
        yield
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(left)
        group.rmdir()
