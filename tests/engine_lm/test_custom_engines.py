"""Engines of the user's behind `LM(engine=...)`, and requests of the protocol: the same as in dspy, call by call."""

import threading
from types import ModuleType
from typing import Any

import anyio
import dspex.engine as engine
import pytest
from dspex.engine import LM, BaseLM, LMUnexpectedError

# dspy's own advice to leave its older calls, which the engine keeps.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:Passing OpenAI-style:DeprecationWarning")]


def make_engine(lm15: Any) -> Any:
    class Echo:
        supports_function_calling = True
        supported_params = ("temperature", "tools")

        def __init__(self) -> None:
            self.requests: list[Any] = []

        def complete(self, request: Any) -> Any:
            self.requests.append(request)
            said = request.messages[-1].text or "?"
            parts: list[Any] = [lm15.TextPart(f"echo {said}")]
            if "think" in said:
                parts.insert(0, lm15.ThinkingPart("hm"))
            if "call" in said:
                parts.append(lm15.ToolCallPart("c1", "search", {"q": "x"}))
            return lm15.Response(
                id="r1",
                model="echo-1",
                message=lm15.Message.assistant(parts),
                finish_reason="length" if "long" in said else "stop",
                usage=lm15.Usage(input_tokens=3, output_tokens=4, cache_read_tokens=1),
            )

    return Echo()


@pytest.mark.parametrize("said", ["plain", "think", "call", "think and call", "long"])
def test_outputs_usage_and_request_are_those_of_dspy(dspy: ModuleType, said: str) -> None:
    results = []
    for library in (dspy, engine):
        custom = make_engine(library.lm15)
        lm = library.LM("my/echo", engine=custom, cache=False, temperature=0.5, max_tokens=9, stop=["END"])
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": said}]
        outputs = lm(messages=messages, top_p=0.9)
        (request,) = custom.requests
        plain = [
            {"text": output} if isinstance(output, str) else {key: output[key] for key in sorted(output)}
            for output in outputs
        ]
        config = request.config
        sent = (config.temperature, config.max_tokens, config.stop, config.top_p, request.system, request.model)
        results.append((plain, lm.history[-1]["usage"], sent, [message.text for message in request.messages]))
    theirs, ours = results
    assert ours[1:] == theirs[1:]
    assert str(ours[0]) == str(theirs[0])


def test_a_request_of_the_protocol_gets_its_response(dspy: ModuleType) -> None:
    for library in (dspy, engine):
        lm15 = library.lm15
        lm = library.LM("my/echo", engine=make_engine(lm15), cache=False)
        request = lm15.Request(model="my/echo", messages=(lm15.Message.user("think and call"),))
        response = lm(request)
        assert isinstance(response, lm15.Response)
        assert response.tool_calls[0].input == {"q": "x"}
        assert response.message.first(lm15.ThinkingPart).text == "hm"
        assert (response.usage.input_tokens, response.usage.cache_read_tokens) == (3, 1)
        for arguments, error in (
            ({"temperature": 0.5}, TypeError),
            ({"messages": [{"role": "user", "content": "x"}]}, TypeError),
            ({"request": request}, TypeError),
        ):
            with pytest.raises(error):
                lm(request, **arguments)
        with pytest.raises(ValueError, match="must match"):
            lm(lm15.Request(model="other", messages=(lm15.Message.user("x"),)))
        with pytest.raises(TypeError):
            lm(request="not one")


def test_arguments_are_refused_in_dspys_words(dspy: ModuleType) -> None:
    class NoComplete:
        pass

    class Asynchronous:
        async def complete(self, request: Any) -> Any: ...

    class Synchronous:
        def complete(self, request: Any) -> Any: ...

    cases: list[dict[str, Any]] = [
        {"engine": "magic"},
        {"engine": NoComplete()},
        {"engine": Asynchronous()},
        {"engine": Synchronous(), "async_engine": Synchronous()},
        {"engine": Synchronous(), "async_engine": NoComplete()},
        {"async_engine": Asynchronous()},
    ]
    for case in cases:
        with pytest.raises((TypeError, ValueError)) as theirs:
            dspy.LM("my/x", **case)
        with pytest.raises(type(theirs.value)) as ours:
            LM("my/x", **case)
        assert str(ours.value) == str(theirs.value)
    for options in ({"api_key": "k"}, {"api_base": "http://x"}, {"timeout": 3}):
        for make in (dspy.LM, LM):
            with pytest.raises(ValueError, match="a custom engine owns its own"):
                make("my/x", engine=Synchronous(), **options)
            with pytest.raises(ValueError, match=r"LM\.copy"):
                make("my/x", engine=Synchronous()).copy(**options)
            with pytest.raises(ValueError, match="LM call"):
                make("my/x", engine=Synchronous())("hi", **options)


async def test_a_synchronous_engine_does_not_block_the_loop() -> None:
    threads = []

    class Blocking:
        def complete(self, request: Any) -> Any:
            threads.append(threading.get_ident())
            return make_engine(engine.lm15).complete(request)

    lm = LM("my/x", engine=Blocking(), cache=False)
    assert await lm.acall("hi") == ["echo hi"]
    assert threads != [threading.get_ident()]


async def test_an_asynchronous_engine_serves_acall() -> None:
    class Asynchronous:
        async def complete(self, request: Any) -> Any:
            await anyio.sleep(0)
            return make_engine(engine.lm15).complete(request)

    class Never:
        def complete(self, request: Any) -> Any:
            raise AssertionError

    lm = LM("my/x", engine=Never(), async_engine=Asynchronous(), cache=False)
    assert await lm.acall("hi", n=2) == ["echo hi", "echo hi"]
    assert lm.copy(engine=Never())._async_engine_spec is None


async def test_what_an_engine_raises_is_typed_and_retried_when_that_helps() -> None:
    class Failing:
        def __init__(self, *errors: Exception) -> None:
            self.errors = list(errors)

        def complete(self, request: Any) -> Any:
            if self.errors:
                raise self.errors.pop(0)
            return make_engine(engine.lm15).complete(request)

    soon = engine.lm15.RateLimitError("slow down", retry_after=0.0)
    assert await LM("my/x", engine=Failing(soon, soon), cache=False).acall("hi") == ["echo hi"]
    with pytest.raises(LMUnexpectedError) as caught:
        await LM("my/x", engine=Failing(KeyError("what")), cache=False).acall("hi")
    assert isinstance(caught.value.__cause__, KeyError)

    class Liar:
        def complete(self, request: Any) -> Any:
            return "text"

    with pytest.raises(LMUnexpectedError, match=r"must return dspy\.lm15\.Response, got builtins\.str"):
        await LM("my/x", engine=Liar(), cache=False).acall("hi")


async def test_capabilities_are_those_the_engine_declares() -> None:
    lm = LM("my/x", engine=make_engine(engine.lm15))
    assert lm.supports_function_calling
    assert not lm.supports_response_schema
    assert lm.supported_params == {"temperature", "tools"}


class Saved:
    """An engine that can be saved."""

    def __init__(self, word: str = "hi") -> None:
        self.word = word

    def complete(self, request: Any) -> Any:
        return make_engine(engine.lm15).complete(request)

    def dump_state(self) -> dict[str, Any]:
        return {"word": self.word}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> "Saved":
        return cls(**state)


def test_an_engine_is_saved_with_its_lm_and_loaded_only_when_allowed() -> None:
    state = LM("my/x", engine=Saved("hello")).dump_state()
    assert state["engine"] == {"class": f"{__name__}:Saved", "state": {"word": "hello"}}
    with pytest.raises(ValueError, match="allow_unsafe_lm_state=True"):
        BaseLM.load_state(state)
    loaded = BaseLM.load_state(state, allow_custom_lm_class=True)
    assert loaded.engine.word == "hello"
    with pytest.raises(TypeError, match="cannot be saved"):
        LM("my/x", engine=make_engine(engine.lm15)).dump_state()


async def test_the_answers_of_an_engine_are_cached_as_any() -> None:
    engine.configure_cache(enable_disk_cache=False)
    custom = make_engine(engine.lm15)
    lm = LM("my/x", engine=custom)
    assert await lm.acall("hi") == await lm.acall("hi")
    assert len(custom.requests) == 1


def test_text_that_no_provider_can_receive_is_refused_before(dspy: ModuleType) -> None:
    for make in (dspy.LM, LM):
        lib = dspy if make is dspy.LM else engine
        with pytest.raises(ValueError, match=r"lone surrogate U\+D800"):
            make("my/x", engine=make_engine(lib.lm15), cache=False)("a \ud800 b")
