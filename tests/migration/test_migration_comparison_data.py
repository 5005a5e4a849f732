"""The data of a comparison: what is an input, what is expected, and what is wrong with a file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from dspex.engine import Example
from dspex.migration import BadData, Interval, compared_program, interval, read_rows, rows_of

QA = compared_program("question -> answer")
TYPED = compared_program("question, n: int -> answer, score: float")


def test_what_a_program_takes_are_inputs_and_what_it_gives_is_expected() -> None:
    (row,) = rows_of([{"question": "Why?", "answer": "so", "source": "a book"}], QA)
    assert (row.number, row.inputs, row.expected) == (1, {"question": "Why?"}, {"answer": "so"})
    (nested,) = rows_of([{"inputs": {"question": "Why?"}, "expected": {"answer": "so"}}], QA)
    assert (nested.inputs, nested.expected) == (row.inputs, row.expected)
    (example,) = rows_of([Example(question="Why?", answer="so").with_inputs("question")], QA)
    assert (example.inputs, example.expected) == (row.inputs, row.expected)


def test_names_say_what_is_an_input_where_the_program_does_not() -> None:
    (row,) = rows_of([{"question": "Why?", "answer": "so"}], QA, inputs=["question"])
    assert row.inputs == {"question": "Why?"}
    with pytest.raises(BadData, match="lacks hint, named as inputs"):
        rows_of([{"question": "Why?"}], QA, inputs=["question", "hint"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[{"question": "Why, then?", "n": 2, "score": 0.5}]'),
        ("a.jsonl", '\ufeff{"question": "Why, then?", "n": 2, "score": 0.5}\n\n'),
        ("a.csv", 'question,n,score\n"Why, then?",2,0.5\n'),
        ("a.TSV", "question\tn\tscore\nWhy, then?\t2\t0.5\n"),
    ],
)
def test_every_form_of_file_gives_the_same_row(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    (row,) = read_rows(tmp_path / name, TYPED)
    assert row.inputs == {"question": "Why, then?", "n": 2}
    assert row.expected == {"score": 0.5}


def test_a_cell_may_have_lines_and_a_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question,answer\n"one\ntwo",42\n')
    (row,) = read_rows(tmp_path / "a.csv", QA)
    assert (row.inputs, row.expected) == ({"question": "one\ntwo"}, {"answer": "42"})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"[]", "holds no rows"),
        ("a.jsonl", b"\n\n", "holds no rows"),
        ("a.csv", b"question\n", "holds no rows"),
        ("a.json", b"{}", "a list of objects"),
        ("a.json", b"{", "no JSON .*call it .jsonl"),
        ("a.jsonl", b'{"question": "x"}\n{"question\n', "line 2 is no JSON"),
        ("a.json", b"\xff\xfe\x00", "no UTF-8"),
        ("a.json", b"[" * 100_000, "no JSON"),
        ("a.txt", b"x", ".txt is none of"),
        ("a", b"x", "no ending is none of"),
        ("a.csv", b"question,answer\nWhy?\n", "line 2 has not as many cells"),
        ("a.csv", b"question,answer\nWhy?,a,b\n", "line 2 has not as many cells"),
        ("a.csv", b'question\n"Why\n', "no table"),
        ("a.json", b'[{"hint": 1}]', "row 1 lacks question"),
        ("a.json", b'[{"inputs": {"question": "x", "other": 1}}]', "does not take: other"),
        ("a.json", b'[{"inputs": {"question": "x"}, "expected": 3}]', "`expected` that is no object"),
        ("a.json", b"[1]", "row 1 is a int"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=says):
        read_rows(tmp_path / name, QA)


def test_a_file_that_is_not_there_and_a_folder_are_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadData, match="cannot be read"):
            read_rows(path, QA)


def test_of_many_wrong_rows_the_first_are_said_and_the_rest_counted() -> None:
    with pytest.raises(BadData) as caught:
        rows_of([{"x": number} for number in range(9)], QA)
    assert len(caught.value.problems) == 5
    assert caught.value.more == 4
    assert "and 4 more rows" in str(caught.value)


def test_only_so_many_rows_are_taken_and_what_comes_after_is_not_judged() -> None:
    assert len(rows_of([{"question": "x"}, {"question": "y"}, {}], QA, limit=2)) == 2


# --- how sure it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Wilson's score interval at 95 %, from published tables.
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (20, 20, 0.8389, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_of_equal_or_not_wilsons_interval_is_given(successes: int, n: int, low: float, high: float) -> None:
    found = interval([1.0] * successes + [0.0] * (n - successes))
    assert found.method == "wilson"
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_of_scores_in_between_the_mean_is_bootstrapped_the_same_each_time() -> None:
    draw = random.Random(1)
    scores = [draw.random() for _ in range(200)]
    found = interval(scores)
    assert found.method == "bootstrap"
    assert found == interval(scores)
    half = 1.96 * (1 / 12) ** 0.5 / 200**0.5
    assert found.mean is not None
    assert found.low == pytest.approx(found.mean - half, abs=0.01)
    assert found.high == pytest.approx(found.mean + half, abs=0.01)
    wider = interval(scores, 0.99)
    assert wider.low < found.low < found.high < wider.high


def test_of_many_scores_it_is_the_normal_one_and_of_none_there_is_nothing_to_say() -> None:
    many = interval([0.25, 0.75] * 2000)
    assert (many.method, many.mean) == ("normal", 0.5)
    assert 0.49 < many.low < 0.5 < many.high < 0.51
    assert interval([]) == Interval(None, 0.0, 1.0, 0, "none")
    assert str(interval([])) == "nothing to compare"
    assert str(interval([1.0] * 20)) == "100.0% [83.9%, 100.0%]"
    json.dumps(interval([1.0]).to_json())


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(7)
    hits = 0
    for _ in range(400):
        found = interval([float(draw.random() < 0.9) for _ in range(40)])
        hits += found.low <= 0.9 <= found.high
    assert hits / 400 > 0.92
