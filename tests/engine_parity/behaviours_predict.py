"""Predict and ChainOfThought: what is asked, what is warned of, what is refused, what is kept."""

from __future__ import annotations

import copy
import enum
import pickle
from collections.abc import Callable
from typing import Any, Literal

import cloudpickle
import pydantic


class Person(pydantic.BaseModel):
    name: str


class Mood(enum.Enum):
    GOOD = "good"


def dummy(ns: Any, *answers: dict[str, Any], **options: Any) -> Any:
    """The test LM of the namespace, set up to answer these in turn."""
    lm = ns.utils.DummyLM(list(answers) or [{"answer": "yes"}] * 5, **options)
    ns.configure(lm=lm)
    return lm


def asked(ns: Any, signature: Any, /, **inputs: Any) -> Any:
    """A prediction, and the last message that led to it."""
    lm = dummy(ns)
    made = ns.Predict(signature)(**inputs)
    return made, lm.history[-1]["messages"][-1]["content"]


def _typed(ns: Any, annotation: Any, value: Any) -> Any:
    sig = ns.Signature({"q": (annotation, ns.InputField()), "answer": ns.OutputField()})
    return asked(ns, sig, q=value)[0]


def _kept(ns: Any, entry: dict[str, Any]) -> Any:
    shown = {k: v for k, v in entry.items() if k not in ("timestamp", "uuid", "response", "cost_details", "request")}
    shown.pop("adaptations", None)
    return sorted(shown), shown["kwargs"], shown["outputs"], shown["model"], shown["model_type"], shown["prompt"]


def _history(ns: Any) -> Any:
    lm = dummy(ns)
    program = ns.ChainOfThought("q -> answer")
    dummy_answers = ns.utils.DummyLM([{"reasoning": "r", "answer": "a"}] * 3)
    ns.configure(lm=dummy_answers)
    program(q="x")
    program(q="y")
    return len(program.history), len(program.predict.history), len(dummy_answers.history), len(lm.history)


def _trace(ns: Any) -> Any:
    dummy(ns)
    predict = ns.Predict("q -> answer")
    with ns.context(trace=[]):
        predict(q="x")
        predict(q="y", _trace=False)
        [(who, inputs, made)] = ns.settings.trace
        return who is predict, inputs, made


def _trace_limit(ns: Any) -> Any:
    dummy(ns)
    with ns.context(trace=[], max_trace_size=2):
        predict = ns.Predict("q -> answer")
        for number in range(4):
            predict(q=str(number))
        return [inputs for _, inputs, _ in ns.settings.trace]


def _no_trace(ns: Any) -> Any:
    dummy(ns)
    with ns.context(trace=None):
        ns.Predict("q -> answer")(q="x")
        return ns.settings.trace


def _temperature(ns: Any, /, **config: Any) -> Any:
    lm = dummy(ns)
    ns.Predict("q -> answer", **config)(q="x")
    return lm.history[-1]["kwargs"]


def _config_of_a_call(ns: Any) -> Any:
    lm = dummy(ns)
    predict = ns.Predict("q -> answer", temperature=0.5, top_p=1)
    predict(q="x", config={"temperature": 0.9})
    return lm.history[-1]["kwargs"], predict.config


def _state(ns: Any) -> Any:
    predict = ns.Predict("q, person -> answer: int")
    predict.demos = [
        ns.Example(q="x", person=Person(name="n"), answer=1).with_inputs("q"),
        {"q": ["a", Person(name="m")], "answer": {"k": Person(name="o")}},
    ]
    predict.traces = [1]
    return predict


def _loaded(ns: Any) -> Any:
    made = ns.Predict("q, person -> answer: int")
    back = made.load_state(_state(ns).dump_state())
    return back is made, made.demos, made.traces, made.signature, made.lm


class _Odd:
    def __init__(self) -> None:
        self.kwargs = {}


def _pickled(ns: Any, dumps: Callable[[Any], bytes]) -> Any:
    predict = ns.Predict("q -> answer", temperature=0.3)
    predict.demos = [{"q": 1}]
    predict.history.append(3)
    back = pickle.loads(dumps(predict))
    return back.demos, back.config, back.history, back.callbacks, back.signature.signature, type(back).__name__


def _many(ns: Any) -> Any:
    dummy(ns, {"answer": "a"}, {"answer": "b"})
    made = ns.Predict("q -> answer", n=2)(q="x")
    return made, made.completions, made.completions.answer


def _reset(ns: Any) -> Any:
    predict = ns.Predict("q -> answer", temperature=1)
    predict.lm, predict.demos, predict.traces, predict.train = "x", [1], [2], [3]
    predict.reset()
    return predict.lm, predict.demos, predict.traces, predict.train, predict.config


def _copies(ns: Any) -> Any:
    predict = ns.Predict("q -> answer", temperature=1)
    predict.demos = [{"q": 1}]
    deep, fresh = predict.deepcopy(), predict.reset_copy()
    return deep.demos, deep.demos is predict.demos, fresh.demos, fresh.config, deep.signature is predict.signature


async def _awaited(ns: Any) -> Any:
    lm = ns.utils.DummyLM([{"answer": "yes"}] * 3)
    with ns.context(lm=lm):
        return await ns.Predict("q -> answer").acall(q="x", nothing=3)


async def _awaited_positional(ns: Any) -> Any:
    return await ns.Predict("q -> answer").acall("x")


def _spy(ns: Any) -> Any:
    class Spy(ns.BaseLM):
        def __init__(self) -> None:
            super().__init__("spy")
            self.calls: list[Any] = []

        def __call__(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            self.calls.append((prompt, len(messages), kwargs))
            return ["[[ ## answer ## ]]\nfrom the spy"]

    lm = Spy()
    ns.configure(lm=lm)
    return ns.Predict("q -> answer", temperature=0.1)(q="x"), lm.calls


def _told(ns: Any) -> Any:
    seen: list[Any] = []

    class Log(ns.utils.BaseCallback):
        def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            seen.append(("start", type(instance).__name__, inputs))

        def on_module_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            seen.append(("end", outputs, exception))

    dummy(ns, {"reasoning": "r", "answer": "a"})
    with ns.context(callbacks=[Log()]):
        ns.ChainOfThought("q -> answer")(q="x")
    return seen


def _told_of_an_error(ns: Any) -> Any:
    seen: list[Any] = []

    class Log(ns.utils.BaseCallback):
        def on_module_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            seen.append((outputs, type(exception).__name__))

    predict = ns.Predict("q -> answer", callbacks=[Log()])
    try:
        predict("x")
    except ValueError:
        seen.append("positional")
    try:
        predict(q="x", lm="gpt")
    except ValueError:
        seen.append("no lm")
    return seen, len(predict.callbacks)


def _followed(ns: Any) -> Any:
    lm = ns.utils.DummyLM([], follow_examples=True)
    with ns.context(lm=lm):
        predict = ns.Predict("q -> answer")
        return predict(q="2", demos=[{"q": "1", "answer": "one"}, {"q": "2", "answer": "two"}])


BEHAVIOURS: dict[str, Callable[[Any], Any]] = {
    "an answer": lambda ns: asked(ns, "q -> answer", q="x"),
    "an answer as JSON fallback": lambda ns: (dummy(ns, {"other": "x"}), ns.Predict("q -> answer")(q="x"))[1],
    "positional arguments": lambda ns: ns.Predict("q, r -> answer")("x"),
    "positional arguments without inputs": lambda ns: ns.Predict("-> answer")("x"),
    "awaited": _awaited,
    "awaited positional arguments": _awaited_positional,
    "no LM": lambda ns: (ns.configure(lm=None), ns.Predict("q -> answer")(q="x")),
    "LM by text": lambda ns: ns.Predict("q -> answer")(q="x", lm="openai/gpt-4o-mini"),
    "LM by text in settings": lambda ns: (ns.configure(lm="openai/x"), ns.Predict("q -> answer")(q="x")),
    "LM of another class": lambda ns: ns.Predict("q -> answer")(q="x", lm=len),
    "LM of another class with kwargs": lambda ns: ns.Predict("q -> answer")(q="x", lm=_Odd()),
    "new_signature": lambda ns: (dummy(ns), ns.Predict("q -> answer")(q="x", new_signature="a -> b")),
    "signature of a call": lambda ns: (dummy(ns, {"b": "x"}), ns.Predict("q -> answer")(a="x", signature="a -> b"))[1],
    "demos of a call": lambda ns: (
        dummy(ns),
        ns.Predict("q -> answer")(q="x", demos=[{"q": "1", "answer": "2"}]),
        len(ns.settings.lm.history[-1]["messages"]),
    )[1:],
    "config of a call": _config_of_a_call,
    "LM of a call": lambda ns: (lambda lm: (ns.Predict("q -> answer")(q="x", lm=lm), len(lm.history)))(
        ns.utils.DummyLM([{"answer": "mine"}])
    ),
    "LM of the predictor": lambda ns: (
        dummy(ns, {"answer": "settings"}),
        (lambda p: (setattr(p, "lm", ns.utils.DummyLM([{"answer": "own"}])), p(q="x"))[1])(ns.Predict("q -> answer")),
    )[1],
    "an unknown input": lambda ns: asked(ns, "q -> answer", q="x", other=3),
    "several unknown inputs": lambda ns: asked(ns, "q -> answer", a=1, q="x", b=2),
    "a missing input": lambda ns: asked(ns, "q, r -> answer", q="x"),
    "all inputs missing": lambda ns: asked(ns, "q, r -> answer"),
    "a missing optional input": lambda ns: asked(ns, "q, r: Optional[str] -> answer", q="x"),
    "a missing union input": lambda ns: asked(ns, "q, r: int | None -> answer", q="x"),
    "an input of None": lambda ns: asked(ns, "q, r: int -> answer", q="x", r=None),
    "a default input": lambda ns: asked(
        ns, ns.Signature({"q": ns.InputField(default="D"), "r": ns.InputField(), "answer": ns.OutputField()}), r="x"
    ),
    "a default of None": lambda ns: asked(
        ns, ns.Signature({"q": ns.InputField(default=None), "r": ns.InputField(), "answer": ns.OutputField()}), r="x"
    ),
    "warnings off": lambda ns: (ns.configure(warn_on_type_mismatch=False), _typed(ns, int, "x")),
    "text for an int": lambda ns: _typed(ns, int, 3),
    "an untyped input takes anything": lambda ns: asked(ns, "q -> answer", q=3),
    "a typed str takes passages": lambda ns: asked(ns, "q: str -> answer", q=["a", "b"]),
    "no warning for a list": lambda ns: _typed(ns, list[str], ["a"]),
    "no warning for an empty list": lambda ns: _typed(ns, list[int], []),
    "no warning for a dict": lambda ns: _typed(ns, dict[str, int], {"a": 1}),
    "no warning for a tuple": lambda ns: _typed(ns, tuple[int, ...], (1, 2)),
    "no warning for a Literal": lambda ns: _typed(ns, Literal["a", 1], 1),
    "no warning for a union": lambda ns: _typed(ns, int | None, None),
    "no warning for Any": lambda ns: _typed(ns, Any, object),
    "no warning for a model": lambda ns: _typed(ns, Person, Person(name="x")),
    "no warning for an Enum": lambda ns: _typed(ns, Mood, Mood.GOOD),
    "no warning for a subclass": lambda ns: _typed(ns, int, True),
    "n": _many,
    "n and temperature": lambda ns: [
        _temperature(ns, n=2),
        _temperature(ns, n=2, temperature=0.1),
        _temperature(ns, n=2, temperature=0.5),
        _temperature(ns, n=1),
        _temperature(ns, temperature=0.0),
    ],
    "predicted outputs": lambda ns: (
        dummy(ns),
        ns.Predict("q -> answer")(q="x", prediction={"type": "content", "content": "c"}),
        ns.settings.lm.history[-1]["kwargs"],
    )[1:],
    "an input called prediction": lambda ns: asked(ns, "q, prediction -> answer", q="x", prediction="p"),
    "history": lambda ns: (dummy(ns), ns.Predict("q -> answer")(q="x"), _kept(ns, ns.settings.lm.history[-1]))[2],
    "history of modules": _history,
    "history off": lambda ns: (
        dummy(ns),
        ns.configure(disable_history=True),
        (lambda p: (p(q="x"), len(p.history)))(ns.Predict("q -> answer")),
        ns.configure(disable_history=False),
    )[2],
    "history limit": lambda ns: (
        dummy(ns),
        ns.configure(max_history_size=2),
        (lambda p: ([p(q=str(i)) for i in range(4)], len(p.history))[1])(ns.Predict("q -> answer")),
        ns.configure(max_history_size=10000),
    )[2],
    "trace": _trace,
    "trace limit": _trace_limit,
    "no trace": _no_trace,
    "config": lambda ns: (lambda p: (p.update_config(a=1), p.get_config(), p.config))(ns.Predict("q -> answer", b=2)),
    "reset": _reset,
    "copies": _copies,
    "repr": lambda ns: repr(ns.Predict("q: int -> answer")),
    "attributes": lambda ns: sorted(k for k in vars(ns.Predict("q -> answer", n=1))),
    "the stage is random": lambda ns: (
        len(ns.Predict("q -> answer").stage),
        ns.Predict("q -> answer").stage != ns.Predict("q -> answer").stage,
    ),
    "signature of None": lambda ns: ns.Predict(None).signature,
    "no signature": lambda ns: ns.Predict(),
    "a bad signature": lambda ns: ns.Predict("q"),
    "a signature of another kind": lambda ns: ns.Predict(3)(q="x"),
    "dump_state": lambda ns: _state(ns).dump_state(),
    "dump_state as objects": lambda ns: _state(ns).dump_state(json_mode=False),
    "dump_state leaves demos alone": lambda ns: (lambda p: (p.dump_state(), p.demos)[1])(_state(ns)),
    "load_state": _loaded,
    "load_state of nothing": lambda ns: ns.Predict("q -> answer").load_state({}),
    "load_state without demos": lambda ns: ns.Predict("q -> answer").load_state(
        {"signature": ns.Signature("q -> answer").dump_state(), "lm": None}
    ),
    "load_state without lm": lambda ns: ns.Predict("q -> answer").load_state(
        {"signature": ns.Signature("q -> answer").dump_state()}
    ),
    "load_state of an old program": lambda ns: ns.Predict("q -> answer").load_state(
        {"signature": ns.Signature("q -> answer").dump_state(), "lm": None, "extended_signature": {}}
    ),
    "an LM in the state": lambda ns: (
        lambda p: (setattr(p, "lm", ns.LM("openai/gpt-4o-mini", temperature=0.2)), p.dump_state()["lm"])[1]
    )(ns.Predict("q -> answer")),
    "an endpoint in the state": lambda ns: (
        ns.Predict("q -> answer")
        .load_state(
            {
                "signature": ns.Signature("q -> answer").dump_state(),
                "lm": {"model": "openai/gpt-4o-mini", "api_base": "http://evil", "base_url": "http://worse"},
            }
        )
        .lm.kwargs
    ),
    "an endpoint in a trusted state": lambda ns: (
        ns.Predict("q -> answer")
        .load_state(
            {
                "signature": ns.Signature("q -> answer").dump_state(),
                "lm": {"model": "openai/gpt-4o-mini", "api_base": "http://mine"},
            },
            allow_unsafe_lm_state=True,
        )
        .lm.kwargs["api_base"]
    ),
    "cloudpickle": lambda ns: _pickled(ns, cloudpickle.dumps),
    "deepcopy keeps history out": lambda ns: (
        lambda p: (p.history.append(1), copy.deepcopy(p).history)[1]
    )(ns.Predict("q -> answer")),
    "forward by itself": lambda ns: (dummy(ns), ns.Predict("q -> answer").forward(q="x"))[1],
    "an LM that overrides __call__": _spy,
    "callbacks": _told,
    "callbacks of one": _told_of_an_error,
    "follow_examples": _followed,
    "named_parameters": lambda ns: [(n, type(p).__name__) for n, p in ns.Predict("q -> answer").named_parameters()],
    "named_predictors": lambda ns: [n for n, _ in ns.Predict("q -> answer").named_predictors()],
    "get_lm": lambda ns: ns.Predict("q -> answer").get_lm(),
    "set_lm": lambda ns: (lambda p: (p.set_lm(3), p.lm, p.get_lm()))(ns.Predict("q -> answer")),
    "a reasoned answer": lambda ns: (
        dummy(ns, {"reasoning": "r", "answer": "a"}),
        ns.ChainOfThought("q -> answer")(q="x"),
    )[1],
    "ChainOfThought's signature": lambda ns: ns.ChainOfThought("q -> answer: int").predict.signature,
    "ChainOfThought with a field": lambda ns: ns.ChainOfThought(
        "q -> answer", rationale_field=ns.OutputField(desc="why")
    ).predict.signature,
    "ChainOfThought with a type": lambda ns: ns.ChainOfThought(
        "q -> answer", rationale_field_type=list[str]
    ).predict.signature,
    "ChainOfThought with options": lambda ns: ns.ChainOfThought("q -> answer", temperature=0.4).predict.config,
    "ChainOfThought by position": lambda ns: ns.ChainOfThought("q -> answer")("x"),
    "ChainOfThought's parameters": lambda ns: [n for n, _ in ns.ChainOfThought("q -> answer").named_parameters()],
    "ChainOfThought's repr": lambda ns: repr(ns.ChainOfThought("q -> answer")),
    "ChainOfThought of an unknown input": lambda ns: (
        dummy(ns, {"reasoning": "r", "answer": "a"}),
        ns.ChainOfThought("q -> answer")(q="x", z=1),
    )[1],
}
