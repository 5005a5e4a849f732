"""LMs without a network, errors, adapters called by themselves, usage, callbacks: the public names around a prediction."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pydantic

_ERRORS = [
    "AdapterParseError", "ContextWindowExceededError", "DSPyError", "LMAuthError", "LMBillingError",
    "LMConfigurationError", "LMError", "LMInvalidRequestError", "LMNotConfiguredError", "LMProviderError",
    "LMRateLimitError", "LMServerError", "LMTimeoutError", "LMTransportError", "LMUnexpectedError",
    "LMUnsupportedFeatureError", "LMUnsupportedModelError", "LMCollectionLimitError", "LMLockTimeoutError",
    "LMStreamAssemblyError",
]


def _answer(text: str, **more: Any) -> Any:
    message = SimpleNamespace(content=text, tool_calls=None, reasoning_content=None, **more)
    choice = SimpleNamespace(message=message, finish_reason="stop")
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return SimpleNamespace(choices=[choice], usage=usage, model="own-1")


def _own(ns: Any, **options: Any) -> Any:
    class Own(ns.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            asked = messages[-1]["content"] if messages else prompt
            return _answer(f"you said {asked!r} with {sorted(kwargs.items())}")

    return Own("own/model", **options)


def _error(ns: Any, name: str) -> Any:
    made = getattr(ns, name)("it failed", model="m", provider="p", status=429, request_id="r", retry_after=2.0)
    return [str(made), made.args, made.code, made.model, made.provider, made.status, made.request_id, made.retry_after]


def _lineage(ns: Any, name: str) -> Any:
    names = [cls.__name__ for cls in getattr(ns, name).__mro__]
    return ["DSPyError" if each == "EngineError" else each for each in names if each not in ("AdapterError",)]


def _kept_out_of_state(ns: Any) -> Any:
    return _own(ns, temperature=0.5, max_tokens=7, api_key="secret").dump_state()


def _parsed(ns: Any, adapter: Any, signature: Any, text: str) -> Any:
    return adapter.parse(ns.Signature(signature), text)


def _formatted(ns: Any, adapter: Any) -> Any:
    sig = ns.Signature("question, context: list[str] -> answer: str, score: float", "Do it.")
    demos = [
        {"question": "q", "context": ["c"], "answer": "a", "score": 1.0},
        {"question": "only q", "answer": "a"},
        {"question": "dropped"},
    ]
    return adapter.format(sig, demos, {"question": "now", "context": ["x", "y"]})


def _adapter_call(ns: Any, adapter: Any) -> Any:
    lm = ns.utils.DummyLM([{"answer": "a"}])
    return adapter(lm, {}, ns.Signature("q -> answer"), [], {"q": "x"})


def _callbacks(ns: Any) -> Any:
    seen: list[Any] = []

    class Log(ns.utils.BaseCallback):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                return lambda **kwargs: seen.append((name, sorted(kwargs)))
            return super().__getattribute__(name)

    lm = ns.utils.DummyLM([{"reasoning": "r", "answer": "a"}])
    with ns.context(lm=lm, callbacks=[Log()]):
        ns.ChainOfThought("q -> answer")(q="x")
    return seen


def _broken_callback(ns: Any) -> Any:
    class Broken(ns.utils.BaseCallback):
        def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            raise RuntimeError("broken")

        def __repr__(self) -> str:
            return "<Broken>"

    with ns.context(lm=ns.utils.DummyLM([{"answer": "a"}]), callbacks=[Broken()]):
        return ns.Predict("q -> answer")(q="x")


def _usage_of_two(ns: Any) -> Any:
    lm = _own(ns)
    with ns.track_usage() as outer:
        lm("a")
        with ns.track_usage() as inner:
            lm("b")
    return outer.get_total_tokens(), inner.get_total_tokens()


def _history_of(ns: Any, lm: Any) -> Any:
    lm("hello", temperature=0.3, api_key="secret")
    entry = lm.history[-1]
    return {k: entry[k] for k in ("prompt", "messages", "kwargs", "outputs", "usage", "model", "response_model", "model_type")}


class _Point(pydantic.BaseModel):
    x: int


def _tool(ns: Any) -> Any:
    def add(a: int, b: int = 2) -> int:
        """Add them."""
        return a + b

    return ns.Tool(add)


BEHAVIOURS: dict[str, Callable[[Any], Any]] = {
    **{f"the lineage of {name}": (lambda ns, name=name: _lineage(ns, name)) for name in _ERRORS},
    **{
        f"a {name}": (lambda ns, name=name: _error(ns, name))
        for name in _ERRORS
        if name not in ("AdapterParseError", "ContextWindowExceededError")
    },
    "an error without anything": lambda ns: (str(ns.DSPyError()), ns.DSPyError().code, ns.DSPyError("x").message),
    "ContextWindowExceededError": lambda ns: (
        str(ns.ContextWindowExceededError()),
        str(ns.ContextWindowExceededError(model="m", message="too long")),
    ),
    "is_retryable_lm_error": lambda ns: [
        ns.is_retryable_lm_error(getattr(ns, name)("x")) for name in _ERRORS if name.startswith("LM")
    ],
    "AdapterParseError": lambda ns: (
        lambda e: (str(e), e.adapter_name, e.lm_response, e.parsed_result, e.signature.signature)
    )(ns.AdapterParseError("ChatAdapter", ns.Signature("q -> a"), "text", "message", {"b": 1})),
    "an LM of one's own": lambda ns: _own(ns)("hi"),
    "an LM of one's own with messages": lambda ns: _own(ns)(messages=[{"role": "user", "content": "hi"}]),
    "an LM of one's own with options": lambda ns: _own(ns, temperature=0.2, max_tokens=5, top_p=1)("hi", temperature=0.9),
    "an LM of one's own through Predict": lambda ns: ns.Predict("q -> answer")(q="x", lm=_own(ns)),
    "the kwargs of an LM": lambda ns: (_own(ns).kwargs, _own(ns, temperature=0.1, n=2).kwargs),
    "the attributes of an LM": lambda ns: (
        lambda lm: (lm.model, lm.model_type, lm.cache, lm.num_retries, lm.callbacks, lm.history)
    )(_own(ns)),
    "an LM's capabilities": lambda ns: (
        lambda lm: (lm.supports_function_calling, lm.supports_reasoning, lm.supports_response_schema, lm.supported_params)
    )(_own(ns)),
    "an LM without forward": lambda ns: ns.BaseLM("m")("hi"),
    "an LM without a prompt": lambda ns: _own(ns)(),
    "a copy of an LM": lambda ns: (lambda lm: (lm.copy(temperature=0.7, rollout_id=3).kwargs, lm.kwargs))(_own(ns)),
    "a copy that removes": lambda ns: _own(ns, temperature=0.5).copy(temperature=None).kwargs,
    "a copy of an attribute": lambda ns: _own(ns).copy(model="other", cache=False).model,
    "a deep copy of an LM": lambda ns: (lambda lm: (copy.deepcopy(lm).model, copy.deepcopy(lm) is lm))(_own(ns)),
    "an LM's state": _kept_out_of_state,
    "an LM's history": lambda ns: _history_of(ns, _own(ns)),
    "usage of nested blocks": _usage_of_two,
    "n of an LM": lambda ns: len(ns.utils.DummyLM([{"a": 1}, {"a": 2}])("x", n=2)),
    "a script": lambda ns: (lambda lm: [lm("x"), lm("y"), lm("z")])(ns.utils.DummyLM([{"a": 1}, {"b": "two"}])),
    "a script by text": lambda ns: (lambda lm: [lm("one two"), lm("three")])(ns.utils.DummyLM({"two": {"a": 1}})),
    "a script with reasoning": lambda ns: ns.utils.DummyLM([{"a": 1}], reasoning=True)("x"),
    "a script for JSON": lambda ns: ns.utils.DummyLM([{"a": 1}], adapter=ns.JSONAdapter())("x"),
    "a script's conversation": lambda ns: (lambda lm: (lm("x"), lm.get_convo(-1)))(ns.utils.DummyLM([{"a": 1}])),
    "a provider's LM": lambda ns: (lambda lm: (lm.model, lm.kwargs, lm.model_type, lm.cache, lm.num_retries))(
        ns.LM("openai/gpt-4o-mini", temperature=0.1, max_tokens=9)
    ),
    "a provider's state": lambda ns: ns.LM("openai/gpt-4o-mini", api_key="secret").dump_state(),
    "a reasoning model": lambda ns: ns.LM("openai/o3-mini").kwargs,
    "a reasoning model with a temperature": lambda ns: ns.LM("openai/o3-mini", temperature=0.2),
    "chat prompt": lambda ns: _formatted(ns, ns.ChatAdapter()),
    "JSON prompt": lambda ns: _formatted(ns, ns.JSONAdapter()),
    "XML prompt": lambda ns: _formatted(ns, ns.XMLAdapter()),
    "a chat answer": lambda ns: _parsed(ns, ns.ChatAdapter(), "q -> a: int, b", "[[ ## a ## ]]\n3\n[[ ## b ## ]]\nx"),
    "a chat answer that lacks a field": lambda ns: _parsed(ns, ns.ChatAdapter(), "q -> a, b", "[[ ## a ## ]]\nx"),
    "a chat answer of a wrong type": lambda ns: _parsed(ns, ns.ChatAdapter(), "q -> a: int", "[[ ## a ## ]]\nx"),
    "a JSON answer": lambda ns: _parsed(ns, ns.JSONAdapter(), "q -> a: int", 'Sure: {"a": "3", "z": 1}'),
    "a JSON answer that is none": lambda ns: _parsed(ns, ns.JSONAdapter(), "q -> a: int", "three"),
    "an XML answer": lambda ns: _parsed(ns, ns.XMLAdapter(), "q -> a: int", "<a>3</a>"),
    "an adapter by itself": lambda ns: _adapter_call(ns, ns.ChatAdapter()),
    "a type that is not text": lambda ns: ns.ChatAdapter().format(
        ns.Signature("image: str, point -> answer").with_updated_fields("point", type_=_Point),
        [],
        {"image": "x", "point": _Point(x=1)},
    )[-1],
    "callbacks in order": _callbacks,
    "a callback that fails": _broken_callback,
    "a tool": lambda ns: (lambda t: (str(t), t.name, t.desc, t.args, t(a=1), t(a=1, b=5)))(_tool(ns)),
    "a tool with a wrong argument": lambda ns: _tool(ns)(a="x"),
    "a tool with an unknown argument": lambda ns: _tool(ns)(c=1),
    "a history": lambda ns: ns.History(messages=[{"q": "x", "answer": "y"}]),
    "an image": lambda ns: ns.Image("https://example.com/a.png"),
    "a majority": lambda ns: ns.majority(ns.Prediction.from_completions([{"a": "x"}, {"a": "y"}, {"a": "x"}])),
    "an error survives pickling": lambda ns: str(pickle.loads(pickle.dumps(ns.LMTimeoutError("x", model="m")))),
}
