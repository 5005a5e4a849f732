"""The FastAPI example as its users and its operators see it: a real uvicorn, real HTTP, real workers that are killed under
load, a real SIGTERM."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from openai_server import OpenAIServer
from services import PATIENCE, Service, alive, until

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("dspy", "fastapi", "openai", "uvicorn"))), reason="needs fastapi, uvicorn and the extra `legacy`"
)

USERS = [f"user-{number}" for number in range(40)]


@pytest.fixture(scope="module")
def model() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def service(model: OpenAIServer) -> Iterator[Service]:
    """One for all tests here, since its workers cost seconds; the last test stops it."""
    service = Service(
        "fastapi_service.py",
        *("--port", "0", "--model", "openai/tiny", "--api-base", model.url),
        announces=r"Uvicorn running on (http://[\d.]+:\d+)",
        env={"OPENAI_API_KEY": "k"},
    )
    try:
        with httpx.Client(base_url=service.address, trust_env=False, timeout=PATIENCE) as client:
            until(lambda: client.get("/ready").status_code == 200, "it is ready")
        yield service
    finally:
        service.close()


def client(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.address, trust_env=False, timeout=PATIENCE)


async def streamed(client: httpx.AsyncClient, question: str, user: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The events of one streamed answer: kind and data."""
    asked = {"question": question, "user": user}
    async with client.stream("POST", "/ask/stream", json=asked) as response:
        if response.status_code != 200:
            await response.aread()
            yield "refused", {"status": response.status_code, **response.json()}
            return
        kind = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def workers(tree: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"WorkerActor.* pid (\d+), dspy", tree)]


def test_what_goes_wrong_before_the_first_piece_has_a_status_of_its_own(service: Service) -> None:
    with httpx.Client(base_url=service.address, trust_env=False, timeout=PATIENCE) as http:
        for address in ("/ask", "/ask/stream"):
            assert http.post(address, json={"question": ""}).status_code == 422
            for user in native_and_legacy(service):
                failed = http.post(address, json={"question": "status 400 secret", "user": user})
                assert failed.status_code == 502
                assert "secret" not in failed.text


def test_under_load_no_request_is_lost_though_workers_are_killed(service: Service) -> None:
    """Seeded. Asked once each, an answer names its question; only a stream that had begun may break, and must say so."""
    chance = random.Random(20261125)
    total, killed = 120, 0
    answers: dict[int, dict[str, Any]] = {}
    broken: dict[int, int] = {}
    wrong: dict[int, object] = {}

    def by_workers() -> int:
        return len(broken) + len(wrong) + sum(answer["engine"] == "legacy" for answer in answers.values())

    async def ask(http: httpx.AsyncClient, number: int) -> None:
        user = chance.choice(USERS)
        if number % 2:
            response = await http.post("/ask", json={"question": f"Why {number}?", "user": user})
            if response.status_code == 200:
                answers[number] = response.json()
            else:
                wrong[number] = (response.status_code, response.text)
            return
        text, pieces, end = "", 0, ("nothing", {})
        async for kind, data in streamed(http, f"Why {number}?", user):
            if kind == "piece":
                text, pieces = text + data["text"], pieces + 1
            else:
                end = (kind, data)
        if end[0] == "answer" and text == end[1]["answer"]:
            answers[number] = end[1]
        elif end == ("error", {"error": "StreamBroken"}) and pieces:
            broken[number] = pieces
        else:
            wrong[number] = (end, text)

    async def run() -> None:
        nonlocal killed
        async with client(service) as http:
            limit = anyio.CapacityLimiter(8)

            async def limited(number: int) -> None:
                async with limit:
                    await ask(http, number)

            async def kill(done: anyio.Event) -> None:
                nonlocal killed
                seen = 0
                while not done.is_set():
                    # Paced by what workers have answered: no request shall be at five crashes, which is its policy.
                    if by_workers() >= seen + 6:
                        pids = workers((await http.get("/tree")).text)
                        if pids:
                            os.kill(chance.choice(pids), signal.SIGKILL)
                            killed += 1
                            seen = by_workers()
                    await anyio.sleep(0.01)

            done = anyio.Event()
            async with anyio.create_task_group() as outer:
                outer.start_soon(kill, done)
                async with anyio.create_task_group() as group:
                    for number in range(total):
                        group.start_soon(limited, number)
                done.set()

    anyio.run(run)
    assert wrong == {}
    assert answers.keys() | broken.keys() == set(range(total))
    assert all(answer["answer"] == f"answer to Why {number}?" for number, answer in answers.items())
    assert len(broken) <= killed
    assert killed >= 5
    engines = Counter(answer["engine"] for answer in answers.values())
    assert set(engines) == {"native", "legacy"}, engines


def test_told_to_stop_it_finishes_what_it_has_refuses_the_rest_and_leaves_nothing(
    service: Service, model: OpenAIServer
) -> None:
    async def run() -> tuple[list[Any], list[Any]]:
        finished: list[Any] = []
        refused: list[Any] = []
        async with client(service) as http:

            async def ask(user: str) -> None:
                response = await http.post("/ask", json={"question": "hold it", "user": user})
                finished.append((response.status_code, response.json()))

            async def read(user: str) -> None:
                finished.append([event async for event in streamed(http, "pause here", user)][-1])

            async with anyio.create_task_group() as group:
                for user in users:
                    group.start_soon(ask, user)
                    group.start_soon(read, user)
                for _ in range(6):  # a stream says so twice: when it comes, and when it pauses
                    held = await anyio.to_thread.run_sync(lambda: model.arrived.acquire(timeout=PATIENCE))
                    assert held, "the requests did not reach the model"
                os.kill(service.process.pid, signal.SIGTERM)
                with anyio.fail_after(PATIENCE):
                    while (await http.get("/ready")).status_code == 200:
                        await anyio.sleep(0.01)
                refused.append((await http.get("/live")).status_code)
                response = await http.post("/ask", json={"question": "Why?"})
                refused.append((response.status_code, response.json(), response.headers["retry-after"]))
                refused.extend([event async for event in streamed(http, "Why?", "ann")])
                assert finished == []
                model.release.set()
        return finished, refused

    while model.arrived.acquire(blocking=False):
        pass  # from the test before
    pids = [service.process.pid, *service.descendants()]
    assert len(pids) >= 3, "it has worker processes"
    users = native_and_legacy(service)
    finished, refused = anyio.run(run)
    assert len(finished) == 4
    for kind, data in finished:
        assert kind in (200, "answer"), (kind, data)
        assert data["answer"] in ("answer to hold it", "answer to pause here")
    assert sorted(data["engine"] for _, data in finished) == ["legacy", "legacy", "native", "native"]
    assert refused == [
        200,
        (503, {"error": "AppDraining"}, "1"),
        ("refused", {"status": 503, "error": "AppDraining"}),
    ]
    assert service.ended() == 0, service.printed
    assert "drained; 0 questions were cut off" in service.printed
    assert "Application shutdown complete" in service.printed
    assert "Traceback" not in service.printed
    assert not [pid for pid in pids if alive(pid)]


def native_and_legacy(service: Service) -> list[str]:
    """A user of each engine."""
    found: dict[str, str] = {}
    with httpx.Client(base_url=service.address, trust_env=False, timeout=PATIENCE) as http:
        for user in USERS:
            answer = http.post("/ask", json={"question": f"Who serves {user}?", "user": user}).json()
            found.setdefault(answer["engine"], user)
            if len(found) == 2:
                break
    return list(found.values())
