"""GEPA's search is a thread; its calls are the loop's: async metrics, settings, cancellation, what a job is told."""

import asyncio
import sys
import threading
from contextvars import ContextVar
from typing import Any

import anyio
import dspex.engine as engine
import pytest
from dspex.engine.optimizers import ScoreWithFeedback
from dspex.engine.optimizers.trials import JOB
from test_gepa_against_dspy import answer, examples, program

pytest.importorskip("gepa", reason="GEPA needs gepa")

pytestmark = [pytest.mark.anyio]

WHERE: ContextVar[str] = ContextVar("where", default="nowhere")


class Asked(engine.BaseLM):
    """Answers on the loop, after it has been let in."""

    def __init__(self) -> None:
        super().__init__("stub", cache=False)
        self.running = 0
        self.asked = 0
        self.threads: set[int] = set()
        self.seen: set[str] = set()
        self.hangs_at: int | None = None
        self.hanging = anyio.Event()

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.asked += 1
        self.running += 1
        self.threads.add(threading.get_ident())
        self.seen.add(WHERE.get())
        try:
            await anyio.lowlevel.checkpoint()
            if self.hangs_at is not None and self.asked >= self.hangs_at:
                self.hanging.set()
                await anyio.sleep_forever()
        finally:
            self.running -= 1
        fields = answer(messages, {"rollout_id": 1})
        text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
        if "JSON object" in str(messages):
            text = str(fields).replace("'", '"')
        return {
            "model": "stub",
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {},
        }


async def scored(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    await anyio.lowlevel.checkpoint()
    return ScoreWithFeedback(score=float(gold.answer == pred.answer), feedback=f"It is {gold.answer}.")


def gepa(lm: Any, **options: Any) -> engine.GEPA:
    return engine.GEPA(**{"metric": scored, "reflection_lm": lm, "max_metric_calls": 40, "num_threads": 2, **options})


async def test_metric_and_proposer_may_be_async_and_models_are_asked_on_the_loop_with_its_settings() -> None:
    lm = Asked()
    told: list[Any] = []

    async def proposer(candidate: Any, reflective_dataset: Any, components_to_update: Any) -> dict[str, str]:
        told.append((engine.settings.lm is lm, WHERE.get()))
        return {name: f"Mind {len(told)}." for name in components_to_update}

    WHERE.set("here")
    with engine.context(lm=lm, adapter=engine.ChatAdapter()):
        made = await gepa(lm, instruction_proposer=proposer, track_stats=True).acompile(
            program(engine), trainset=examples(engine, 0, 6), valset=examples(engine, 20, 24)
        )
    assert lm.threads == {threading.get_ident()}
    assert lm.seen == {"here"}
    assert told
    assert set(told) == {(True, "here")}
    assert len(made.detailed_results.candidates) >= 1


async def test_a_plain_metric_may_ask_a_model_synchronously() -> None:
    lm = Asked()
    judge = engine.Predict("question -> answer")

    def judged(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> float:
        return float(judge(question=gold.question).answer == gold.answer)

    with engine.context(lm=lm, adapter=engine.ChatAdapter(), max_errors=1000):
        await gepa(lm, metric=judged, max_metric_calls=12).acompile(program(engine), trainset=examples(engine, 0, 4))
    assert lm.threads == {threading.get_ident()}


@pytest.mark.parametrize("hangs_at", [3, 25])
async def test_cancelled_it_leaves_neither_a_call_nor_a_thread(hangs_at: int) -> None:
    lm = Asked()
    lm.hangs_at = hangs_at
    ended = anyio.Event()

    def watching(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> float:
        return 0.5

    async def compile() -> None:
        try:
            with engine.context(lm=lm, adapter=engine.ChatAdapter()):
                await gepa(lm, metric=watching, max_metric_calls=1000).acompile(
                    program(engine), trainset=examples(engine, 0, 6)
                )
        finally:
            ended.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(compile)
            await lm.hanging.wait()
            group.cancel_scope.cancel()
    assert ended.is_set()
    assert lm.running == 0
    asked = lm.asked
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    assert lm.asked == asked


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelled_by_asyncio_itself_it_ends_as_well(anyio_backend: str) -> None:
    lm = Asked()
    lm.hangs_at = 3

    async def compile() -> None:
        with engine.context(lm=lm, adapter=engine.ChatAdapter()):
            await gepa(lm, max_metric_calls=1000).acompile(program(engine), trainset=examples(engine, 0, 6))

    task = asyncio.create_task(compile())
    with anyio.fail_after(60):
        await lm.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert lm.running == 0


class Job:
    """What a job hears, and when it says stop."""

    def __init__(self, stops_after: int) -> None:
        self.stops_after = stops_after
        self.reported: list[tuple[str, float, str, int | None]] = []

    async def trial(self, program: Any, evaluate: Any, **options: Any) -> Any:
        return await evaluate()

    async def together(self, calls: Any) -> list[Any]:
        return [await call() for call in calls]

    def report_trial(self, program: Any, score: float, *, kind: Any, size: int | None, label: str) -> None:
        self.reported.append((label, score, kind, size))

    def keep_draft(self, program: Any) -> None:
        self.draft = program

    def plan_trials(self, count: int | None, *, phase: str) -> None:
        pass

    def may_go_on(self) -> bool:
        return len(self.reported) < self.stops_after


async def test_a_job_hears_of_each_candidate_and_can_stop_the_search() -> None:
    lm = Asked()
    job = Job(stops_after=2)
    token = JOB.set(job)
    try:
        with engine.context(lm=lm, adapter=engine.ChatAdapter()):
            student = program(engine)
            made = await gepa(lm, max_metric_calls=5000, track_stats=True, num_threads=1).acompile(
                student, trainset=examples(engine, 0, 6), valset=examples(engine, 20, 24)
            )
    finally:
        JOB.reset(token)
    scores = made.detailed_results.val_aggregate_scores
    assert [(label, score) for label, score, *_ in job.reported] == [
        (f"candidate {index}", score) for index, score in enumerate(scores)
    ]
    assert {(kind, size) for *_, kind, size in job.reported} == {("full", 4)}
    assert len(scores) == 2
    assert job.draft() is student


@pytest.mark.parametrize(
    ("module", "optimizer"),
    [("gepa", lambda lm: gepa(lm)), ("numpy", lambda lm: engine.SIMBA(metric=scored, bsize=2))],
)
async def test_without_its_package_it_names_the_extra(
    module: str, optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = Asked()
    monkeypatch.setitem(sys.modules, module, None)
    with engine.context(lm=lm), pytest.raises(engine.MissingExtra, match=r"dspex\[optimizers\]"):
        await optimizer(lm).acompile(program(engine), trainset=examples(engine, 0, 2))
    assert lm.asked == 0
