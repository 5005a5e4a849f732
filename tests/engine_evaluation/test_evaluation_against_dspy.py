"""Evaluation beside the installed dspy: the same metrics, prompts, scores, files and log records."""

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine import evaluation

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")

TEXTS = [
    "Paris",
    "paris",
    "The  Paris!",
    "a an the",
    "",
    "Café au lait",
    "Cafe\u0301 au lait",
    "yes",
    "No.",
    "noanswer",
    "Eiffel Tower, in Paris",
    "U.S.A.",
    "東京 タワー",
    "one-two three",
    "Straße",
]


@pytest.mark.parametrize("metric", ["EM", "F1", "HotPotF1"])
def test_text_metrics_give_what_dspy_s_give(metric: str) -> None:
    theirs: Callable[..., Any] = getattr(dspy.evaluate.metrics, metric)
    ours: Callable[..., Any] = getattr(evaluation, metric)
    for said in TEXTS:
        for right in TEXTS:
            assert ours(said, [right, "London"]) == theirs(said, [right, "London"]), (said, right)
    for bad, said in (("Paris", "must be a list"), (("Paris",), "must be a list"), ([], r"empty|arg")):
        with pytest.raises(ValueError, match=said) as expected:
            theirs("Paris", bad)
        with pytest.raises(ValueError, match=said) as raised:
            ours("Paris", bad)
        assert str(raised.value) == str(expected.value)


def test_normalized_texts_are_dspy_s() -> None:
    assert [evaluation.normalize_text(text) for text in TEXTS] == [
        dspy.evaluate.normalize_text(text) for text in TEXTS
    ]


@pytest.mark.parametrize("frac", [1.0, 0.5])
def test_answers_match_as_in_dspy(frac: float) -> None:
    for said in TEXTS:
        for right in (*TEXTS, TEXTS[:3]):
            mine = evaluation.answer_exact_match(
                engine.Example(answer=right), engine.Prediction(answer=said), frac=frac
            )
            assert mine == dspy.evaluate.answer_exact_match(
                dspy.Example(answer=right), dspy.Prediction(answer=said), frac=frac
            )
    with pytest.raises(ValueError, match="Invalid answer type: <class 'int'>"):
        evaluation.answer_exact_match(engine.Example(answer=4), engine.Prediction(answer="4"))


def test_passages_hold_an_answer_as_in_dspy() -> None:
    passages = ["The Eiffel Tower stands in Paris (France).", "東京 タワー is red", "x + y = 2 €", "Straße 5"]
    for answer in ["eiffel tower", "tower stand", "Paris France", "東京", "タワー", "€", "2 €", "Strasse", ["x", "no"], ""]:
        mine = evaluation.answer_passage_match(engine.Example(answer=answer), engine.Prediction(context=passages))
        theirs = dspy.evaluate.answer_passage_match(dspy.Example(answer=answer), dspy.Prediction(context=passages))
        assert mine == theirs, answer


REPLIES = {
    "SemanticF1": [{"reasoning": "r", "recall": 0.5, "precision": 1.5}],
    "CompleteAndGrounded": [
        {
            "reasoning": "r",
            "ground_truth_key_ideas": "k",
            "system_response_key_ideas": "k",
            "discussion": "d",
            "completeness": 0.25,
        },
        {"reasoning": "r", "system_response_claims": "c", "discussion": "d", "groundedness": 0.75},
    ],
}


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("trace", [None, []])
def test_judging_metrics_ask_what_dspy_s_ask_and_score_alike(name: str, trace: object) -> None:
    def run(ns: Any) -> tuple[object, object]:
        lm = ns.utils.DummyLM(list(REPLIES[name]))
        example = ns.Example(question="q", response="the truth")
        pred = ns.Prediction(response="an answer", context="a passage")
        home = ns.evaluate if ns is dspy else evaluation
        with ns.context(lm=lm, adapter=ns.ChatAdapter()):
            score = getattr(home, name)()(example, pred, trace)
        return score.score, [entry["messages"] for entry in lm.history]

    assert run(engine) == run(dspy)


def test_a_judging_metric_saves_and_loads_with_dspy_s_state(tmp_path: Path) -> None:
    dspy.evaluate.SemanticF1(decompositional=True).save(str(tmp_path / "theirs.json"))
    evaluation.SemanticF1(decompositional=True).load(tmp_path / "theirs.json")
    evaluation.CompleteAndGrounded().save(tmp_path / "ours.json")
    dspy.evaluate.CompleteAndGrounded().load(str(tmp_path / "ours.json"))


def devset(ns: Any) -> list[Any]:
    return [
        ns.Example(question=f"q{n}", answer="4" if n % 3 else "5", note=n).with_inputs("question") for n in range(7)
    ]


def evaluated(ns: Any, metric: Callable[..., Any], **options: Any) -> Any:
    class Program(ns.Module):
        def forward(self, question: str) -> Any:
            if question == "q3":
                raise KeyError("the third")
            return ns.Prediction(answer="4", question=question)

    return ns.Evaluate(devset=devset(ns), metric=metric, **options)(Program())


def exact(example: Any, pred: Any, trace: object = None) -> bool:
    return example.answer == pred.answer


def graded(example: Any, pred: Any, trace: object = None) -> float:
    return 0.25


def shape(result: Any) -> object:
    return (
        result.score,
        [(e.toDict(), p.toDict(), s) for e, p, s in result.results],
        repr(result),
        list(result.keys()),
    )


@pytest.mark.parametrize("metric", [exact, graded])
@pytest.mark.parametrize("options", [{}, {"num_threads": 1}, {"failure_score": 0.5}])
def test_scores_and_results_are_dspy_s(metric: Callable[..., Any], options: dict[str, Any]) -> None:
    mine, theirs = (evaluated(ns, metric, **options) for ns in (engine, dspy))
    assert shape(mine) == shape(theirs)
    assert [str(error) for _, error in mine.failures] == ["'the third'"]


def test_the_files_are_dspy_s(tmp_path: Path) -> None:
    def good(example: Any, pred: Any, trace: object = None) -> bool:
        return example.answer == pred.answer

    def program(ns: Any) -> Any:
        class Program(ns.Module):
            def forward(self, question: str) -> Any:
                return ns.Prediction(answer="4", extra=1)

        return Program()

    for ns, name in ((engine, "ours"), (dspy, "theirs")):
        files = {f"save_as_{kind}": str(tmp_path / f"{name}.{kind}") for kind in ("csv", "json")}
        ns.Evaluate(devset=devset(ns), metric=good, **files)(program(ns))
    assert (tmp_path / "ours.csv").read_text() == (tmp_path / "theirs.csv").read_text()
    assert json.loads((tmp_path / "ours.json").read_text()) == json.loads((tmp_path / "theirs.json").read_text())


def test_rows_of_different_shape_still_go_into_one_table(tmp_path: Path) -> None:
    """dspy gives up here: a failed example has fewer columns than the first one."""
    evaluated(engine, exact, save_as_csv=str(tmp_path / "results.csv"))
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert rows[3]["pred_answer"] == ""


def test_it_logs_what_dspy_logs(caplog: pytest.LogCaptureFixture) -> None:
    def records(ns: Any) -> set[tuple[str, str]]:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="dspy" if ns is dspy else "dspex"):
            logging.getLogger("dspy").propagate = True
            evaluated(ns, exact)
        return {(record.levelname, record.getMessage()) for record in caplog.records}

    before = logging.getLogger("dspy").propagate
    try:
        assert records(engine) == records(dspy)
    finally:
        logging.getLogger("dspy").propagate = before


@pytest.mark.parametrize(
    "bad", [{"devset": []}, {"devset": [engine.Example(q=1).with_inputs("q")] * 3, "return_outputs": True}]
)
def test_bad_arguments_are_refused_in_dspy_s_words(bad: dict[str, Any]) -> None:
    def message(ns: Any) -> str:
        with pytest.raises(ValueError, match=r"devset|return_outputs") as caught:
            ns.Evaluate(metric=exact, **bad)(lambda **_: None)
        return str(caught.value)

    assert message(engine) == message(dspy)


def test_too_many_errors_end_it_as_in_dspy() -> None:
    def message(ns: Any) -> str:
        class Program(ns.Module):
            def forward(self, question: str) -> Any:
                raise RuntimeError(question)

        with pytest.raises(Exception, match="Execution cancelled") as caught:
            ns.Evaluate(devset=devset(ns), metric=exact, max_errors=2)(Program())
        return str(caught.value)

    assert message(engine) == message(dspy)
