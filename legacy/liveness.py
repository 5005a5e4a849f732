"""What the kernel says of a process that does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["oom_kills", "runs"]


def runs(pid: int) -> bool:
    """True if process `pid` exists and is neither stopped, nor traced, nor a zombie. False where the platform is silent.

    The number must be of a process that has not been reaped, as a live child's or one held by a pidfd is.
    """
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in ("R", "S", "D", "I")
    return False


def oom_kills() -> int:
    """How often the kernel has killed for want of memory, on this machine and in this control group; 0 if it does not say."""
    return max(_counts(), default=0)


def _counts() -> Iterator[int]:
    for file in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        with suppress(OSError, ValueError):
            for line in Path(file).read_text().splitlines():
                if line.startswith("oom_kill "):
                    yield int(line.split()[1])
