"""Plain metrics off the loop: few threads for quick ones, enough for slow ones, and their errors, settings and cancellation."""

import threading
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import sniffio
from dspex.engine import DummyLM, Evaluate, Example, Module, Predict, Prediction, context
from dspex.engine.evaluation.metric_threads import MetricThreads

pytestmark = pytest.mark.anyio

WHO: ContextVar[int] = ContextVar("who", default=-1)


class Answering(Module):
    async def aforward(self, question: str) -> Prediction:
        WHO.set(int(question[1:]))
        await anyio.lowlevel.checkpoint()
        return Prediction(answer="4")


def devset(count: int) -> list[Example]:
    return [Example(question=f"q{n}", answer="4").with_inputs("question") for n in range(count)]


async def test_metrics_that_wait_for_each_other_all_get_a_thread() -> None:
    together = threading.Barrier(8)

    def metric(example: Any, pred: Any) -> bool:
        together.wait(60)
        return True

    result = await Evaluate(devset=devset(16), metric=metric, num_threads=8).acall(Answering())
    assert result.score == 100.0
    assert result.failures == []


async def test_it_runs_off_the_loop_and_not_in_more_threads_than_examples_at_a_time() -> None:
    here = threading.get_ident()
    running, most, lock = [0], [0], threading.Lock()
    calls = threading.Semaphore(0)

    def metric(example: Any, pred: Any) -> bool:
        assert threading.get_ident() != here
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        calls.acquire(timeout=0.005)
        with lock:
            running[0] -= 1
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            sniffio.current_async_library()
        return True

    assert (await Evaluate(devset=devset(30), metric=metric, num_threads=3).acall(Answering())).score == 100.0
    assert most[0] <= 3


async def test_each_call_has_the_settings_and_variables_of_its_example() -> None:
    judge = Predict("said -> verdict: bool")
    seen: list[bool] = []

    def metric(example: Any, pred: Any) -> bool:
        seen.append(WHO.get() in (-1, int(example.question[1:])))
        WHO.set(99)
        return judge(said=pred.answer).verdict

    with context(lm=DummyLM([{"verdict": "True"}] * 20)):
        assert (await Evaluate(devset=devset(20), metric=metric, num_threads=4).acall(Answering())).score == 100.0
    assert seen == [True] * 20


async def test_what_a_metric_raises_is_the_example_s_failure_and_what_it_awaits_is_awaited() -> None:
    async def later(value: bool) -> bool:
        await anyio.lowlevel.checkpoint()
        return value

    def metric(example: Any, pred: Any) -> Any:
        if example.question == "q3":
            raise KeyError("three")
        return later(example.question != "q4")

    result = await Evaluate(devset=devset(10), metric=metric, num_threads=4).acall(Answering())
    assert result.score == 80.0
    assert [(example.question, type(error)) for example, error in result.failures] == [("q3", KeyError)]


async def test_cancelled_it_does_not_wait_for_a_call_that_hangs() -> None:
    begun, free = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        free.wait(60)

    try:
        with anyio.fail_after(60):
            async with MetricThreads(hang, most=2) as threads, anyio.create_task_group() as group:
                group.start_soon(threads.call)
                await anyio.to_thread.run_sync(begun.wait)
                group.cancel_scope.cancel()
    finally:
        free.set()


async def test_errors_leave_it_as_themselves() -> None:
    with pytest.raises(ZeroDivisionError):
        async with MetricThreads(lambda: 1 / 0, most=1) as threads:
            await threads.call()
