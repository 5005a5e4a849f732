"""An optimizer as a job: what it may spend, what is seen of it, how it ends, and what is left then."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from dspex.engine import Example, Predict, context
from dspex.engine.optimizers import (
    BootstrapFewShot,
    BootstrapFewShotWithRandomSearch,
    LabeledFewShot,
    Teleprompter,
)
from dspex.engine.optimizers.jobs import (
    BadJob,
    Budget,
    BudgetExhausted,
    BudgetUnmeasurable,
    JobCancelled,
    JobFailed,
    JobStatus,
    OptimizerJob,
    TrialPolicy,
    journal_report,
    run_job,
)
from dspex.engine.optimizers.trials import (
    keep_draft,
    may_go_on,
    plan_trials,
    report_trial,
    together,
    trial,
)
from dspex.runtime import ActorExit, Event, open_runtime
from dspex.runtime.testing import virtual_backend
from dspex.supervisors import Child, Supervisor, tree
from stub_model import TRAINSET, Model, right

pytestmark = pytest.mark.anyio


def search(**options: Any) -> BootstrapFewShotWithRandomSearch:
    return BootstrapFewShotWithRandomSearch(metric=right, num_candidate_programs=3, num_threads=2, **options)


async def right_on_the_loop(example: Any, prediction: Any, trace: Any = None) -> bool:
    return right(example, prediction)  # virtual time does not wait for threads


def job(lm: Model, optimizer: Any = None, **options: Any) -> OptimizerJob:
    options.setdefault("trainset", TRAINSET)
    return OptimizerJob(
        optimizer if optimizer is not None else search(), Predict("question -> answer"), overrides={"lm": lm}, **options
    )


class Scripted(Teleprompter):
    """An optimizer that does what a test says."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    async def acompile(self, student: Any, *, trainset: Any) -> Any:
        return await self._work(student)


async def test_a_job_gives_what_the_optimizer_gives_without_one() -> None:
    with context(lm=Model()):
        alone = await search().acompile(Predict("question -> answer"), trainset=TRAINSET)
    lm = Model()
    outcome = await run_job(job(lm))
    assert outcome.program.dump_state() == alone.dump_state()
    assert [each["score"] for each in outcome.program.candidate_programs] == [
        each["score"] for each in alone.candidate_programs
    ]
    assert outcome.spent.calls == len(lm.asked)
    assert outcome.spent.tokens == 15 * len(lm.asked)
    assert [trial.state for trial in outcome.trials] == ["done"] * 6
    assert outcome.best is not None
    assert outcome.best.score == max(trial.score or 0 for trial in outcome.trials)


async def test_the_settings_of_who_describes_the_job_hold_in_it() -> None:
    lm = Model()
    with context(lm=lm):
        described = OptimizerJob(search(), Predict("question -> answer"), trainset=TRAINSET)
    await run_job(described)
    assert lm.finished > 6


async def test_a_budget_of_calls_is_exact_and_keeps_the_best_program() -> None:
    lm = Model()
    with pytest.raises(BudgetExhausted) as caught:
        await run_job(job(lm, budget=Budget(calls=20)))
    assert len(lm.asked) == lm.finished == 20, "none more, and those in hand were let finish"
    stopped = caught.value
    assert stopped.limit == "calls"
    assert stopped.outcome.spent.calls == 20
    assert stopped.outcome.best is not None
    assert stopped.program.dump_state()["signature"]
    assert {trial.state for trial in stopped.outcome.trials} <= {"done", "stopped"}


@pytest.mark.parametrize(
    ("budget", "limit"), [(Budget(tokens=100), "tokens"), (Budget(cost=0.05), "cost")], ids=["tokens", "cost"]
)
async def test_no_call_begins_once_tokens_or_dollars_are_used_up(budget: Budget, limit: str) -> None:
    lm = Model(cost=0.01)
    with pytest.raises(BudgetExhausted) as caught:
        await run_job(job(lm, budget=budget, policy=TrialPolicy(concurrency=1)))
    assert caught.value.limit == limit
    assert len(lm.asked) <= 9, "seven calls are 105 tokens, five cost 5 cents; two were in hand at a time"


@pytest.mark.parametrize("name", ["tokens", "cost"])
async def test_a_limit_that_cannot_be_measured_ends_the_job_at_the_first_call(name: str) -> None:
    lm = Model(usage=None)
    with pytest.raises(JobFailed) as caught:
        await run_job(job(lm, budget=Budget(**{name: 1_000_000}), policy=TrialPolicy(concurrency=1)))
    assert isinstance(caught.value.__cause__, BudgetUnmeasurable)
    assert len(lm.asked) <= 2


@pytest.mark.parametrize(
    "limits", [{"calls": 0}, {"calls": 2.5}, {"tokens": -1}, {"cost": "1"}, {"seconds": True}], ids=str
)
def test_a_budget_that_is_none_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Budget"):
        Budget(**limits)


class TestWallTime:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> object:
        return virtual_backend(request.param)

    async def test_seconds_are_the_runtimes_and_end_what_is_in_hand(self) -> None:
        lm = Model(lambda _: anyio.sleep(10))
        seen: list[JobStatus] = []
        async with open_runtime() as rt:
            began = rt.now()
            optimizer = BootstrapFewShotWithRandomSearch(metric=right_on_the_loop, num_threads=2)
            with pytest.raises(BudgetExhausted) as caught:
                await run_job(job(lm, optimizer, budget=Budget(seconds=95.0)), on_progress=seen.append)
            assert rt.now() - began == pytest.approx(95.0, abs=0.1)
        assert caught.value.limit == "seconds"
        assert caught.value.outcome.spent.seconds == pytest.approx(95.0, abs=0.1)
        assert lm.finished < len(lm.asked)
        assert caught.value.outcome.best is not None

    async def test_the_estimate_of_the_time_left_follows_the_pace_of_the_trials(self) -> None:
        lm = Model(lambda _: anyio.sleep(1))
        left: list[float | None] = []

        async def work(student: Any) -> Any:
            plan_trials(10, phase="search")
            for number in range(10):
                await trial(student, lambda number=number: _slept(number))
            return student

        async def _slept(number: int) -> float:
            await anyio.sleep(6)
            return float(number)

        await run_job(job(lm, Scripted(work)), on_progress=lambda status: left.append(status.seconds_left))
        assert left == [None, None, *(pytest.approx(6.0 * (9 - done)) for done in range(10)), 0.0]


async def test_a_cancelled_job_keeps_the_best_program_and_finishes_the_calls_in_hand() -> None:
    async with open_runtime() as rt:
        here = anyio.Event()

        async def wait(number: int) -> None:
            if number == 15:
                here.set()
            await anyio.sleep(0.001)

        lm = Model(wait)
        ref = await rt.start(job(lm))
        await here.wait()
        status = await ref.call(OptimizerJob.status)
        assert status.state == "running"
        await ref.call(OptimizerJob.cancel)
        with pytest.raises(JobCancelled) as caught:
            await ref.within(30).call(OptimizerJob.result)
        assert lm.finished == len(lm.asked)
        assert caught.value.outcome.best is not None
        assert (await ref.call(OptimizerJob.status)).state == "cancelled"
        asked = len(lm.asked)
        await ref.call(OptimizerJob.cancel)
        await anyio.sleep(0.01)
        assert len(lm.asked) == asked, "nothing goes on behind its back"


async def test_bootstrapping_that_is_stopped_keeps_the_demos_it_has() -> None:
    lm = Model(answer=lambda number, question: question.replace("question", "answer"))
    optimizer = BootstrapFewShot(metric=right, max_bootstrapped_demos=4)
    with pytest.raises(BudgetExhausted) as caught:
        await run_job(job(lm, optimizer, budget=Budget(calls=2)))
    assert [demo.question for demo in caught.value.program.demos] == ["question 0", "question 1"]


async def test_stopped_before_anything_was_scored_the_student_is_what_is_left() -> None:
    async def work(student: Any) -> Any:
        await student.acall(question="question 1")
        await student.acall(question="question 2")

    with pytest.raises(BudgetExhausted) as caught:
        await run_job(job(Model(), Scripted(work), budget=Budget(calls=1)))
    assert caught.value.outcome.best is None
    assert caught.value.program.demos == []


async def test_progress_is_events_a_status_and_a_table() -> None:
    async with open_runtime() as rt:
        heard: list[Event] = []
        rt.events.subscribe(heard.append, prefix="engine.job.")
        seen: list[JobStatus] = []
        await run_job(job(Model(), name="qa"), on_progress=seen.append)
        names = [event.name for event in heard]
        assert names[:2] == ["engine.job.started", "engine.job.planned"]
        assert names.count("engine.job.trial") == 6
        assert names[-1] == "engine.job.ended"
        assert heard[-1].data["how"] == "done"
        assert all(event.data["job"] == "qa" for event in heard)
        printed = str(seen[-1])
        assert printed.startswith("qa: BootstrapFewShotWithRandomSearch, done, search")
        for text in ("trial  kind  size  score", "no demos", "bootstrapped, seed 2", "6 of 6 done", "best", "spent"):
            assert text in printed, printed


async def test_trials_run_side_by_side_up_to_the_policys_limit_and_results_keep_their_order() -> None:
    running = most = 0

    async def one(number: int) -> float:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(number % 3 + 1):
            await anyio.sleep(0.001)
        running -= 1
        return float(number)

    async def work(student: Any) -> Any:
        results = await together([lambda n=n: trial(student, lambda: one(n)) for n in range(9)])
        assert results == [float(n) for n in range(9)]
        return student

    outcome = await run_job(job(Model(), Scripted(work), policy=TrialPolicy(concurrency=3)))
    assert most == 3
    assert outcome.best is not None
    assert outcome.best.score == 8.0


async def test_a_trial_that_crashes_is_tried_again_as_the_policy_says() -> None:
    attempts = 0

    async def crashing(student: Any) -> Any:
        async def evaluate() -> float:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise ConnectionError("gone")
            return 7.0

        return student if await trial(student, evaluate) == 7.0 else None

    outcome = await run_job(job(Model(), Scripted(crashing), policy=TrialPolicy(attempts=3)))
    assert outcome.trials[0].attempts == 3
    attempts = 0
    with pytest.raises(JobFailed) as caught:
        await run_job(job(Model(), Scripted(crashing), policy=TrialPolicy(attempts=2)))
    assert isinstance(caught.value.__cause__, ConnectionError)
    [record] = caught.value.outcome.trials
    assert (record.state, record.attempts, record.error) == ("failed", 2, "ConnectionError")


async def test_a_trial_in_a_trial_does_not_wait_for_itself() -> None:
    async def inner(student: Any) -> float:
        return await trial(student, lambda: _number(3.0), label="inner")

    async def work(student: Any) -> Any:
        await trial(student, lambda: inner(student), label="outer")
        return student

    with anyio.fail_after(30):
        outcome = await run_job(job(Model(), Scripted(work), policy=TrialPolicy(concurrency=1)))
    assert [trial.label for trial in outcome.trials] == ["outer", "inner"]


async def _number(value: float) -> float:
    return value


async def test_scores_on_everything_come_before_scores_on_a_part() -> None:
    async def work(student: Any) -> Any:
        report_trial(student, 90.0, kind="minibatch")
        report_trial(student, 40.0, kind="full", label="whole")
        report_trial(student, 95.0, kind="minibatch")
        report_trial(student, 40.0, kind="full")
        return student

    outcome = await run_job(job(Model(), Scripted(work)))
    assert outcome.best is not None
    assert (outcome.best.number, outcome.best.label) == (2, "whole")


async def test_a_score_that_is_not_a_number_is_a_failed_trial_and_never_the_best() -> None:
    nan = float("nan")

    async def some(student: Any) -> Any:
        report_trial(student, nan)
        await trial(student, lambda: _number(nan))
        report_trial(student, 40.0)
        return student

    outcome = await run_job(job(Model(), Scripted(some)))
    assert [trial.state for trial in outcome.trials] == ["failed", "failed", "done"]
    assert outcome.best is not None
    assert outcome.best.score == 40.0
    with pytest.raises(JobFailed, match=r"NaN\): see what the metric returns"):
        await run_job(job(Model(), BootstrapFewShotWithRandomSearch(metric=lambda *_: nan, num_candidate_programs=2)))


async def test_the_best_program_is_a_copy_that_the_optimizer_cannot_change_any_more() -> None:
    async def work(student: Any) -> Any:
        student.demos = ["first"]
        report_trial(student, 50.0)
        student.demos = ["second"]
        report_trial(student, 10.0)
        raise RuntimeError("and now this")

    with pytest.raises(JobFailed) as caught:
        await run_job(job(Model(), Scripted(work)))
    assert caught.value.program.demos == ["first"]


async def test_an_optimizer_without_async_compile_is_a_job_too_and_can_be_stopped() -> None:
    class Blocking(Teleprompter):
        def compile(self, student: Any, *, trainset: Any) -> Any:
            keep_draft(student.deepcopy)
            for number in range(1000):
                if not may_go_on():
                    break
                student(question=f"question {number}")
                report_trial(student, float(number), label=f"call {number}")
            return student

    lm = Model()
    with anyio.fail_after(60):
        with pytest.raises(BudgetExhausted) as caught:
            await run_job(job(lm, Blocking(), budget=Budget(calls=5)))
    assert len(lm.asked) == 5
    assert caught.value.outcome.best is not None
    assert caught.value.outcome.best.score == 4.0


async def test_several_jobs_run_at_once_each_with_its_own_budget() -> None:
    lms = [Model(), Model(), Model()]
    limits = [12, 17, 1000]
    ended: dict[int, Any] = {}

    async def one(index: int) -> None:
        try:
            ended[index] = await run_job(job(lms[index], budget=Budget(calls=limits[index])))
        except BudgetExhausted as error:
            ended[index] = error

    async with open_runtime(), anyio.create_task_group() as group:
        for index in range(3):
            group.start_soon(one, index)
    assert [len(lm.asked) for lm in lms[:2]] == [12, 17]
    assert isinstance(ended[0], BudgetExhausted)
    assert ended[2].spent.calls == len(lms[2].asked) > 17


async def test_a_job_in_a_tree_is_stopped_with_it_and_leaves_no_process() -> None:
    lm = Model(lambda _: anyio.sleep_forever())
    async with open_runtime() as rt:
        before = rt.statistics()["processes"]
        root = await rt.start(Supervisor([Child("tune", lambda: job(lm), name="tune")]))
        while not lm.asked:
            await anyio.sleep(0.001)
        assert "BootstrapFewShotWithRandomSearch, running" in str(tree(root))
        waiting: list[BaseException] = []

        async def wait() -> None:
            try:
                await rt.ref("tune").within(None).call(OptimizerJob.result)
            except ActorExit as error:
                waiting.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await root.stop()
        assert waiting, "who waits for the result hears of the end"
        assert rt.statistics()["processes"] == before


async def test_cancelling_who_runs_a_job_ends_it() -> None:
    lm = Model(lambda _: anyio.sleep_forever())
    async with open_runtime() as rt:
        before = rt.statistics()["processes"]
        async with anyio.create_task_group() as group:
            group.start_soon(run_job, job(lm))
            while not lm.asked:
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()
        assert rt.statistics()["processes"] == before


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"trainset": []}, "an empty one"),
            ({"trainset": None}, "NoneType"),
            ({"trainset": "examples"}, "a str"),
            ({"trainset": [{"question": "q"}]}, r"trainset\[0\] is a dict"),
            ({"trainset": [TRAINSET[0], Example(question="q")]}, r"trainset\[1\] does not say which"),
            ({"trainset": TRAINSET, "valset": [3]}, r"valset\[0\] is a int"),
            ({"trainset": TRAINSET, "devset": TRAINSET}, "does not take these arguments"),
            ({"trainset": TRAINSET, "budget": 100}, r"budget is a Budget\(...\), not a int"),
            ({"trainset": TRAINSET, "policy": 4}, "policy is a TrialPolicy"),
            ({"trainset": TRAINSET, "journal": 17}, "journal is the path of a file, not 17"),
            ({"trainset": TRAINSET, "journal": "a\0b"}, "journal is the path of a file"),
        ],
        ids=[
            *("empty", "none", "text", "dicts", "no inputs", "valset", "unknown argument", "budget", "policy"),
            *("journal", "journal with a zero"),
        ],
    )
    def test_what_cannot_work_is_refused_before_anything_runs(self, options: dict[str, Any], why: str) -> None:
        with pytest.raises(BadJob, match=why):
            OptimizerJob(search(), Predict("question -> answer"), **options)

    def test_no_optimizer_and_no_program(self) -> None:
        with pytest.raises(BadJob, match="no optimizer"):
            OptimizerJob(BootstrapFewShot, Predict("question -> answer"), trainset=TRAINSET)
        with pytest.raises(BadJob, match="no program"):
            OptimizerJob(search(), None, trainset=TRAINSET)

    def test_an_optimizer_that_calls_its_metric_otherwise_runs_examples_too(self) -> None:
        class Reflecting(Teleprompter):
            metric_fn = right

            async def acompile(self, student: Any, *, trainset: Any) -> Any: ...

        with pytest.raises(BadJob, match=r"trainset\[0\] does not say which"):
            OptimizerJob(Reflecting(), Predict("question -> answer"), trainset=[Example(question="q")])

    async def test_examples_without_inputs_do_for_an_optimizer_that_runs_none(self) -> None:
        outcome = await run_job(job(Model(), LabeledFewShot(k=1), trainset=[Example(question="q", answer="a")]))
        assert len(outcome.program.demos) == 1

    @pytest.mark.parametrize("kind", ["raises", "returns None"])
    @pytest.mark.parametrize("optimizer", [BootstrapFewShotWithRandomSearch, BootstrapFewShot])
    async def test_a_metric_that_never_works_fails_the_job_and_says_why(self, kind: str, optimizer: Any) -> None:
        def metric(example: Any, prediction: Any, trace: Any = None) -> Any:
            if kind == "raises":
                raise ZeroDivisionError("no metric")

        with pytest.raises(JobFailed) as caught:
            await run_job(job(Model(), optimizer(metric=metric)))
        assert isinstance(caught.value.__cause__, ZeroDivisionError if kind == "raises" else TypeError)
        assert caught.value.program.demos == []

    async def test_a_model_that_is_down_fails_the_job(self) -> None:
        def down(number: int, question: str) -> str:
            raise ConnectionRefusedError("nobody there")

        with pytest.raises(JobFailed) as caught:
            await run_job(job(Model(answer=down), BootstrapFewShot(metric=right)))
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    async def test_a_model_that_fails_for_half_of_the_trials_costs_these_trials(self) -> None:
        calls = 0

        async def work(student: Any) -> Any:
            from dspex.engine import Evaluate

            evaluate = Evaluate(devset=TRAINSET, metric=right, num_threads=2)
            for number in range(4):
                lm.failing = number % 2 == 1
                await trial(student, lambda: evaluate.acall(student), label=f"trial {number}")
            return student

        def answer(number: int, question: str) -> str:
            nonlocal calls
            calls += 1
            if lm.failing:
                raise ConnectionResetError("gone")
            return question.replace("question", "answer")

        lm: Any = Model(answer=answer)
        outcome = await run_job(job(lm, Scripted(work)))
        assert [trial.state for trial in outcome.trials] == ["done", "failed", "done", "failed"]
        assert [trial.attempts for trial in outcome.trials] == [1, 2, 1, 2]
        assert [trial.error for trial in outcome.trials][1] == "ConnectionResetError"
        assert outcome.best is not None
        assert outcome.best.score == 100.0


async def test_a_retried_trial_does_not_repeat_its_finished_calls_when_there_is_a_journal(tmp_path: Path) -> None:
    async def work(student: Any) -> Any:
        tries = 0

        async def evaluate() -> float:
            nonlocal tries
            tries += 1
            for number in range(4):
                await student.acall(question=f"question {number}")
            if tries == 1:
                raise RuntimeError("after four calls")
            return 1.0

        await trial(student, evaluate)
        return student

    lm = Model()
    await run_job(job(lm, Scripted(work), journal=tmp_path / "j"))
    assert len(lm.asked) == 4


async def test_a_job_frees_what_it_held() -> None:
    async with open_runtime():
        optimizer = search()
        await run_job(job(Model(), optimizer))
    import weakref

    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None


async def test_the_journal_says_what_the_job_found(tmp_path: Path) -> None:
    outcome = await run_job(job(Model(), journal=tmp_path / "j"))
    report = journal_report(tmp_path / "j")
    assert report.spent.calls == outcome.spent.calls
    assert [trial.score for trial in report.trials] == [trial.score for trial in outcome.trials]
    assert report.best == outcome.best
    assert report.state is not None
    Predict("question -> answer").load_state(report.state)
