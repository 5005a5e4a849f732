"""SIMBA beside the installed dspy: the same draws, requests, records, advice, demos and scores, by the same seeds."""

import json
import logging
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine.optimizers.masked_json import indented_json

from observed import draw, in_no_order, model, records

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytest.importorskip("numpy", reason="SIMBA needs numpy")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs through BaseLM:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*messages=:DeprecationWarning"),
]


def trainset(ns: Any, count: int = 10) -> list[Any]:
    return [ns.Example(question=f"q{n}", answer=str(n % 4)).with_inputs("question") for n in range(count)]


def answer(messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> dict[str, str]:
    """Right more often the longer the instructions are; every tenth request fails."""
    text = json.dumps(messages)
    if "module_advice" in text:
        names = [name for name in ("first", "second.predict", "predict", "self") if f"Module {name}\\n" in text]
        return {"discussion": "d", "module_advice": json.dumps({name: f"Mind {draw(text, name):.3f}." for name in names})}
    chance = draw(text, kwargs.get("rollout_id"), kwargs.get("temperature"))
    if chance < 0.1:
        raise RuntimeError("no answer")
    asked = str(messages[-1]["content"]).split("]]\n")[1].split("\n")[0]
    right = int("".join(filter(str.isdigit, asked)) or 0) % 4
    said = right if chance < 0.4 + 0.1 * text.count("Mind") else 9
    return {"reasoning": "because", "answer": str(said)}


def exact(example: Any, prediction: Any, trace: object = None) -> bool:
    return example.answer == prediction.answer


def graded(ns: Any) -> Any:
    def metric(example: Any, prediction: Any) -> Any:
        return ns.Prediction(score=0.5 * exact(example, prediction), why="seen", at={1.5: "x"}.__class__.__name__)

    return metric


class TwoSteps:
    """Made for each engine below, so that its source is the same."""


def two_steps(ns: Any) -> Any:
    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = ns.Predict("question -> answer")
            self.second = ns.ChainOfThought("question, draft -> answer")

        def forward(self, question: str) -> Any:
            draft = self.first(question=question).answer
            return self.second(question=question, draft=draft)

    return Program()


def one_step(ns: Any) -> Any:
    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = ns.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.predict(question=question)

    return Program()


def compiled(ns: Any, build: Any, seed: int = 0, count: int = 10, **options: Any) -> dict[str, Any]:
    asked: list[Any] = []
    options.setdefault("metric", exact)
    options.setdefault("num_threads", 1)
    lm = model(ns, answer, asked)
    names = ("dspy.teleprompt",) if ns is dspy else ("dspex.engine.optimizers",)
    with records(*names) as seen, ns.context(lm=lm, adapter=ns.ChatAdapter()):
        program = ns.SIMBA(**options).compile(build(ns), trainset=trainset(ns, count), seed=seed)
    return {
        "asked": asked if options["num_threads"] == 1 else in_no_order(asked),
        "records": seen,
        "state": program.dump_state(),
        "candidates": [(each["score"], each["program"].dump_state()) for each in program.candidate_programs],
        "logs": program.trial_logs,
        "index": program.simba_idx,
    }


CASES: dict[str, dict[str, Any]] = {
    "demos and rules": {"bsize": 4, "num_candidates": 3, "max_steps": 3, "max_demos": 2},
    "rules only": {"bsize": 4, "num_candidates": 3, "max_steps": 2, "max_demos": 0},
    "short inputs": {"bsize": 5, "num_candidates": 2, "max_steps": 2, "demo_input_field_maxlen": 1},
    "every example": {"bsize": 10, "num_candidates": 2, "max_steps": 2, "temperature_for_candidates": 5.0},
    "no steps": {"bsize": 4, "max_steps": 0},
    "one candidate": {"bsize": 4, "num_candidates": 1, "max_steps": 2},
    "many threads": {"bsize": 4, "num_candidates": 3, "max_steps": 2, "num_threads": 8},
}


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("build", [one_step, two_steps])
@pytest.mark.parametrize("name", CASES)
def test_requests_records_and_programs_are_dspy_s(name: str, build: Any, seed: int) -> None:
    mine, theirs = (compiled(ns, build, seed, **CASES[name]) for ns in (engine, dspy))
    for part in theirs:
        assert mine[part] == theirs[part], part
