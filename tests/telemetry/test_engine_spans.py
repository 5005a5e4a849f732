"""A program on its own: which spans and measurements its calls become, told by OpenTelemetry's own SDK."""

import json
import subprocess
import sys
from typing import Any

import anyio
import pytest
from dspex.engine import (
    LM,
    BaseLM,
    Cache,
    ChainOfThought,
    DummyLM,
    LMServerError,
    Module,
    Predict,
    ReAct,
    Tool,
    configure,
    context,
)
from dspex.engine.caching import set_current_cache
from dspex.engine.telemetry import OpenTelemetry
from openai_server import OpenAIServer
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from recorded import Recorded

pytestmark = pytest.mark.anyio

CANARY = "canary-7391"


def lm(server: OpenAIServer, **options: Any) -> LM:
    return LM("openai/tiny", base_url=server.url, api_key="k", num_retries=0, **{"cache": False, **options})


async def test_a_call_is_a_span_below_the_modules_that_made_it(server: OpenAIServer, recorded: Recorded) -> None:
    with context(lm=lm(server, temperature=0.5, max_tokens=50), callbacks=[recorded.telemetry()]):
        await ChainOfThought("question -> answer").acall(question="Why?")
    assert recorded.tree() == [
        "module ChainOfThought",
        "module ChainOfThought > module Predict",
        "module ChainOfThought > module Predict > chat tiny",
    ]
    chat = recorded.one("chat tiny")
    port = int(server.url.rsplit(":", 1)[1].removesuffix("/v1"))
    assert dict(chat.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.model": "tiny",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    assert chat.kind is SpanKind.CLIENT
    assert chat.status.status_code is StatusCode.UNSET
    assert len(recorded.trace_ids()) == 1


async def test_spans_are_children_of_the_caller_s_own_and_concurrent_calls_do_not_mix(
    server: OpenAIServer, recorded: Recorded
) -> None:
    tracer = recorded.tracers.get_tracer("the user's")
    program = Predict("question -> answer")

    async def one(number: int) -> None:
        with tracer.start_as_current_span(f"mine {number}"):
            await program.acall(question=f"Why {number}?")
            assert trace.get_current_span().name == f"mine {number}"  # type: ignore[attr-defined]

    with context(lm=lm(server), callbacks=[recorded.telemetry()]):
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(one, number)
    assert len(recorded.trace_ids()) == 5
    assert sorted({recorded.path(span)[0] for span in recorded.named("chat tiny")}) == [f"mine {n}" for n in range(5)]


async def test_an_agent_and_its_tools_have_their_names(recorded: Recorded) -> None:
    def search(query: str) -> str:
        """Search."""
        return "found"

    def broken(query: str) -> str:
        """Fails."""
        raise KeyError("nothing")

    steps = [
        {"next_thought": "look", "next_tool_name": "search", "next_tool_args": {"query": "x"}},
        {"next_thought": "look", "next_tool_name": "broken", "next_tool_args": {"query": "x"}},
        {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}},
        {"reasoning": "so", "answer": "found"},
    ]
    agent = ReAct("question -> answer", tools=[Tool(search), Tool(broken)])
    with context(lm=DummyLM(steps), callbacks=[recorded.telemetry()]):
        await agent.acall(question="Why?")
    found = recorded.one("execute_tool search")
    assert recorded.path(found) == ["invoke_agent ReAct", "execute_tool search"]
    assert dict(found.attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.type": "function",
    }
    root = dict(recorded.one("invoke_agent ReAct").attributes or {})
    assert (root["gen_ai.operation.name"], root["gen_ai.agent.name"]) == ("invoke_agent", "ReAct")
    failed = recorded.one("execute_tool broken")
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "KeyError"


async def test_a_failure_marks_every_span_it_passes_and_is_a_measurement_of_its_own(
    server: OpenAIServer, recorded: Recorded
) -> None:
    with context(lm=lm(server), callbacks=[recorded.telemetry()]), pytest.raises(LMServerError):
        await Predict("question -> answer").acall(question="status 503")
    assert [span.name for span in recorded.spans] == ["module Predict", "chat tiny"]
    for span in recorded.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "LMServerError"
    (point,) = recorded.metrics()["gen_ai.client.operation.duration"]
    assert point.attributes["error.type"] == "LMServerError"
    assert point.count == 1


async def test_a_cancelled_call_ends_its_spans(server: OpenAIServer, recorded: Recorded) -> None:
    async def ask() -> None:
        await Predict("question -> answer").acall(question="hold it")

    with context(lm=lm(server), callbacks=[recorded.telemetry()]):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            assert await anyio.to_thread.run_sync(lambda: server.arrived.acquire(timeout=30))
            group.cancel_scope.cancel()
    assert [span.name for span in recorded.spans] == ["module Predict", "chat tiny"]
    for span in recorded.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert "Cancelled" in str((span.attributes or {})["error.type"])


async def test_tokens_and_seconds_are_measured_by_model(server: OpenAIServer, recorded: Recorded) -> None:
    with context(lm=lm(server), callbacks=[recorded.telemetry()]):
        for _ in range(3):
            await Predict("question -> answer").acall(question="Why?")
    metrics = recorded.metrics()
    (duration,) = metrics["gen_ai.client.operation.duration"]
    assert duration.count == 3
    assert duration.explicit_bounds[0] == 0.01
    assert duration.attributes["gen_ai.request.model"] == "tiny"
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in metrics["gen_ai.client.token.usage"]}
    assert tokens == {"input": 21, "output": 15}


async def test_an_answer_out_of_the_cache_says_so_and_is_no_measurement(
    server: OpenAIServer, recorded: Recorded
) -> None:
    set_current_cache(Cache(enable_disk_cache=False, enable_memory_cache=True, disk_cache_dir=None))
    with context(lm=lm(server, cache=True), callbacks=[recorded.telemetry()]):
        for _ in range(2):
            await Predict("question -> answer").acall(question="Why?")
    asked, kept = recorded.named("chat tiny")
    assert "dspex.cache_hit" not in (asked.attributes or {})
    assert (kept.attributes or {})["dspex.cache_hit"] is True
    assert "gen_ai.usage.input_tokens" not in (kept.attributes or {})
    (duration,) = recorded.metrics()["gen_ai.client.operation.duration"]
    assert duration.count == 1


def speak(question: str) -> str:
    """Says it again."""
    return f"{question} {CANARY}"


def broken(question: str) -> str:
    """Fails."""
    raise ValueError(CANARY)


AGENT_STEPS = [
    {"next_thought": CANARY, "next_tool_name": "speak", "next_tool_args": {"question": CANARY}},
    {"next_thought": CANARY, "next_tool_name": "broken", "next_tool_args": {"question": CANARY}},
    {"next_thought": CANARY, "next_tool_name": "finish", "next_tool_args": {}},
    {"reasoning": CANARY, "answer": CANARY},
]


async def test_no_prompt_answer_argument_result_key_or_error_text_is_recorded(
    server: OpenAIServer, recorded: Recorded
) -> None:
    telemetry = recorded.telemetry()
    with context(lm=DummyLM(list(AGENT_STEPS)), callbacks=[telemetry]):
        await ReAct("question -> answer", tools=[speak, broken]).acall(question=CANARY)
    secret = LM("openai/tiny", base_url=server.url, api_key=CANARY, cache=False, extra_headers={"x-secret": CANARY})
    with context(lm=secret, callbacks=[telemetry]):
        await Predict("question -> answer").acall(question=CANARY)

        class Fails(Module):
            async def aforward(self, question: str) -> Any:
                raise RuntimeError(question)

        with pytest.raises(RuntimeError):
            await Fails().acall(question=CANARY)
    assert len(recorded.spans) > 10
    assert CANARY not in recorded.everything()


async def test_content_is_recorded_when_it_is_asked_for(recorded: Recorded) -> None:
    with context(lm=DummyLM(list(AGENT_STEPS)), callbacks=[recorded.telemetry(capture_content=True)]):
        await ReAct("question -> answer", tools=[speak, broken]).acall(question="Why so?")
    chat = recorded.named("chat dummy")[0].attributes or {}
    asked = json.loads(str(chat["gen_ai.input.messages"]))
    assert [message["role"] for message in asked] == ["system", "user"]
    assert "Why so?" in asked[1]["parts"][0]["content"]
    assert CANARY in str(chat["gen_ai.output.messages"])
    tool = recorded.one("execute_tool speak").attributes or {}
    assert json.loads(str(tool["gen_ai.tool.call.arguments"])) == {"question": CANARY}
    assert json.loads(str(tool["gen_ai.tool.call.result"])) == f"{CANARY} {CANARY}"
    assert recorded.one("execute_tool broken").events[0].name == "exception"


async def test_a_model_of_the_user_s_own_has_what_it_tells(recorded: Recorded) -> None:
    class Own(BaseLM):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            text = "[[ ## answer ## ]]\nso\n\n[[ ## completed ## ]]"
            choice = {"message": {"content": text}, "finish_reason": "length"}
            return {"model": "own-2", "choices": [choice], "usage": {"input_tokens": 3, "output_tokens": 4}}

    with context(lm=Own("mistral/own", temperature=1), callbacks=[recorded.telemetry()]):
        await Predict("question -> answer").acall(question="Why?")
    told = recorded.one("chat own").attributes or {}
    assert told["gen_ai.provider.name"] == "mistral"
    assert told["gen_ai.response.model"] == "own-2"
    assert told["gen_ai.response.finish_reasons"] == ("length",)
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (3, 4)


def test_it_works_from_synchronous_code_and_threads(server: OpenAIServer, recorded: Recorded) -> None:
    class Twice(Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = Predict("question -> answer")

        def forward(self, question: str) -> Any:
            self.step(question=question)
            return self.step(question=question)

    configure(lm=lm(server), callbacks=[recorded.telemetry()])
    try:
        Twice()(question="Why?")
        anyio.run(lambda: Twice().acall(question="Why?"))
    finally:
        configure(lm=None, callbacks=[])
    assert recorded.tree().count("module Twice > module Predict > chat tiny") == 4
    assert len(recorded.trace_ids()) == 2


async def test_the_same_object_given_twice_tells_once(server: OpenAIServer, recorded: Recorded) -> None:
    telemetry = recorded.telemetry()
    with context(lm=lm(server, callbacks=[telemetry]), callbacks=[telemetry]):
        await Predict("question -> answer").acall(question="Why?")
    assert recorded.tree() == ["module Predict", "module Predict > chat tiny"]


def test_nothing_of_opentelemetry_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, dspex.router, dspex.engine.telemetry; assert not [m for m in sys.modules if 'opentelemetry' in m]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_package_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from dspex.engine import MissingExtra
from dspex.engine.telemetry import OpenTelemetry
try:
    OpenTelemetry()
except MissingExtra as error:
    assert 'pip install "dspex[opentelemetry]"' in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_with_the_api_alone_it_does_nothing_and_breaks_nothing(server: OpenAIServer) -> None:
    with context(lm=lm(server), callbacks=[OpenTelemetry()]):
        answer = await Predict("question -> answer").acall(question="Why?")
    assert answer.answer == "answer to Why?"
