"""Optimizers beside the installed dspy: the same demos, the same requests, the same scores, by the same seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspex.engine as engine
import pytest

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")
numpy = pytest.importorskip("numpy", reason="KNN needs numpy")

# dspy 3.4 on what its own programs still do.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs through BaseLM:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*messages=:DeprecationWarning"),
]


def trainset(ns: Any, count: int = 12) -> list[Any]:
    return [ns.Example(question=f"q{n}", answer=str(n % 4)).with_inputs("question") for n in range(count)]


class Replies:
    """An LM of either engine that answers each question with its number modulo 4, but for every fifth, which it fails."""

    @staticmethod
    def of(ns: Any) -> Any:
        class Stub(ns.BaseLM):
            def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
                asked = str(messages[-1]["content"]).split("]]\n")[1].split("\n")[0]
                number = int("".join(filter(str.isdigit, asked)) or 0)
                if number % 5 == 4:
                    raise RuntimeError(f"no answer to {number}")
                text = f"[[ ## reasoning ## ]]\nbecause {number}\n\n[[ ## answer ## ]]\n{number % 4}\n\n[[ ## completed ## ]]"
                choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                return _Shape({"model": "stub", "choices": [choice], "usage": {}})

        return Stub("stub", cache=False)


class _Shape(dict[str, Any]):
    """A dict that can be read by attribute, all the way down: what both engines take for a completion."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        value = self[name]
        if isinstance(value, dict):
            return _Shape(value)
        if isinstance(value, list):
            return [_Shape(each) if isinstance(each, dict) else each for each in value]
        return value


def right(example: Any, prediction: Any, trace: object = None) -> bool:
    return example.answer == prediction.answer


def graded(example: Any, prediction: Any, trace: object = None) -> float:
    return 1.0 if example.answer == prediction.answer else 0.25


def two_steps(ns: Any) -> Any:
    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = ns.Predict("question -> answer")
            self.second = ns.ChainOfThought("question -> answer")

        def forward(self, question: str) -> Any:
            self.first(question=question)
            return self.second(question=question)

    return Program()


def optimized(ns: Any, make: Callable[[Any], Any], build: Callable[[Any], Any], **options: Any) -> dict[str, Any]:
    """The state of the optimized program, and what the model was asked on the way."""
    lm = Replies.of(ns)
    with ns.context(lm=lm, adapter=ns.ChatAdapter(), max_errors=1000):
        program = make(ns).compile(build(ns), trainset=trainset(ns), **options)
    asked = [entry["messages"][-1]["content"] for entry in lm.history]
    candidates = [
        (each["seed"], each["score"], list(each["subscores"])) for each in getattr(program, "candidate_programs", [])
    ]
    return {
        "state": program.dump_state(),
        "asked": sorted(asked),
        "first": asked[:6],
        "candidates": candidates,
        "compiled": program._compiled,
    }


def chain(ns: Any) -> Any:
    return ns.ChainOfThought("question -> answer")


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "labeled": lambda ns: ns.LabeledFewShot(k=5),
    "labeled, more than there are": lambda ns: ns.LabeledFewShot(k=50),
    "bootstrap": lambda ns: ns.BootstrapFewShot(metric=right, max_labeled_demos=6),
    "bootstrap by threshold": lambda ns: ns.BootstrapFewShot(metric=graded, metric_threshold=0.5),
    "bootstrap without labels": lambda ns: ns.BootstrapFewShot(metric=right, max_labeled_demos=0),
    "bootstrap in rounds": lambda ns: ns.BootstrapFewShot(metric=right, max_rounds=2, max_bootstrapped_demos=8),
    "random search": lambda ns: ns.BootstrapFewShotWithRandomSearch(
        metric=right, num_candidate_programs=3, max_bootstrapped_demos=3, num_threads=1
    ),
    "random search, stopped early": lambda ns: ns.BootstrapRS(
        metric=right, num_candidate_programs=3, stop_at_score=10, num_threads=1
    ),
}


@pytest.mark.parametrize("build", [chain, two_steps])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_program_and_what_was_asked_for_it_are_dspy_s(name: str, build: Callable[[Any], Any]) -> None:
    mine, theirs = (optimized(ns, OPTIMIZERS[name], build) for ns in (engine, dspy))
    assert mine == theirs
    assert mine["state"]


def test_labels_may_be_taken_in_order() -> None:
    mine, theirs = (optimized(ns, OPTIMIZERS["labeled"], chain, sample=False) for ns in (engine, dspy))
    assert mine == theirs


@pytest.mark.parametrize("restrict", [[-3], [-1, 1]])
def test_a_search_may_be_restricted_to_seeds(restrict: list[int]) -> None:
    mine, theirs = (optimized(ns, OPTIMIZERS["random search"], chain, restrict=restrict) for ns in (engine, dspy))
    assert mine == theirs
    for ns in (engine, dspy):
        with pytest.raises(ValueError, match="does not match any candidate seed"):
            optimized(ns, OPTIMIZERS["random search"], chain, restrict=[99])


def test_what_one_engine_optimized_the_other_serves(tmp_path: Path) -> None:
    for made, served in ((engine, dspy), (dspy, engine)):
        with made.context(lm=Replies.of(made)):
            program = made.BootstrapFewShot(metric=right).compile(chain(made), trainset=trainset(made))
        program.save(str(tmp_path / "state.json"))
        other = chain(served)
        other.load(str(tmp_path / "state.json"))
        lms = [Replies.of(made), Replies.of(served)]
        for ns, each, lm in ((made, program, lms[0]), (served, other, lms[1])):
            with ns.context(lm=lm, adapter=ns.ChatAdapter()):
                each(question="q7")
        assert lms[0].history[0]["messages"] == lms[1].history[0]["messages"]


def test_neighbours_become_demos_at_each_call_as_in_dspy() -> None:
    def vectors(texts: list[str]) -> Any:
        return numpy.array([[1.0, float("".join(filter(str.isdigit, text)) or 0)] for text in texts])

    def asked(ns: Any) -> list[Any]:
        lm = Replies.of(ns)
        optimizer = ns.KNNFewShot(3, trainset(ns), vectors, metric=right, max_bootstrapped_demos=2)
        program = optimizer.compile(chain(ns))
        with ns.context(lm=lm, adapter=ns.ChatAdapter(), max_errors=1000):
            assert program(question="q3").answer == "3"
        return [entry["messages"] for entry in lm.history]

    assert asked(engine) == asked(dspy)


def test_an_ensemble_reduces_the_answers_of_its_programs() -> None:
    def answers(ns: Any) -> Any:
        programs = [chain(ns) for _ in range(3)]
        with ns.context(lm=Replies.of(ns)):
            every = ns.Ensemble().compile(programs)(question="q7")
            one = ns.Ensemble(reduce_fn=ns.majority, size=2).compile(programs)(question="q7")
        return [each.answer for each in every], one.answer

    if not hasattr(dspy, "Ensemble"):
        dspy.Ensemble = dspy.teleprompt.Ensemble
    assert answers(engine) == answers(dspy) == (["3", "3", "3"], "3")
    with pytest.raises(AssertionError):
        engine.Ensemble(deterministic=True)


def test_too_many_failures_come_out_and_the_student_is_untouched() -> None:
    for ns in (engine, dspy):
        student = chain(ns)
        with (
            ns.context(lm=Replies.of(ns), max_errors=1),
            pytest.raises(RuntimeError, match="no answer to 4"),
        ):
            ns.BootstrapFewShot(metric=right, max_bootstrapped_demos=10).compile(student, trainset=trainset(ns))
        assert student.predict.demos == []


def test_a_failing_example_leaves_the_teacher_its_demos() -> None:
    """In dspy they stay without the examples that failed."""
    teacher = engine.LabeledFewShot(k=12).compile(chain(engine), trainset=trainset(engine))
    optimizer = engine.BootstrapFewShot(metric=right, max_bootstrapped_demos=10)
    with engine.context(lm=Replies.of(engine), max_errors=1000):
        optimizer.compile(chain(engine), teacher=teacher, trainset=trainset(engine))
    assert len(optimizer.teacher.predict.demos) == 12


def test_callbacks_are_told_once_of_a_compilation() -> None:
    told: list[str] = []

    class Log(engine.BaseCallback):
        def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            told.append(f"start {type(instance).__name__}")

        def on_compile_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
            told.append("end")

    with engine.context(callbacks=[Log()]):
        engine.LabeledFewShot().compile(chain(engine), trainset=trainset(engine))
    assert told == ["start LabeledFewShot", "end"]
