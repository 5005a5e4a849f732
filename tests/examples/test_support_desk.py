"""The long-lived pipeline: nothing lost, nothing filed twice, whoever crashes; no pile behind a model that is down; an end
by signal that finishes what was accepted."""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread
import pytest
from dspex.engine import LM
from dspex.runtime import Runtime, open_runtime
from openai_server import OpenAIServer
from services import EXAMPLES, PATIENCE, Service, until

pytestmark = pytest.mark.skipif(find_spec("openai") is None, reason="needs the extra `openai`")


@pytest.fixture
def desk() -> Iterator[ModuleType]:
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module("support_desk")
    sys.path.remove(str(EXAMPLES))


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


def message_of(body: dict[str, Any]) -> str:
    found = re.search(r"\[\[ ## message ## \]\]\n(.*?)\n\n", body["messages"][-1]["content"] + "\n\n", re.DOTALL)
    assert found is not None
    return found[1]


def says(body: dict[str, Any]) -> str:
    message = message_of(body)
    if "[[ ## mood ## ]]\n" in body["messages"][-1]["content"]:
        return f"[[ ## reply ## ]]\nreply to {message}"
    return f"[[ ## mood ## ]]\nmood of {message}"


class Place:
    def __init__(self, rt: Runtime, cases: Any, filed: list[Any]) -> None:
        self.rt = rt
        self.cases = cases
        self.filed = filed

    async def until_filed(self, count: int) -> None:
        with anyio.move_on_after(PATIENCE):
            while len(self.filed) < count:
                await anyio.sleep(0.005)
            return
        raise AssertionError(f"{len(self.filed)} of {count} filed, {len(self.cases)} open")


@asynccontextmanager
async def opened(desk: ModuleType, server: OpenAIServer) -> AsyncIterator[Place]:
    server.says = server.says or says
    cases, filed = desk.Cases(), []

    def lm() -> LM:
        return LM("openai/tiny", base_url=server.url, api_key="k", cache=False, num_retries=0)

    async with open_runtime() as rt:
        await rt.start(desk.root(cases, lm, filed.append), name="root")
        yield Place(rt, cases, filed)


@pytest.mark.anyio
async def test_every_message_is_filed_once_whoever_is_killed_meanwhile(desk: ModuleType, server: OpenAIServer) -> None:
    async with opened(desk, server) as place:

        async def submit(first: int) -> None:
            for number in range(first, first + 10):
                while True:
                    try:
                        await place.rt.ref("desk").within(None).call(desk.Desk.submit, f"m{number}")
                        break
                    except desk.ActorError:  # the desk itself was killed: the client asks again
                        await anyio.sleep(0.001)

        async with anyio.create_task_group() as group:
            for first in (0, 10, 20, 30):
                group.start_soon(submit, first)
            for round_, victim in enumerate(["sort", "mood", "archive", "write", "reply", "desk", "sort"]):
                await place.until_filed(4 * (round_ + 1))
                ref = place.rt.whereis(victim)
                if ref is not None:
                    ref.kill()
                    await ref.ended()
        await place.until_filed(40)
        with anyio.fail_after(PATIENCE):
            while len(place.cases):
                await anyio.sleep(0.005)
    # A message whose desk was killed before it could say so may have been accepted, and then comes twice, as two cases.
    numbers = [case.number for case in place.filed]
    assert len(numbers) == len(set(numbers))
    assert {case.message for case in place.filed} == {f"m{number}" for number in range(40)}
    assert all(case.mood == f"mood of {case.message}" for case in place.filed)
    assert all(case.reply == f"reply to {case.message}" for case in place.filed)


@pytest.mark.anyio
async def test_behind_a_model_that_is_down_nothing_piles_up_and_it_goes_on_by_itself(
    desk: ModuleType, server: OpenAIServer
) -> None:
    down = True

    def sometimes(body: dict[str, Any]) -> str | int:
        return 503 if down else says(body)

    server.says = sometimes
    accepted: list[int] = []
    async with opened(desk, server) as place:

        async def submit(number: int) -> None:
            accepted.append(await place.rt.ref("desk").within(None).call(desk.Desk.submit, f"m{number}"))

        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(submit, number)
            with anyio.fail_after(PATIENCE):
                while len(server.bodies) < 5:  # the first step asks again and again
                    await anyio.sleep(0.005)
            bound = desk.ROOM + 2  # at the desk, and in the hands of the first step
            assert len(accepted) <= bound
            assert len(place.cases) <= bound
            assert "outside" in str(desk.Desk.tree_detail.__get__(place.rt.whereis("desk").process.host)())
            assert place.filed == []
            down = False
        await place.until_filed(40)
    assert sorted(accepted) == list(range(1, 41))


@pytest.mark.anyio
async def test_a_message_that_no_agent_can_deal_with_holds_nobody_up(desk: ModuleType, server: OpenAIServer) -> None:
    def picky(body: dict[str, Any]) -> str | int:
        message = message_of(body)
        return 400 if message == "odd" else "what?" if message == "strange" else says(body)

    server.says = picky
    async with opened(desk, server) as place:
        for message in ("odd", "strange", "plain"):
            await place.rt.ref("desk").call(desk.Desk.submit, message)
        await place.until_filed(3)
    odd, strange, plain = place.filed
    assert odd.mood == "for a person (LMInvalidRequestError)"
    assert strange.mood == "for a person (AdapterParseError)"
    assert plain.reply == "reply to plain"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_told_to_stop_it_files_what_it_has_accepted_and_ends_well(server: OpenAIServer, backend: str) -> None:
    def held(body: dict[str, Any]) -> str:
        server.release.wait()
        return says(body)

    server.says = held
    service = Service(
        "support_desk.py",
        *("--port", "0", "--model", "openai/tiny", "--api-base", server.url, "--backend", backend),
        announces=r"listening on (\d+)",
        env={"OPENAI_API_KEY": "k"},
    )
    try:
        with socket.create_connection(("127.0.0.1", int(service.address)), timeout=PATIENCE) as client:
            client.sendall(b"first\nsecond\nthird\n")
            lines = client.makefile()
            assert [lines.readline() for _ in range(3)] == ["accepted 1\n", "accepted 2\n", "accepted 3\n"]
            assert server.arrived.acquire(timeout=PATIENCE)
            os.kill(service.process.pid, signal.SIGTERM)
            assert service.process.stdout is not None
            assert service.process.stdout.readline() == "told to stop\n"
            client.sendall(b"fourth\n")
            assert lines.readline() == "not accepted\n"
            server.release.set()
        assert service.ended() == 0
    finally:
        service.close()
    assert re.findall(r"filed (\d)  (.*)  (.*)", service.printed) == [
        (str(number), f"mood of {name}", f"reply to {name}") for number, name in enumerate(("first", "second", "third"), 1)
    ]
    assert service.printed.endswith("stopped; 0 cases are open\n")
    until(lambda: not service.descendants(), "nothing is left")
