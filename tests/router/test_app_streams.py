"""Answers read while they are written: real dspy workers, a real server, both engines behind one call."""

import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspex.legacy import LMSettings, PoolOptions, SignatureProgram, WorkerCrashed
from dspex.router import (
    AHEAD,
    Answer,
    AnswerStream,
    Dspex,
    Engine,
    FieldChunk,
    Flags,
    FlagStore,
    ProgramSpec,
    StreamBroken,
    UnknownField,
    UnknownProgram,
)
from dspex.runtime import ActorExit, CallTimeout, Event
from scripted_server import END, HANG_UP, STREAM, ScriptedServer, chat_answer, chat_chunk, event, scripted_server

pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytestmark = pytest.mark.anyio

SIGNATURE = "question -> answer, score"
ENGINES: list[Engine] = ["native", "legacy"]
PATIENCE = 60
LONG = 8_000
"""Words of a long answer: 16 MB, more than the sockets between here and there hold."""


class Model:
    """Answers a question by streaming `words`, one by one; a question that begins so is answered in its own way:

    "hold": after the first words it waits for `go_on`.    "break": then it hangs up.    "long": many words.
    "mumble": nobody can read it, the first time.    "half": the second field is missing.
    """

    def __init__(self) -> None:
        self.go_on = anyio.Event()
        self.sent = 0
        self.hurry = False
        self.streamed: list[bool] = []

    async def __call__(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        asked = re.search(r"\[\[ ## question ## \]\]\n(\w+)", body["messages"][-1]["content"])
        question = asked.group(1) if asked else ""
        fat = "x" * 2000 if question == "long" else ""
        words = [f" w{n}{fat}" for n in range({"long": LONG, "hold": 40}.get(question, 6))]
        score = ["\n\n[[ ## score", " ## ]]\n", "7", " of 9"]
        parts = ["[[ ##", " answer", " ## ]]\n", *words, *score, "\n\n[[ ## com", "pleted ## ]]"]
        if question == "mumble" and not self.streamed:
            parts = ["I would", " rather", " not", " say."]
        if question == "half":
            parts = parts[:-6] + parts[-2:]
        self.streamed.append(bool(body.get("stream")))
        if not body.get("stream"):
            yield chat_answer("".join(parts))
            return
        yield STREAM
        for number, part in enumerate(parts):
            if number == 35 and question == "hold":
                await self.go_on.wait()
            if number == 6 and question == "break":
                yield HANG_UP
                return
            if self.hurry and part.startswith(" w"):
                continue
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
    with anyio.fail_after(PATIENCE):
        async with scripted_server(model) as server:
            lm = LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0})
            async with Dspex(programs or [qa()], lm=lm, flags=flags, **{"workers": 1, **options}) as app:
                yield app, server


async def read_into(items: list[FieldChunk | Answer], stream: AnswerStream) -> None:
    async for item in stream:
        items.append(item)


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


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_reader_who_leaves_takes_the_request_to_the_model_along(engine: Engine) -> None:
    model = Model()
    async with opened(model) as (app, server):

        async def cancelled() -> None:
            reading = anyio.Event()

            async def read(stream: AnswerStream) -> None:
                async for _ in stream:
                    reading.set()

            async with anyio.create_task_group() as group:
                group.start_soon(read, app.stream("qa", question="hold", engine=engine))
                await reading.wait()
                group.cancel_scope.cancel()

        async def closed() -> None:
            async with aclosing(app.stream("qa", question="hold", engine=engine)) as stream:
                await anext(stream)
            assert [item async for item in stream] == []

        async def left() -> None:
            async with app.stream("qa", question="hold", engine=engine) as stream:
                await anext(stream)

        async def dropped() -> None:
            await anext(app.stream("qa", question="hold", engine=engine))

        for leave in (closed, left, cancelled, dropped):
            server.hung_up = anyio.Event()
            await leave()
            await server.hung_up.wait()
        assert isinstance(await app.call("qa", question="Why", engine=engine), Answer)
        stats = await app.stats()
    assert stats.programs["qa"][engine].requests == 1, "a request whose caller went away says nothing of the engine"


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_slow_reader_slows_the_model_down_and_nothing_piles_up(engine: Engine) -> None:
    model = Model()
    async with opened(model) as (app, _), aclosing(app.stream("qa", question="long", engine=engine)) as stream:
        assert isinstance(await anext(stream), FieldChunk)
        before = -1
        while before != model.sent:  # until the model can send no more
            before = model.sent
            await anyio.sleep(0.2)
        assert model.sent < LONG
        assert stream.statistics()["waiting"] <= AHEAD
        model.hurry = True
        text = "".join([item.text async for item in stream if isinstance(item, FieldChunk) and item.field == "answer"])
        answer = str(stream.answer["answer"])
    assert answer.endswith(text), "what was read before and after is all of it"
    assert len(answer) - len(text) < 3000


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_time_of_a_stream_is_bounded_from_its_first_read_to_its_end(engine: Engine) -> None:
    async with opened(Model()) as (app, server):
        await app.wait_ready()
        stream = app.stream("qa", question="hold", engine=engine, within=1)
        read: list[FieldChunk | Answer] = []
        with pytest.raises(CallTimeout):
            await read_into(read, stream)
        if read:  # the model was reached in time
            await server.hung_up.wait()
        assert all(isinstance(item, FieldChunk) for item in read)
        assert [item async for item in stream] == [], "it is over"


async def test_what_native_could_not_read_is_streamed_by_the_other_engine_as_long_as_no_piece_has_come() -> None:
    model = Model()
    async with opened(model) as (app, server):
        items = [item async for item in app.stream("qa", question="mumble")]
        stats = await app.stats()
    answer = items[-1]
    assert isinstance(answer, Answer)
    assert (answer.route.engine, answer.route.fell_back) == ("legacy", True)
    assert answer.route.attempts[0].error.startswith("AdapterParseError")
    assert text_of(items, "answer") == answer["answer"]
    assert len(server.bodies) == 2
    assert stats.programs["qa"]["native"].errors == {"AdapterParseError": 1}
    assert stats.programs["qa"]["legacy"].failed == 0


async def test_a_field_that_is_missing_after_pieces_were_read_is_not_made_up_for_by_the_other_engine() -> None:
    async with opened(Model()) as (app, server):
        read: list[FieldChunk | Answer] = []
        with pytest.raises(StreamBroken, match="AdapterParseError"):
            await read_into(read, app.stream("qa", question="half"))
        assert text_of(read, "answer") == "w0 w1 w2 w3 w4 w5"
        stats = await app.stats()
        assert len(server.bodies) == 1
    assert set(stats.programs["qa"]) == {"native"}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_router_that_is_killed_takes_no_stream_with_it(engine: Engine) -> None:
    model = Model()
    async with opened(model, workers=2) as (app, server):
        await app.wait_ready()

        async def kill() -> None:
            victim = app.runtime.whereis("router")
            assert victim is not None
            victim.kill()
            await victim.ended()

        stream = app.stream("qa", question="hold", engine=engine)
        first = await anext(stream)
        await kill()
        unserved = app.stream("qa", question="Why", engine=engine)
        second = [item async for item in unserved]
        await kill()
        model.go_on.set()
        rest = [item async for item in stream]
    assert text_of([first, *rest], "answer") == stream.answer["answer"]
    assert text_of(second, "answer") == unserved.answer["answer"]
    assert [model.streamed, len(server.bodies)] == [[True, True], 2]


@pytest.mark.parametrize(("engine", "victim"), [("native", "native"), ("native", "native.qa"), ("legacy", "legacy-arm")])
async def test_a_stream_whose_arm_dies_fails_and_its_work_ends(engine: Engine, victim: str) -> None:
    async with opened(Model()) as (app, server):
        stream = app.stream("qa", question="hold", engine=engine)
        await anext(stream)
        ref = app.runtime.whereis(victim)
        assert ref is not None
        ref.kill()
        read: list[FieldChunk | Answer] = []
        with pytest.raises(StreamBroken) as caught:
            await read_into(read, stream)
        assert all(isinstance(item, FieldChunk) for item in read)
        assert isinstance(caught.value.__cause__, ActorExit)
        await server.hung_up.wait()


async def test_a_worker_that_is_killed_breaks_a_stream_that_had_begun_and_no_other() -> None:
    model = Model()
    async with opened(model) as (app, _):
        pids: list[int] = []
        app.runtime.events.subscribe(lambda event: pids.append(event.data["pid"]), prefix="legacy.worker.started")
        await app.wait_ready()
        stream = app.stream("qa", question="hold", engine="legacy")
        waiting = app.stream("qa", question="Why", engine="legacy")
        await anext(stream)
        seen: list[FieldChunk | Answer] = []

        async def read() -> None:
            seen.extend([item async for item in waiting])

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            os.kill(pids[-1], signal.SIGKILL)
            with pytest.raises(StreamBroken) as caught:
                await read_into([], stream)
        assert isinstance(caught.value.__cause__, WorkerCrashed)
    assert text_of(seen, "answer") == waiting.answer["answer"]


async def test_in_shadow_mode_the_whole_answers_are_compared_and_the_shadow_s_pieces_reach_nobody() -> None:
    flags = FlagStore(Flags(mode={"qa": "shadow"}))
    async with opened(Model(), flags=flags) as (app, server):
        compared: list[Event] = []
        told = anyio.Event()

        def note(event: Event) -> None:
            compared.append(event)
            told.set()

        app.runtime.events.subscribe(note, prefix="router.shadow.compared")
        items = [item async for item in app.stream("qa", question="Why", key="k")]
        await told.wait()
        streamed = [bool(body.get("stream")) for body in server.bodies]
    assert text_of(items, "answer") == "w0 w1 w2 w3 w4 w5"
    assert (compared[0].data["score"], compared[0].data["served_error"]) == (1.0, None)
    assert streamed == [True, False]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_program_with_a_forward_of_the_user_s_is_streamed_and_ended_too(engine: Engine) -> None:
    spec = ProgramSpec.of_factory("qa", "written_once:two_steps", idempotent=True)
    pool = PoolOptions({"x": SignatureProgram(SIGNATURE)}, workers=1, import_paths=(str(Path(__file__).parent),))
    async with opened(Model(), programs=[spec], pool=pool) as (app, server):
        items = [item async for item in app.stream("qa", question="Why", engine=engine)]
        assert text_of(items, "answer") == "w0 w1 w2 w3 w4 w5"
        stream = app.stream("qa", question="hold", engine=engine, listen="answer")
        await anext(stream)
        await stream.aclose()
        await server.hung_up.wait()
        assert isinstance(await app.call("qa", question="Why", engine=engine), Answer)


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_answer_that_breaks_off_is_never_a_short_one_and_never_a_second_one(engine: Engine) -> None:
    async with opened(Model()) as (app, server):
        read: list[FieldChunk | Answer] = []
        with pytest.raises(StreamBroken, match="broke off after") as caught:
            await read_into(read, app.stream("qa", question="break", engine=engine))
        requests = len(server.bodies)
        stats = await app.stats()
    assert caught.value.pieces == len(read) > 0
    assert caught.value.__cause__ is not None
    assert all(isinstance(item, FieldChunk) for item in read)
    assert requests == 1
    assert set(stats.programs["qa"]) == {engine}


async def test_what_cannot_be_streamed_is_refused_before_anything_is_asked() -> None:
    async with opened(Model()) as (app, server):
        with pytest.raises(UnknownProgram, match="there are: qa"):
            app.stream("qq")
        with pytest.raises(UnknownField, match="it has: answer, score"):
            app.stream("qa", question="Why", listen=["answer", "mood"])
        stream = app.stream("qa", question="Why")
        with pytest.raises(Exception, match="read it to its end"):
            _ = stream.answer
        del stream
        assert server.bodies == []
