"""COPRO, MIPROv2, InferRules and the Optuna search where they are not as in dspy, on both event loops, and in a job."""

from __future__ import annotations

import builtins
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine.optimizers import NothingScored
from dspex.engine.optimizers.jobs import Budget, BudgetExhausted, JobFailed, OptimizerJob, TrialPolicy, run_job
from dspex.engine.optimizers.trials import JOB
from searches import Search, examples, model, one_step, right, search, two_steps, with_classes

optuna = pytest.importorskip("optuna", reason="needs the extra `optimizers`")

SEARCHES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "copro": (lambda: engine.COPRO(metric=right, breadth=2, depth=2), {}),
    "mipro": (
        lambda: engine.MIPROv2(metric=right, auto=None, num_candidates=4),
        {"num_trials": 4, "minibatch_size": 3, "minibatch_full_eval_steps": 2},
    ),
    "rules": (lambda: engine.InferRules(metric=right, num_candidates=2), {}),
    "optuna": (lambda: engine.BootstrapFewShotWithOptuna(metric=right, num_candidate_programs=4), {"max_demos": 3}),
}


def arranged(asked: list[Any] | None = None, **options: Any) -> Any:
    """The settings of a test: the scripted model, and room for failures."""
    return engine.context(
        lm=model(engine, [] if asked is None else asked, **options), adapter=engine.ChatAdapter(), max_errors=1000
    )


class InSteps(engine.Module):
    """Two predictors, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = engine.Predict("question -> answer")
        self.second = engine.ChainOfThought("question, hint -> answer")

    async def aforward(self, question: str) -> Any:
        hint = await self.first.acall(question=question)
        return await self.second.acall(question=question, hint=hint.answer)


def in_steps(_: Any) -> Any:
    return InSteps()


@pytest.fixture
def alone(name: str) -> Search:
    """The search from synchronous code, one example after the other. (`name` is the test's.)"""
    make, options = SEARCHES[name]
    return search(engine, lambda ns, _: make(), in_steps, count=6, **options)


# -- one implementation for both faces ------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("name", SEARCHES)
async def test_awaited_on_a_loop_the_result_is_that_of_the_synchronous_call(name: str, alone: Search) -> None:
    make, options = SEARCHES[name]
    asked: list[Any] = []
    with arranged(asked):
        awaited = await make().acompile(in_steps(engine), trainset=examples(engine, 6), **options)
    assert awaited.dump_state() == alone.program.dump_state()
    assert sorted(asked) == sorted(alone.asked)  # eight examples at a time


@pytest.mark.anyio
async def test_a_synchronous_compile_on_a_loop_says_what_to_await() -> None:
    with arranged(), pytest.raises(engine.SyncInsideLoopError, match="await"):
        engine.COPRO(metric=right).compile(one_step(engine), trainset=examples(engine))


# -- jobs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("name", SEARCHES)
async def test_in_a_job_trials_run_side_by_side_and_the_result_is_the_same(name: str, alone: Search) -> None:
    make, options = SEARCHES[name]
    with arranged():
        job = OptimizerJob(
            make(), in_steps(engine), policy=TrialPolicy(concurrency=3), trainset=examples(engine, 6), **options
        )
        outcome = await run_job(job)
    assert outcome.program.dump_state() == alone.program.dump_state()
    assert outcome.best is not None
    status = job.status()
    assert status.planned == len(outcome.trials)
    assert all(record.state == "done" and record.label for record in outcome.trials)


@pytest.mark.anyio
@pytest.mark.parametrize("name", SEARCHES)
async def test_when_the_budget_is_used_up_the_best_program_so_far_is_kept(name: str, alone: Search) -> None:
    make, options = SEARCHES[name]
    with arranged(), pytest.raises(BudgetExhausted) as caught:
        await run_job(
            OptimizerJob(
                make(),
                in_steps(engine),
                budget=Budget(calls=len(alone.asked) - 3),
                trainset=examples(engine, 6),
                **options,
            )
        )
    outcome = caught.value.outcome
    assert outcome.best is not None
    assert outcome.best.score == max(each.score for each in outcome.trials if each.kind == outcome.best.kind and each.score)
    assert outcome.program.dump_state().keys() == alone.program.dump_state().keys()


@pytest.mark.anyio
@pytest.mark.parametrize("name", SEARCHES)
async def test_a_job_goes_on_from_its_journal_and_asks_nothing_twice(
    name: str, alone: Search, tmp_path: Path
) -> None:
    make, options = SEARCHES[name]
    asked: list[Any] = []

    def job(calls: int | None) -> OptimizerJob:
        return OptimizerJob(
            make(),
            in_steps(engine),
            budget=Budget(calls=calls),
            journal=tmp_path / "search.journal",
            trainset=examples(engine, 6),
            **options,
        )

    with arranged(asked):
        with pytest.raises(BudgetExhausted):
            await run_job(job(len(alone.asked) // 2))
        outcome = await run_job(job(None))
    assert outcome.program.dump_state() == alone.program.dump_state()
    assert len(asked) == len(alone.asked)
    assert outcome.answered_by_journal == len(alone.asked) // 2


@pytest.mark.anyio
async def test_a_model_that_fails_half_of_the_time_is_a_typed_error_with_the_best_program_so_far() -> None:
    with arranged(fails=0.5), engine.context(max_errors=5), pytest.raises(JobFailed) as caught:
        await run_job(
            OptimizerJob(engine.COPRO(metric=right, breadth=4, depth=3), one_step(engine), trainset=examples(engine, 30))
        )
    assert caught.value.__cause__ is not None
    assert caught.value.program.predictors()


# -- what dspy cannot do --------------------------------------------------------------------------------------------------


def test_copro_of_breadth_20_and_depth_4_ends() -> None:
    """In dspy, a RecursionError: each candidate's signature holds a copy of the one before."""
    found = search(
        engine,
        lambda ns, _: ns.COPRO(metric=right, breadth=20, depth=4),
        one_step,
        count=2,
        eval_kwargs={"num_threads": 2},
    )
    assert found.error is None
    assert found.program.total_calls == 80
    assert len({each["depth"] for each in found.program.candidate_programs}) > 1


def test_copro_names_its_statistics_by_the_predictors_of_the_program_that_comes_out() -> None:
    found = search(
        engine, lambda ns, _: ns.COPRO(metric=right, breadth=2, depth=2, track_stats=True), two_steps, count=4
    )
    wanted = [id(predictor) for predictor in found.program.predictors()]
    assert list(found.program.results_best) == list(found.program.results_latest) == wanted


def test_copro_takes_the_options_that_only_the_evaluation_itself_has() -> None:
    found = search(
        engine,
        lambda ns, _: ns.COPRO(metric=right, breadth=2, depth=1),
        one_step,
        count=6,
        fails=0.4,
        eval_kwargs={"max_errors": 100, "failure_score": 1.0, "num_threads": 2},
    )
    assert found.error is None
    assert found.program.candidate_programs[0]["score"] > 0


def test_the_rules_that_come_out_are_those_that_scored_best_and_the_student_keeps_its_instructions() -> None:
    """In dspy rules are written into the signature that all candidates share: the last ones come out."""
    student = with_classes(engine)
    before = [predictor.signature.instructions for predictor in student.predictors()]
    scores: list[tuple[float, list[str]]] = []

    class Watched(engine.InferRules):
        async def _scored(self, program: Any, dataset: Any, label: str) -> float:
            score = await super()._scored(program, dataset, label)
            scores.append((score, [each.signature.instructions for each in program.predictors()]))
            return score

    with arranged():
        best = Watched(metric=right, num_candidates=5).compile(student, trainset=examples(engine, 16))
    top = max(score for score, _ in scores)
    assert scores[-1][0] < top, "the last candidate is the best: the test would show nothing"
    wanted = next(instructions for score, instructions in scores if score == top)
    assert [each.signature.instructions for each in best.predictors()] == wanted
    assert len(set(wanted)) == len(wanted), "predictors of one signature have rules of their own"
    assert [each.signature.instructions for each in student.predictors()] == before


def test_a_search_among_few_combinations_goes_on_when_all_of_them_are_known() -> None:
    """In dspy, a ValueError, and everything is lost."""
    found = search(
        engine,
        lambda ns, _: ns.MIPROv2(
            metric=right, auto=None, num_candidates=2, max_bootstrapped_demos=0, max_labeled_demos=0
        ),
        one_step,
        num_trials=9,
        minibatch_size=4,
        minibatch_full_eval_steps=1,
    )
    assert found.error is None
    assert len(found.program.candidate_programs) == 3
    assert len(found.program.mb_candidate_programs) == 9
    assert ("INFO", "Every combination tried so far has been evaluated fully.") in found.logged


def test_mipro_may_have_labeled_demos_only() -> None:
    """In dspy, an error of `random`."""
    found = search(
        engine,
        lambda ns, _: ns.MIPROv2(metric=right, auto=None, num_candidates=5, max_bootstrapped_demos=0),
        one_step,
        num_trials=2,
        minibatch=False,
    )
    assert found.error is None
    assert not any("augmented" in demo for demo in found.program.predict.demos)


def test_a_predictor_without_demos_has_none_to_choose_from() -> None:
    """In dspy, Optuna is asked for a number between 0 and -1."""

    class Half(engine.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = engine.Predict("question -> answer")
            self.unused = engine.Predict("question -> answer")

        async def aforward(self, question: str) -> Any:
            return await self.used.acall(question=question)

    with arranged():
        optimizer = engine.BootstrapFewShotWithOptuna(metric=right, num_candidate_programs=2, max_labeled_demos=0)
        best = optimizer.compile(Half(), max_demos=2, trainset=examples(engine))
    assert [len(each.demos) for each in best.predictors()] == [1, 0]


def test_the_optuna_search_is_the_same_in_every_run() -> None:
    make, options = SEARCHES["optuna"]
    states = [search(engine, lambda ns, _: make(), two_steps, **options).left for _ in range(2)]
    assert states[0] == states[1]


def test_the_objective_is_there_for_a_study_of_one_s_own() -> None:
    optimizer = engine.BootstrapFewShotWithOptuna(metric=right, num_candidate_programs=1)
    with arranged():
        optimizer.compile(one_step(engine), max_demos=3, trainset=examples(engine))
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
        study.optimize(optimizer.objective, n_trials=2)
    assert study.best_value > 0
    assert study.best_trial.user_attrs["program"].predictors()[0].demos


def test_optuna_is_as_talkative_as_before() -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    for make, options in (SEARCHES["mipro"], SEARCHES["optuna"]):
        assert search(engine, lambda ns, _, make=make: make(), one_step, **options).error is None
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_nobody_is_asked_anything_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("input() was called")

    monkeypatch.setattr(builtins, "input", asked)
    for make, options in SEARCHES.values():
        assert search(engine, lambda ns, _, make=make: make(), one_step, **options).error is None
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_with_verbose_mipro_prints_what_it_finds_out(capsys: pytest.CaptureFixture[str]) -> None:
    make = SEARCHES["mipro"][0]

    def verbose(ns: Any, _: Any) -> Any:
        optimizer = make()
        optimizer.verbose = True
        return optimizer

    assert search(engine, verbose, one_step, **SEARCHES["mipro"][1]).error is None
    printed = capsys.readouterr().out
    for text in ("SOURCE CODE: ", "DATA SUMMARY: ", "Selected tip: ", "PROGRAM DESCRIPTION: ", "PROPOSED INSTRUCTION: "):
        assert text in printed
    assert "i: Given the fields `question`, produce the fields `answer`." in printed


# -- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mipro", "optuna"])
def test_without_optuna_the_error_says_what_to_install_before_anything_is_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, options = SEARCHES[name]
    for module in [each for each in sys.modules if each.partition(".")[0] == "optuna"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "optuna", None)
    found = search(engine, lambda ns, _: make(), one_step, **options)
    assert isinstance(found.error, engine.MissingExtra)
    assert found.error.extra == "optimizers"
    assert 'pip install "dspex[optimizers]"' in str(found.error)
    assert found.asked == []


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(
    ("trainset", "error", "says"),
    [
        ([], ValueError, "empty|at least one"),
        ([{"question": "q1"}] * 4, ValueError, "item 0 of the trainset is of type dict"),
        ([engine.Example(question="q1", answer="1")] * 4, ValueError, "Item 0 of the trainset .*with_inputs"),
    ],
)
def test_a_training_set_that_cannot_be_used_is_refused_before_anything_is_asked(
    name: str, trainset: list[Any], error: type[Exception], says: str
) -> None:
    make, options = SEARCHES[name]
    asked: list[Any] = []
    with arranged(asked), pytest.raises(error, match=says):
        make().compile(one_step(engine), trainset=trainset, **options)
    assert asked == []


@pytest.mark.parametrize("name", SEARCHES)
def test_without_a_metric_or_predictors_nothing_is_asked(name: str) -> None:
    make, options = SEARCHES[name]

    class Nothing(engine.Module):
        def forward(self, question: str) -> str:
            return question

    asked: list[Any] = []
    with arranged(asked):
        with pytest.raises(ValueError, match="Nothing has no predictors"):
            make().compile(Nothing(), trainset=examples(engine), **options)
        optimizer = make()
        optimizer.metric = None
        with pytest.raises(ValueError, match="needs a metric"):
            optimizer.compile(one_step(engine), trainset=examples(engine), **options)
        optimizer.metric = "accuracy"
        with pytest.raises(TypeError, match="can be called, not 'accuracy'"):
            optimizer.compile(one_step(engine), trainset=examples(engine), **options)
    assert asked == []


def raising(example: Any, prediction: Any, trace: object = None) -> bool:
    raise ZeroDivisionError("a metric that divides")


def forgetful(example: Any, prediction: Any, trace: object = None) -> None:
    """Returns nothing."""


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(("metric", "cause"), [(raising, ZeroDivisionError), (forgetful, TypeError)])
def test_a_search_that_could_score_nothing_does_not_end_as_if_it_had(
    name: str, metric: Callable[..., Any], cause: type[Exception]
) -> None:
    make, options = SEARCHES[name]

    def broken(ns: Any, _: Any) -> Any:
        optimizer = make()
        optimizer.metric = metric
        return optimizer

    found = search(engine, broken, one_step, **options)
    assert isinstance(found.error, NothingScored)
    assert isinstance(found.error.__cause__, cause)
    assert found.error.program.predictors()


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (lambda: engine.COPRO(metric=right, depth=0), {}, "Depth must be at least 1"),
        (lambda: engine.InferRules(metric=right, num_candidates=0), {}, "num_candidates must be at least 1"),
        (
            lambda: engine.BootstrapFewShotWithOptuna(metric=right, num_candidate_programs=0),
            {"max_demos": 1},
            "num_candidate_programs must be at least 1",
        ),
        (
            lambda: engine.MIPROv2(metric=right, auto=None, num_candidates=0),
            {"num_trials": 1},
            "num_candidates must be at least 1",
        ),
        (
            lambda: engine.MIPROv2(metric=right, auto=None, num_candidates=2),
            {"num_trials": 1, "minibatch_size": 2, "minibatch_full_eval_steps": 0},
            "minibatch_full_eval_steps must be at least 1",
        ),
    ],
)
def test_numbers_that_leave_nothing_to_do_are_refused(
    make: Callable[[], Any], options: dict[str, Any], says: str
) -> None:
    with arranged(), pytest.raises(ValueError, match=says):
        make().compile(one_step(engine), trainset=examples(engine), **options)


def test_an_option_that_no_evaluation_has_is_refused_before_anything_is_asked() -> None:
    found = search(
        engine, lambda ns, _: ns.COPRO(metric=right), one_step, eval_kwargs={"num_thread": 2}
    )
    assert isinstance(found.error, TypeError)
    assert "num_thread" in str(found.error)
    assert found.asked == []


def test_rules_are_read_off_fewer_examples_until_they_fit_the_model() -> None:
    shown: list[int] = []

    class Narrow(engine.BaseLM):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            count = messages[-1]["content"].count("Output Fields:")
            shown.append(count)
            if count > self.kwargs["room"]:
                raise engine.ContextWindowExceededError(model="narrow")
            text = "[[ ## reasoning ## ]]\nr\n\n[[ ## natural_language_rules ## ]]\nBe brief.\n\n[[ ## completed ## ]]"
            return {"model": "narrow", "choices": [{"message": {"content": text}}], "usage": {}}

    rules = engine.InferRules(metric=right)
    predictor = engine.Predict("question -> answer")
    with engine.context(lm=Narrow("narrow", room=2)):
        assert rules.induce_natural_language_rules(predictor, examples(engine, 4)) == "Be brief."
    assert shown == [4, 3, 2]
    with (
        engine.context(lm=Narrow("narrow", room=0)),
        pytest.raises(RuntimeError, match="a single example couldn't fit") as caught,
    ):
        rules.induce_natural_language_rules(predictor, examples(engine, 2))
    assert isinstance(caught.value.__cause__, engine.ContextWindowExceededError)


def test_an_error_that_has_nothing_to_do_with_length_comes_out_as_it_is() -> None:
    """In dspy, an AssertionError without a word."""
    rules = engine.InferRules(metric=right)
    with arranged(fails=1.0), pytest.raises(RuntimeError, match="no answer today"):
        rules.induce_natural_language_rules(engine.Predict("question -> answer"), examples(engine, 4))


def test_outside_a_job_nothing_of_one_is_there() -> None:
    assert JOB.get() is None
    assert logging.getLogger("dspex.engine.optimizers").handlers == []
