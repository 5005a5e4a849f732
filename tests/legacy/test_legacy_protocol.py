"""What travels between the pool and its workers beyond question and answer: streams, calls back, types, large values."""

import logging
import os
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from dspex.legacy import (
    Array,
    ImportedProgram,
    LMCall,
    LMSettings,
    PoolOptions,
    RemoteError,
    SignatureProgram,
    Typed,
    WorkerCrashed,
    open_stream,
)
from legacy_pools import PROGRAMS, OpenPool, arrived, said
from openai_server import OpenAIServer
from test_legacy_pool import Later, run

pytestmark = pytest.mark.anyio

MORE = {
    **PROGRAMS,
    "counting": ImportedProgram("legacy_programs:Counting", idempotent=True),
    "calling": ImportedProgram("legacy_programs:Calling"),
    "typing": ImportedProgram("legacy_programs:Typing"),
    "gives": ImportedProgram("legacy_programs:Gives"),
}


# --- streams --------------------------------------------------------------------------------------------------------


async def test_a_generator_is_streamed_in_order_and_ends_with_its_result(open_pool: OpenPool) -> None:
    async with open_pool(programs=MORE) as pool:
        async with open_stream(pool.ref, "counting", {"upto": 50}, credit=3) as stream:
            chunks = [chunk async for chunk in stream]
        assert [chunk.index for chunk in chunks] == list(range(50))
        assert [chunk.value for chunk in chunks] == [{"number": number} for number in range(50)]
        assert stream.result.values == {"count": 50}
        assert (await run(pool, "counting", upto=3)).values == {"count": 3}, "without a stream the result just comes"


async def test_a_consumer_that_does_not_take_slows_the_program_down(open_pool: OpenPool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with open_pool(programs=MORE) as pool:
        async with open_stream(pool.ref, "counting", {"upto": 100, "marker": str(log)}, credit=4) as stream:
            taken = 0
            async for _ in stream:
                taken += 1
                if taken in (1, 20):
                    with anyio.fail_after(10):
                        while stream.received < taken + 4:  # what its credit allows has come
                            await anyio.sleep(0.005)
                    made = len(log.read_text().split())
                    assert made <= taken + 6, "one is being sent and one is held back as a possible result"
        assert taken == 100


async def test_leaving_a_stream_early_interrupts_its_program_and_frees_the_worker(
    open_pool: OpenPool, tmp_path: Path
) -> None:
    async with open_pool(programs=MORE, cancel_grace=20.0) as pool:
        inputs = {"upto": 1_000_000, "marker": str(tmp_path / "log")}
        async with open_stream(pool.ref, "counting", inputs, credit=2) as stream:
            async for _ in stream:
                break
        await pool.heard("legacy.worker.cancelled")
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        assert pool.named("legacy.worker.exited") == []


async def test_a_crash_after_a_piece_of_the_answer_is_told_and_not_repeated(open_pool: OpenPool) -> None:
    async with open_pool(programs=MORE) as pool:
        with pytest.raises(WorkerCrashed):  # noqa: PT012
            async with open_stream(pool.ref, "counting", {"upto": 1000}, credit=1) as stream:
                async for _ in stream:
                    if stream.received == 2:
                        os.kill(pool.named("legacy.worker.started")[0]["pid"], 9)
        assert pool.named("legacy.request.retried") == []


async def test_a_stream_raises_what_the_request_is_refused_with(open_pool: OpenPool) -> None:
    async with open_pool(programs=MORE) as pool:
        with pytest.raises(RemoteError, match="LookupError"):  # noqa: PT012
            async with open_stream(pool.ref, "does", {"what": "fail", "text": "no"}) as stream:
                async for _ in stream:
                    pass
        with pytest.raises(ValueError, match="credit"):
            async with open_stream(pool.ref, "does", {}, credit=0):
                pass


# --- calls back -----------------------------------------------------------------------------------------------------


async def test_a_program_calls_plain_and_async_callables_of_this_process_and_sees_their_errors(
    open_pool: OpenPool,
) -> None:
    here: list[int] = []

    def add(a: int, b: int) -> dict[str, int]:
        here.append(os.getpid())
        return {"sum": a + b}

    async def later(text: str) -> str:
        await anyio.lowlevel.checkpoint()
        return text.upper()

    def broken() -> None:
        raise KeyError("gone")

    callables = {"add": add, "later": later, "broken": broken, "odd": lambda: object()}
    async with open_pool(programs=MORE, callables=callables) as pool:
        assert (await run(pool, "calling", tool="add", a=1, b=2)).values == {"got": {"sum": 3}}
        assert here == [os.getpid()]
        assert (await run(pool, "calling", tool="later", text="x")).values == {"got": "X"}
        for tool, said_ in (("broken", "KeyError"), ("odd", "cannot travel"), ("absent", "no callable 'absent'")):
            with pytest.raises(RemoteError, match=said_) as raised:
                await run(pool, "calling", tool=tool)
            assert raised.value.type_name == "HostCallFailed"
        assert pool.named("legacy.worker.exited") == []


async def test_when_a_request_is_cancelled_what_it_called_here_is_cancelled_too(open_pool: OpenPool) -> None:
    began, ended = anyio.Event(), anyio.Event()

    async def wait() -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with open_pool(programs=MORE, callables={"wait": wait}, cancel_grace=20.0) as pool:
        async with anyio.create_task_group() as group:
            call = await Later.start(group, pool, "calling", tool="wait")
            with anyio.fail_after(10):
                await began.wait()
            call.scope.cancel()
        await pool.heard("legacy.worker.cancelled")
        with anyio.fail_after(10):
            await ended.wait()
        assert (await run(pool, "echo", x=1)).values == {"x": 1}


async def test_calls_to_the_model_are_served_here_with_keys_that_no_worker_has(open_pool: OpenPool) -> None:
    calls: list[LMCall] = []

    async def serve(call: LMCall) -> dict[str, Any]:
        calls.append(call)
        text = "[[ ## answer ## ]]\nfrom here\n\n[[ ## completed ## ]]"
        return {"text": text, "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}

    lm = LMSettings("mine/model", host=True, options={"temperature": 0.5})
    async with open_pool(lm=lm, lm_server=serve) as pool:
        result = await run(pool, "qa", question="Why?")
        assert result.values == {"answer": "from here"}
        assert result.usage["mine/model"]["total_tokens"] == 7  # type: ignore[index]
    (call,) = calls
    assert call.model == "mine/model"
    assert "Why?" in str(call.messages[-1]["content"])
    assert call.options["temperature"] == 0.5
    assert "Why?" not in repr(call)


async def test_an_agent_in_a_worker_uses_tools_of_this_process(open_pool: OpenPool) -> None:
    asked: list[str] = []

    def search(query: str) -> str:
        """Looks things up."""
        asked.append(query)
        return "Paris"

    turns = iter(
        [
            {"next_thought": "look", "next_tool_name": "search", "next_tool_args": '{"query": "capital"}'},
            {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": "{}"},
            {"reasoning": "it said so", "answer": "Paris"},
        ]
    )

    async def serve(call: LMCall) -> str:
        assert "Looks things up." in str(call.messages) or len(asked) == 1
        return "\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in next(turns).items())

    programs = {"agent": SignatureProgram("question -> answer", module="ReAct", tools=("search",))}
    settings = {"callables": {"search": search}, "lm": LMSettings("m", host=True), "lm_server": serve}
    async with open_pool(programs=programs, **settings) as pool:
        result = await run(pool, "agent", question="Which?")
    assert result.values["answer"] == "Paris"
    assert asked == ["capital"]


# --- values ---------------------------------------------------------------------------------------------------------


async def test_types_of_dspy_and_of_the_user_travel_typed_and_as_plain_data(open_pool: OpenPool) -> None:
    async with open_pool(programs=MORE) as pool:
        result = await run(pool, "gives")
    assert result.values["history"] == {"messages": [{"question": "a", "answer": "b"}]}
    assert result.values["weather"] == {"city": "Paris", "degrees": 21.5}
    names = {field: value.name for field, value in result.typed.items() if isinstance(value, Typed)}
    assert names == {
        "image": "dspy.Image",
        "history": "dspy.History",
        "calls": "dspy.ToolCalls",
        "example": "dspy.Example",
        "weather": "legacy_programs:Weather",
    }


async def test_typed_inputs_are_objects_of_their_class_in_the_worker_and_unknown_names_import_nothing(
    open_pool: OpenPool,
) -> None:
    async with open_pool(programs=MORE) as pool:
        gone = {
            "image": Typed("dspy.Image", {"url": "https://example.org/a.png"}),
            "history": Typed("dspy.History", {"messages": [{"q": "a"}]}),
            "example": Typed("dspy.Example", {"a": 1}),
            "place": Typed("legacy_programs:Weather", {"city": "Paris"}),
            "evil": Typed("subprocess:Popen", {"args": ["true"]}),
            "values": Array("<f4", (2, 1), b"\x00\x00\x80?\x00\x00\x00@"),
        }
        values = (await run(pool, "typing", **gone)).typed
    assert values["kinds"] == {
        "image": "Image",
        "history": "History",
        "example": "Example",
        "place": "Weather",
        "evil": "dict",
        "values": "ndarray",
    }
    assert values["values"] == gone["values"]
    assert values["image"] == gone["image"]
    assert values["place"] == Typed("legacy_programs:Weather", {"city": "Paris", "degrees": 0.0})


async def test_large_values_travel_both_ways_and_leave_nothing_in_shared_memory(open_pool: OpenPool) -> None:
    shared = set(os.listdir("/dev/shm"))
    big = {"text": "x" * 3_000_000, "list": list(range(1000))}
    async with open_pool(programs=MORE) as pool:
        assert (await run(pool, "echo", **big)).values == big
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await run(pool, "echo", **big)
        assert len(os.listdir("/proc/self/fd")) == descriptors
        async with anyio.create_task_group() as group:
            call = await Later.start(group, pool, "echo", **big)
            os.kill(pool.named("legacy.worker.started")[0]["pid"], 9)
            await call.outcome()
    assert set(os.listdir("/dev/shm")) == shared


# --- what is said of it ---------------------------------------------------------------------------------------------


async def test_the_last_lines_that_a_worker_printed_come_with_the_error_of_its_program(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        await run(pool, "does", what="talk", text="just before", lines=1)
        with pytest.raises(RemoteError) as raised:
            await run(pool, "does", what="fail", text="no")
    assert "just before" in raised.value.log


async def test_secrets_and_payloads_reach_no_log_no_event_and_no_error(
    open_pool: OpenPool, server: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key, text = "sk-canary-1234567890", "canary in the payload"
    lm = LMSettings("openai/tiny", api_base=server.url, api_key=key, cache=False, options={"num_retries": 0})
    async with open_pool(lm=lm) as pool:
        await run(pool, "qa", question=text)
        with pytest.raises(RemoteError) as raised:
            await run(pool, "qa", question=f"status 401 {text}")
        async with anyio.create_task_group() as group:
            call = await Later.start(group, pool, "qa", question=f"hold {text}")
            await arrived(server)
            await arrived(server)
            await arrived(server)
            os.kill(pool.named("legacy.worker.started")[0]["pid"], 9)
            crash = await call.outcome()
        events = repr(pool.events)
    assert isinstance(crash, WorkerCrashed)
    for said_ in (caplog.text, events, str(raised.value), raised.value.remote_traceback, str(crash), repr(lm)):
        assert key not in said_
    for said_ in (caplog.text, events, str(crash)):
        assert text not in said_


async def test_a_worker_in_a_c_call_that_holds_the_gil_is_not_taken_for_dead(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool(heartbeat=0.05, heartbeat_timeout=0.2) as pool:
        with anyio.move_on_after(1.5):
            async with anyio.create_task_group() as group:
                await Later.start(group, pool, "does", what="hold_the_gil", marker=str(marker))
                (pid,) = await said(marker)
        assert pool.named("legacy.worker.exited") == []
        await pool.heard("legacy.worker.ready", 2)  # its caller has gone, and it could not be interrupted
        assert pid != (await run(pool, "does", what="describe")).values["pid"]


def test_what_a_pool_is_told_of_callables_is_checked() -> None:
    agent = SignatureProgram("a -> b", module="ReAct", tools=("search",))
    with pytest.raises(ValueError, match="search"):
        PoolOptions({"agent": agent})
    with pytest.raises(ValueError, match="lm_server"):
        PoolOptions({"qa": SignatureProgram("a -> b")}, lm=LMSettings("m", host=True))


