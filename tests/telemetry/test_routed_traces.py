"""One trace from the caller through router, actor, worker process and model request, on both loops: real workers, a real
model server, and OpenTelemetry's own SDK."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from dspex.engine import AdapterParseError, ChainOfThought, LMServerError, Predict
from dspex.legacy import LMSettings, PoolOptions, RemoteError, SignatureProgram
from dspex.router import AppDraining, Dspex, Flags, OpenTelemetry, ProgramSpec
from openai_server import OpenAIServer
from opentelemetry.trace import StatusCode
from recorded import Recorded

pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytestmark = pytest.mark.anyio

SIGNATURE = "question -> answer"
CANARY = "canary-7391"


def model(server: OpenAIServer) -> LMSettings:
    return LMSettings("openai/tiny", api_base=server.url, api_key=CANARY, cache=False, options={"num_retries": 0})


def qa() -> ProgramSpec:
    return ProgramSpec.of_signature("qa", SIGNATURE, module="ChainOfThought", idempotent=True)


NATIVE = ProgramSpec("own", native=lambda: Predict(SIGNATURE))


@asynccontextmanager
async def caller(recorded: Recorded) -> AsyncIterator[None]:
    """A span of the user's around what happens in the block."""
    with recorded.tracers.get_tracer("the caller's").start_as_current_span("caller"):
        yield


PROGRAM = ["module ChainOfThought", "module ChainOfThought > module Predict"]
CALLS = [*PROGRAM, "module ChainOfThought > module Predict > chat tiny"]


async def test_one_trace_on_either_engine_from_the_caller_to_the_model(
    server: OpenAIServer, recorded: Recorded
) -> None:
    async with Dspex([qa()], lm=model(server), workers=1, telemetry=recorded.telemetry()) as app:
        for engine in ("native", "legacy"):
            async with caller(recorded):
                await app.call("qa", question="Why?", engine=engine)
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
    (duration,) = recorded.metrics()["gen_ai.client.operation.duration"]
    assert duration.count == 2
    for span in recorded.spans:
        assert span.end_time is not None
        assert span.start_time is not None
        assert span.end_time >= span.start_time
        assert span.status.status_code is StatusCode.UNSET


async def test_with_the_model_asked_by_this_process_the_worker_s_modules_are_still_its_parents(
    server: OpenAIServer, recorded: Recorded
) -> None:
    async with Dspex([qa()], lm=model(server), workers=1, host_lm=True, telemetry=recorded.telemetry()) as app:
        await app.call("qa", question="Why?", engine="legacy")
        with pytest.raises(RemoteError):
            await app.call("qa", question="status 503", engine="legacy")
    below = "route qa > invoke_agent qa"
    assert recorded.tree().count(f"{below} > module ChainOfThought > module Predict > chat tiny") == 2
    good, bad = recorded.named("chat tiny")
    assert (good.attributes or {})["gen_ai.usage.output_tokens"] == 5
    assert (bad.attributes or {})["error.type"] == "LMServerError"


async def test_streams_are_traced_as_calls_are(server: OpenAIServer, recorded: Recorded) -> None:
    async with Dspex([qa()], lm=model(server), workers=1, telemetry=recorded.telemetry()) as app:
        for engine in ("native", "legacy"):
            async with caller(recorded), app.stream("qa", question="Why?", engine=engine, listen=()) as stream:
                async for _ in stream:
                    pass
    below = "caller > route qa > invoke_agent qa"
    assert recorded.tree().count(f"{below} > module ChainOfThought > module Predict > chat tiny") == 2
    assert len(recorded.trace_ids()) == 2


async def test_a_stream_that_its_reader_leaves_ends_its_spans(server: OpenAIServer, recorded: Recorded) -> None:
    async with Dspex([NATIVE], lm=model(server), telemetry=recorded.telemetry()) as app:
        async with anyio.create_task_group() as group:

            async def read() -> None:
                async with app.stream("own", question="hold it", listen=()) as stream:
                    async for _ in stream:
                        pass

            group.start_soon(read)
            await arrived(server)
            group.cancel_scope.cancel()
        server.release.set()
        await recorded.until(lambda it: len(it.spans) == 4)
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.ERROR}
    assert (recorded.one("invoke_agent own").attributes or {})["error.type"] == "cancelled"


async def test_the_requests_of_a_map_are_children_of_its_caller(server: OpenAIServer, recorded: Recorded) -> None:
    async with Dspex([NATIVE], lm=model(server), telemetry=recorded.telemetry()) as app, caller(recorded):
        questions = [{"question": f"Why {number}?"} for number in range(5)]
        assert len([answer async for answer in app.map("own", questions, concurrency=2)]) == 5
    assert recorded.tree().count("caller > route own > invoke_agent own > module Predict > chat tiny") == 5
    assert len(recorded.trace_ids()) == 1


async def test_a_fallback_shows_both_tries(server: OpenAIServer, recorded: Recorded) -> None:
    spec = ProgramSpec(
        "qa",
        native=lambda: Mumbling(SIGNATURE),
        legacy=SignatureProgram(SIGNATURE, idempotent=True),
    )
    async with Dspex([spec], lm=model(server), workers=1, telemetry=recorded.telemetry()) as app, caller(recorded):
        answer = await app.call("qa", question="Why?")
    assert answer.route.fell_back
    failed, served = recorded.named("invoke_agent qa")
    assert recorded.path(failed) == recorded.path(served) == ["caller", "route qa", "invoke_agent qa"]
    assert (failed.attributes or {})["error.type"] == "AdapterParseError"
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["dspex.engine"] == "native"
    assert served.status.status_code is StatusCode.UNSET
    assert (served.attributes or {})["dspex.route.reason"] == "fallback_to_legacy after AdapterParseError"
    route = dict(recorded.one("route qa").attributes or {})
    assert (route["dspex.engine"], route["dspex.route.fell_back"]) == ("legacy", True)


class Mumbling(ChainOfThought):
    """Cannot read what it is told."""

    async def aforward(self, **inputs: Any) -> Any:
        raise AdapterParseError("Chat", self.predict.signature, "mumble", None, "nothing in it")


async def test_a_shadow_is_in_the_same_trace_and_linked_to_what_was_served(
    server: OpenAIServer, recorded: Recorded
) -> None:
    flags = Flags(mode={"qa": "shadow"})
    async with Dspex([qa()], lm=model(server), workers=1, flags=flags, telemetry=recorded.telemetry()) as app:
        await app.call("qa", question="Why?")
        await recorded.until(lambda it: len(it.named("invoke_agent qa")) == 2)
    served, shadow = recorded.named("invoke_agent qa")
    assert (served.attributes or {})["dspex.engine"] == "legacy"
    attributes = dict(shadow.attributes or {})
    assert (attributes["dspex.engine"], attributes["dspex.shadow"]) == ("native", True)
    assert [link.context.span_id for link in shadow.links] == [served.context.span_id]
    assert len(recorded.trace_ids()) == 1
    assert len(recorded.named("chat tiny")) == 2


async def test_errors_are_named_at_every_step(server: OpenAIServer, recorded: Recorded) -> None:
    async with Dspex([qa()], lm=model(server), workers=1, telemetry=recorded.telemetry()) as app:
        with pytest.raises(LMServerError):
            await app.call("qa", question="status 503", engine="native")
        with pytest.raises(RemoteError):
            await app.call("qa", question="status 503", engine="legacy")
        with pytest.raises(LookupError):
            await app.call("nobody", question="Why?")
        await app.drain()
        with pytest.raises(AppDraining):
            await app.call("qa", question="Why?")
    native, legacy, nobody, draining = (
        (span.attributes or {})["error.type"] for span in recorded.spans if span.name.startswith("route")
    )
    assert (native, legacy, nobody, draining) == ("LMServerError", "RemoteError", "UnknownProgram", "AppDraining")
    chats = [(span.attributes or {})["error.type"] for span in recorded.named("chat tiny")]
    assert chats[0] == "LMServerError"
    assert len(chats) == 2
    assert all(span.status.status_code is StatusCode.ERROR for span in recorded.spans)


async def test_a_worker_killed_in_mid_request_leaves_where_it_was_and_the_next_one_s_calls_beside(
    server: OpenAIServer, recorded: Recorded
) -> None:
    pids: list[int] = []
    async with Dspex([qa()], lm=model(server), workers=1, telemetry=recorded.telemetry()) as app:
        app.runtime.events.subscribe(lambda event: pids.append(event.data["pid"]), prefix="legacy.worker.started")
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                await app.call("qa", question="hold it", engine="legacy")

            group.start_soon(ask)
            await arrived(server)
            os.kill(pids[0], signal.SIGKILL)
            await arrived(server)
            server.release.set()
    below = "route qa > invoke_agent qa"
    assert recorded.tree() == sorted(["route qa", below, *(f"{below} > {call}" for call in CALLS * 2)])
    dead, alive = recorded.named("chat tiny")
    assert (dead.attributes or {})["error.type"] == "WorkerCrashed"
    assert alive.status.status_code is StatusCode.UNSET
    assert (recorded.one("invoke_agent qa").attributes or {})["dspex.worker.attempts"] == 2


async def test_what_an_agent_in_a_worker_does_is_seen_call_by_call(server: OpenAIServer, recorded: Recorded) -> None:
    spec = ProgramSpec("agent", legacy=SignatureProgram(SIGNATURE, module="ReAct", tools=("look",)))
    tracer = recorded.tracers.get_tracer("the tool's")

    def look() -> str:
        with tracer.start_as_current_span("inside the tool"):
            return "seen"

    pool = PoolOptions(
        {"agent": spec.legacy or SignatureProgram(SIGNATURE)}, workers=1, callables={"look": look}
    )
    steps = iter(
        [
            "[[ ## next_thought ## ]]\nt\n\n[[ ## next_tool_name ## ]]\nlook\n\n[[ ## next_tool_args ## ]]\n{}",
            "[[ ## next_thought ## ]]\nt\n\n[[ ## next_tool_name ## ]]\nfinish\n\n[[ ## next_tool_args ## ]]\n{}",
            "[[ ## reasoning ## ]]\nt\n\n[[ ## answer ## ]]\nso",
        ]
    )
    server.says = lambda _: next(steps)
    async with Dspex([spec], lm=model(server), pool=pool, telemetry=recorded.telemetry()) as app:
        answer = await app.call("agent", question="Why?", engine="legacy")
    assert answer["answer"] == "so"
    agent = "route agent > invoke_agent agent > invoke_agent ReAct"
    assert f"{agent} > execute_tool look > inside the tool" in recorded.tree()
    assert len(recorded.named("chat tiny")) == 3


async def test_nothing_that_was_said_is_recorded(server: OpenAIServer, recorded: Recorded) -> None:
    async with Dspex([qa()], lm=model(server), workers=1, telemetry=recorded.telemetry()) as app:
        for engine in ("native", "legacy"):
            await app.call("qa", question=CANARY, engine=engine, key=CANARY)
            with pytest.raises((LMServerError, RemoteError)):
                await app.call("qa", question=f"status 503 {CANARY}", engine=engine)
    assert len(recorded.spans) == 20
    assert CANARY not in recorded.everything()


async def test_a_request_that_is_not_sampled_is_not_recorded_anywhere(server: OpenAIServer) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    kept = InMemorySpanExporter()
    tracers = TracerProvider(sampler=ALWAYS_OFF)
    tracers.add_span_processor(SimpleSpanProcessor(kept))
    telemetry = OpenTelemetry(tracer_provider=tracers)
    async with Dspex([qa()], lm=model(server), workers=1, telemetry=telemetry) as app:
        for engine in ("native", "legacy"):
            assert (await app.call("qa", question="Why?", engine=engine))["answer"] == "answer to Why?"
    assert kept.get_finished_spans() == ()


async def arrived(server: OpenAIServer) -> None:
    assert await anyio.to_thread.run_sync(lambda: server.arrived.acquire(timeout=60)), "no request arrived"
