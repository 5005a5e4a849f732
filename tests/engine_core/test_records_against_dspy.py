"""Example, Prediction, Completions: every operation gives what the installed dspy gives, result or error."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from pydantic import BaseModel


class Point(BaseModel):
    x: int


def outcome(call: Callable[[], Any]) -> Any:
    """A comparable form of what a call did."""
    try:
        result = call()
    except Exception as error:
        return type(error).__name__, str(error)
    return repr(result)


OPERATIONS: list[Callable[[Any], Any]] = [
    lambda d: d.Example(a=1, b="x"),
    lambda d: d.Example({"a": 1}, b=2),
    lambda d: d.Example(d.Example(a=1).with_inputs("a"), b=2),
    lambda d: d.Example(d.Prediction(a=1)),
    lambda d: d.Prediction(d.Example(a=1)),
    lambda d: d.Prediction(d.Prediction(a=1)),
    lambda d: d.Example([("a", 1)]),
    lambda d: d.Example(a=1).a,
    lambda d: d.Example(a=1).b,
    lambda d: d.Example(a=1)["b"],
    lambda d: "a" in d.Example(a=1),
    lambda d: len(d.Example(a=1, dspy_x=2)),
    lambda d: d.Example(a=1, dspy_x=2).keys(),
    lambda d: d.Example(a=1, dspy_x=2).keys(include_dspy=True),
    lambda d: d.Example(a=1, dspy_x=2).items(),
    lambda d: d.Example(a=1, dspy_x=2).values(include_dspy=True),
    lambda d: list(d.Example(a=1, dspy_x=2)),
    lambda d: d.Example(a=1).get("z", 5),
    lambda d: d.Example(a=1, b=2).with_inputs("a").inputs(),
    lambda d: d.Example(a=1, b=2).with_inputs("a").labels(),
    lambda d: d.Example(a=1, b=2).inputs(),
    lambda d: d.Example(a=1, b=2).without("a"),
    lambda d: d.Example(a=1).without("z"),
    lambda d: d.Example(a=1).copy(a=2, c=3),
    lambda d: d.Example(a=Point(x=1), b=[Point(x=2)], c={"k": d.Example(z=1)}, e=(Point(x=1),)).toDict(),
    lambda d: d.Example(a=1) == d.Example(a=1).with_inputs("a"),
    lambda d: d.Example(a=1) == d.Prediction(a=1),
    lambda d: d.Example(a=1) == {"a": 1},
    lambda d: hash(d.Example(a=1)) == hash(d.Example(a=1)),
    lambda d: hash(d.Example(a=[])),
    lambda d: d.Example(keys=1)["keys"],
    lambda d: d.Prediction(a=1, b="x"),
    lambda d: d.Prediction(a=1).completions,
    lambda d: d.Prediction(a=1).get_lm_usage(),
    lambda d: d.Prediction(score=2.0) + 1,
    lambda d: 1 + d.Prediction(score=2.0),
    lambda d: sum([d.Prediction(score=2.0), d.Prediction(score=3)]),
    lambda d: d.Prediction(score=2.0) / 4,
    lambda d: 4 / d.Prediction(score=2.0),
    lambda d: d.Prediction(score=1) < d.Prediction(score=2),
    lambda d: d.Prediction(score=1) >= 1,
    lambda d: float(d.Prediction(a=1)),
    lambda d: d.Prediction(score=1) + "x",
    lambda d: d.Prediction(score=1) > "x",
    lambda d: d.Prediction(score=1) / None,
    lambda d: max([d.Prediction(score=1), d.Prediction(score=4)]).score,
    lambda d: d.Prediction.from_completions([{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
    lambda d: d.Prediction.from_completions([{"a": 1}, {"a": 3}]).completions,
    lambda d: d.Prediction.from_completions({"a": [1, 3]}).completions.a,
    lambda d: d.Prediction.from_completions({"a": [1, 3]}).completions["a"],
    lambda d: d.Prediction.from_completions({"a": [1, 3]}).completions[1],
    lambda d: d.Prediction.from_completions({"a": [1, 3]}).completions[2],
    lambda d: d.Prediction.from_completions({"a": [1, 3]}).completions[-1],
    lambda d: d.Prediction.from_completions({"a": [1, 3]}).completions.z,
    lambda d: len(d.Prediction.from_completions({"a": [1, 3]}).completions),
    lambda d: "a" in d.Prediction.from_completions({"a": [1, 3]}).completions,
    lambda d: d.Prediction.from_completions({"a": [1, 3], "b": [1]}),
    lambda d: d.Prediction.from_completions({"a": 1}),
    lambda d: d.Prediction.from_completions([{"a": 1}]).a,
]


@pytest.mark.parametrize("operation", range(len(OPERATIONS)))
def test_an_operation_gives_what_dspy_gives(dspy: ModuleType, operation: int) -> None:
    run = OPERATIONS[operation]
    assert outcome(lambda: run(engine)) == outcome(lambda: run(dspy))


def test_attributes_are_written_as_in_dspy(dspy: ModuleType) -> None:
    for module in (dspy, engine):
        record = module.Example(a=1)
        record.b = 2
        record["c"] = 3
        record._private = 4
        del record["a"]
        assert record.toDict() == {"b": 2, "c": 3}


def test_a_record_survives_copying_and_pickling() -> None:
    import copy
    import pickle

    record = engine.Example(a=[1]).with_inputs("a")
    for made in (copy.copy(record), copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert made == record
        assert made.inputs().toDict() == {"a": [1]}
