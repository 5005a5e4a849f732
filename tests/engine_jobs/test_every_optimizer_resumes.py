"""Every optimizer, stopped again and again: the calls of all runs are those of one run, and the result is the same."""

import hashlib
import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import dspex.engine as engine
import pytest
from dspex.engine.optimizers.jobs import Budget, BudgetExhausted, JobOutcome, OptimizerJob, run_job

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::UserWarning")]

TRAINSET = [engine.Example(question=f"question {i}", answer=f"answer {i}").with_inputs("question") for i in range(8)]


def right(example: Any, prediction: Any, trace: Any = None) -> float:
    return float(example.answer == prediction.answer)


def with_feedback(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    return engine.Prediction(score=right(gold, pred), feedback=f"it is {gold.answer}")


class Sampling(engine.BaseLM):
    """Answers what the output fields ask for, each time something else: only a journal can give an answer again."""

    def __init__(self, first: int = 0) -> None:
        super().__init__("sampling")
        self.asked = 0
        self._first = first

    def __deepcopy__(self, memo: dict[int, object]) -> "Sampling":
        return self

    def copy(self, **changes: Any) -> "Sampling":
        return self

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.asked += 1
        serial = hashlib.sha256(f"{self._first + self.asked}".encode()).digest()[0]
        for _ in range(serial % 7):
            await anyio.lowlevel.checkpoint()
        last = messages[-1]["content"]
        if isinstance(last, list):
            last = "".join(part.get("text", "") for part in last)
        wanted = re.findall(r"\[\[ ## (\w+) ## \]\]", last.split("Respond with the corresponding output fields")[-1])
        fields = [name for name in dict.fromkeys(wanted) if name != "completed"]
        question = re.findall(r"\[\[ ## question ## \]\]\n(.*)", last)
        known = question[-1].replace("question", "answer") if question else "nothing"
        values = {"answer": known if serial % 3 else f"wrong {serial}", "module_advice": f'{{"self": "advice {serial}"}}'}
        text = "\n\n".join(f"[[ ## {name} ## ]]\n{values.get(name, f'text {serial}')}" for name in fields)
        made = f"{text}\n\n[[ ## completed ## ]]" if fields else f"```\nInstruction {serial}.\n```"
        choices = [{"message": {"content": made}} for _ in range(kwargs.get("n") or 1)]
        return {"model": "sampling", "choices": choices, "usage": {}}


RECIPES: dict[str, Callable[[Any], tuple[Any, dict[str, Any]]]] = {
    "BootstrapFewShot": lambda make: (make(metric=right, max_rounds=2), {}),
    "BootstrapFewShotWithRandomSearch": lambda make: (make(metric=right, num_candidate_programs=3, num_threads=3), {}),
    "BootstrapFewShotWithOptuna": lambda make: (
        make(metric=right, num_candidate_programs=3, num_threads=3),
        {"max_demos": 2},
    ),
    "COPRO": lambda make: (make(metric=right, breadth=3, depth=2), {"eval_kwargs": {"num_threads": 3}}),
    "MIPROv2": lambda make: (
        make(metric=right, auto=None, num_candidates=3, num_threads=3),
        {"num_trials": 4, "minibatch_size": 4, "minibatch_full_eval_steps": 2},
    ),
    "InferRules": lambda make: (make(metric=right, num_candidates=2, num_rules=2, num_threads=3), {}),
    "SIMBA": lambda make: (make(metric=right, bsize=4, num_candidates=2, max_steps=2, num_threads=3), {"seed": 1}),
    "GEPA": lambda make: (
        make(metric=with_feedback, max_metric_calls=24, num_threads=3, reflection_lm=LM_OF_NOW),
        {"valset": TRAINSET[:4]},
    ),
    "BetterTogether": lambda make: (
        make(metric=right, p=engine.BootstrapFewShot(metric=right)),
        {"strategy": "p", "valset_ratio": 0.25},
    ),
}
NEEDS = {"BootstrapFewShotWithOptuna": ("optuna",), "MIPROv2": ("optuna",), "GEPA": ("gepa",), "SIMBA": ("numpy",)}


class _Now(engine.BaseLM):
    """The model of the settings, for optimizers that want one by name."""

    def __deepcopy__(self, memo: dict[int, object]) -> "_Now":
        return self

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        return await engine.settings.lm.acall(*args, **kwargs)


LM_OF_NOW = _Now("now")


def offered() -> list[Any]:
    found: list[Any] = []
    for name in RECIPES:
        missing = [module for module in NEEDS.get(name, ()) if find_spec(module) is None]
        if isinstance(getattr(engine, name, None), type):
            marks = [pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")]
            found.append(pytest.param(name, marks=marks))
    return found


def job(name: str, lm: Sampling, journal: Path, budget: Budget | None = None) -> OptimizerJob:
    with engine.context(lm=lm):
        optimizer, arguments = RECIPES[name](getattr(engine, name))
    student = engine.ChainOfThought("question -> answer")
    if name == "BetterTogether":
        student.set_lm(lm)
    given = {"trainset": TRAINSET, **arguments}
    return OptimizerJob(optimizer, student, journal=journal, budget=budget, overrides={"lm": lm}, **given)


async def ended(described: OptimizerJob) -> JobOutcome:
    try:
        return await run_job(described)
    except BudgetExhausted as stopped:
        return stopped.outcome


def scores(outcome: JobOutcome) -> list[tuple[str, float | None]]:
    """Of trials side by side, which began first is a matter of luck."""
    return sorted((trial.label, trial.score) for trial in outcome.trials)


@pytest.mark.parametrize("name", offered())
async def test_stopped_and_resumed_it_finds_what_it_finds_in_one_run(name: str, tmp_path: Path) -> None:
    # The model samples, so one run and another find different things; the journal of a finished one does not.
    calls = 5
    asked = 0
    while True:
        lm = Sampling(asked)
        finished = await ended(job(name, lm, tmp_path / "j", Budget(calls=calls)))
        asked += lm.asked
        assert finished.spent.calls == asked, "a finished call was made again"
        if asked < calls:
            break
        calls += 17
    again = Sampling(10_000)
    replayed = await run_job(job(name, again, tmp_path / "j"))
    assert again.asked == 0
    assert json.dumps(replayed.program.dump_state()) == json.dumps(finished.program.dump_state())
    assert scores(replayed) == scores(finished)
