"""A job is killed with SIGKILL, several times, and made again: no finished call is repeated, the result is the same."""

import os
import queue
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from counting_server import CountingServer
from dspex.engine.optimizers.jobs import journal_report

JOB = Path(__file__).with_name("killed_job.py")
IN_HAND = 6  # two trials of three examples
KILLS = 5
BOUND = 120  # seconds a process may take to end on a machine that is busy


@pytest.fixture
def server() -> Iterator[CountingServer]:
    made = CountingServer()
    yield made
    made.close()


class Jobs:
    """The process whose children are jobs."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(JOB)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.child: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run(self, server: CountingServer, journal: Path, loop: str, cache: str) -> int:
        """Make a job and wait for its end: its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{server.url} {journal} {loop} {cache}\n")
        self.process.stdin.flush()
        while not self.child.empty():
            self.child.get()
        self.child.put(int(self.process.stdout.readline()))
        return int(self.process.stdout.readline())

    def result(self, server: CountingServer, journal: Path, loop: str, cache: str) -> str:
        assert self.run(server, journal, loop, cache) == 0
        return Path(f"{journal}.result").read_text()

    def kill(self) -> None:
        """Kill the job that runs. From any thread."""
        os.kill(self.child.get(timeout=BOUND), signal.SIGKILL)

    def close(self) -> None:
        self.process.communicate(timeout=BOUND)


@pytest.fixture(scope="module")
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.close()


@pytest.mark.parametrize(("loop", "cache", "seed"), [("asyncio", "sampled", 11), ("trio", "cached", 12)])
def test_a_job_killed_at_any_point_goes_on_without_repeating_a_finished_call(
    jobs: Jobs, server: CountingServer, tmp_path: Path, loop: str, cache: str, seed: int
) -> None:
    undisturbed = jobs.result(server, tmp_path / "undisturbed.journal", loop, cache)
    expected, total = set(server.bodies), len(server.bodies)
    server.bodies.clear()
    journal = tmp_path / "killed.journal"
    rng = random.Random(seed)
    finished = 0
    for _ in range(KILLS):
        # The server does it, at a request that is drawn: others are in hand then, answered, or being written.
        at = len(server.bodies) + rng.randint(1, (total - finished) // 2)
        server.on_request = lambda number, at=at: jobs.kill() if number == at else None
        assert jobs.run(server, journal, loop, cache) == -signal.SIGKILL
        server.on_request = lambda number: None
        before, finished = finished, journal_report(journal).spent.calls
        assert before <= finished
    lost = len(server.bodies) - finished
    assert jobs.result(server, journal, loop, cache) == undisturbed
    assert len(server.bodies) == total + lost, "a call that was finished was made again"
    assert lost <= KILLS * IN_HAND
    assert set(server.bodies) == expected
    assert journal_report(journal).spent.calls == total


def test_the_journal_holds_no_secret_and_no_request(jobs: Jobs, server: CountingServer, tmp_path: Path) -> None:
    journal = tmp_path / "job.journal"
    jobs.result(server, journal, "asyncio", "sampled")
    assert server.headers[0]["Authorization"] == "Bearer sk-canary-secret"
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith(".result"))
    assert b"Because of" in written, "the answers are there"
    for secret in (b"sk-canary-secret", b"Bearer", b"All interactions will be structured"):
        assert secret not in written
