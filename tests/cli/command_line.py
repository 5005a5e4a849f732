"""`dspex` as a process of its own, as a shell starts it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from dspex.cli import main

SECONDS = 120.0
"""For what takes one or two when the machine has nothing else to do."""

_DSPEX = [sys.executable, "-m", "dspex.cli"]


def dspex(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a process."""
    return subprocess.run(
        [*_DSPEX, *arguments], capture_output=True, text=True, timeout=SECONDS, env={**os.environ, **(env or {})}
    )


def here(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """Run a command to its end in this process, which has imported already what costs a second; `env` is added to its own.

    What the command imports, and where it looks for it, is forgotten afterwards.
    """
    path, modules = list(sys.path), set(sys.modules)
    try:
        return CliRunner().invoke(main, list(arguments), env=env)
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if not name.startswith(("dspex", "dspy")):
                origin = getattr(sys.modules[name], "__file__", None)
                if origin is not None and Path(origin).parent == Path.cwd():
                    del sys.modules[name]


class Running:
    """`dspex run --json ...`, whose lines are read as they come. Ended by `end`, which a fixture calls."""

    def __init__(self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*_DSPEX, "run", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )

    def until(self, event: str) -> dict[str, Any]:
        """Read lines until this one. Raises AssertionError, with what it wrote, if it ends before."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if said["event"] == event:
                return said
        raise AssertionError(f"it ended without {event!r}: {self.process.stderr.read()}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit status."""
        return self.process.wait(SECONDS)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
