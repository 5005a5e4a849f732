"""What an LM object is before it makes a request: parameters, copies, state, capabilities; and what it refuses."""

import copy
import sys
from types import ModuleType
from typing import Any

import pytest
from dspex.engine import (
    LM,
    BaseLM,
    LMConfigurationError,
    LMNotConfiguredError,
    MissingExtra,
)
from dspex.engine.lm.refusals import retry_after_seconds
from dspex.engine.lm.retry import Backoff


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["nobody/x", "meta-llama/Llama-3"])
async def test_an_unknown_provider_may_be_described_and_not_called(model: str) -> None:
    lm = LM(model, temperature=0.5)
    assert lm.dump_state()["model"] == model
    assert not lm.supports_function_calling
    assert not lm.supports_response_schema
    with pytest.raises(LMConfigurationError, match=r'"openai/\.\.\.", "anthropic/\.\.\."') as caught:
        await lm.acall("hi")
    assert caught.value.provider == model.split("/")[0]
    assert f'LM("openai/{model}"' in str(caught.value)


@pytest.mark.parametrize("model", ["", None, "openai/"])
def test_a_model_must_be_named(model: Any) -> None:
    with pytest.raises(ValueError, match="model"):
        LM(model)


@pytest.mark.parametrize(
    "parameters", [{"num_retries": -1}, {"num_retries": True}, {"timeout": 0}, {"timeout": "soon"}, {"timeout": True}]
)
def test_a_parameter_that_makes_no_sense_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        LM("openai/x", **parameters)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"engine": object()}, TypeError),
        ({"engine": "magic"}, ValueError),
        ({"async_engine": object()}, ValueError),
        ({"prompt_cache": object()}, TypeError),
        ({"model_type": "telepathy"}, ValueError),
        ({"requests_per_minute": 0}, ValueError),
        ({"tokens_per_minute": "many"}, ValueError),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(parameters: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        LM("openai/x", **parameters)


@pytest.mark.parametrize("model", ["openai/o3", "openai/gpt-5", "openai/gpt-5-mini", "openai/o1-2024-12-17"])
@pytest.mark.parametrize("parameters", [{"temperature": 0.5}, {"max_tokens": 100}])
def test_reasoning_models_refuse_what_dspy_refuses_for_them(
    dspy: ModuleType, model: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(dspy.LMConfigurationError):
        dspy.LM(model, **parameters)
    with pytest.raises(LMConfigurationError):
        LM(model, **parameters)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("openai/gpt-4o-mini", {}),
        ("openai/gpt-4o-mini", {"temperature": 0.3, "max_tokens": 7, "cache": False, "num_retries": 0, "seed": 3}),
        ("openai/gpt-5", {"temperature": 1.0, "max_tokens": 20000}),
        ("anthropic/claude-sonnet-4-6", {"api_key": "sk-secret-secret", "rollout_id": 3}),
        ("openai/x", {"api_base": "http://127.0.0.1:1/v1", "use_developer_role": True}),
    ],
)
def test_options_and_state_are_those_of_dspy(dspy: ModuleType, model: str, parameters: dict[str, Any]) -> None:
    theirs, ours = dspy.LM(model, **parameters), LM(model, **parameters)
    theirs.kwargs.pop("api_key", None)  # dspy keeps the key among the options; we keep it apart
    assert ours.kwargs == theirs.kwargs
    assert ours.dump_state() == theirs.dump_state()
    rebuilt = BaseLM.load_state(theirs.dump_state())
    assert type(rebuilt) is LM
    assert rebuilt.dump_state() == ours.dump_state()


def test_a_copy_changes_as_in_dspy(dspy: ModuleType) -> None:
    for kind in (dspy.LM, LM):
        lm = kind("openai/gpt-4o-mini", temperature=0.1, seed=1)
        made = lm.copy(temperature=0.9, seed=None, rollout_id=4, num_retries=9)
        assert made.kwargs == {"temperature": 0.9, "max_tokens": None, "rollout_id": 4}
        assert made.num_retries == 9
        assert lm.kwargs == {"temperature": 0.1, "max_tokens": None, "seed": 1}


def test_a_copy_may_speak_to_another_model() -> None:
    made = LM("openai/a").copy(model="anthropic/b")
    assert made.model == "anthropic/b"
    assert made._provider.name == "anthropic"
    with pytest.raises(ValueError, match="no model id"):
        LM("openai/a").copy(model="nobody/")


def test_a_deep_copy_has_its_own_options_and_the_same_connection() -> None:
    lm = LM("openai/a", extra_body_option={"x": [1]})
    made = copy.deepcopy(lm)
    made.kwargs["extra_body_option"]["x"].append(2)
    assert lm.kwargs["extra_body_option"] == {"x": [1]}
    assert made._connections is lm._connections


def test_a_state_cannot_choose_code_to_import() -> None:
    state = {"_dspy_lm_class": "os.system", "model": "x"}
    with pytest.raises(ValueError, match="allow_unsafe_lm_state"):
        BaseLM.load_state(state)
    with pytest.raises(TypeError, match="did not resolve to a class"):
        BaseLM.load_state(state, allow_custom_lm_class=True)
    with pytest.raises(TypeError, match=r"must be a subclass of dspy\.BaseLM"):
        BaseLM.load_state({"_dspy_lm_class": "pathlib.Path", "model": "x"}, allow_custom_lm_class=True)
    with pytest.raises(ImportError):
        BaseLM.load_state({"_dspy_lm_class": "no.such.Class", "model": "x"}, allow_custom_lm_class=True)


def test_rollout_id_at_temperature_zero_warns_once_as_in_dspy() -> None:
    with pytest.warns(UserWarning, match="rollout_id has no effect"):
        LM("openai/x", temperature=0, rollout_id=1)


@pytest.mark.parametrize(
    ("model", "schema"),
    [
        ("openai/gpt-4o-mini", True),
        ("openai/my-local-model", True),
        ("openai/gpt-3.5-turbo", False),
        ("openai/gpt-4", False),
        ("openai/gpt-4-turbo", False),
        ("openai/gpt-4.1", True),
        ("anthropic/claude-sonnet-4-6", True),
        ("anthropic/claude-3-5-haiku", False),
    ],
)
def test_capabilities_are_told_without_a_request(model: str, schema: bool) -> None:
    lm = LM(model)
    assert lm.supports_response_schema is schema
    assert ("response_format" in lm.supported_params) is (schema or model.startswith("openai/"))
    assert "temperature" in lm.supported_params


@pytest.mark.anyio
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_missing_sdk_is_one_error_that_names_the_extra(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, provider, None)
    with pytest.raises(MissingExtra, match=rf'pip install "dspex\[{provider}\]"') as caught:
        await LM(f"{provider}/x", api_key="k").acall("hi")
    assert isinstance(caught.value, ImportError)
    assert (caught.value.extra, caught.value.name) == (provider, provider)


@pytest.mark.anyio
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_missing_key_is_one_error_that_says_how_to_give_it(
    provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    async with LM(f"{provider}/x") as lm:
        with pytest.raises(LMNotConfiguredError, match=f"{provider.upper()}_API_KEY") as caught:
            await lm.acall("hi")
    assert caught.value.model == f"{provider}/x"


def test_waits_double_within_their_spread_and_up_to_a_limit() -> None:
    backoff = Backoff(first=0.5, longest=8.0)
    for retry, whole in enumerate([0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]):
        assert backoff.delay(retry, None, luck=lambda: 0.0) == pytest.approx(0.75 * whole)
        assert backoff.delay(retry, None, luck=lambda: 1.0) == pytest.approx(1.25 * whole)
    assert backoff.delay(10_000, None) <= 10.0


def test_a_wait_that_was_asked_for_is_never_shortened() -> None:
    backoff = Backoff()
    assert backoff.delay(0, 7.0, luck=lambda: 0.0) == 7.0
    assert backoff.delay(0, 7.0, luck=lambda: 1.0) == pytest.approx(7.7)
    assert backoff.delay(0, float("nan"), luck=lambda: 0.5) == 0.5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "tomorrow"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds
