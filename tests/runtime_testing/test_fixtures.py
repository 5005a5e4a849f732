"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest
pytest_plugins = ["dspex.runtime.testing.fixtures"]

@pytest.fixture
def anyio_backend(virtual_backend):
    return virtual_backend
"""

TESTS = """
import anyio, pytest
from dspex.runtime import Actor

pytestmark = pytest.mark.anyio

class Clock(Actor):
    def now(self):
        return self.rt.now()

async def test_an_hour(leak_free, rt):
    clock = await rt.start(Clock())
    before = await clock.call(Clock.now)
    await rt.sleep(3600)
    assert await clock.call(Clock.now) - before >= 3600

async def test_order(rt):
    log = []
    async def speak(n):
        log.append(n)
    async with anyio.create_task_group() as group:
        for n in range(8):
            group.start_soon(speak, n)
    print("ORDER", log)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "anyio", "-s", *arguments, str(folder)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


def orders(output: str) -> list[str]:
    return [line[line.index("ORDER") :] for line in output.splitlines() if "ORDER" in line]


def test_the_fixtures_give_virtual_time_and_a_runtime_on_both_loops(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_a_seed_given_on_the_command_line_is_named_and_repeats(tmp_path: Path) -> None:
    one, two = run(tmp_path, "--dspex-seed=11"), run(tmp_path, "--dspex-seed=11")
    assert "dspex: seed 11 (repeat it with --dspex-seed=11)" in one.stdout
    assert one.returncode == 0, one.stdout + one.stderr
    assert orders(one.stdout) == orders(two.stdout)
    assert len(orders(one.stdout)) == 2
    assert "ORDER [0, 1, 2, 3, 4, 5, 6, 7]" not in orders(one.stdout)


def test_a_seed_that_is_no_number_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "--dspex-seed=x")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "a number or 'random'" in done.stderr + done.stdout


def test_the_kit_does_not_import_pytest() -> None:
    code = "import sys, dspex, dspex.runtime.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
