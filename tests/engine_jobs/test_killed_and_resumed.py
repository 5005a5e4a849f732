"""A job is killed with SIGKILL, several times, and made again: no finished call is repeated, the result is the same."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from counting_server import CountingServer
from dspex.engine.optimizers.jobs import journal_report

JOB = Path(__file__).with_name("killed_job.py")
IN_HAND = 6  # two trials of three examples
BOUND = 120  # seconds a process may take on a machine that is busy


@pytest.fixture
def server() -> Iterator[CountingServer]:
    made = CountingServer()
    yield made
    made.close()


def started(server: CountingServer, journal: Path, loop: str, cache: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(JOB), server.url, str(journal), loop, cache], stdout=subprocess.PIPE, text=True
    )


def result_of(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 0, f"the job ended with {process.returncode}"
    return output


@pytest.mark.parametrize(("loop", "cache", "seed"), [("asyncio", "sampled", 11), ("trio", "cached", 12)])
def test_a_job_killed_at_any_point_goes_on_without_repeating_a_finished_call(
    server: CountingServer, tmp_path: Path, loop: str, cache: str, seed: int
) -> None:
    undisturbed = result_of(started(server, tmp_path / "undisturbed.journal", loop, cache))
    expected = Counter(server.bodies)
    total = len(server.bodies)
    server.bodies.clear()
    journal = tmp_path / "killed.journal"
    rng = random.Random(seed)
    finished = lost = 0
    for _ in range(3):
        # The server kills it with its own hand, at a request that is drawn: others are in hand, answered, or being written.
        at = len(server.bodies) + rng.randint(1, (total - finished) // 2)
        process = started(server, journal, loop, cache)

        def kill(number: int, at: int = at, process: "subprocess.Popen[str]" = process) -> None:
            if number == at:
                os.kill(process.pid, signal.SIGKILL)

        server.on_request = kill
        process.communicate(timeout=BOUND)
        server.on_request = lambda number: None
        assert process.returncode == -signal.SIGKILL
        finished = journal_report(journal).spent.calls
        lost = len(server.bodies) - finished
    resumed = result_of(started(server, journal, loop, cache))
    assert resumed == undisturbed
    assert len(server.bodies) == total + lost, "a call that was finished was made again"
    assert lost <= 3 * IN_HAND
    assert set(server.bodies) == set(expected)
    assert journal_report(journal).spent.calls == total


def test_the_journal_holds_no_secret_and_no_request(server: CountingServer, tmp_path: Path) -> None:
    journal = tmp_path / "job.journal"
    result_of(started(server, journal, "asyncio", "sampled"))
    assert server.headers[0]["Authorization"] == "Bearer sk-canary-secret"
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.name.startswith("job.journal"))
    assert b"Because of" in written, "the answers are there"
    for secret in (b"sk-canary-secret", b"Bearer", b"All interactions will be structured"):
        assert secret not in written
