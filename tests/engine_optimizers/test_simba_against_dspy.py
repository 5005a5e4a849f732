"""SIMBA beside the installed dspy: the same draws, requests, records, advice, demos and scores, by the same seeds."""

import json
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine.optimizers.errors import NothingScored, TrainsetError
from dspex.engine.optimizers.masked_json import indented_json
from observed import draw, in_no_order, model, records

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytest.importorskip("numpy", reason="SIMBA needs numpy")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs through BaseLM:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*messages=:DeprecationWarning"),
]


def trainset(ns: Any, count: int = 10) -> list[Any]:
    return [ns.Example(question=f"q{n}", answer=str(n % 4)).with_inputs("question") for n in range(count)]


def answer(messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> dict[str, str]:
    """Right more often the longer the instructions are; every tenth request fails."""
    text = json.dumps(messages)
    if "module_advice" in text:
        names = [name for name in ("first", "second.predict", "predict", "self") if f"Module {name}\\n" in text]
        return {"discussion": "d", "module_advice": json.dumps({name: f"Mind {draw(text, name):.3f}." for name in names})}
    chance = draw(text, kwargs.get("rollout_id"), kwargs.get("temperature"))
    if chance < 0.1:
        raise RuntimeError("no answer")
    asked = str(messages[-1]["content"]).split("]]\n")[1].split("\n")[0]
    right = int("".join(filter(str.isdigit, asked)) or 0) % 4
    said = right if chance < 0.4 + 0.1 * text.count("Mind") else 9
    return {"reasoning": "because", "answer": str(said)}


def exact(example: Any, prediction: Any, trace: object = None) -> bool:
    return example.answer == prediction.answer


def explained(ns: Any) -> Any:
    """A metric whose scores have fields beside them, for the model that writes advice."""

    def metric(example: Any, prediction: Any) -> Any:
        return ns.Prediction(score=0.5 * exact(example, prediction), why=["seen", 1.5], kind=complex(1, 2))

    return metric


def two_steps(ns: Any) -> Any:
    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = ns.Predict("question -> answer")
            self.second = ns.ChainOfThought("question, draft -> answer")

        def forward(self, question: str) -> Any:
            draft = self.first(question=question).answer
            return self.second(question=question, draft=draft)

    return Program()


def one_step(ns: Any) -> Any:
    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = ns.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.predict(question=question)

    return Program()


def compiled(ns: Any, build: Any, seed: int = 0, count: int = 10, **options: Any) -> dict[str, Any]:
    asked: list[Any] = []
    options.setdefault("metric", exact)
    options.setdefault("num_threads", 1)
    lm = model(ns, answer, asked)
    names = ("dspy.teleprompt",) if ns is dspy else ("dspex.engine.optimizers",)
    with records(*names) as seen, ns.context(lm=lm, adapter=ns.ChatAdapter()):
        program = ns.SIMBA(**options).compile(build(ns), trainset=trainset(ns, count), seed=seed)
    return {
        "asked": asked if options["num_threads"] == 1 else in_no_order(asked),
        "records": seen if options["num_threads"] == 1 else sorted(seen),
        "state": program.dump_state(),
        "candidates": [(each["score"], each["program"].dump_state()) for each in program.candidate_programs],
        "logs": program.trial_logs,
        "index": program.simba_idx,
    }


CASES: dict[str, dict[str, Any]] = {
    "demos and rules": {"bsize": 4, "num_candidates": 3, "max_steps": 3, "max_demos": 2},
    "rules only": {"bsize": 4, "num_candidates": 3, "max_steps": 2, "max_demos": 0},
    "short inputs": {"bsize": 5, "num_candidates": 2, "max_steps": 2, "demo_input_field_maxlen": 1},
    "every example": {"bsize": 10, "num_candidates": 2, "max_steps": 2, "temperature_for_candidates": 5.0},
    "no steps": {"bsize": 4, "max_steps": 0},
    "one candidate": {"bsize": 4, "num_candidates": 1, "max_steps": 2},
    "many threads": {"bsize": 4, "num_candidates": 3, "max_steps": 2, "num_threads": 8},
}


@pytest.mark.parametrize(
    ("name", "build", "seed"), [*((name, two_steps, 0) for name in CASES), ("demos and rules", one_step, 7)]
)
def test_requests_records_and_programs_are_dspy_s(name: str, build: Any, seed: int) -> None:
    mine, theirs = (compiled(ns, build, seed, **CASES[name]) for ns in (engine, dspy))
    for part in theirs:
        assert mine[part] == theirs[part], part


def test_what_a_metric_says_beside_the_score_reaches_the_model_that_advises_as_in_dspy() -> None:
    options = {"bsize": 4, "num_candidates": 3, "max_steps": 2, "max_demos": 0}
    mine, theirs = (compiled(ns, one_step, metric=explained(ns), **options) for ns in (engine, dspy))
    assert mine == theirs
    assert any("<non-serializable: complex>" in json.dumps(each) for each in mine["asked"])


def test_values_of_any_kind_are_told_as_in_dspy() -> None:
    import datetime
    import enum
    import uuid
    from dataclasses import dataclass

    import orjson
    from dspy.teleprompt.simba_utils import recursive_mask

    class Colour(enum.Enum):
        RED = "red"

    @dataclass
    class Point:
        x: int
        _y: int = 0

    values = [
        *(None, True, 0, -1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 1.0, 1e16, 1e-7, float("nan"), float("inf")),
        *("", "é \u2028 \\ \"", "\ud800", b"bytes", {1}, object, Colour.RED, Point(1)),
        *(datetime.date(2024, 2, 29), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), datetime.time(1, 2)),
        *(uuid.UUID(int=5), [], {}, (), [[], {}], {"a": {"b": (1, {2})}}, {"set": {1}, "n": [2**70]}),
    ]
    for value in values:
        theirs = orjson.dumps(recursive_mask(value), option=orjson.OPT_INDENT_2).decode()
        assert indented_json(value) == theirs, value
    assert indented_json({1: "x"}) == '{\n  "1": "x"\n}'  # in dspy the candidate is lost


def test_the_teacher_s_lm_is_asked_first_and_stays_as_it_was() -> None:
    """In dspy it keeps the rollout, and answers everybody else past the cache from then on."""
    asked: list[Any] = []
    teacher = model(engine, answer, asked)
    lm = model(engine, answer, [])
    optimizer = engine.SIMBA(
        metric=exact, bsize=4, num_candidates=2, max_steps=1, teacher_settings={"lm": teacher}, prompt_model=lm
    )
    with engine.context(lm=lm, adapter=engine.ChatAdapter()):
        optimizer.compile(one_step(engine), trainset=trainset(engine))
    assert [each["rollout_id"] for each in asked] == [0] * 4
    assert "rollout_id" not in teacher.kwargs


def test_too_few_examples_are_refused_with_dspy_s_words() -> None:
    for ns in (engine, dspy):
        with ns.context(lm=model(ns, answer, [])), pytest.raises(AssertionError, match="Trainset too small: 3 < 4"):
            ns.SIMBA(metric=exact, bsize=4).compile(one_step(ns), trainset=trainset(ns, 3))


@pytest.mark.parametrize(
    ("examples", "why"),
    [
        ([{"question": "q"}], r"trainset\[0\] is a dict"),
        ([engine.Example(question="q").with_inputs("question"), engine.Example(question="q")], r"trainset\[1\] does not say"),
    ],
)
def test_what_is_no_example_is_refused_before_a_model_is_asked(examples: list[Any], why: str) -> None:
    asked: list[Any] = []
    with engine.context(lm=model(engine, answer, asked)), pytest.raises(TrainsetError, match=why):
        engine.SIMBA(metric=exact, bsize=1).compile(one_step(engine), trainset=examples)
    assert asked == []


@pytest.mark.parametrize(("metric", "why"), [(lambda e, p: None, "returned None"), (lambda e, p: 1 / 0, "division by zero")])
def test_a_metric_that_never_gives_a_number_ends_the_ascent(metric: Any, why: str) -> None:
    """In dspy the program comes back as it was, with a score of 0."""
    optimizer = engine.SIMBA(metric=metric, bsize=4, num_candidates=2, max_steps=1)
    with engine.context(lm=model(engine, answer, [])), pytest.raises(NothingScored, match=why) as caught:
        optimizer.compile(one_step(engine), trainset=trainset(engine))
    assert isinstance(caught.value.__cause__, TypeError | ZeroDivisionError)


def test_scores_of_thousands_are_drawn_from_as_well() -> None:
    """In dspy the draw overflows and raises."""

    def metric(example: Any, prediction: Any) -> float:
        return 1000.0 * exact(example, prediction)

    optimizer = engine.SIMBA(metric=metric, bsize=4, num_candidates=2, max_steps=3)
    with engine.context(lm=model(engine, answer, []), adapter=engine.ChatAdapter()):
        program = optimizer.compile(one_step(engine), trainset=trainset(engine))
    assert program.candidate_programs[0]["score"] > 0


@pytest.mark.anyio
async def test_a_strategy_and_a_metric_of_one_s_own_may_be_async() -> None:
    async def metric(example: Any, prediction: Any) -> bool:
        return exact(example, prediction)

    async def marked(bucket: list[Any], system: Any, **kwargs: Any) -> bool:
        for predictor in kwargs["name2predictor"].values():
            predictor.signature = predictor.signature.with_instructions("Mind Mind Mind Mind Mind Mind")
        return True

    optimizer = engine.SIMBA(metric=metric, bsize=4, num_candidates=2, max_steps=1)
    optimizer.strategies = [marked]
    with engine.context(lm=model(engine, answer, []), adapter=engine.ChatAdapter()):
        program = await optimizer.acompile(one_step(engine), trainset=trainset(engine))
    assert program.predict.signature.instructions.startswith("Mind")
