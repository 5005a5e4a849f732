"""The bodies that reach a server, and what becomes of its answers: responses, text and messages APIs through the SDKs."""

import json
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine import LM, LMUnexpectedError, LMUnsupportedFeatureError
from dspex.engine.lm.json_schema import strict_json_schema
from dspex.engine.lm.responses_shape import responses_body, responses_outputs
from pydantic import BaseModel
from scripted_server import answer, chat_answer, scripted_server

pytestmark = pytest.mark.anyio

TOOL = {
    "type": "function",
    "function": {"name": "search", "description": "Find.", "parameters": {"type": "object", "properties": {}}},
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "look"}, IMAGE]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "found"},
    {"role": "user", "content": "and?"},
]


class Place(BaseModel):
    city: str
    note: str | None = None


def lm_at(url: str, model: str = "openai/m", **options: Any) -> LM:
    return LM(model, base_url=url, api_key="sk-not-a-real-key", **{"num_retries": 0, "cache": False, **options})


async def responding(body: dict[str, Any]) -> AsyncIterator[bytes]:
    output = [
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "type": "message",
            "id": "m",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": "Paris",
                    "annotations": [{"type": "url_citation", "url": "http://x", "title": "T", "start_index": 0}],
                }
            ],
        },
        {"type": "function_call", "id": "fc", "call_id": "c9", "name": "search", "arguments": '{"q":1}'},
    ]
    usage = {
        "input_tokens": 10,
        "output_tokens": 4,
        "total_tokens": 14,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    yield answer({"id": "r", "object": "response", "model": "m-2", "status": "completed", "output": output, "usage": usage})


async def test_the_responses_api_gets_its_own_shape_and_gives_dspys() -> None:
    async with scripted_server(responding) as server, lm_at(server.url, model_type="responses", max_tokens=99) as lm:
        outputs = await lm.acall(messages=CONVERSATION, tools=[TOOL], reasoning_effort="low", response_format=Place)
        assert server.paths == ["/v1/responses"]
        (body,) = server.bodies
    assert body["max_output_tokens"] == 99
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["tools"][0]["name"] == "search"
    assert body["text"]["format"]["schema"]["additionalProperties"] is False
    assert [item.get("type", item.get("role")) for item in body["input"]] == [
        "system",
        "user",
        "function_call",
        "function_call_output",
        "user",
    ]
    assert "messages" not in body
    (output,) = outputs
    assert output["text"] == "Paris"
    assert output["reasoning_content"] == "hm"
    assert output["tool_calls"] == [
        {"type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}, "id": "c9"}
    ]
    assert output["citations"][0]["url"] == "http://x"
    assert lm.history[0]["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_tokens": 5, "temperature": 0.5, "stop": None},
        {"max_completion_tokens": 5, "reasoning_effort": "high", "reasoning": None},
        {"reasoning_effort": "high", "reasoning": {"effort": "low"}},
        {"tools": [TOOL, {"type": "web_search"}], "tool_choice": {"type": "function", "function": {"name": "search"}}},
        {"tools": [{"type": "function", "function": {"name": "f", "description": None}, "strict": True}]},
        {"response_format": Place, "text": {"verbosity": "low"}},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_requests_are_translated_as_in_dspy(dspy: ModuleType, options: dict[str, Any]) -> None:
    from dspy.clients.legacy_requests import chat_to_responses

    theirs = chat_to_responses({"messages": CONVERSATION, **options})
    ours = responses_body(CONVERSATION, {key: value for key, value in options.items() if value is not None})
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(theirs))


def test_answers_are_read_as_in_dspy(dspy: ModuleType) -> None:
    from dspy.clients.legacy_outputs import responses_outputs as theirs

    reasoning = [{"type": "reasoning", "content": [{"text": "a"}], "summary": [{"text": "b"}]}]
    broken = [{"type": "function_call", "name": "f", "arguments": "{no json", "call_id": None}]
    for output in ([], reasoning, broken, None):
        assert responses_outputs({"output": output}) == theirs({"output": output})


def test_strict_schemas_are_dspys(dspy: ModuleType) -> None:
    from dspy.clients.legacy_requests import _strict_json_schema

    class Deep(BaseModel):
        places: list[Place]
        one: Place | None = None
        kind: dict[str, int] = {}
        described: Place = Place(city="x")

    for model in (Place, Deep):
        assert strict_json_schema(model.model_json_schema()) == _strict_json_schema(model.model_json_schema())


async def test_a_system_message_may_go_as_the_developers() -> None:
    async with scripted_server(responding) as server:
        for flag, role in ((True, "developer"), (False, "system")):
            async with lm_at(server.url, model_type="responses", use_developer_role=flag) as lm:
                await lm.acall(messages=CONVERSATION)
            assert server.bodies[-1]["input"][0]["role"] == role


async def test_a_response_that_failed_is_an_error_and_one_that_was_cut_off_is_not(caplog: Any) -> None:
    async def script(body: dict[str, Any]) -> AsyncIterator[bytes]:
        part = {"type": "output_text", "text": "Par", "annotations": []}
        output = [{"type": "message", "id": "m", "role": "assistant", "content": [part]}]
        if body["input"][0]["content"][0]["text"] == "fail":
            error = {"code": "server_error", "message": "it broke"}
            yield answer({"id": "r", "model": "m", "status": "failed", "error": error, "output": []})
        else:
            cut = {"reason": "max_output_tokens"}
            yield answer(
                {"id": "r", "model": "m", "status": "incomplete", "incomplete_details": cut, "output": output}
            )

    async with scripted_server(script) as server, lm_at(server.url, model_type="responses") as lm:
        with pytest.raises(LMUnexpectedError, match="it broke"):
            await lm.acall("fail")
        assert await lm.acall("cut") == [{"text": "Par"}]
    assert "LM response was truncated; increase max_tokens or inspect history." in caplog.text


async def test_the_text_api_gets_one_prompt() -> None:
    async def script(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield answer({"id": "t", "model": "m", "choices": [{"text": " Paris", "finish_reason": "stop", "index": 0}]})

    async with scripted_server(script) as server, lm_at(server.url, model_type="text", max_tokens=3) as lm:
        messages = [{"role": "system", "content": "A"}, {"role": "user", "content": "B"}]
        assert await lm.acall(messages=messages) == [" Paris"]
        assert server.paths == ["/v1/completions"]
        assert server.bodies[0]["prompt"] == "A\n\nB\n\nBEGIN RESPONSE:"


async def anthropic_answer(body: dict[str, Any]) -> AsyncIterator[bytes]:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Paris"},
        {"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "x"}},
    ]
    usage = {"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1}
    yield answer(
        {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "model": "m-3",
            "content": content,
            "stop_reason": "tool_use",
            "usage": usage,
        }
    )


async def test_anthropic_gets_tools_images_and_results_in_its_shape() -> None:
    async with scripted_server(anthropic_answer) as server, lm_at(server.url, "anthropic/some-model") as lm:
        (output,) = await lm.acall(
            messages=CONVERSATION,
            tools=[TOOL],
            tool_choice="required",
            parallel_tool_calls=False,
            response_format=Place,
            reasoning_effort="low",
            max_tokens=100,
            stop="END",
        )
        (body,) = server.bodies
    assert body["system"] == "Be brief."
    assert body["messages"][0]["content"][1]["source"] == {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert body["messages"][1]["content"] == [{"type": "tool_use", "id": "c1", "name": "search", "input": {"q": "x"}}]
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "c1", "content": "found"}]
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {}}
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert body["output_config"]["format"]["schema"]["required"] == ["city", "note"]
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert body["max_tokens"] == 2148
    assert body["stop_sequences"] == ["END"]
    assert output["text"] == "Paris"
    assert output["reasoning_content"] == "hm"
    assert output["tool_calls"][0]["function"] == {"name": "search", "arguments": '{"q": "x"}'}
    assert lm.history[0]["usage"]["prompt_tokens"] == 8


async def test_newer_anthropic_models_get_an_effort() -> None:
    async with scripted_server(anthropic_answer) as server, lm_at(server.url, "anthropic/claude-opus-4-6") as lm:
        await lm.acall("hi", reasoning_effort="high")
        await lm.acall("hi", reasoning_effort="none")
        with pytest.raises(LMUnsupportedFeatureError, match="reasoning_effort='very'"):
            await LM("anthropic/some-model", base_url=server.url, api_key="k", cache=False).acall(
                "hi", reasoning_effort="very"
            )
    assert server.bodies[0]["thinking"] == {"type": "adaptive"}
    assert server.bodies[0]["output_config"] == {"effort": "high"}
    assert server.bodies[1]["thinking"] == {"type": "disabled"}


async def test_a_prompt_may_be_kept_by_the_provider() -> None:
    config = engine.lm15.CacheConfig
    async with scripted_server(anthropic_answer) as server, lm_at(server.url, "anthropic/m") as lm:
        messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
        await lm.acall(messages=messages, prompt_cache=config())
        await lm.acall(messages=messages, prompt_cache=config(prefix="history", retention="long"))
        await lm.acall(messages=messages)
        marked, long, plain = server.bodies
    mark = {"type": "ephemeral"}
    assert marked["system"] == [{"type": "text", "text": "S", "cache_control": mark}]
    assert long["messages"][-1]["content"][-1]["cache_control"] == {**mark, "ttl": "1h"}
    assert (plain["system"], plain["messages"][-1]["content"]) == ("S", "U")

    async def script(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield chat_answer("x")

    cached = config(key="k", retention="long")
    async with scripted_server(script) as server, lm_at(server.url, prompt_cache=cached) as lm:
        await lm.acall("hi")
        assert server.bodies[0]["prompt_cache_key"] == "k"
        assert server.bodies[0]["prompt_cache_retention"] == "24h"
        assert "prompt_cache" not in server.bodies[0]
        assert lm.dump_state()["prompt_cache"] == {"mode": "auto", "key": "k", "retention": "long"}
        with pytest.raises(LMUnsupportedFeatureError, match=r"cache\.resource"):
            await lm.acall("hi", prompt_cache=config(resource="r"))


async def test_a_subclass_of_lm_that_answers_by_itself_is_asked() -> None:
    class Own(LM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return {"model": "own", "choices": [{"message": {"content": "mine"}}], "usage": {"total_tokens": 1}}

    lm = Own("openai/gpt-4o-mini")
    assert await lm.acall("hi") == ["mine"]
    assert lm.history[0]["response_model"] == "own"


async def test_forward_gives_an_openai_shaped_answer_and_keeps_no_history() -> None:
    async def script(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield chat_answer("x")

    async with scripted_server(script) as server, lm_at(server.url) as lm:
        response = await lm.aforward(messages=[{"role": "user", "content": "hi"}])
    assert response.choices[0].message.content == "x"
    assert response.model == "m-1"
    assert response.usage["total_tokens"] == 12
    assert lm.history == []


async def test_an_lm_whose_call_is_overridden_is_called_that_way() -> None:
    class Own(engine.BaseLM):
        def __call__(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return ["[[ ## answer ## ]]\nmine"]

    with engine.context(lm=Own("own")):
        assert (await engine.Predict("question -> answer").acall(question="?")).answer == "mine"
