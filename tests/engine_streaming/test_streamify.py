"""`streamify` from synchronous code, with status messages, and as server-sent events; `asyncify` and `syncify`."""

import json
import threading
from contextlib import aclosing
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import dspex.engine as engine
import pytest
from dspex.engine import LM, StatusMessage, StatusMessageProvider, StreamListener, StreamResponse, lm15, streamify
from dspex.engine.streaming import apply_sync_streaming, streaming_response

PIECES = ["[[ ##", " answer", " ## ]]\n", "To", " be", "\n\n[[ ## com", "pleted ## ]]"]


class Streaming:
    """An engine that streams `PIECES`."""

    def complete(self, request: Any) -> Any:
        raise AssertionError("asked without a stream")

    def stream(self, request: Any) -> Any:
        yield lm15.StreamStartEvent(model="m")
        for text in PIECES:
            yield lm15.StreamDeltaEvent(lm15.TextDelta(text))
        yield lm15.StreamEndEvent("stop", lm15.Usage(1, 2))


class Everything(StatusMessageProvider):
    def module_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str:
        return f"{type(instance).__name__} starts"

    def module_end_status_message(self, outputs: Any) -> str:
        return "module ends"

    def lm_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str:
        return "LM starts"

    def lm_end_status_message(self, outputs: Any) -> str:
        return "LM ends"


@pytest.fixture
def lm() -> Any:
    with engine.context(lm=LM("my/streaming", engine=Streaming(), cache=False)):
        yield


@pytest.mark.usefixtures("lm")
def test_synchronous_code_gets_an_ordinary_generator() -> None:
    ask = streamify(
        engine.Predict("question -> answer"), stream_listeners=[StreamListener("answer")], async_streaming=False
    )
    *pieces, prediction = ask(question="?")
    assert [piece.chunk for piece in pieces] == ["To", " be", ""]
    assert prediction.answer == "To be"
    threads = threading.active_count()
    early = ask(question="?")
    next(early)
    early.close()
    assert threading.active_count() == threads


def test_an_error_reaches_synchronous_code() -> None:
    async def failing() -> Any:
        yield 1
        raise KeyError("here")

    stream = apply_sync_streaming(failing())
    assert next(stream) == 1
    with pytest.raises(KeyError):
        next(stream)


@pytest.mark.anyio
@pytest.mark.usefixtures("lm")
async def test_status_messages_tell_what_the_program_does() -> None:
    ask = streamify(engine.ChainOfThought("question -> answer"), status_message_provider=Everything())
    with pytest.raises(engine.AdapterParseError):  # there is no reasoning in the answer
        messages = [item async for item in ask(question="?")]
    ask = streamify(engine.Predict("question -> answer"), status_message_provider=Everything())
    messages = [item.message async for item in ask(question="?") if isinstance(item, StatusMessage)]
    assert messages == ["Predict starts", "LM starts", "LM ends", "module ends"]


@pytest.mark.anyio
async def test_tools_are_announced_by_default() -> None:
    def search(q: str) -> str:
        return "found"

    class Program(engine.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tool = engine.Tool(search)

        async def aforward(self, q: str) -> engine.Prediction:
            return engine.Prediction(answer=await self.tool.acall(q=q))

    items = [item async for item in streamify(Program())(q="x")]
    assert [item.message for item in items[:-1]] == [
        "Calling tool search...",
        "Tool calling finished! Querying the LLM with tool calling results...",
    ]
    assert items[-1].answer == "found"


@pytest.mark.anyio
@pytest.mark.usefixtures("lm")
async def test_a_blocking_program_streams_from_its_thread() -> None:
    class Blocking(engine.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = engine.Predict("question -> answer")

        def forward(self, question: str) -> engine.Prediction:
            self.thread = threading.get_ident()
            return self.ask(question=question)

    program = Blocking()
    stream = streamify(
        program, status_message_provider=Everything(), stream_listeners=[StreamListener("answer")]
    )(question="?")
    items = [item async for item in stream]
    assert [item.chunk for item in items if isinstance(item, StreamResponse)] == ["To", " be", ""]
    assert StatusMessage("Blocking starts") in items
    assert items[-1].answer == "To be"
    assert program.thread != threading.get_ident()


@pytest.mark.anyio
@pytest.mark.usefixtures("lm")
async def test_the_stream_can_be_served_as_events() -> None:
    stream = streamify(engine.Predict("question -> answer"))(question="?")
    events = [event async for event in streaming_response(stream)]
    assert events[-1] == "data: [DONE]\n\n"
    assert events[-2] == 'data: {"prediction":{"answer":"To be"}}\n\n'
    chunk = json.loads(json.loads(events[0].removeprefix("data: "))["chunk"])
    assert chunk["choices"][0]["delta"]["content"] == "[[ ##"

    async def strings() -> Any:
        yield "data: mine\n\n"
        yield 3

    async with aclosing(strings()) as mine:
        served = streaming_response(mine)
        assert await anext(served) == "data: mine\n\n"
        with pytest.raises(ValueError, match="Unknown chunk value type"):
            await anext(served)


@pytest.mark.anyio
async def test_two_streams_at_once_do_not_mix() -> None:
    results: dict[int, list[Any]] = {}

    async def read(number: int) -> None:
        with engine.context(lm=LM("my/streaming", engine=Streaming(), cache=False)):
            ask = streamify(engine.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
            results[number] = [item async for item in ask(question=str(number))]

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(read, number)
    assert all([item.chunk for item in items[:-1]] == ["To", " be", ""] for items in results.values())


@pytest.mark.anyio
async def test_asyncify_runs_a_blocking_program_in_a_thread_with_the_settings_of_its_caller() -> None:
    def blocking(x: int) -> tuple[int, Any, int]:
        return x, engine.settings.mine, threading.get_ident()

    with engine.context(mine="here", async_max_workers=2):
        value, setting, thread = await engine.asyncify(blocking)(3)
    assert (value, setting) == (3, "here")
    assert thread != threading.get_ident()


def test_syncify_gives_an_asynchronous_program_a_synchronous_side(dspy: ModuleType) -> None:
    for library in (dspy, engine):

        class Asynchronous(library.Module):  # type: ignore[name-defined]
            async def aforward(self, x: int) -> int:
                return x + 1

        program = Asynchronous()
        wrapper = library.syncify(program, in_place=False)
        assert wrapper(x=1) == 2
        assert wrapper is not program
        assert library.syncify(program) is program
        assert program(x=1) == 2


@pytest.mark.anyio
async def test_settings_cross_tasks_and_threads_and_have_no_owner() -> None:
    def in_a_thread() -> Any:
        engine.configure(from_thread=1)
        return engine.settings.mine

    with engine.context(mine="block"):
        assert await anyio.to_thread.run_sync(in_a_thread) == "block"
        engine.configure(from_task=2)
        async with anyio.create_task_group() as group:

            async def other() -> None:
                assert engine.settings.mine == "block"
                with engine.context(mine="inner"):
                    await anyio.lowlevel.checkpoint()
                    assert engine.settings.mine == "inner"

            group.start_soon(other)
            group.start_soon(other)
        assert engine.settings.mine == "block"
    assert "mine" not in engine.settings
    assert (engine.settings.from_thread, engine.settings["from_task"]) == (1, 2)
    assert engine.settings.copy().from_task == 2
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = engine.settings.nothing
