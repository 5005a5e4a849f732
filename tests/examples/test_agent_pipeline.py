"""The pipeline of agents answers every message once, on both loops, whatever crashes in its middle."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent_pipeline.py"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_pipeline_survives_a_crash_in_its_middle(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), "--backend", backend], capture_output=True, text=True, timeout=120
    )
    printed = done.stdout
    assert done.returncode == 0, printed + done.stderr
    assert sorted(map(int, re.findall(r"filed (\d)", printed))) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "sort crashed: UnicodeError" in printed
    assert "sort is at incarnation 2, desk at 1" in printed
    assert "8 of 8 messages answered; left behind: 0 processes" in printed
    moods = dict(re.findall(r"filed (\d)  (\w+)", printed))
    assert moods == {"1": "good", "2": "bad", "3": "bad", "4": "good", "5": "bad", "6": "good", "7": "bad", "8": "good"}
