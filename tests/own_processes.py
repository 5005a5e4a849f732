"""The child processes of the test run itself."""

import os
from pathlib import Path


def children() -> set[int]:
    """Process ids of all children, zombies included (Linux), whichever thread started them."""
    while True:
        try:
            return {
                int(pid)
                for thread in os.listdir("/proc/self/task")
                for pid in Path(f"/proc/self/task/{thread}/children").read_text().split()
            }
        except FileNotFoundError:
            continue  # a thread ended, and its children may have gone to one that was read before
