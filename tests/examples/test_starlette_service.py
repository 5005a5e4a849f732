"""The service in the examples, under a real uvicorn, asked over real HTTP, stopped by a real signal."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.skipif(
    find_spec("starlette") is None or find_spec("uvicorn") is None, reason="needs starlette and uvicorn"
)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", "starlette_service:app"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            address = re.search(r"http://[\d.]+:\d+", line)
            if address:
                break
        else:
            raise AssertionError("uvicorn did not start")
        with httpx.Client(base_url=address[0], timeout=10, trust_env=False) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def restarts(client: httpx.Client) -> int:
    return int(client.get("/health").text.rsplit(" ", 1)[1])


def test_it_serves_refuses_crashes_recovers_and_stops(server: tuple[subprocess.Popen[str], httpx.Client]) -> None:
    process, client = server
    for expected in (1, 2, 3):
        assert client.post("/rooms/kitchen/visits").json() == {"room": "kitchen", "visits": expected}
    refused = client.post("/rooms/kitchen/visits")
    assert (refused.status_code, refused.json()) == (409, {"error": "Full"})
    assert "rooms  PartitionSupervisor  4 partitions" in client.get("/health").text

    crashed = client.post("/rooms/kitchen/crash")
    assert (crashed.status_code, crashed.json()) == (502, {"error": "ActorExit"})
    deadline = time.monotonic() + 30
    while (again := client.post("/rooms/kitchen/visits")).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.01)  # the server has no event for it: a client asks again, as Retry-After would have it
    assert again.json() == {"room": "kitchen", "visits": 1}  # as new
    assert restarts(client) == 1

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "Application shutdown complete" in errors
    assert "Traceback" not in errors.partition("Application shutdown complete")[0]
