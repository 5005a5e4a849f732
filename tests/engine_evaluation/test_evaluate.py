"""Evaluation on an event loop: bounded, async metrics, cancellation, and nothing that looks like success and is none."""

from typing import Any

import anyio
import pytest
from dspex.engine import BaseCallback, DummyLM, Example, Module, Predict, Prediction, context
from dspex.engine.evaluation import Evaluate, SemanticF1, answer_exact_match

pytestmark = pytest.mark.anyio


def devset(count: int) -> list[Example]:
    return [Example(question=f"q{number}", answer="4").with_inputs("question") for number in range(count)]


class Counting(Module):
    """Notes how many of its calls run at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0
        self.most = 0

    async def aforward(self, question: str) -> Prediction:
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        self.running -= 1
        return Prediction(answer="4" if question != "q7" else "5")


async def test_so_many_examples_run_at_a_time_and_no_more() -> None:
    program = Counting()
    result = await Evaluate(devset=devset(50), metric=answer_exact_match, num_threads=6).acall(program)
    assert program.most == 6
    assert result.score == 98.0
    assert [score for *_, score in result.results].index(False) == 7


async def test_a_metric_may_be_async() -> None:
    async def metric(example: Example, pred: Prediction, trace: object = None) -> float:
        await anyio.lowlevel.checkpoint()
        return 0.5

    assert (await Evaluate(devset=devset(4), metric=metric).acall(Counting())).score == 50.0


async def test_a_metric_may_be_a_program_or_ask_one_synchronously() -> None:
    judge = Predict("said -> verdict: bool")
    examples = [Example(question="q", response="r").with_inputs("question")]

    class Answering(Module):
        async def aforward(self, question: str) -> Prediction:
            return Prediction(response="r")

    def asks(example: Example, pred: Prediction, trace: object = None) -> bool:
        return judge(said=pred.response).verdict

    with context(lm=DummyLM([{"verdict": "True"}])):
        assert (await Evaluate(devset=examples, metric=asks).acall(Answering())).score == 100.0
    with context(lm=DummyLM([{"reasoning": "r", "recall": 0.5, "precision": 0.5}])):
        result = await Evaluate(devset=examples, metric=SemanticF1()).acall(Answering())
    assert result.score == 50.0


async def test_an_evaluation_without_a_metric_or_with_one_that_returns_none_is_no_success() -> None:
    with pytest.raises(ValueError, match="needs a metric"):
        await Evaluate(devset=devset(1)).acall(Counting())
    result = await Evaluate(devset=devset(2), metric=lambda example, pred: None).acall(Counting())
    assert result.score == 0.0
    assert [type(error) for _, error in result.failures] == [TypeError, TypeError]
    assert "returned None" in str(result.failures[0][1])


@pytest.mark.parametrize("score", ["1", b"1", [1], (1, 2), {"score": 1}, 1j])
async def test_what_is_no_number_is_the_example_s_failure(score: Any) -> None:
    """In dspy it ends the whole evaluation, with the error of the sum."""
    result = await Evaluate(devset=devset(2), metric=lambda example, pred: score).acall(Counting())
    assert result.score == 0.0
    assert [type(error) for _, error in result.failures] == [TypeError, TypeError]
    assert "it must return a number or a bool" in str(result.failures[0][1])


async def test_cancelled_it_leaves_no_example_in_work() -> None:
    program = Counting()
    begun = anyio.Event()

    class Hanging(Module):
        async def aforward(self, question: str) -> Prediction:
            program.running += 1
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                program.running -= 1
            raise AssertionError

    async with anyio.create_task_group() as group:
        group.start_soon(Evaluate(devset=devset(9), metric=answer_exact_match, num_threads=3).acall, Hanging())
        await begun.wait()
        group.cancel_scope.cancel()
    assert program.running == 0


async def test_callbacks_are_told_of_an_evaluation() -> None:
    told: list[tuple[str, Any]] = []

    class Log(BaseCallback):
        def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            told.append(("start", inputs["callback_metadata"]))

        def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
            told.append(("end", outputs.score))

    with context(callbacks=[Log()]):
        await Evaluate(devset=devset(2), metric=answer_exact_match).acall(Counting(), callback_metadata={"run": 1})
    assert told == [("start", {"run": 1}), ("end", 100.0)]


async def test_progress_and_table_are_printed_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = Evaluate(devset=devset(20), metric=answer_exact_match, display_progress=True, display_table=2)
    await evaluate.acall(Counting())
    printed = capsys.readouterr().out
    assert "20 of 20 done" in printed
    assert "... 18 more rows not displayed ..." in printed
    await evaluate.acall(Counting(), display_progress=False, display_table=False)
    assert capsys.readouterr().out == ""
