"""The LM clients, through the real SDKs, against a real HTTP server that misbehaves on request and judges them."""

import logging
import time
from typing import Any

import anyio
import pytest
from dspex.engine import (
    LM,
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMError,
    LMInvalidRequestError,
    LMProviderError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMUnsupportedFeatureError,
    track_usage,
)
from llmock.scenarios import Delay, Fail, Match
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

KEY = "sk-a-key-that-must-not-show"
PROVIDERS = ["openai", "anthropic"]


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def lm(llmock: Any, provider: str):
    async with LM(f"{provider}/test-model", base_url=llmock.base_url(provider), api_key=KEY, max_tokens=50) as made:
        yield made


async def test_a_prompt_is_answered_and_its_usage_recorded(llmock, lm):
    llmock.reply("Paris it is")
    with track_usage() as usage:
        assert await lm.acall("Capital of France?") == ["Paris it is"]
    counts = usage.get_total_tokens()[lm.model]
    assert counts["completion_tokens"] > 0
    assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"]
    llmock.assert_resilient(strict=True)


async def test_a_call_leaves_an_entry_with_the_keys_of_dspy(llmock, lm):
    llmock.reply("hello")
    await lm.acall(messages=[{"role": "user", "content": "hi"}], temperature=0.5)
    (entry,) = lm.history
    assert entry["outputs"] == ["hello"]
    assert entry["messages"] == [{"role": "user", "content": "hi"}]
    assert entry["prompt"] is None
    assert entry["kwargs"] == {"temperature": 0.5}
    assert entry["model"] == lm.model
    assert entry["response_model"] == "test-model"
    assert entry["usage"]["completion_tokens"] > 0
    assert {"response", "cost", "timestamp", "uuid", "model_type"} <= entry.keys()


async def test_system_messages_and_options_reach_the_server(llmock, lm, provider):
    llmock.reply("ok")
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}]
    await lm.acall(messages=messages, stop=["END"], temperature=0.25)
    body = llmock.last_request.body
    assert body["model"] == "test-model"
    assert body["max_tokens"] == 50
    assert body["temperature"] == 0.25
    if provider == "openai":
        assert body["messages"] == messages
        assert body["stop"] == ["END"]
    else:
        assert body["system"] == "Be short."
        assert body["messages"] == messages[1:]
        assert body["stop_sequences"] == ["END"]
    assert "cache" not in body
    assert "timeout" not in body


async def test_a_rate_limited_call_waits_as_long_as_the_server_asks(llmock, lm, provider):
    llmock.rate_limit(retry_after=0.9, provider=provider)  # longer than the client would wait by itself
    started = time.monotonic()
    assert await lm.acall("hi")
    assert time.monotonic() - started >= 0.9
    assert len(llmock.requests) == 2
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("status", [500, 503, 529])
async def test_a_failing_server_is_tried_again(llmock, lm, status):
    llmock.fail(status, retry_after=0.05)
    assert await lm.acall("hi")
    assert len(llmock.requests) == 2
    llmock.assert_resilient(strict=True)


async def test_retries_end(llmock, provider):
    llmock.fail(503, times=None, retry_after=0.1)
    async with LM(f"{provider}/m", base_url=llmock.base_url(provider), api_key=KEY, num_retries=2) as lm:
        with pytest.raises(LMServerError) as caught:
            await lm.acall("hi")
    assert caught.value.status == 503
    assert caught.value.provider == provider
    assert len(llmock.requests) == 3
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, LMInvalidRequestError),
        (401, LMAuthError),
        (402, LMBillingError),
        (403, LMAuthError),
        (404, LMInvalidRequestError),
        (413, LMInvalidRequestError),
        (422, LMInvalidRequestError),
    ],
)
async def test_what_cannot_be_cured_is_not_tried_again(llmock, lm, provider, status, kind):
    llmock.fail(status, times=None)
    with pytest.raises(kind) as caught:
        await lm.acall("hi")
    error = caught.value
    assert isinstance(error, LMProviderError)
    assert (error.status, error.provider, error.model) == (status, provider, lm.model)
    assert error.provider_code
    assert error.__cause__ is not None
    assert len(llmock.requests) == 1
    llmock.assert_resilient()


async def test_a_prompt_that_is_too_long_has_an_error_of_its_own(llmock, lm):
    llmock.context_overflow(times=None)
    with pytest.raises(ContextWindowExceededError):
        await lm.acall("hi")
    llmock.assert_resilient(strict=True)


async def test_a_spent_quota_is_not_a_rate_limit(llmock):
    llmock.fail(429, times=None, code="insufficient_quota", message="You exceeded your current quota.")
    async with LM("openai/m", base_url=llmock.base_url(), api_key=KEY) as lm:
        with pytest.raises(LMBillingError):
            await lm.acall("hi")
    assert len(llmock.requests) == 1


async def test_no_wait_is_begun_that_would_pass_the_deadline(llmock, provider):
    llmock.rate_limit(times=None, retry_after=30)
    async with LM(f"{provider}/m", base_url=llmock.base_url(provider), api_key=KEY, timeout=5) as lm:
        started = time.monotonic()
        with pytest.raises(LMRateLimitError) as caught:
            await lm.acall("hi")
        assert time.monotonic() - started < 4
    assert caught.value.retry_after == 30
    assert "deadline" in caught.value.__notes__[0]


async def test_no_wait_is_begun_that_would_pass_the_deadline_of_an_enclosing_scope(llmock, lm):
    llmock.rate_limit(times=None, retry_after=30)
    with anyio.fail_after(5), pytest.raises(LMRateLimitError):
        await lm.acall("hi")


async def test_the_timeout_covers_the_whole_call(llmock, provider):
    llmock.add(Delay(3.0, times=None))
    async with LM(f"{provider}/m", base_url=llmock.base_url(provider), api_key=KEY) as lm:
        await lm.prepare()
        started = time.monotonic()
        with pytest.raises(LMTimeoutError) as caught:
            await lm.acall("hi", timeout=0.5)
        assert 0.4 < time.monotonic() - started < 2.5
    assert caught.value.model == lm.model


async def test_candidates_are_asked_for_at_the_same_time(llmock, lm):
    await lm.prepare()
    llmock.reset()
    llmock.add(Delay(0.6, times=None))
    started = time.monotonic()
    with track_usage() as usage:
        outputs = await lm.acall("hi", n=4)
    assert time.monotonic() - started < 1.8
    assert len(outputs) == 4
    assert len(llmock.requests) == 4
    one = llmock.requests[0]
    assert one.body.get("n") is None
    each = [answer.usage["completion_tokens"] for answer in lm.history[-1]["response"]]
    assert len(each) == 4
    assert usage.get_total_tokens()[lm.model]["completion_tokens"] == sum(each) > 0


async def test_the_first_failing_candidate_ends_the_others(llmock, lm):
    await lm.prepare()
    llmock.reset()
    llmock.add(Fail(400, times=1, match=Match()), Delay(3.0, times=None))
    started = time.monotonic()
    with pytest.raises(LMInvalidRequestError):
        await lm.acall("hi", n=3)
    assert time.monotonic() - started < 2.5


@pytest.mark.parametrize("n", [0, -1, True, "2"])
async def test_a_number_of_candidates_that_is_none_is_refused(llmock, lm, n):
    with pytest.raises(ValueError, match="positive integer"):
        await lm.acall("hi", n=n)
    assert llmock.requests == []


class Capital(BaseModel):
    city: str
    inhabitants: int = 0


async def test_a_pydantic_class_travels_as_a_strict_schema(llmock):
    async with LM("openai/gpt-4o-mini", base_url=llmock.base_url(), api_key=KEY) as lm:
        (text,) = await lm.acall("Capital of France?", response_format=Capital)
    sent = llmock.last_request.body["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["strict"] is True
    schema = sent["json_schema"]["schema"]
    assert schema["required"] == ["city", "inhabitants"]
    assert schema["additionalProperties"] is False
    assert Capital.model_validate_json(text)


async def test_json_mode_travels_as_it_is(llmock):
    async with LM("openai/gpt-4o-mini", base_url=llmock.base_url(), api_key=KEY) as lm:
        await lm.acall("hi", response_format={"type": "json_object"})
    assert llmock.last_request.body["response_format"] == {"type": "json_object"}


async def test_tool_calls_come_back_beside_the_text(llmock):
    llmock.call_tool("search", {"query": "x"})
    tool = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}
    async with LM("openai/gpt-4o-mini", base_url=llmock.base_url(), api_key=KEY) as lm:
        (output,) = await lm.acall("find x", tools=[tool])
    (call,) = output["tool_calls"]
    assert call["function"]["name"] == "search"
    assert call["function"]["arguments"].replace(" ", "") == '{"query":"x"}'
    assert "text" in output


async def test_what_a_provider_has_no_equal_for_is_refused_by_name_and_not_sent(llmock):
    async with LM("anthropic/m", base_url=llmock.base_url("anthropic"), api_key=KEY) as lm:
        with pytest.raises(LMUnsupportedFeatureError) as caught:
            await lm.acall("hi", response_format={"type": "json_object"})
        assert caught.value.features == ["response_format"]
        with pytest.raises(LMUnsupportedFeatureError) as caught:
            await lm.acall("hi", seed=3, logprobs=True)
    assert caught.value.features == ["logprobs", "seed"]
    assert llmock.requests == []


async def test_an_openai_style_base_url_works_for_anthropic_too(llmock):
    async with LM("anthropic/m", base_url=llmock.base_url("anthropic") + "/v1", api_key=KEY) as lm:
        assert await lm.acall("hi")


async def test_the_key_shows_nowhere(llmock, lm, caplog):
    with caplog.at_level(logging.DEBUG, logger="dspex"):
        await lm.acall("hi")
        await lm.acall("hi", api_key="sk-another-key-for-one-call")
        llmock.fail(401, message=f"Incorrect API key provided: {KEY}")
        with pytest.raises(LMAuthError) as caught:
            await lm.acall("hi")
    seen = [repr(lm), repr(vars(lm).get("kwargs")), repr(lm.dump_state()), repr(lm.history), caplog.text]
    seen += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
    for text in seen:
        assert KEY not in text
        assert "sk-another-key" not in text
    assert "***" in str(caught.value)


async def test_a_closed_lm_opens_again_on_the_next_call(llmock, lm):
    assert await lm.acall("one")
    await lm.aclose()
    assert await lm.acall("two")


async def test_copies_share_the_connection(llmock, lm):
    await lm.acall("one")
    copy = lm.copy(temperature=1.0)
    assert await copy._client(copy._access(copy.kwargs)) is await lm._client(lm._access(lm.kwargs))
    assert copy.history == []
    assert lm.kwargs["temperature"] is None


async def test_a_burst_of_first_calls_makes_one_client(llmock, provider):
    async with LM(f"{provider}/m", base_url=llmock.base_url(provider), api_key=KEY) as lm:
        async with anyio.create_task_group() as group:
            for index in range(10):
                group.start_soon(lm.acall, f"hi {index}")
        assert len(llmock.requests) == 10


async def test_history_is_bounded_and_can_be_off(llmock, lm):
    from dspex.engine import context

    with context(max_history_size=2):
        for index in range(3):
            await lm.acall(f"hi {index}")
    assert [entry["prompt"] for entry in lm.history] == ["hi 1", "hi 2"]
    with context(disable_history=True):
        await lm.acall("hidden")
    assert len(lm.history) == 2


async def test_every_failure_is_an_lm_error(llmock, lm):
    for status in (400, 408, 409, 418, 451, 500, 599):
        llmock.fail(status)
        with pytest.raises(LMError):
            await lm.acall(f"hi {status}", num_retries=0)
