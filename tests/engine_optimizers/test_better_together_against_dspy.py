"""BetterTogether, traced runs and the optimizers of weights beside the installed dspy."""

import json
from collections.abc import Callable
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine.optimizers.errors import TrainsetError, WeightsNotTrained
from observed import draw, model, records

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs through BaseLM:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*messages=:DeprecationWarning"),
]


def examples(ns: Any, count: int = 20) -> list[Any]:
    return [ns.Example(question=f"q{n}", answer=str(n % 4)).with_inputs("question") for n in range(count)]


def answer(messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> dict[str, str]:
    asked = str(messages[-1]["content"]).split("]]\n")[1].split("\n")[0]
    right = int("".join(filter(str.isdigit, asked)) or 0) % 4
    return {"reasoning": "r", "answer": str(right if draw(json.dumps(messages)) < 0.5 else 9)}


def right(gold: Any, pred: Any, trace: Any = None) -> bool:
    return gold.answer == pred.answer


def served(ns: Any, asked: list[Any], events: list[str] | None = None) -> Any:
    """A model that is started and stopped, which dspy asks of every LM here."""
    lm = model(ns, answer, asked)
    kept = [] if events is None else events
    type(lm).launch = lambda self: kept.append("launch")
    type(lm).kill = lambda self: kept.append("kill")
    return lm


def student(ns: Any, lm: Any = None) -> Any:
    made = ns.ChainOfThought("question -> answer")
    made.set_lm(lm)
    return made


def steps(ns: Any, **more: Any) -> Any:
    return ns.BetterTogether(
        right, p=ns.BootstrapFewShot(metric=right, max_bootstrapped_demos=2), q=ns.LabeledFewShot(k=3), **more
    )


def broken(ns: Any) -> Any:
    class Broken(ns.teleprompt.Teleprompter):
        def compile(self, student: Any, *, trainset: Any) -> Any:
            raise RuntimeError("no way")

    return Broken()


def compiled(ns: Any, **options: Any) -> dict[str, Any]:
    asked: list[Any] = []
    events: list[str] = []
    lm = served(ns, asked, events)
    options = {"strategy": "p -> q -> p", "num_threads": 1, "seed": 3, **options}
    names = ("dspy.teleprompt",) if ns is dspy else ("dspex.engine.optimizers",)
    with records(*names) as seen, ns.context(lm=lm, adapter=ns.ChatAdapter()):
        made = steps(ns, b=broken(ns)).compile(student(ns, lm), trainset=examples(ns), **options)
    return {
        "asked": asked,
        "events": events,
        # dspy's BootstrapFewShot prints this one.
        "records": [each for each in seen if not each[1].startswith("Bootstrapped ")],
        "state": made.dump_state(),
        "failed": made.flag_compilation_error_occurred,
        "compiled": made._compiled,
        "candidates": [
            (each["score"], each["strategy"], each["program"].dump_state()) for each in made.candidate_programs
        ],
    }


CASES: dict[str, dict[str, Any]] = {
    "three steps": {},
    "no valset": {"valset_ratio": 0},
    "hardly a valset": {"valset_ratio": 0.01},
    "not shuffled": {"valset_ratio": 0.4, "shuffle_trainset_between_steps": False},
    "arguments": {"optimizer_compile_args": {"q": {"sample": False}}, "strategy": "q -> p"},
    "a step that fails": {"strategy": "q -> b -> p"},
}


@pytest.mark.parametrize("name", CASES)
def test_requests_records_and_programs_are_dspy_s(name: str) -> None:
    mine, theirs = (compiled(ns, **CASES[name]) for ns in (engine, dspy))
    for part in theirs:
        assert mine[part] == theirs[part], part


def run(ns: Any, *, lm: bool = True, **options: Any) -> Any:
    options = {"strategy": "p", "trainset": examples(ns), **options}
    return steps(ns).compile(student(ns, served(ns, []) if lm else None), **options)


REFUSED: dict[str, Callable[[Any], Any]] = {
    "no optimizer": lambda ns: ns.BetterTogether(right, p=3),
    "no LM": lambda ns: run(ns, lm=False),
    "no examples": lambda ns: run(ns, trainset=[]),
    "a ratio of all": lambda ns: run(ns, valset_ratio=1),
    "no strategy": lambda ns: run(ns, strategy=" "),
    "an unknown step": lambda ns: run(ns, strategy="p -> x"),
    "no spaces": lambda ns: run(ns, strategy="p->q"),
    "arguments of nobody": lambda ns: run(ns, optimizer_compile_args={"x": {}}),
    "another student": lambda ns: run(ns, optimizer_compile_args={"p": {"student": 1}}),
    "unknown arguments": lambda ns: run(ns, optimizer_compile_args={"p": {"z": 1, "a": 2}}),
    "another structure": lambda ns: run(ns, teacher=ns.ReAct("question -> answer", tools=[])),
    "a shared predictor": lambda ns: (lambda one: steps(ns).compile(one, trainset=examples(ns), teacher=one, strategy="p"))(
        student(ns, served(ns, []))
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_with_dspy_s_words(name: str) -> None:
    found = []
    for ns in (engine, dspy):
        with pytest.raises((TypeError, ValueError, AssertionError)) as caught:
            REFUSED[name](ns)
        found.append(str(caught.value))
    assert found[0] == found[1]


def test_a_compiled_student_is_refused() -> None:
    for ns in (engine, dspy):
        made = student(ns, served(ns, []))
        made._compiled = True
        with pytest.raises(ValueError, match="should not be compiled"):
            steps(ns).compile(made, trainset=examples(ns), strategy="p")


def test_one_teacher_reaches_the_optimizers_that_take_one() -> None:
    """In dspy they get a list, and the step fails."""
    given: list[Any] = []

    class Taught(engine.Teleprompter):
        async def acompile(self, student: Any, *, trainset: Any, teacher: Any = None) -> Any:
            given.append(teacher)
            return student

    lm = served(engine, [])
    one, two = (student(engine, lm) for _ in range(2))
    for teacher in (one, [one], [one, two]):
        optimizer = engine.BetterTogether(right, t=Taught())
        optimizer.compile(student(engine, lm), trainset=examples(engine), teacher=teacher, strategy="t", seed=1)
    assert given == [one, one, [one, two]]


@pytest.mark.parametrize("strategy", ["w", "p -> w -> p"])
def test_weights_are_not_trained_and_nothing_is_asked_before_that_is_said(strategy: str) -> None:
    asked: list[Any] = []
    lm = served(engine, asked)
    for optimizer in (engine.BetterTogether(right), steps(engine, w=engine.GRPO(metric=right))):
        with engine.context(lm=lm), pytest.raises(WeightsNotTrained, match=r"'w' of the strategy .*use_legacy_optimizer"):
            optimizer.compile(student(engine, lm), trainset=examples(engine), strategy=strategy)
    assert asked == []


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["BootstrapFinetune", "GRPO"])
async def test_what_trains_weights_says_where_that_is_done(name: str) -> None:
    optimizer = getattr(engine, name)(metric=right)
    with pytest.raises(WeightsNotTrained, match=f"{name} trains the weights.*use_legacy_optimizer"):
        await optimizer.acompile(student(engine), trainset=examples(engine))
    assert issubclass(WeightsNotTrained, engine.EngineError)


def test_what_is_no_example_is_refused() -> None:
    with pytest.raises(TrainsetError, match=r"trainset\[0\] is a dict"):
        run(engine, trainset=[{"question": "q"}])


# -- traced runs ---------------------------------------------------------------------------------------------------------


def half_read(messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> dict[str, str]:
    chance = draw(json.dumps(messages[-1]).replace("JSON object", ""))
    if "q3" in json.dumps(messages[-1]):
        raise RuntimeError("no answer")
    return {} if "q5" in json.dumps(messages[-1]) else {"reasoning": f"{chance:.2f}", "answer": "1"}


def traced(ns: Any, **options: Any) -> list[Any]:
    lm = model(ns, half_read, [])
    program = ns.ChainOfThought("question -> answer")
    with ns.context(lm=lm, adapter=ns.ChatAdapter()):
        runs = ns.bootstrap_trace_data(program, examples(ns, 8), right, num_threads=1, raise_on_error=False, **options)
    return [
        {
            **{key: run[key] for key in ("example_ind", "score") if key in run},
            "example": dict(run["example"]),
            "prediction": shown(run["prediction"]),
            "trace": [(step[0] is program.predict, dict(step[1]), shown(step[2])) for step in run["trace"]],
        }
        for run in runs
    ]


def shown(output: Any) -> Any:
    return vars(output) if hasattr(output, "completion_text") else dict(output)


@pytest.mark.parametrize("options", [{}, {"failure_score": 0.5, "format_failure_score": -3}])
def test_traced_runs_are_dspy_s(options: dict[str, Any]) -> None:
    mine, theirs = traced(engine, **options), traced(dspy, **options)
    assert mine == theirs
    assert [run["example_ind"] for run in mine] == [0, 1, 2, 4, 5, 6, 7]


def test_a_run_that_raised_is_an_error_unless_it_is_left_out() -> None:
    for ns in (engine, dspy):
        with ns.context(lm=model(ns, half_read, []), adapter=ns.ChatAdapter()), pytest.raises(ValueError, match="not enough"):
            ns.bootstrap_trace_data(ns.ChainOfThought("question -> answer"), examples(ns, 4), right)


def test_a_crash_may_be_captured_as_in_dspy() -> None:
    def found(ns: Any) -> Any:
        class Crashing(ns.Module):
            def forward(self, question: str) -> Any:
                raise KeyError(question)

        runs = ns.bootstrap_trace_data(Crashing(), examples(ns, 2), right, raise_on_error=False, capture_crashes=True)
        return [(run["prediction"].completion_text, run["score"]) for run in runs]

    assert found(engine) == found(dspy)


@pytest.mark.anyio
async def test_a_program_is_not_patched_while_its_runs_are_traced() -> None:
    seen: list[bool] = []

    class Program(engine.Module):
        async def aforward(self, question: str) -> Any:
            seen.append("forward" in vars(self) or "aforward" in vars(self))
            return engine.Prediction(answer="1")

    runs = await engine.optimizers.abootstrap_trace_data(Program(), examples(engine, 3))
    assert seen == [False] * 3
    assert [sorted(run) for run in runs] == [["example", "example_ind", "prediction", "trace"]] * 3
