"""A program with a synchronous `forward` runs in a thread: when its job ends, its calls do, and the thread with them."""

from typing import Any

import anyio
import pytest
from dspex.engine import Evaluate, Module, Predict, Teleprompter
from dspex.engine.optimizers.jobs import Budget, BudgetExhausted, JobCancelled, OptimizerJob, run_job
from dspex.engine.optimizers.trials import trial
from dspex.runtime import open_runtime
from stub_model import TRAINSET, Model, right

pytestmark = pytest.mark.anyio

BOUND = 60  # seconds, on a machine that is busy


class Twice(Module):
    """Asks two times, and does not take an error for an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = Predict("question -> answer")

    def forward(self, question: str) -> Any:
        for _ in range(2):
            try:
                made = self.predict(question=question)
            except Exception:
                made = self.predict(question=question)
        return made


class Scoring(Teleprompter):
    async def acompile(self, student: Any, *, trainset: Any) -> Any:
        evaluate = Evaluate(devset=trainset, metric=right, num_threads=len(trainset))
        for number in range(3):
            await trial(student, lambda: evaluate.acall(student), size=len(trainset), label=str(number))
        return student


def job(lm: Model, **options: Any) -> OptimizerJob:
    return OptimizerJob(Scoring(), Twice(), trainset=TRAINSET, overrides={"lm": lm}, **options)


@pytest.mark.parametrize("calls", range(1, 17, 3))
async def test_the_end_of_its_budget_ends_the_job(calls: int, tmp_path: Any) -> None:
    lm = Model()
    with anyio.fail_after(BOUND), pytest.raises(BudgetExhausted) as caught:
        await run_job(job(lm, budget=Budget(calls=calls), journal=tmp_path / "j"))
    assert len(lm.asked) == lm.finished == calls
    states = [trial.state for trial in caught.value.outcome.trials]
    assert states == ["done"] * (calls // 12) + ["stopped"]


@pytest.mark.parametrize("end", ["cancel", "seconds", "stop"])
async def test_whatever_ends_it_the_calls_of_its_threads_end(end: str) -> None:
    here = anyio.Event()

    async def wait(number: int) -> None:
        if number == 15:
            here.set()
        if number >= 15 and end != "cancel":
            await anyio.sleep_forever()

    async with open_runtime() as rt:
        ref = await rt.start(job(Model(wait), budget=Budget(seconds=1.0) if end == "seconds" else None))
        with anyio.fail_after(BOUND):
            await here.wait()
            if end == "stop":
                await ref.stop()
                return
            if end == "cancel":
                await ref.call(OptimizerJob.cancel)
            with pytest.raises(JobCancelled if end == "cancel" else BudgetExhausted) as caught:
                await ref.within(BOUND).call(OptimizerJob.result)
        assert caught.value.outcome.best is not None
