"""COPRO, MIPROv2, InferRules and the Optuna search beside the installed dspy: request by request, with every option sent, and
everything that is left on the program.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspex.engine as engine
import pytest
from searches import Search, assert_same, examples, model, one_step, right, search, two_steps, with_classes

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")
optuna = pytest.importorskip("optuna", reason="needs the extra `optimizers`")

# dspy 3.4 on what its own programs still do, and on the sampler that it has chosen.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs through BaseLM:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*messages=:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

Make = Callable[[Any, Any], Any]
ONE_AT_A_TIME = {"num_threads": 1}


def both(make: Make, build: Callable[[Any], Any], **options: Any) -> tuple[Search, Search]:
    return search(engine, make, build, **options), search(dspy, make, build, **options)


COPROS: dict[str, Make] = {
    "plain": lambda ns, _: ns.COPRO(metric=right, breadth=3, depth=2),
    "deep": lambda ns, _: ns.COPRO(metric=right, breadth=2, depth=3, init_temperature=0.7, track_stats=True),
    "another model": lambda ns, other: ns.COPRO(metric=right, breadth=3, depth=2, prompt_model=other, track_stats=True),
    "unknown options are ignored": lambda ns, _: ns.COPRO(metric=right, breadth=2, depth=1, verbose=True),
}


@pytest.mark.parametrize("build", [one_step, two_steps])
@pytest.mark.parametrize("name", COPROS)
def test_copro_asks_and_keeps_what_dspy_does(name: str, build: Callable[[Any], Any]) -> None:
    ours, theirs = both(COPROS[name], build, count=4, eval_kwargs=ONE_AT_A_TIME)
    assert_same(ours, theirs)
    assert ours.program.candidate_programs


def test_copro_improves_signatures_that_are_classes_as_dspy_does() -> None:
    def make(ns: Any, _: Any) -> Any:
        return ns.COPRO(metric=right, breadth=2, depth=2)

    assert_same(*both(make, with_classes, count=2, eval_kwargs=ONE_AT_A_TIME))


MIPROS: dict[str, tuple[Make, dict[str, Any]]] = {
    "light": (lambda ns, _: ns.MIPROv2(metric=right, num_threads=1), {}),
    "another model and another seed": (
        lambda ns, other: ns.MIPROv2(metric=right, num_threads=1, prompt_model=other, seed=3, init_temperature=0.5),
        {},
    ),
    "instructions only": (
        lambda ns, _: ns.MIPROv2(metric=right, num_threads=1, max_bootstrapped_demos=0, max_labeled_demos=0),
        {},
    ),
    "few candidates, all examples": (
        lambda ns, _: ns.MIPROv2(metric=right, num_threads=1, auto=None, num_candidates=4),
        {"num_trials": 5, "minibatch": False, "validated": 6},
    ),
    "minibatches": (
        lambda ns, _: ns.MIPROv2(metric=right, num_threads=1, auto=None, num_candidates=5),
        {"num_trials": 7, "minibatch_size": 4, "minibatch_full_eval_steps": 3},
    ),
    "minibatches that come out even": (
        lambda ns, _: ns.MIPROv2(metric=right, num_threads=1, auto=None, num_candidates=5, track_stats=False),
        {"num_trials": 6, "minibatch_size": 4, "minibatch_full_eval_steps": 3, "seed": 4},
    ),
    "told nothing": (
        lambda ns, _: ns.MIPROv2(metric=right, num_threads=1, metric_threshold=0.5),
        {
            "program_aware_proposer": False,
            "data_aware_proposer": False,
            "tip_aware_proposer": False,
            "fewshot_aware_proposer": False,
        },
    ),
    "data in small batches": (
        lambda ns, _: ns.MIPROv2(metric=right, num_threads=1, auto=None, num_candidates=2),
        {"num_trials": 1, "minibatch": False, "view_data_batch_size": 2, "count": 30, "validated": 3},
    ),
    "a deprecated word": (
        lambda ns, _: ns.MIPROv2(metric=right, num_threads=1, auto=None, num_candidates=2),
        {"num_trials": 1, "minibatch": False, "requires_permission_to_run": False},
    ),
    "other numbers of demos": (
        lambda ns, _: ns.MIPROv2(metric=right, num_threads=1, auto=None, num_candidates=4),
        {"num_trials": 2, "minibatch": False, "max_bootstrapped_demos": 2, "max_labeled_demos": 0},
    ),
}


@pytest.mark.parametrize(
    ("name", "build"),
    [(name, one_step) for name in MIPROS]
    + [(name, two_steps) for name in ("light", "instructions only", "minibatches", "other numbers of demos")],
)
def test_mipro_asks_and_keeps_what_dspy_does(name: str, build: Callable[[Any], Any]) -> None:
    make, options = MIPROS[name]
    ours, theirs = both(make, build, **{"count": 10, **options})
    assert_same(ours, theirs)
    assert ours.program is not None


def test_mipro_tells_of_signatures_that_are_classes_as_dspy_does() -> None:
    make, options = MIPROS["few candidates, all examples"]
    assert_same(*both(make, with_classes, **options))


def test_mipro_uses_minibatches_for_many_examples_as_dspy_does() -> None:
    def make(ns: Any, _: Any) -> Any:
        return ns.MIPROv2(metric=right, num_threads=1, max_bootstrapped_demos=1, max_labeled_demos=1)

    ours, theirs = both(make, one_step, count=64)
    assert_same(ours, theirs)
    assert ours.program.mb_candidate_programs


@pytest.mark.parametrize("auto", ["light", "medium", "heavy"])
@pytest.mark.parametrize("count", [2, 70, 1400])
@pytest.mark.parametrize("demos", [0, 2])
def test_budgets_are_those_of_dspy(auto: Any, count: int, demos: int) -> None:
    """Up to the teacher, which is another program, so that nothing is asked."""

    def compiled(ns: Any) -> Search:
        def make(ns: Any, _: Any) -> Any:
            return ns.MIPROv2(metric=right, auto=auto, max_bootstrapped_demos=demos, max_labeled_demos=demos)

        return search(ns, make, two_steps, count=count, teacher=one_step(ns))

    ours, theirs = compiled(engine), compiled(dspy)
    assert_same(ours, theirs)
    assert isinstance(ours.error, AssertionError)
    assert f"{auto.upper()} AUTO RUN SETTINGS" in ours.logged[0][1]


def test_mipro_writes_every_candidate_to_the_folder_it_is_given(tmp_path: Path) -> None:
    def make(ns: Any, _: Any) -> Any:
        folder = tmp_path / ns.__name__
        return ns.MIPROv2(metric=right, num_threads=1, auto=None, num_candidates=3, log_dir=str(folder))

    ours, theirs = both(make, one_step, num_trials=3, minibatch_size=4, minibatch_full_eval_steps=2)
    written = [sorted(path.name for path in (tmp_path / ns.__name__).rglob("*.json")) for ns in (engine, dspy)]
    assert written[0] == written[1]
    assert "program_-1.json" in written[0]
    assert ours.asked == theirs.asked
    path = ours.program.trial_logs[2]["mb_program_path"]
    assert path == str(tmp_path / "dspex.engine" / "evaluated_programs" / "program_2.json")
    again = one_step(engine)
    again.load(path)
    assert again.dump_state() == ours.program.trial_logs[2]["mb_program"].dump_state()


def right_or_broken(example: Any, prediction: Any, trace: object = None) -> bool:
    """Raises on half of what it evaluates, and on nothing that is bootstrapped."""
    if trace is None and prediction.reasoning[-1] in "01234567":
        raise ZeroDivisionError("a metric with a hole in it")
    return right(example, prediction)


def test_mipro_scores_a_candidate_that_cannot_be_evaluated_as_zero_and_goes_on_as_dspy_does() -> None:
    def make(ns: Any, _: Any) -> Any:
        return ns.MIPROv2(metric=right_or_broken, num_threads=1, auto=None, num_candidates=4, max_errors=6)

    ours, theirs = both(make, one_step, num_trials=6, minibatch=False, count=14)
    assert ours.asked == theirs.asked
    assert ours.left == theirs.left
    scores = [each["score"] for each in ours.program.candidate_programs]
    assert min(scores) == 0.0 < max(scores)
    assert ("ERROR", "An exception occurred during evaluation") in ours.logged


REFUSED: dict[str, tuple[Make, dict[str, Any]]] = {
    "neither candidates nor trials": (lambda ns, _: ns.MIPROv2(metric=right, auto=None), {}),
    "no trials": (lambda ns, _: ns.MIPROv2(metric=right, auto=None, num_candidates=4), {}),
    "no trials, instructions only": (
        lambda ns, _: ns.MIPROv2(
            metric=right, auto=None, num_candidates=4, max_bootstrapped_demos=0, max_labeled_demos=0
        ),
        {},
    ),
    "no candidates": (lambda ns, _: ns.MIPROv2(metric=right, auto=None), {"num_trials": 4}),
    "a budget and candidates": (lambda ns, _: ns.MIPROv2(metric=right, num_candidates=4), {}),
    "a budget and trials": (lambda ns, _: ns.MIPROv2(metric=right), {"num_trials": 4}),
    "permission": (lambda ns, _: ns.MIPROv2(metric=right), {"requires_permission_to_run": True}),
    "no examples": (lambda ns, _: ns.MIPROv2(metric=right), {"count": 0}),
    "one example": (lambda ns, _: ns.MIPROv2(metric=right), {"count": 1}),
    "no validation": (lambda ns, _: ns.MIPROv2(metric=right), {"validated": 0}),
    "a minibatch that is too large": (
        lambda ns, _: ns.MIPROv2(metric=right, auto=None, num_candidates=4),
        {"num_trials": 2},
    ),
    "breadth": (lambda ns, _: ns.COPRO(metric=right, breadth=1), {}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_dspy_refuses_is_refused_in_its_words_and_nothing_is_asked(name: str) -> None:
    make, options = REFUSED[name]
    ours, theirs = both(make, two_steps, **options)
    assert theirs.error is not None
    assert (type(ours.error), str(ours.error)) == (type(theirs.error), str(theirs.error))
    assert ours.asked == []


def test_a_budget_that_there_is_not_is_refused() -> None:
    for ns in (engine, dspy):
        with pytest.raises(ValueError, match=r"Invalid value for auto: huge\. Must be one of {.*'light'.*}\."):
            ns.MIPROv2(metric=right, auto="huge")


def test_mipro_needs_a_model_when_it_is_made() -> None:
    for ns in (engine, dspy):
        with ns.context(lm=None), pytest.raises(ValueError, match="Either provide both prompt_model and task_model"):
            ns.MIPROv2(metric=right, prompt_model=model(ns, []))


RULES: dict[str, tuple[Make, dict[str, Any]]] = {
    "plain": (lambda ns, _: ns.InferRules(metric=right, num_candidates=3, num_threads=1), {}),
    "another model": (
        lambda ns, other: ns.InferRules(
            metric=right, num_candidates=2, num_rules=4, num_threads=1, teacher_settings={"lm": other}
        ),
        {"validated": 5},
    ),
    "without labels": (
        lambda ns, _: ns.InferRules(metric=right, num_candidates=1, num_threads=1, max_labeled_demos=0),
        {},
    ),
}


@pytest.mark.parametrize("build", [one_step, two_steps])
@pytest.mark.parametrize("name", RULES)
def test_rules_are_asked_for_and_scored_as_dspy_does(name: str, build: Callable[[Any], Any]) -> None:
    make, options = RULES[name]
    ours, theirs = both(make, build, **options)
    assert ours.asked == theirs.asked
    assert ours.logged == theirs.logged
    assert ours.program._compiled is True
    assert [each.demos for each in ours.program.predictors()]


def test_examples_and_rules_are_written_as_dspy_writes_them() -> None:
    def texts(ns: Any) -> list[Any]:
        rules = ns.InferRules(metric=right)
        predictor = ns.Predict("question -> answer")
        demos = rules.get_predictor_demos(examples(ns, 2), predictor)
        shown = rules.format_examples(demos, predictor.signature)
        rules.update_program_instructions(predictor, "1. Be brief.")
        return [demos, shown, predictor.signature.instructions]

    assert texts(engine) == texts(dspy)


@pytest.mark.parametrize("build", [one_step, two_steps])
def test_optuna_chooses_the_demos_that_it_chooses_for_dspy(
    build: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(ns: Any, _: Any) -> Any:
        return ns.BootstrapFewShotWithOptuna(metric=right, num_candidate_programs=5, num_threads=1)

    ours = search(engine, make, build, max_demos=3)
    plain = optuna.create_study

    def seeded(direction: str) -> Any:  # dspy's searches have no seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return plain(direction=direction, sampler=optuna.samplers.TPESampler(seed=0))

    monkeypatch.setattr(optuna, "create_study", seeded)
    theirs = search(dspy, make, build, max_demos=3)
    assert_same(ours, theirs)
    assert all(len(each.demos) == 1 for each in ours.program.predictors())


SETS: dict[str, dict[str, Any]] = {
    "six": {"num_candidate_sets": 6},
    "few": {"num_candidate_sets": 2, "seed": 5},
    "without labels": {"num_candidate_sets": 5, "max_labeled_demos": 0},
    "bootstrapped only": {"num_candidate_sets": 5, "include_non_bootstrapped": False, "min_num_samples": 2},
    "first labels, in rounds": {"num_candidate_sets": 3, "labeled_sample": False, "max_rounds": 2},
}


@pytest.mark.parametrize("name", SETS)
def test_sets_of_demos_are_those_of_dspy(name: str) -> None:
    def sets(ns: Any) -> Any:
        asked: list[Any] = []
        given = {"max_labeled_demos": 3, "max_bootstrapped_demos": 3, "metric": right, "teacher_settings": {}}
        with ns.context(lm=model(ns, asked), adapter=ns.ChatAdapter()):
            made = ns.teleprompt.utils.create_n_fewshot_demo_sets(
                two_steps(ns), trainset=examples(ns), **{**given, **SETS[name]}
            )
        return asked, {key: [[demo.toDict() for demo in demos] for demos in each] for key, each in made.items()}

    assert sets(engine) == sets(dspy)
