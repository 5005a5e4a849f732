"""The optimizer that is killed makes no finished call again, and finds what it finds undisturbed.

On one loop: tests/engine_jobs kills jobs on both.
"""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "optimize.py"
AT_A_TIME = 8  # two trials of four examples

pytestmark = pytest.mark.skipif(find_spec("openai") is None, reason="needs the extra `openai`")


@pytest.mark.parametrize(("backend", "kill_at"), [("trio", 40)])
def test_the_job_goes_on_after_the_kill(backend: str, kill_at: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), "--backend", backend, "--kill-at", str(kill_at)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    undisturbed, resumed = re.findall(r"result (\w+: .*)", printed)
    assert undisturbed == resumed
    counted = re.search(r"calls: (\d+) undisturbed; (\d+) before the kill and (\d+) after it", printed)
    assert counted is not None, printed
    alone, before, after = map(int, counted.groups())
    assert kill_at <= before <= kill_at + AT_A_TIME
    again = int(re.findall(r"made twice: (\d+),", printed)[0])
    assert 1 <= again == before + after - alone <= AT_A_TIME
    assert f"journal {before - again} calls answered by it" in printed
    assert done.stderr == ""
