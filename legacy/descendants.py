"""All descendants of a worker, found while it lives and killed when it does not, sessions of their own or not.

A worker is a child subreaper, so what it started and forgot is still below it. Each is held by a pidfd from the moment
it is found: a number that was given to somebody else meanwhile is never signalled.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["Descendants", "children_of"]


class Descendants:
    """Made by `of`; `kill` once."""

    def __init__(self, pidfds: list[int]) -> None:
        self._pidfds = pidfds

    @classmethod
    def of(cls, pid: int) -> Descendants:
        """Those that live now. Empty where the platform does not tell. A few /proc files are read, nothing is waited for."""
        pidfds: list[int] = []
        if sys.platform == "linux":
            unseen = [pid]
            while unseen:
                for child in children_of(unseen.pop()):
                    with suppress(OSError):
                        pidfds.append(os.pidfd_open(child))
                        unseen.append(child)
        return cls(pidfds)

    def kill(self) -> int:
        """SIGKILL to each. Returns how many were still there."""
        killed = 0
        for pidfd in self._pidfds:
            if sys.platform == "linux":
                with suppress(OSError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    killed += 1
            os.close(pidfd)
        self._pidfds = []
        return killed


def children_of(pid: int) -> list[int]:
    """Process ids of the children of `pid` now; none where the platform does not tell."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found
