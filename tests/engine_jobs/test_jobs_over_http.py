"""Jobs whose model is behind a real server: what counts as a call, and what a cached model's equal requests get."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from counting_server import CountingServer
from dspex.engine import LM, Evaluate, Predict
from dspex.engine.optimizers import Teleprompter
from dspex.engine.optimizers.jobs import Budget, BudgetExhausted, OptimizerJob, run_job
from stub_model import TRAINSET

pytestmark = pytest.mark.anyio
pytest.importorskip("openai", reason="needs the extra `openai`")


@pytest.fixture
def server() -> Iterator[CountingServer]:
    made = CountingServer()
    yield made
    made.close()


class Scripted(Teleprompter):
    """An optimizer that does what a test says."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    async def acompile(self, student: Any, *, trainset: Any) -> Any:
        return await self._work(student)


def job(lm: LM, work: Callable[[Any], Any], **options: Any) -> OptimizerJob:
    student = Predict("question -> answer")
    return OptimizerJob(Scripted(work), student, trainset=TRAINSET, overrides={"lm": lm}, **options)


async def test_each_candidate_that_is_asked_for_is_a_call(server: CountingServer, tmp_path: Path) -> None:
    async with LM("openai/m", base_url=server.url, api_key="sk-canary", cache=False) as lm:

        async def work(student: Any) -> Any:
            made = await student.acall(question="question 1", config={"n": 3, "temperature": 1.0})
            student.told = len(made.completions)
            return student

        outcome = await run_job(job(lm, work, journal=tmp_path / "j"))
        assert outcome.spent.calls == len(server.bodies) == 3
        assert outcome.spent.tokens == 3 * 15
        assert (await run_job(job(lm, work, journal=tmp_path / "j"))).spent.calls == 3
        assert len(server.bodies) == 3
        with pytest.raises(BudgetExhausted):
            await run_job(job(lm, work, budget=Budget(calls=2)))
        assert len(server.bodies) == 3, "three would be more than two"


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "sampled"])
async def test_equal_requests_of_a_cached_model_have_one_answer_in_a_job(
    server: CountingServer, tmp_path: Path, cache: bool
) -> None:
    same = [TRAINSET[0]] * 6

    async def work(student: Any) -> Any:
        evaluate = Evaluate(devset=same, metric=lambda example, prediction: 1, num_threads=3)
        await evaluate.acall(student)
        await evaluate.acall(student)
        return student

    async with LM("openai/m", base_url=server.url, api_key="sk-canary", cache=cache) as lm:
        await run_job(job(lm, work, journal=tmp_path / "j"))
        assert len(server.bodies) == (1 if cache else 12), "the cache itself is off in tests"
        await run_job(job(lm, work, journal=tmp_path / "j"))
        assert len(server.bodies) == (1 if cache else 12)


async def test_a_programs_own_model_leaves_no_secret_and_no_address_in_the_journal(
    server: CountingServer, tmp_path: Path
) -> None:
    async def work(student: Any) -> Any:
        from dspex.engine.optimizers.trials import trial

        evaluate = Evaluate(devset=TRAINSET, metric=lambda example, prediction: 1)
        await trial(student, lambda: evaluate.acall(student))
        return student

    headers = {"X-Tenant": "canary-tenant"}
    for key in ("sk-canary-1", "sk-canary-2"):
        async with LM("openai/m", base_url=server.url, api_key=key, extra_headers=headers) as lm:
            student = Predict("question -> answer")
            student.lm = lm
            described = OptimizerJob(Scripted(work), student, trainset=TRAINSET, journal=tmp_path / "j")
            outcome = await run_job(described)  # the second goes on with another key
    assert outcome.answered_by_journal == len(server.bodies) == 6
    written = (tmp_path / "j").read_bytes()
    assert b"openai/m" in written, "the state of the best program"
    assert b"canary" not in written
    assert server.url.encode() not in written
