"""The child processes of the test run itself."""

import os
from pathlib import Path

_kept: set[int] = set()


def keep(pid: int) -> None:
    """This process stays for the whole run on purpose: it is not among what a test has left behind."""
    _kept.add(pid)


def children() -> set[int]:
    """Process ids of all children, zombies included (Linux), whichever thread started them; without those that are kept."""
    return _all_children() - _kept


def _all_children() -> set[int]:
    while True:
        try:
            return {
                int(pid)
                for thread in os.listdir("/proc/self/task")
                for pid in Path(f"/proc/self/task/{thread}/children").read_text().split()
            }
        except FileNotFoundError:
            continue  # a thread ended, and its children may have gone to one that was read before
