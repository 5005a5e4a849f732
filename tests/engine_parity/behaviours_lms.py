"""LMs with engines of one's own, their cache, retries, usage and streams: what a program sees of them."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pydantic


class Shape(pydantic.BaseModel):
    x: int = 3


def _engine(ns: Any, *said: Any) -> Any:
    """An engine that says these in turn, then the last message; an exception is raised."""
    lm15, left = ns.lm15, list(said)

    class Engine:
        def __init__(self) -> None:
            self.requests: list[Any] = []

        def complete(self, request: Any) -> Any:
            self.requests.append(request)
            answer = left.pop(0) if left else request.messages[-1].text
            if isinstance(answer, Exception):
                raise answer
            message = answer if isinstance(answer, lm15.Message) else lm15.Message.assistant(answer)
            reason = "length" if message.text == "cut" else "stop"
            usage = lm15.Usage(input_tokens=2, output_tokens=3)
            return lm15.Response(id="r", model="m-1", message=message, finish_reason=reason, usage=usage)

        def stream(self, request: Any) -> Any:
            self.requests.append(request)
            yield lm15.StreamStartEvent(id="s", model="m-1")
            for piece in left:
                yield lm15.StreamDeltaEvent(lm15.TextDelta(piece))
            yield lm15.StreamEndEvent("stop", lm15.Usage(input_tokens=2, output_tokens=3))

    return Engine()


def _lm(ns: Any, *said: Any, **options: Any) -> Any:
    return ns.LM("my/model", engine=_engine(ns, *said), **{"cache": False, **options})


def _twice(ns: Any, first: dict[str, Any], second: dict[str, Any], **options: Any) -> Any:
    """How many requests two calls make, with a fresh memory cache."""
    ns.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    lm = _lm(ns, "a", "b", "c", "d", cache=True, **options)
    outputs = [lm("hi", **first), lm("hi", **second)]
    used = [entry["usage"] for entry in lm.history]
    return len(lm.engine.requests), outputs, used


def _tracked(ns: Any) -> Any:
    lm = _lm(ns)
    with ns.track_usage() as usage:
        lm("a")
        lm("b", n=2)
    return usage.get_total_tokens()


def _request(ns: Any, **options: Any) -> Any:
    lm = _lm(ns)
    lm("hi", **options)
    config = lm.engine.requests[0].config
    names = ("max_tokens", "temperature", "top_p", "stop", "seed", "response_format", "logprobs", "user_id", "extensions")
    shown = {name: getattr(config, name) for name in names}
    shown["tools"] = [(tool.name, tool.parameters) for tool in lm.engine.requests[0].tools]
    shown["reasoning"] = config.reasoning and config.reasoning.effort
    return shown


def _prediction_usage(ns: Any) -> Any:
    with ns.context(lm=_lm(ns, "[[ ## answer ## ]]\nx"), track_usage=True):
        return ns.Predict("q -> answer")(q="?").get_lm_usage()


def _streamed(ns: Any, pieces: list[str], adapter: str = "ChatAdapter", **options: Any) -> Any:
    async def read() -> Any:
        lm = _lm(ns, *pieces)
        lm._async_engine_spec = _asynchronous(lm.engine)
        listener = ns.streaming.StreamListener(signature_field_name="answer")
        with ns.context(lm=lm, adapter=getattr(ns, adapter)()):
            ask = ns.streamify(ns.Predict("q -> answer"), stream_listeners=[listener], is_async_program=True, **options)
            items = [item async for item in ask(q="?")]
        return [
            (type(item).__name__, getattr(item, "chunk", None), getattr(item, "is_last_chunk", None)) for item in items
        ]

    return asyncio.run(read())


def _asynchronous(engine: Any) -> Any:
    class Asynchronous:
        async def complete(self, request: Any) -> Any:
            return engine.complete(request)

        async def stream(self, request: Any) -> Any:
            for event in engine.stream(request):
                yield event

    return Asynchronous()


def _raised(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        return type(error).__name__, str(error)


_PIECES = ["[[ ##", " answer", " ## ]]\n", "To", " get", " there", "\n\n", "[[ ##", " completed", " ## ]]"]
_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}

BEHAVIOURS: dict[str, Callable[[Any], Any]] = {
    "a prompt": lambda ns: _lm(ns, "x")("hi"),
    "messages": lambda ns: _lm(ns)(messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]),
    "messages by position": lambda ns: _lm(ns)("hi", [{"role": "user", "content": "u"}]),
    "no messages and a prompt": lambda ns: _lm(ns)("hi", messages=[]),
    "three candidates": lambda ns: _lm(ns, "a", "b", "c")("hi", n=3),
    "no candidates": lambda ns: _lm(ns)("hi", n=0),
    "a fraction of a candidate": lambda ns: _lm(ns)("hi", n=1.5),
    "candidates as a truth": lambda ns: _lm(ns)("hi", n=True),
    "a cut answer": lambda ns: _lm(ns, "cut")("hi"),
    "an empty answer": lambda ns: _lm(ns, "")("hi"),
    "thinking": lambda ns: _lm(ns, ns.lm15.Message.assistant([ns.lm15.ThinkingPart("t"), ns.lm15.TextPart("x")]))("hi"),
    "data": lambda ns: _lm(ns, ns.lm15.Message.assistant([ns.lm15.DataPart({"é": 1})]))("hi"),
    "a citation": lambda ns: _lm(
        ns, ns.lm15.Message.assistant([ns.lm15.TextPart("x"), ns.lm15.CitationPart(url="http://u", text="t")])
    )("hi"),
    "a tool call": lambda ns: _lm(ns, ns.lm15.Message.assistant([ns.lm15.ToolCallPart("i", "f", {"a": [1]})]))("hi"),
    "mixed candidates": lambda ns: _lm(
        ns, "plain", ns.lm15.Message.assistant([ns.lm15.ThinkingPart("t"), ns.lm15.TextPart("x")])
    )("hi", n=2),
    "the responses type": lambda ns: _lm(ns, "x", model_type="responses")("hi"),
    "usage of an entry": lambda ns: (lambda lm: (lm("hi"), lm.history[0]["usage"], lm.history[0]["cost"]))(_lm(ns)),
    "the keys of an entry": lambda ns: (lambda lm: (lm("hi", top_p=0.5), sorted(set(lm.history[0]) - {"cost_details"})))(
        _lm(ns)
    ),
    "usage over calls": _tracked,
    "usage of a prediction": _prediction_usage,
    "options": lambda ns: _request(ns, temperature=0.5, max_tokens=7, top_p=0.1, stop="END", seed=3),
    "an unknown option": lambda ns: _request(ns, top_k=5, my_option={"a": 1}),
    "a schema": lambda ns: _request(ns, response_format=Shape),
    "json mode": lambda ns: _request(ns, response_format={"type": "json_object"}),
    "tools": lambda ns: _request(ns, tools=[_TOOL], tool_choice="auto"),
    "an effort": lambda ns: _request(ns, reasoning_effort="low"),
    "log probabilities": lambda ns: _request(ns, logprobs=True, top_logprobs=3),
    "a user": lambda ns: _request(ns, user="u"),
    "cache: equal": lambda ns: _twice(ns, {}, {}),
    "cache: another temperature": lambda ns: _twice(ns, {}, {"temperature": 0.5}),
    "cache: a rollout": lambda ns: _twice(ns, {"temperature": 1.0}, {"temperature": 1.0, "rollout_id": 1}),
    "cache: equal rollouts": lambda ns: _twice(
        ns, {"temperature": 1.0, "rollout_id": 1}, {"temperature": 1.0, "rollout_id": 1}
    ),
    "cache: a rollout at 0": lambda ns: _twice(ns, {}, {"rollout_id": 1}, temperature=0),
    "cache: off for a call": lambda ns: _twice(ns, {}, {"cache": False}),
    "cache: candidates": lambda ns: _twice(ns, {"n": 2}, {"n": 2}),
    "cache: a copy": lambda ns: (lambda lm: (lm.copy(rollout_id=1).kwargs, lm.copy(rollout_id=None).kwargs))(_lm(ns)),
    "retries": lambda ns: (lambda lm: (lm("hi"), len(lm.engine.requests)))(
        _lm(ns, ns.lm15.RateLimitError("slow", retry_after=0), ns.lm15.ServerError("down", retry_after=0), "x")
    ),
    "no retries": lambda ns: _lm(ns, ns.lm15.RateLimitError("slow", retry_after=0), num_retries=0)("hi"),
    "a refused request": lambda ns: _lm(ns, ns.lm15.InvalidRequestError("bad"))("hi"),
    "too long": lambda ns: _lm(ns, ns.lm15.ContextLengthError("long"))("hi"),
    "no permission": lambda ns: _lm(ns, ns.lm15.AuthError("no"))("hi"),
    "a broken engine": lambda ns: _lm(ns, KeyError("x"))("hi"),
    "a reasoning model's ceiling": lambda ns: [
        _raised(lambda model=model, options=options: ns.LM(model, **options).kwargs)
        for model in ("openai/o1", "openai/gpt-5", "openai/gpt-5-chat-latest", "openai/gpt-5.1-mini", "azure/o3", "o4-mini")
        for options in ({}, {"max_tokens": 16000}, {"max_tokens": 100}, {"temperature": 1.0}, {"temperature": 0.0})
    ],
    "models that are none": lambda ns: [_raised(lambda model=model: ns.LM(model)) for model in ("openai/", "/", "a/")],
    "a pickle": lambda ns: pickle.loads(pickle.dumps(ns.LM("openai/gpt-4o", temperature=0.5))).kwargs,
    "copies": lambda ns: (lambda lm: (copy.copy(lm).kwargs, copy.deepcopy(lm).kwargs, lm.copy(model="b/c").model))(
        ns.LM("openai/gpt-4o", temperature=0.5)
    ),
    "a state and back": lambda ns: ns.BaseLM.load_state(
        ns.LM("openai/gpt-4o", temperature=0.5, num_retries=7, cache=False, seed=1).dump_state()
    ).dump_state(),
    "a state without a class": lambda ns: ns.BaseLM.load_state({"model": "openai/gpt-4o"}).kwargs,
    "a state of another class": lambda ns: ns.BaseLM.load_state({"_dspy_lm_class": "a.b", "model": "m"}),
    "a state of a class that is not there": lambda ns: ns.BaseLM.load_state(
        {"_dspy_lm_class": "nowhere.B", "model": "m"}, allow_custom_lm_class=True
    ),
    "fine-tuning": lambda ns: ns.LM("other/model").finetune([], None),
    "reinforcement": lambda ns: ns.LM("other/model").reinforce({}),
    "usage that lacks": lambda ns: (lambda t: (t.add_usage("m", {}), t.add_usage("m", {"a": 1, "b": None}), t.add_usage(
        "m", {"a": 2, "b": {"c": 1}, "flag": True}
    ), t.get_total_tokens()))(ns.utils.usage_tracker.UsageTracker()),
    "streaming: a field": lambda ns: _streamed(ns, _PIECES),
    "streaming: without the prediction": lambda ns: _streamed(
        ns, _PIECES, include_final_prediction_in_output_stream=False
    ),
    "streaming: JSON": lambda ns: _streamed(ns, ['{"', "answer", '":', ' "', "To", " get", ' there"', "}"], "JSONAdapter"),
    "streaming: XML": lambda ns: _streamed(ns, ["<", "answer", ">\n", "To", " get", "\n</", "answer", ">"], "XMLAdapter"),
    "a status message": lambda ns: ns.streaming.StatusMessage("x"),
    "a stream response": lambda ns: ns.streaming.StreamResponse("p", "f", "c", False),
    "embedding a number": lambda ns: ns.Embedder(lambda texts: [[1.0]])([3]),
    "embedding by a number": lambda ns: ns.Embedder(3)("x"),
    "embedding by a function": lambda ns: (lambda v: (v.shape, str(v.dtype), v.tolist()))(
        ns.Embedder(lambda texts: [[len(t), 0] for t in texts], batch_size=1)(["a", "bb"])
    ),
}
