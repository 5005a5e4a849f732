"""One call optimizes on either engine; dspy's optimizers run in a real worker, and what they find is served natively."""

import hashlib
import json
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import dspex.engine as engine
import pytest
from dspex.engine.optimizers.jobs import (
    BadJob,
    Budget,
    BudgetExhausted,
    JobFailed,
    JobStatus,
    OptimizerJob,
    run_job,
)
from dspex.legacy import LMSettings, RemoteError, WorkerCrashed
from dspex.router import BadOptimization, Flags, FlagStore, ProgramSpec, optimization_job, optimize, optimized_by
from own_processes import children

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Implementing custom LMs through BaseLM:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*messages=:DeprecationWarning"),
]

SPEC = ProgramSpec.of_signature("qa", "question -> answer", module="ChainOfThought")
TRAINSET = [engine.Example(question=f"question {i}", answer=f"answer {i}").with_inputs("question") for i in range(8)]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return example.answer == prediction.answer


def reply(messages: Any) -> str:
    """What follows from the prompt alone: answers that are right or wrong, and instructions for those who ask for some."""
    text = json.dumps(messages)
    digest = hashlib.sha256(text.encode()).digest()[0]
    last = messages[-1]["content"]
    if "proposed_instruction" in last:
        fields = {"proposed_instruction": f"Answer as number {digest} would.", "proposed_prefix_for_output_field": "Answer:"}
    else:
        question = re.findall(r"\[\[ ## question ## \]\]\n(.*)", last)[-1]
        helped = len(messages) > 2 or "would." in messages[0]["content"]
        answer = question.replace("question", "answer") if digest % 8 < (6 if helped else 2) else f"wrong {digest}"
        fields = {"reasoning": f"because of {digest}", "answer": answer}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()) + "\n\n[[ ## completed ## ]]"


class Model(engine.BaseLM):
    """Asked in this process, whoever optimizes."""

    def __init__(self, wait: Callable[[int], Awaitable[object]] | None = None) -> None:
        super().__init__("stub")
        self.asked: list[Any] = []
        self._wait = wait

    def __deepcopy__(self, memo: dict[int, object]) -> "Model":
        return self

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.asked.append(messages)
        await (self._wait(len(self.asked)) if self._wait is not None else anyio.lowlevel.checkpoint())
        made = [{"message": {"content": reply(messages)}} for _ in range(kwargs.get("n") or 1)]
        return {"model": "stub", "choices": made, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}


class Heard(dspy.BaseLM):
    """dspy's model in this process, for what a program of dspy's asks."""

    def __init__(self) -> None:
        super().__init__("stub", cache=False)
        self.asked: list[Any] = []

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.asked.append(messages)
        raise LookupError("only the prompt is wanted")


def prompt_of_dspy(state: Any) -> Any:
    program = dspy.ChainOfThought("question -> answer")
    program.load_state(json.loads(json.dumps(state)))
    lm = Heard()
    with dspy.context(lm=lm), pytest.raises(Exception, match="only the prompt is wanted"):
        program(question="And now?")
    return lm.asked[0]


async def prompt_of_ours(program: Any) -> Any:
    lm = Model()
    with engine.context(lm=lm):
        await program.acall(question="And now?")
    return lm.asked[0]


# A worker imports dspy, which takes seconds: where it is all the same, a test runs on one of the loops.
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])
ON_TRIO = pytest.mark.parametrize("anyio_backend", ["trio"])


@pytest.mark.parametrize(
    ("anyio_backend", "optimizer", "options"),
    [
        ("trio", "BootstrapFewShot", {"max_bootstrapped_demos": 2, "max_labeled_demos": 3}),
        ("asyncio", "BootstrapFewShotWithRandomSearch", {"num_candidate_programs": 2, "num_threads": 4}),
    ],
)
async def test_dspy_and_we_optimize_to_the_same_state_and_the_same_prompts(
    optimizer: str, options: dict[str, Any]
) -> None:
    lms = {False: Model(), True: Model()}
    made = {
        legacy: await optimize(
            SPEC, optimizer, metric=right, trainset=TRAINSET, options=options, lm=lm, use_legacy_optimizer=legacy
        )
        for legacy, lm in lms.items()
    }
    native, legacy = made[False], made[True]
    assert (native.engine, legacy.engine) == ("native", "legacy")
    assert legacy.state == native.state
    assert legacy.state["predict"]["demos"], "something was learned"
    assert sorted(map(json.dumps, lms[True].asked)) == sorted(map(json.dumps, lms[False].asked))
    assert legacy.outcome.spent.calls == native.outcome.spent.calls == len(lms[True].asked)
    for optimized in (native, legacy):
        assert await prompt_of_ours(optimized.program) == prompt_of_dspy(optimized.state)
    assert legacy.spec is not None
    assert legacy.spec.native is not None
    assert legacy.spec.native().dump_state() == legacy.state
    assert legacy.spec.legacy is not None
    assert legacy.spec.legacy.state == legacy.state


@ON_ASYNCIO
async def test_instructions_that_dspy_wrote_are_served_natively(tmp_path: Path) -> None:
    lm = Model()
    seen: list[JobStatus] = []
    ask: dict[str, Any] = {
        "metric": right,
        "trainset": TRAINSET,
        "options": {"breadth": 3, "depth": 1},
        "arguments": {"eval_kwargs": {"num_threads": 4}},
        "lm": lm,
        "use_legacy_optimizer": True,
        "journal": tmp_path / "copro.journal",
    }
    made = await optimize(SPEC, "COPRO", **ask, on_progress=seen.append)
    assert "would." in made.state["predict"]["signature"]["instructions"]
    assert await prompt_of_ours(made.program) == prompt_of_dspy(made.state)
    assert [trial.kind for trial in made.outcome.trials] == ["full"] * len(made.outcome.trials)
    assert made.outcome.best is not None
    assert made.outcome.best.score == max(trial.score or 0 for trial in made.outcome.trials)
    assert "COPRO in dspy" in str(seen[-1])
    native = await optimize(SPEC, "COPRO", **{**ask, "lm": Model(), "use_legacy_optimizer": False, "journal": None})
    assert native.state == made.state
    assert await prompt_of_ours(native.program) == prompt_of_dspy(native.state)
    # The job of dspy's optimizer has a journal like any other.
    asked = len(lm.asked)
    again = await optimize(SPEC, "COPRO", **ask)
    assert len(lm.asked) == asked
    assert again.state == made.state


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_what_mipro_finds_here_gives_the_same_prompts_in_dspy() -> None:
    pytest.importorskip("optuna", reason="needs the extra `optimizers`")
    made = await optimize(
        SPEC,
        "MIPROv2",
        metric=right,
        trainset=TRAINSET,
        options={"auto": None, "num_candidates": 3, "num_threads": 4},
        arguments={"num_trials": 6, "minibatch": False, "program_aware_proposer": False},
        lm=Model(),
    )
    assert made.state["predict"]["demos"]
    assert made.state["predict"]["signature"]["instructions"]
    assert await prompt_of_ours(made.program) == prompt_of_dspy(made.state)


@ON_TRIO
async def test_a_metric_of_this_process_sees_examples_predictions_and_traces() -> None:
    calls: list[tuple[Any, Any, Any]] = []

    async def metric(example: engine.Example, prediction: engine.Prediction, trace: Any) -> float:
        calls.append((example, prediction, trace))
        return 1.0

    await optimize(
        SPEC, "BootstrapFewShot", metric=metric, trainset=TRAINSET[:2], lm=Model(), use_legacy_optimizer=True
    )
    example, prediction, trace = calls[0]
    assert example.inputs().toDict() == {"question": "question 0"}
    assert prediction.reasoning.startswith("because of")
    [(_, inputs, outputs)] = trace
    assert inputs == {"question": "question 0"}
    assert outputs.answer == prediction.answer


@ON_TRIO
async def test_a_budget_ends_dspys_optimizer_and_keeps_the_best_it_had() -> None:
    before = children()
    lm = Model()
    with pytest.raises(BudgetExhausted) as caught:
        await optimize(
            SPEC,
            "BootstrapFewShotWithRandomSearch",
            metric=right,
            trainset=TRAINSET,
            options={"num_candidate_programs": 4, "num_threads": 2},
            lm=lm,
            budget=Budget(calls=25),
            use_legacy_optimizer=True,
        )
    assert len(lm.asked) == 25
    assert caught.value.outcome.best is not None
    assert await prompt_of_ours(caught.value.program) == prompt_of_dspy(caught.value.program.dump_state())
    assert children() == before, "no worker is left"


@ON_ASYNCIO
async def test_time_that_is_up_ends_a_worker_in_the_middle_of_its_compile() -> None:
    before = children()
    lm = Model(lambda number: anyio.sleep_forever() if number > 9 else anyio.lowlevel.checkpoint())
    with pytest.raises(BudgetExhausted) as caught:
        await optimize(
            SPEC,
            "BootstrapFewShotWithRandomSearch",
            metric=right,
            trainset=TRAINSET,
            options={"num_candidate_programs": 4, "num_threads": 1},
            lm=lm,
            budget=Budget(seconds=4.0),
            use_legacy_optimizer=True,
        )
    assert caught.value.limit == "seconds"
    assert children() == before


async def test_cancelling_ends_the_worker() -> None:
    before = children()
    here = anyio.Event()

    async def wait(number: int) -> None:
        here.set()
        await anyio.sleep_forever()

    job = optimization_job(
        SPEC, "BootstrapFewShot", metric=right, trainset=TRAINSET, lm=Model(wait), use_legacy_optimizer=True
    )
    async with anyio.create_task_group() as group:
        group.start_soon(run_job, job)
        with anyio.fail_after(120):
            await here.wait()
        assert children() - before
        group.cancel_scope.cancel()
    assert children() == before


@ON_TRIO
async def test_a_worker_killed_in_the_middle_of_its_compile_is_a_typed_end_with_the_best_so_far() -> None:
    before = children()

    async def wait(number: int) -> None:
        if number == 13:  # the first candidate has its score by then
            [worker] = children() - before
            os.kill(worker, signal.SIGKILL)
            await anyio.sleep_forever()

    with pytest.raises(JobFailed) as caught:
        await optimize(
            SPEC,
            "BootstrapFewShotWithRandomSearch",
            metric=right,
            trainset=TRAINSET,
            options={"num_candidate_programs": 4, "num_threads": 1},
            lm=Model(wait),
            use_legacy_optimizer=True,
        )
    assert isinstance(caught.value.__cause__, WorkerCrashed)
    assert caught.value.outcome.best is not None
    assert caught.value.outcome.spent.calls == 13
    assert children() == before


@ON_ASYNCIO
async def test_a_metric_that_raises_is_named_whoever_optimizes() -> None:
    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        raise ZeroDivisionError("no metric")

    for legacy in (False, True):
        with pytest.raises(JobFailed) as caught:
            await optimize(
                SPEC,
                "BootstrapFewShot",
                metric=metric,
                trainset=TRAINSET,
                options={"max_errors": 2},
                lm=Model(),
                use_legacy_optimizer=legacy,
            )
        assert "ZeroDivisionError" in str(caught.value)
        assert isinstance(caught.value.__cause__, RemoteError if legacy else ZeroDivisionError)


class TestWhichEngine:
    def test_the_flag_decides_and_what_is_said_for_the_call_outranks_it(self) -> None:
        assert optimized_by("COPRO", Flags()) == ("native", "use_legacy_optimizer=False")
        assert optimized_by("COPRO", use_legacy_optimizer=True) == ("legacy", "use_legacy_optimizer=True for this call")
        flags = FlagStore(Flags(use_legacy_optimizer=True))
        assert optimized_by("COPRO", flags) == ("legacy", "use_legacy_optimizer=True")
        assert optimized_by("COPRO", flags, use_legacy_optimizer=False)[0] == "native"

    @pytest.mark.parametrize("name", ["BootstrapFinetune", "GRPO"])
    def test_what_trains_weights_is_dspys_and_needs_a_model_that_can(self, name: str) -> None:
        assert optimized_by(name, Flags()) == ("legacy", f"{name} trains weights, which only dspy does")
        with pytest.raises(BadOptimization, match="lm=LMSettings"):
            optimization_job(SPEC, name, trainset=TRAINSET)
        job = optimization_job(SPEC, name, trainset=TRAINSET, lm=LMSettings("openai/gpt-x"))
        assert isinstance(job, OptimizerJob)


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ({"optimizer": "Magic"}, "native engine has no optimizer 'Magic'"),
            ({"optimizer": "Predict"}, "native engine has no optimizer 'Predict'"),
            ({"optimizer": "Magic", "use_legacy_optimizer": True}, "'Magic' is not run in the legacy pool"),
            ({"options": {"colour": "red"}}, "not made of these options"),
            ({"options": {"teacher_settings": {"lm": Model()}}, "use_legacy_optimizer": True}, "is a Model, which cannot"),
            ({"options": {"num_threads": 64}, "use_legacy_optimizer": True}, "num_threads=64"),
            (
                {"optimizer": engine.BootstrapFewShot(), "use_legacy_optimizer": True, "metric": None},
                "give it by name",
            ),
            ({"optimizer": engine.BootstrapFewShot()}, "for an optimizer given by name"),
            ({"program": engine.Predict("q -> a"), "use_legacy_optimizer": True}, "legacy side"),
        ],
        ids=[
            *("unknown", "no optimizer", "unknown to dspy", "option", "model in options", "threads", "object", "twice"),
            "module",
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_started(self, arguments: dict[str, Any], why: str) -> None:
        given = {"program": SPEC, "optimizer": "BootstrapFewShot", "metric": right, "trainset": TRAINSET, **arguments}
        with pytest.raises(BadOptimization, match=why):
            optimization_job(given.pop("program"), given.pop("optimizer"), **given)

    def test_an_empty_training_set_is_refused_whoever_optimizes(self) -> None:
        for legacy in (False, True):
            with pytest.raises(BadJob, match="an empty one"):
                optimization_job(SPEC, "BootstrapFewShot", metric=right, trainset=[], use_legacy_optimizer=legacy)

    async def test_without_a_model_nothing_is_started(self) -> None:
        before = children()
        with pytest.raises(JobFailed, match="there is no model"):
            await optimize(SPEC, "BootstrapFewShot", metric=right, trainset=TRAINSET, use_legacy_optimizer=True)
        assert children() == before


@ON_TRIO
async def test_a_program_with_a_legacy_side_only_gets_a_state() -> None:
    spec = ProgramSpec("qa", legacy=SPEC.legacy)
    made = await optimize(
        spec, "LabeledFewShot", trainset=TRAINSET, options={"k": 2}, lm=Model(), use_legacy_optimizer=True
    )
    assert made.program is None
    assert len(made.state["predict"]["demos"]) == 2
    assert made.spec is not None
    assert made.spec.legacy is not None
    assert made.spec.legacy.state == made.state
