"""Services in processes of their own, as their operators see them: an address, signals, processes, an exit status."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 60
"""Seconds: far more than anything here takes, on a machine that has other things to do."""


class Service:
    """An example that runs until it is told to stop. `announces`: what it prints when it serves, its address as group 1."""

    def __init__(self, script: str, *arguments: str, announces: str, env: dict[str, str] | None = None) -> None:
        # One service must not be served the answers that another has cached.
        self._cache = tempfile.TemporaryDirectory(prefix="dspex-service-")
        command = [sys.executable, "-W", "error::ResourceWarning", str(EXAMPLES / script), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "DSPY_CACHEDIR": self._cache.name, **(env or {})},
        )
        self.printed = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            found = re.search(announces, line)
            if found is not None:
                self.address = found[1]
                return
        self.process.wait(PATIENCE)
        raise AssertionError(f"{script} did not start:\n{self.printed}")

    def descendants(self) -> dict[int, str]:
        """Process ids of all that runs below it, with their command lines."""
        return {pid: _command(pid) for pid in _below(self.process.pid)}

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Tell it to stop and wait for it. Returns its exit status; what it printed is in `printed`."""
        self.process.send_signal(sig)
        return self.ended()

    def ended(self) -> int:
        """Its exit status, when it has ended."""
        printed, _ = self.process.communicate(timeout=PATIENCE)
        self.printed += printed
        return self.process.returncode

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._cache.cleanup()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what another process does, and has no event for."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not in {PATIENCE} s: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """True unless the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _below(pid: int) -> list[int]:
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        children = [Path(f"/proc/{pid}/task/{task}/children").read_text().split() for task in tasks]
    except (FileNotFoundError, ProcessLookupError):
        return found
    for child in {int(each) for some in children for each in some}:
        found += [child, *_below(child)]
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
