"""Answers read while they are written: real dspy workers, a real server, both engines behind one call."""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest
from dspex.legacy import LMSettings, PoolOptions, SignatureProgram
from dspex.router import (
    AHEAD,
    Answer,
    Dspex,
    Engine,
    FieldChunk,
    FlagStore,
    ProgramSpec,
    StreamBroken,
    UnknownField,
    UnknownProgram,
)
from dspex.runtime import CallTimeout
from scripted_server import END, HANG_UP, STREAM, ScriptedServer, chat_answer, chat_chunk, event, scripted_server

pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytestmark = pytest.mark.anyio

SIGNATURE = "question -> answer, score"
ENGINES: list[Engine] = ["native", "legacy"]
PATIENCE = 60


class Model:
    """Answers a question by streaming `words`, one by one; a question that begins so is answered in its own way:

    "hold": after the first words it waits for `go_on`.    "break": then it hangs up.    "mumble": nobody can read it.
    "long": many words.
    """

    def __init__(self) -> None:
        self.go_on = anyio.Event()
        self.sent = 0
        self.streamed: list[bool] = []

    async def __call__(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        asked = re.search(r"\[\[ ## question ## \]\]\n(\w+)", body["messages"][-1]["content"])
        question = asked.group(1) if asked else ""
        words = [f" w{n}" for n in range(20_000 if question == "long" else 6)]
        parts = ["[[ ##", " answer", " ## ]]\n", *words, "\n\n[[ ## score", " ## ]]\n", "7", " of 9", "\n\n[[ ## com", "pleted ## ]]"]
        if question == "mumble":
            parts = ["I would", " rather", " not", " say."]
        self.streamed.append(bool(body.get("stream")))
        if not body.get("stream"):
            yield chat_answer("".join(parts))
            return
        yield STREAM
        for number, part in enumerate(parts):
            if number == 6 and question == "hold":
                await self.go_on.wait()
            if number == 6 and question == "break":
                yield HANG_UP
                return
            self.sent += 1
            yield chat_chunk(part)
        yield chat_chunk(finish="stop")
        yield event("[DONE]")
        yield END


def qa(*, idempotent: bool = True) -> ProgramSpec:
    return ProgramSpec.of_signature("qa", SIGNATURE, idempotent=idempotent)


@asynccontextmanager
async def opened(
    model: Model, *, flags: FlagStore | None = None, programs: list[ProgramSpec] | None = None, **options: Any
) -> AsyncIterator[tuple[Dspex, ScriptedServer]]:
    async with scripted_server(model) as server:
        lm = LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0})
        with anyio.fail_after(PATIENCE):
            async with Dspex(programs or [qa()], lm=lm, flags=flags, workers=1, **options) as app:
                yield app, server


def text_of(items: list[FieldChunk | Answer], field: str) -> str:
    return "".join(item.text for item in items if isinstance(item, FieldChunk) and item.field == field)


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_pieces_of_the_fields_come_and_then_the_answer_with_its_route(engine: Engine) -> None:
    async with opened(Model()) as (app, _):
        items = [item async for item in app.stream("qa", question="Why", engine=engine)]
        some = [item async for item in app.stream("qa", {"question": "Why"}, listen="score", engine=engine)]
        stats = await app.stats()
    *pieces, answer = items
    assert all(isinstance(piece, FieldChunk) for piece in pieces)
    assert isinstance(answer, Answer)
    assert len(pieces) > 3
    assert text_of(items, "answer") == answer["answer"] == "w0 w1 w2 w3 w4 w5"
    assert text_of(items, "score") == answer["score"] == "7 of 9"
    assert text_of(some, "answer") == ""
    assert text_of(some, "score") == "7 of 9"
    route = answer.route
    assert (route.engine, route.reason, route.fell_back) == (engine, f"engine={engine!r} in the call", False)
    assert route.first_chunk_s is not None
    assert 0 < route.first_chunk_s <= route.latency_s
    assert (route.worker is not None) == (engine == "legacy")
    arm = stats.programs["qa"][engine]
    assert (arm.requests, arm.failed) == (2, 0)
