"""Example, Prediction, Completions."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pydantic


class Point(pydantic.BaseModel):
    x: int


def _candidates(ns: Any) -> Any:
    return ns.Prediction.from_completions([{"answer": "a", "score": 1}, {"answer": "b", "score": 2}])


def _set(record: Any, name: str, value: Any) -> Any:
    setattr(record, name, value)
    return record


def _del(record: Any, name: str) -> Any:
    del record[name]
    return record


BEHAVIOURS = {
    "an example is empty": lambda ns: (ns.Example(), len(ns.Example()), ns.Example().toDict()),
    "from a list": lambda ns: ns.Example(["a"]),
    "from a string": lambda ns: ns.Example("a"),
    "two positional arguments": lambda ns: ns.Example({"a": 1}, {"b": 2}),
    "base by name": lambda ns: ns.Example(base={"a": 1}, a=2),
    "the base dict is copied": lambda ns: (lambda d: (_set(ns.Example(d), "a", 5), d))({"a": 1}),
    "bool of an empty example": lambda ns: bool(ns.Example()),
    "attribute missing": lambda ns: ns.Example(a=1).nothing,
    "dunder attribute missing": lambda ns: ns.Example(a=1).__nothing__,
    "private attribute missing": lambda ns: ns.Example(a=1)._nothing,
    "hasattr": lambda ns: (hasattr(ns.Example(a=1), "a"), hasattr(ns.Example(a=1), "b")),
    "getattr with default": lambda ns: getattr(ns.Example(a=1), "b", 7),
    "key missing": lambda ns: ns.Example(a=1)["nothing"],
    "delete a missing key": lambda ns: _del(ns.Example(a=1), "nothing"),
    "delete an attribute": lambda ns: delattr(ns.Example(a=1), "a"),
    "set an attribute": lambda ns: _set(ns.Example(a=1), "b", 2),
    "set an attribute named like a method": lambda ns: _set(ns.Example(a=1), "keys", 2).toDict(),
    "a field named like a method": lambda ns: (ns.Example(items=3)["items"], callable(ns.Example(items=3).items)),
    "iteration": lambda ns: list(ns.Example(a=1, dspy_b=2)),
    "unpacking": lambda ns: {**ns.Example(a=1, b=2)},
    "unpacking inputs": lambda ns: dict(**ns.Example(a=1, b=2).with_inputs("a").inputs()),
    "dict of an example": lambda ns: dict(ns.Example(a=1)),
    "keys": lambda ns: (ns.Example(a=1, dspy_b=2).keys(), ns.Example(a=1, dspy_b=2).keys(True)),
    "values": lambda ns: (ns.Example(a=1, dspy_b=2).values(), ns.Example(a=1, dspy_b=2).values(include_dspy=True)),
    "items": lambda ns: (ns.Example(a=1, dspy_b=2).items(), ns.Example(a=1, dspy_b=2).items(include_dspy=True)),
    "repr": lambda ns: repr(ns.Example(a="x", dspy_c=1).with_inputs("a")),
    "str": lambda ns: str(ns.Example(a="x")),
    "get": lambda ns: (ns.Example(a=None).get("a", 4), ns.Example().get("a"), ns.Example().get("a", default=3)),
    "contains": lambda ns: ("a" in ns.Example(a=1), "b" in ns.Example(a=1)),
    "with_inputs of nothing": lambda ns: ns.Example(a=1).with_inputs().inputs(),
    "with_inputs of an unknown name": lambda ns: ns.Example(a=1).with_inputs("z").inputs(),
    "with_inputs copies": lambda ns: (lambda e: (e.with_inputs("a"), e))(ns.Example(a=1)),
    "with_inputs twice": lambda ns: ns.Example(a=1, b=2).with_inputs("a").with_inputs("b"),
    "labels without inputs": lambda ns: ns.Example(a=1).labels(),
    "inputs without inputs": lambda ns: ns.Example(a=1).inputs(),
    "inputs keep their marks": lambda ns: ns.Example(a=1, b=2).with_inputs("a").inputs().inputs(),
    "without keeps marks": lambda ns: ns.Example(a=1, b=2).with_inputs("a").without("b"),
    "without a missing one": lambda ns: ns.Example(a=1).without("b"),
    "without several": lambda ns: ns.Example(a=1, b=2, c=3).without("a", "c"),
    "copy keeps marks": lambda ns: ns.Example(a=1).with_inputs("a").copy(b=2),
    "copy is shallow": lambda ns: (lambda e: e.copy().a is e.a)(ns.Example(a=[1])),
    "equality": lambda ns: (
        ns.Example(a=1) == ns.Example(a=1),
        ns.Example(a=1) != ns.Example(a=2),
        ns.Example(a=1) == ns.Prediction(a=1),
        ns.Example(a=1) == {"a": 1},
        ns.Prediction(a=1) == ns.Example(a=1),
    ),
    "hash": lambda ns: (
        hash(ns.Example(a=1)) == hash(ns.Example(a=1)),
        len({ns.Example(a=1), ns.Example(a=1), ns.Example(a=2)}),
    ),
    "hash of an unhashable value": lambda ns: hash(ns.Example(a=[1])),
    "toDict goes deep": lambda ns: ns.Example(
        a=Point(x=1), b=[Point(x=2), ns.Example(c=3)], d={"e": ns.Prediction(f=4)}, g=(Point(x=1),), h={1}
    ).toDict(),
    "toDict shows dspy_ fields": lambda ns: ns.Example(a=1, dspy_b=2).toDict(),
    "deepcopy": lambda ns: copy.deepcopy(ns.Example(a=[1]).with_inputs("a")),
    "copy.copy": lambda ns: copy.copy(ns.Example(a=[1]).with_inputs("a")),
    "pickle": lambda ns: pickle.loads(pickle.dumps(ns.Example(a=[1]).with_inputs("a"))),
    "pickle of a prediction": lambda ns: pickle.loads(pickle.dumps(_candidates(ns))),
    "deepcopy of a prediction": lambda ns: copy.deepcopy(_candidates(ns)).completions.answer,
    "a prediction": lambda ns: (ns.Prediction(a=1, b="x"), str(ns.Prediction()), len(ns.Prediction(a=1))),
    "a prediction has no marks": lambda ns: ns.Prediction(a=1)._input_keys,
    "with_inputs of a prediction": lambda ns: ns.Prediction(a=1, b=2).with_inputs("a").inputs(),
    "inputs of a prediction": lambda ns: ns.Prediction(a=1).inputs(),
    "labels of a prediction": lambda ns: ns.Prediction(a=1, b=2).with_inputs("a").labels(),
    "copy of a prediction": lambda ns: ns.Prediction(a=1).copy(b=2),
    "copy of candidates": lambda ns: _candidates(ns).copy().completions,
    "a prediction of an example": lambda ns: ns.Prediction(ns.Example(a=1)),
    "an example of a prediction": lambda ns: ns.Example(ns.Prediction(a=1)),
    "candidates": lambda ns: (_candidates(ns), _candidates(ns).answer, _candidates(ns).completions),
    "candidates by number": lambda ns: _candidates(ns).completions[1],
    "candidates by a bad number": lambda ns: _candidates(ns).completions[2],
    "candidates by a negative number": lambda ns: _candidates(ns).completions[-1],
    "candidates by name": lambda ns: (_candidates(ns).completions["answer"], _candidates(ns).completions.answer),
    "candidates by a wrong name": lambda ns: _candidates(ns).completions["z"],
    "candidates by a wrong attribute": lambda ns: _candidates(ns).completions.z,
    "candidates by a slice": lambda ns: _candidates(ns).completions[0:1],
    "how many candidates": lambda ns: len(_candidates(ns).completions),
    "items of candidates": lambda ns: list(_candidates(ns).completions.items()),
    "str of candidates": lambda ns: str(_candidates(ns).completions),
    "contains of candidates": lambda ns: ("answer" in _candidates(ns).completions, "z" in _candidates(ns).completions),
    "iteration of candidates": lambda ns: list(_candidates(ns).completions),
    "candidates from a dict": lambda ns: ns.Prediction.from_completions({"a": [1, 2], "b": [3, 4]}),
    "candidates of different length": lambda ns: ns.Prediction.from_completions({"a": [1, 2], "b": [3]}),
    "candidates that are no lists": lambda ns: ns.Prediction.from_completions({"a": 1}),
    "no candidates": lambda ns: ns.Prediction.from_completions([]),
    "length of no candidates": lambda ns: len(ns.Completions([])),
    "a signature of candidates": lambda ns: ns.Prediction.from_completions([{"a": 1}], signature=3).completions.signature,
    "Completions of a list": lambda ns: ns.Completions([{"a": 1}, {"a": 2}]),
    "candidates with different fields": lambda ns: ns.Prediction.from_completions([{"a": 1}, {"b": 2}]).completions,
    "candidates with uneven fields": lambda ns: ns.Prediction.from_completions([{"a": 1}, {"a": 2, "b": 2}]),
    "usage": lambda ns: (lambda p: (p.get_lm_usage(), p.set_lm_usage({"m": {"t": 1}}), p.get_lm_usage()))(
        ns.Prediction(a=1)
    ),
    "no score": lambda ns: float(ns.Prediction(a=1)),
    "score of text": lambda ns: float(ns.Prediction(score="0.5")),
    "score of nonsense": lambda ns: float(ns.Prediction(score="x")),
    "score of None": lambda ns: float(ns.Prediction(score=None)),
    "addition": lambda ns: (ns.Prediction(score=1) + 1, 1 + ns.Prediction(score=1), sum([ns.Prediction(score=2)] * 2)),
    "addition of predictions": lambda ns: ns.Prediction(score=1) + ns.Prediction(score=2.5),
    "addition of text": lambda ns: ns.Prediction(score=1) + "x",
    "addition to text": lambda ns: "x" + ns.Prediction(score=1),
    "addition to None": lambda ns: None + ns.Prediction(score=1),
    "addition without a score": lambda ns: ns.Prediction(a=1) + 1,
    "division": lambda ns: (ns.Prediction(score=3) / 2, 3 / ns.Prediction(score=2), ns.Prediction(score=True) / 2),
    "division by predictions": lambda ns: ns.Prediction(score=3) / ns.Prediction(score=2),
    "division by text": lambda ns: ns.Prediction(score=3) / "x",
    "text by division": lambda ns: "x" / ns.Prediction(score=3),
    "division by zero": lambda ns: ns.Prediction(score=3) / 0,
    "multiplication": lambda ns: ns.Prediction(score=3) * 2,
    "subtraction": lambda ns: ns.Prediction(score=3) - 2,
    "comparison": lambda ns: (
        ns.Prediction(score=1) < 2,
        ns.Prediction(score=1) <= 1,
        ns.Prediction(score=1) > ns.Prediction(score=2),
        ns.Prediction(score=1) >= 3,
        ns.Prediction(score=1) < 2,
    ),
    "comparison with text": lambda ns: ns.Prediction(score=1) < "x",
    "comparison with None": lambda ns: ns.Prediction(score=1) >= None,
    "greater than text": lambda ns: ns.Prediction(score=1) > "x",
    "sorting": lambda ns: [p.score for p in sorted([ns.Prediction(score=2), ns.Prediction(score=1)])],
    "comparison of examples": lambda ns: ns.Example(score=1) < ns.Example(score=2),
    "int of a prediction": lambda ns: int(ns.Prediction(score=1)),
    "bool of predictions": lambda ns: (bool(ns.Prediction()), bool(ns.Prediction(score=0))),
    "delete from a prediction": lambda ns: _del(ns.Prediction(a=1, b=2), "a"),
    "set completions": lambda ns: _set(ns.Prediction(a=1), "completions", 3),
    "subclass of an example": lambda ns: type("Row", (ns.Example,), {})(a=1).with_inputs("a").inputs(),
    "class names": lambda ns: [c.__name__ for c in ns.Prediction.__mro__],
}
