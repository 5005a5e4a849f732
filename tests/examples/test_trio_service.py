"""The service on trio, asked over real HTTP, and told to stop by a real signal in the middle of its work."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec

import anyio
import anyio.to_thread
import httpx
import pytest
from openai_server import OpenAIServer
from services import PATIENCE, Service

pytestmark = pytest.mark.skipif(not all(map(find_spec, ("openai", "trio"))), reason="needs trio and the extra `openai`")


@pytest.fixture
def model() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


@pytest.fixture
def service(model: OpenAIServer) -> Iterator[Service]:
    service = Service(
        "trio_service.py",
        *("--port", "0", "--model", "openai/tiny", "--api-base", model.url),
        announces=r"listening on (\d+)",
        env={"OPENAI_API_KEY": "k"},
    )
    yield service
    service.close()


def test_it_answers_streams_refuses_and_told_to_stop_finishes_what_it_has(service: Service, model: OpenAIServer) -> None:
    async def run() -> list[tuple[int, str]]:
        address = f"http://127.0.0.1:{service.address}"
        finished: list[tuple[int, str]] = []
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=PATIENCE) as http:

            async def ask(target: str, question: str) -> tuple[int, str]:
                response = await http.post(target, json={"question": question})
                return response.status_code, response.text

            assert await ask("/ask", "Why?") == (200, '{"answer": "answer to Why?"}')
            assert await ask("/ask/stream", "Why not?") == (200, "answer to Why not?")
            assert await ask("/ask", "status 400 secret") == (502, '{"error": "LMInvalidRequestError"}')
            assert await ask("/ask/stream", "status 400 secret") == (502, '{"error": "LMInvalidRequestError"}')
            assert (await http.post("/ask", content="what?")).status_code == 422
            assert (await http.get("/nowhere")).status_code == 404
            assert (await http.get("/ready")).status_code == 200

            async def later(target: str, question: str) -> None:
                finished.append(await ask(target, question))

            while model.arrived.acquire(blocking=False):
                pass
            async with anyio.create_task_group() as group:
                group.start_soon(later, "/ask", "hold it")
                group.start_soon(later, "/ask/stream", "pause here")
                for _ in range(3):  # a stream says so when it comes, and when it pauses
                    assert await anyio.to_thread.run_sync(lambda: model.arrived.acquire(timeout=PATIENCE))
                os.kill(service.process.pid, signal.SIGTERM)
                with anyio.fail_after(PATIENCE):
                    while (await http.get("/ready")).status_code == 200:
                        await anyio.sleep(0.01)
                assert await ask("/ask", "Why?") == (503, '{"error": "AppDraining"}')
                assert await ask("/ask/stream", "Why?") == (503, '{"error": "AppDraining"}')
                assert finished == []
                model.release.set()
        return finished

    finished = anyio.run(run)
    assert sorted(finished) == [(200, "answer to pause here"), (200, '{"answer": "answer to hold it"}')]
    assert service.ended() == 0, service.printed
    assert service.printed.endswith("drained; 0 questions were cut off\n")
