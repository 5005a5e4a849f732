"""One trace from the caller through router, actor, worker process and model request, on both loops: real workers, a real
model server, and OpenTelemetry's own SDK."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from dspex.engine import AdapterParseError, ChainOfThought, LMServerError, Predict
from dspex.legacy import LegacyPool, LMSettings, PoolOptions, RemoteError, SignatureProgram
from dspex.router import AppDraining, Dspex, Engine, OpenTelemetry, ProgramSpec
from openai_server import OpenAIServer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from recorded import Recorded

pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytestmark = pytest.mark.anyio

SIGNATURE = "question -> answer"
CANARY = "canary-7391"


class Mumbling(ChainOfThought):
    """Cannot read what it is told."""

    async def aforward(self, **inputs: Any) -> Any:
        raise AdapterParseError("Chat", self.predict.signature, "mumble", None, "nothing in it")


PROGRAMS = [
    ProgramSpec.of_signature("qa", SIGNATURE, module="ChainOfThought", idempotent=True),
    ProgramSpec(
        "mumbling", native=lambda: Mumbling(SIGNATURE), legacy=SignatureProgram(SIGNATURE, idempotent=True)
    ),
    ProgramSpec("agent", legacy=SignatureProgram(SIGNATURE, module="ReAct", tools=("look",))),
]
NATIVE = ProgramSpec("own", native=lambda: Predict(SIGNATURE))


def model(server: OpenAIServer) -> LMSettings:
    return LMSettings("openai/tiny", api_base=server.url, api_key=CANARY, cache=False, options={"num_retries": 0})


class Place:
    """A running app with a worker, its model and its telemetry: one for all tests of a loop, since workers cost seconds."""

    def __init__(self, app: Dspex, server: OpenAIServer, recorded: Recorded) -> None:
        self.app = app
        self.server = server
        self.recorded = recorded
        self.pids: list[int] = []


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[Place]:
    recorded, server = Recorded(), OpenAIServer()
    tracer = recorded.tracers.get_tracer("the tool's")

    def look() -> str:
        with tracer.start_as_current_span("inside the tool"):
            return "seen"

    pool = PoolOptions({"qa": SignatureProgram(SIGNATURE)}, workers=1, callables={"look": look})
    app = Dspex(PROGRAMS, lm=model(server), pool=pool, telemetry=recorded.telemetry(), **options)
    try:
        async with app:
            place = Place(app, server, recorded)
            app.runtime.events.subscribe(
                lambda event: place.pids.append(event.data["pid"]), prefix="legacy.worker.started"
            )
            await app.wait_ready()
            yield place
    finally:
        server.close()
        recorded.close()


@pytest.fixture(scope="module")
async def shared(anyio_backend: str) -> AsyncIterator[Place]:
    async with opened() as place:
        yield place


@pytest.fixture
async def place(shared: Place) -> AsyncIterator[Place]:
    """The shared one, with nothing recorded yet."""
    await shared.app.wait_ready()
    shared.recorded.forget()
    while shared.server.arrived.acquire(blocking=False):
        pass  # by tests before this one
    yield shared
    shared.server.says = None
    shared.server.release.clear()
    shared.app.flags.set(mode={})


@asynccontextmanager
async def caller(recorded: Recorded) -> AsyncIterator[None]:
    """A span of the user's around what happens in the block."""
    with recorded.tracers.get_tracer("the caller's").start_as_current_span("caller"):
        yield


PROGRAM = ["module ChainOfThought", "module ChainOfThought > module Predict"]
CALLS = [*PROGRAM, "module ChainOfThought > module Predict > chat tiny"]


async def test_one_trace_on_either_engine_from_the_caller_to_the_model(place: Place) -> None:
    recorded = place.recorded
    for engine in ("native", "legacy"):
        async with caller(recorded):
            await place.app.call("qa", question="Why?", engine=engine)
    below = "caller > route qa > invoke_agent qa"
    one = ["caller", "caller > route qa", below, *(f"{below} > {call}" for call in CALLS)]
    assert recorded.tree() == sorted(one * 2)
    assert len(recorded.trace_ids()) == 2
    native, legacy = (dict(span.attributes or {}) for span in recorded.named("invoke_agent qa"))
    assert native == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "qa",
        "dspex.program": "qa",
        "dspex.engine": "native",
        "dspex.route.reason": "engine='native' in the call",
    }
    assert legacy["dspex.engine"] == "legacy"
    assert legacy["dspex.worker.name"] == "legacy.worker-1"
    assert legacy["dspex.worker.attempts"] == 1
    # The same call by the same conventions, wherever it was made.
    first, second = (dict(span.attributes or {}) for span in recorded.named("chat tiny"))
    assert first == second
    assert first["gen_ai.usage.input_tokens"] == 7
    for span in recorded.spans:
        assert (span.end_time or 0) >= (span.start_time or 0) > 0
        assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("listen", [(), ("answer",)])
async def test_streams_are_traced_as_calls_are(place: Place, listen: tuple[str, ...]) -> None:
    recorded = place.recorded
    for engine in ("native", "legacy"):
        async with caller(recorded), place.app.stream("qa", question="Why?", engine=engine, listen=listen) as stream:
            assert len([item async for item in stream]) > len(listen)
    assert recorded.tree().count(f"caller > route qa > invoke_agent qa > {CALLS[-1]}") == 2
    assert len(recorded.trace_ids()) == 2
    for chat in recorded.named("chat tiny"):
        assert (chat.attributes or {})["gen_ai.response.finish_reasons"] == ("stop",)
        assert (chat.attributes or {})["gen_ai.usage.output_tokens"] == 5


async def test_a_program_in_hand_is_traced_as_the_app_s_calls_are(place: Place) -> None:
    recorded = place.recorded
    program = place.app.program("qa")
    async with caller(recorded):
        await program.call(question="Why?", engine="native")
        assert [item async for item in program.stream(question="Why?", engine="native")]
        assert len([answer async for answer in program.map([{"question": "Why?"}])]) == 1
    assert recorded.tree().count(f"caller > route qa > invoke_agent qa > {CALLS[-1]}") == 3


@pytest.mark.parametrize("engine", ["native", "legacy"])
async def test_a_stream_that_its_reader_leaves_ends_its_spans(place: Place, engine: Engine) -> None:
    async with anyio.create_task_group() as group:

        async def read() -> None:
            async with place.app.stream("qa", question="hold it", listen=(), engine=engine) as stream:
                async for _ in stream:
                    pass

        group.start_soon(read)
        await arrived(place.server)
        group.cancel_scope.cancel()
    place.server.release.set()
    recorded = place.recorded
    await recorded.until(lambda it: len(it.spans) == 5)
    assert recorded.error("invoke_agent qa") == "cancelled"
    assert "Cancelled" in str(recorded.error("route qa"))
    assert len(recorded.trace_ids()) == 1


async def test_the_requests_of_a_map_are_children_of_its_caller(place: Place) -> None:
    recorded = place.recorded
    async with caller(recorded):
        questions = [{"question": f"Why {number}?"} for number in range(5)]
        assert len([answer async for answer in place.app.map("qa", questions, concurrency=2)]) == 5
    assert recorded.tree().count(f"caller > route qa > invoke_agent qa > {CALLS[-1]}") == 5
    assert len(recorded.trace_ids()) == 1


async def test_a_fallback_shows_both_tries(place: Place) -> None:
    recorded = place.recorded
    async with caller(recorded):
        answer = await place.app.call("mumbling", question="Why?")
    assert answer.route.fell_back
    failed, served = recorded.named("invoke_agent mumbling")
    assert recorded.path(failed) == recorded.path(served) == ["caller", "route mumbling", "invoke_agent mumbling"]
    assert (failed.attributes or {})["error.type"] == "AdapterParseError"
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["dspex.engine"] == "native"
    assert served.status.status_code is StatusCode.UNSET
    assert (served.attributes or {})["dspex.route.reason"] == "fallback_to_legacy after AdapterParseError"
    route = dict(recorded.one("route mumbling").attributes or {})
    assert (route["dspex.engine"], route["dspex.route.fell_back"]) == ("legacy", True)


async def test_a_shadow_is_in_the_same_trace_and_linked_to_what_was_served(place: Place) -> None:
    recorded = place.recorded
    place.app.flags.set(mode={"qa": "shadow"})
    await place.app.call("qa", question="Why?")
    await recorded.until(lambda it: len(it.named("invoke_agent qa")) == 2)
    served, shadow = recorded.named("invoke_agent qa")
    assert (served.attributes or {})["dspex.engine"] == "legacy"
    attributes = dict(shadow.attributes or {})
    assert (attributes["dspex.engine"], attributes["dspex.shadow"]) == ("native", True)
    assert [link.context.span_id for link in shadow.links] == [served.context.span_id]
    assert len(recorded.trace_ids()) == 1
    assert len(recorded.named("chat tiny")) == 2


async def test_errors_are_named_at_every_step_and_nothing_that_was_said_is_recorded(place: Place) -> None:
    app, recorded = place.app, place.recorded
    for engine, error in (("native", LMServerError), ("legacy", RemoteError)):
        await app.call("qa", question=CANARY, engine=engine, key=CANARY)
        with pytest.raises(error):
            await app.call("qa", question=f"status 503 {CANARY}", engine=engine)
    with pytest.raises(LookupError):
        await app.call("nobody", question=CANARY)
    routes = [(span.attributes or {}).get("error.type") for span in recorded.spans if span.name.startswith("route")]
    assert routes == [None, "LMServerError", None, "RemoteError", "UnknownProgram"]
    chats = [(span.attributes or {}).get("error.type") for span in recorded.named("chat tiny")]
    assert chats == [None, "LMServerError", None, "LMServerError"]
    failed = [span for span in recorded.spans if "error.type" in (span.attributes or {})]
    assert len(failed) == 11
    assert all(span.status.status_code is StatusCode.ERROR for span in failed)
    assert CANARY not in recorded.everything()


async def test_what_an_agent_in_a_worker_does_is_seen_call_by_call(place: Place) -> None:
    steps = iter(
        [
            "[[ ## next_thought ## ]]\nt\n\n[[ ## next_tool_name ## ]]\nlook\n\n[[ ## next_tool_args ## ]]\n{}",
            "[[ ## next_thought ## ]]\nt\n\n[[ ## next_tool_name ## ]]\nfinish\n\n[[ ## next_tool_args ## ]]\n{}",
            "[[ ## reasoning ## ]]\nt\n\n[[ ## answer ## ]]\nso",
        ]
    )
    place.server.says = lambda _: next(steps)
    answer = await place.app.call("agent", question="Why?", engine="legacy")
    assert answer["answer"] == "so"
    agent = "route agent > invoke_agent agent > invoke_agent ReAct"
    assert f"{agent} > execute_tool look > inside the tool" in place.recorded.tree()
    assert len(place.recorded.named("chat tiny")) == 3


async def test_a_worker_killed_in_mid_request_leaves_where_it_was_and_the_next_one_s_calls_beside(
    place: Place,
) -> None:
    recorded, server = place.recorded, place.server
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            await place.app.call("qa", question="hold it", engine="legacy")

        group.start_soon(ask)
        await arrived(server)
        worker = await place.app.runtime.ref("legacy.pool").call(LegacyPool.statistics)
        os.kill(worker.workers[0].pid, signal.SIGKILL)
        await arrived(server)
        server.release.set()
    below = "route qa > invoke_agent qa"
    assert recorded.tree() == sorted(["route qa", below, *(f"{below} > {call}" for call in CALLS * 2)])
    dead, alive = recorded.named("chat tiny")
    assert (dead.attributes or {})["error.type"] == "WorkerCrashed"
    assert alive.status.status_code is StatusCode.UNSET
    assert (recorded.one("invoke_agent qa").attributes or {})["dspex.worker.attempts"] == 2


async def test_with_the_model_asked_by_this_process_the_worker_s_modules_are_still_its_parents() -> None:
    async with opened(host_lm=True) as place:
        await place.app.call("qa", question="Why?", engine="legacy")
        with pytest.raises(RemoteError):
            await place.app.call("qa", question="status 503", engine="legacy")
        recorded = place.recorded
        assert recorded.tree().count(f"route qa > invoke_agent qa > {CALLS[-1]}") == 2
        good, bad = recorded.named("chat tiny")
        assert (good.attributes or {})["gen_ai.usage.output_tokens"] == 5
        assert (bad.attributes or {})["error.type"] == "LMServerError"


async def test_a_request_that_is_not_sampled_is_served_and_not_recorded(server: OpenAIServer) -> None:
    kept = InMemorySpanExporter()
    tracers = TracerProvider(sampler=ALWAYS_OFF)
    tracers.add_span_processor(SimpleSpanProcessor(kept))
    async with Dspex([NATIVE], lm=model(server), telemetry=OpenTelemetry(tracer_provider=tracers)) as app:
        assert (await app.call("own", question="Why?"))["answer"] == "answer to Why?"
        await app.drain()
        with pytest.raises(AppDraining):
            await app.call("own", question="Why?")
    assert kept.get_finished_spans() == ()


async def arrived(server: OpenAIServer) -> None:
    assert await anyio.to_thread.run_sync(lambda: server.arrived.acquire(timeout=60)), "no request arrived"


# --- metrics ------------------------------------------------------------------------------------------------------------


def by(points: list[Any], *names: str) -> dict[Any, Any]:
    """Values by these attributes."""
    found = {tuple(point.attributes[name] for name in names): point.value for point in points}
    return {key[0] if len(key) == 1 else key: value for key, value in found.items()}


async def test_what_the_app_counts_is_there_when_somebody_looks() -> None:
    async with opened() as place:
        app, server, recorded = place.app, place.server, place.recorded
        assert "dspex.requests" not in recorded.metrics(), "nobody has asked for anything yet"
        for engine in ("native", "native", "native", "legacy"):
            await app.call("qa", question="Why?", engine=engine)
        with pytest.raises(LMServerError):
            await app.call("qa", question="status 503", engine="native")
        await app.stats()
        seen = await anyio.to_thread.run_sync(recorded.metrics)  # as a reader of the SDK's does
        assert by(seen["dspex.requests"], "dspex.engine") == {"native": 4, "legacy": 1}
        assert by(seen["dspex.failures"], "dspex.engine", "error.type") == {("native", "LMServerError"): 1}
        assert by(seen["dspex.native_share"]) == {(): 0.8}
        latency = by(seen["dspex.latency"], "dspex.engine", "quantile")
        assert sorted(latency) == [(engine, q) for engine in ("legacy", "native") for q in (0.5, 0.95, 0.99)]
        assert all(0 < seconds < 60 for seconds in latency.values())
        assert by(seen["dspex.pool.workers"], "state") == {"idle": 1, "busy": 0, "replacing": 0}
        mailboxes = by(seen["dspex.mailbox.messages"], "dspex.process")
        assert mailboxes.keys() >= {"router", "native", "legacy-arm", "native.qa", "legacy.pool", "legacy.worker-1"}
        async with anyio.create_task_group() as group:
            for _ in range(2):

                async def ask() -> None:
                    await app.call("qa", question="hold it", engine="legacy")

                group.start_soon(ask)
            while not server.questions()[-1].startswith("hold"):
                await arrived(server)
            seen = recorded.metrics()  # on the loop itself, as a test or a handler would
            assert by(seen["dspex.requests.active"]) == {(): 2}
            assert by(seen["dspex.pool.requests"], "state") == {"waiting": 1, "running": 1}
            assert by(seen["dspex.pool.workers"], "state")["busy"] == 1
            server.release.set()
    over = recorded.metrics()
    assert "dspex.pool.workers" not in over
    assert by(over["dspex.requests"], "dspex.engine")["legacy"] == 3


async def test_a_loop_that_is_held_up_costs_a_reader_a_second_and_the_counts_are_there_all_the_same(
    server: OpenAIServer, recorded: Recorded
) -> None:
    async with Dspex([NATIVE], lm=model(server), telemetry=recorded.telemetry()) as app:
        await app.call("own", question="Why?")
        await app.stats()
        seen: list[dict[str, list[Any]]] = []
        reader = threading.Thread(target=lambda: seen.append(recorded.metrics()))
        reader.start()
        reader.join()  # which the loop must not do
    assert by(seen[0]["dspex.requests"], "dspex.program") == {"own": 1}
    assert "dspex.mailbox.messages" not in seen[0]


async def test_the_instruments_do_not_keep_the_app(server: OpenAIServer, recorded: Recorded) -> None:
    app = Dspex([NATIVE], lm=model(server), telemetry=recorded.telemetry())
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None
    assert recorded.metrics() == {}
