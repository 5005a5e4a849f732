"""Both engines on the same data: real dspy in a real worker, our engine here, and one model server that both ask."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from dspex.engine import Example, Prediction
from dspex.engine.sync import SyncInsideLoopError
from dspex.legacy import LMSettings, MissingLegacy, PoolOptions, SignatureProgram
from dspex.migration import (
    ComparisonReport,
    EngineNotStarted,
    NotComparable,
    ProgramNotFound,
    abenchmark_native_vs_legacy,
    benchmark_native_vs_legacy,
    compared_program,
    to_html,
)
from openai_server import OpenAIServer

pytest.importorskip("dspy", reason="needs the extra `legacy`")

QUESTIONS = [{"question": f"Why {number}?"} for number in range(6)]
PROGRAMS = "compared_programs"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


def model(server: OpenAIServer) -> LMSettings:
    return LMSettings("openai/tiny", api_base=server.url, api_key="k", options={"num_retries": 0})


# --- what is found --------------------------------------------------------------------------------------------------------


def test_a_program_as_it_stands_runs_on_both_engines_and_agrees(server: OpenAIServer) -> None:
    rows = [{**row, "answer": f"answer to {row['question']}"} for row in QUESTIONS[:5]] + [
        {"question": "Why not?", "answer": "because"}
    ]
    told: list[tuple[int, int]] = []
    before = len(server.bodies)
    report = benchmark_native_vs_legacy(
        f"{PROGRAMS}:QA", rows, lm=model(server), repeat=2, progress=lambda *done: told.append(done)
    )
    assert (report.program, report.model, report.rows, report.repeat) == (f"{PROGRAMS}:QA", "openai/tiny", 6, 2)
    assert (report.parity.mean, report.parity.n, report.parity.method) == (1.0, 6, "wilson")
    assert 0.6 < report.parity.low < 0.62  # 6 of 6
    assert report.is_at_least(0.6)
    assert not report.is_at_least(0.7)
    assert set(report.fields) == {"answer"}  # reasoning may differ
    assert (report.different, report.differences) == (0, ())
    for engine in ("native", "legacy"):
        figures = report.engines[engine]
        assert (figures.answered, figures.failed, figures.errors) == (12, 0, {})
        assert len(figures.latencies_s) == 12
        assert figures.lm_calls == 12
        assert figures.tokens == {
            "openai/tiny": {"prompt_tokens": 84, "completion_tokens": 60, "total_tokens": 144}
        }
        assert figures.accuracy is not None
        assert figures.accuracy.mean == pytest.approx(5 / 6)
        assert figures.agrees_with_itself is not None
        assert figures.agrees_with_itself.mean == 1.0
        assert 0 < (figures.latency(50) or 0) <= (figures.latency(95) or 0)
    asked = server.bodies[before:]
    assert len(asked) == 2 * (12 + 1)  # and one each to warm up
    assert asked[0]["messages"] == asked[1]["messages"]
    assert told == [(done, 12) for done in range(1, 13)]
    memory = report.memory
    if sys.platform == "linux":
        assert memory.native_delta is not None
        assert memory.worker_rss is not None
        assert memory.worker_pss is not None
        assert 0 < memory.worker_pss <= memory.worker_rss
    assert report.versions["dspy"].startswith("3.")
    assert json.loads(json.dumps(report.to_json()))["schema"] == "dspex.compare"


@pytest.fixture(scope="module")
def differing(server: OpenAIServer) -> ComparisonReport:
    return benchmark_native_vs_legacy(f"{PROGRAMS}:Differs", QUESTIONS, lm=model(server), concurrency=2)


def test_what_differs_is_counted_by_row_and_by_field_and_shown(differing: ComparisonReport) -> None:
    report = differing
    assert report.parity.mean == pytest.approx(0.75)  # half of the rows, in one of two fields
    assert report.parity.method == "bootstrap"
    assert 0.5 <= report.parity.low < 0.75 < report.parity.high <= 1
    assert {name: found.mean for name, found in report.fields.items()} == {"answer": 0.5, "same": 1.0}
    assert report.different == 3
    first = next(each for each in report.differences if each.row == 2)
    assert first.inputs == {"question": "Why 1?"}
    assert first.native == {"answer": "answer to Why 1?<script>alert(1)</script>", "same": 1.0}
    assert first.legacy == {"answer": "answer to Why 1?", "same": 1.0}
    assert first.fields == {"answer": 0.0, "same": 1.0}
    assert report.memory.workers == 2
    assert report.engines["native"].accuracy is None


class _Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_what_a_model_wrote_is_text_in_it(differing: ComparisonReport) -> None:
    html = to_html(differing)
    page = _Page()
    page.feed(html)
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert names.count("svg") == 2
    assert not {"img", "link", "iframe", "object", "a", "use", "image"} & set(names)
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert not {name for name in attributes if name.startswith("on") or name in ("src", "href")}
    assert "http" not in html.replace("http-equiv", "")
    assert "url(" not in html
    assert "answer to Why 1?<script>alert(1)</script>" in page.text
    policies = [attrs.get("content") or "" for _, attrs in page.tags if "http-equiv" in attrs]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "75.0%" in page.text


def test_errors_are_counted_by_class_and_one_sided_ones_are_no_parity(server: OpenAIServer) -> None:
    report = benchmark_native_vs_legacy(f"{PROGRAMS}:Fails", QUESTIONS, lm=model(server), warmup=0)
    assert report.engines["native"].errors == {"LookupError": 2}
    assert report.engines["legacy"].errors == {"LookupError": 2}
    assert report.engines["native"].examples["LookupError"] == "no <answer> to Why 1?"
    assert report.failed_on_both == 1
    assert (report.parity.mean, report.parity.n) == (pytest.approx(3 / 5), 5)
    shown = {each.row: each for each in report.differences}
    assert isinstance(shown[2].native, str)
    assert isinstance(shown[3].legacy, str)
    assert set(shown) == {2, 3}
    assert "<answer>" not in to_html(report)


@pytest.mark.anyio
async def test_calls_of_the_model_are_counted_on_both_loops_and_a_metric_may_be_async(server: OpenAIServer) -> None:
    async def judged(legacy: Prediction, native: Prediction) -> dict[str, float]:
        assert legacy.answer == native.answer
        return {"answer": 0.5}

    with pytest.raises(SyncInsideLoopError, match="await abenchmark_native_vs_legacy"):
        benchmark_native_vs_legacy(f"{PROGRAMS}:Twice", QUESTIONS)
    report = await abenchmark_native_vs_legacy(
        f"{PROGRAMS}:Twice", [Example(question="Why?").with_inputs("question")], lm=model(server), metric=judged
    )
    assert [report.engines[engine].lm_calls for engine in ("native", "legacy")] == [2, 2]
    assert report.parity.mean == 0.5


# --- what cannot be compared ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "error", "says"),
    [
        ("compared_programs", ProgramNotFound, "no import path"),
        ("compared_programs:nothing", ProgramNotFound, "there is no `nothing` in it"),
        ("compared_programs:seven", ProgramNotFound, "name a program, or what makes one"),
        ("no_such_module:qa", ProgramNotFound, "cannot be imported .ModuleNotFoundError"),
        ("question: nothing -> answer", NotComparable, "no signature"),
        ("question ->", NotComparable, "no outputs to compare"),
        ("compared_programs:only_native", NotComparable, "has no legacy side"),
        (7, NotComparable, "a int runs in this process only"),
    ],
)
def test_what_is_no_program_for_both_is_refused(program: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        benchmark_native_vs_legacy(program, QUESTIONS)


def test_a_spec_a_factory_and_a_signature_are_programs() -> None:
    assert compared_program(f"{PROGRAMS}:both").inputs == ("question",)
    built = compared_program(f"{PROGRAMS}:build")
    assert (built.needed, built.inputs, built.outputs) == (("question",), ("question",), None)
    assert built.import_paths == (str(Path(__file__).parent),)
    signature = compared_program("question, n: int -> answer, score: float", module="ChainOfThought")
    assert signature.outputs == ("reasoning", "answer", "score")
    assert signature.types["n"] is int


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"repeat": 0}, "repeat counts, from 1"),
        ({"concurrency": True}, "concurrency counts"),
        ({"within": 0}, "more than 0 seconds"),
        ({"confidence": 95}, "between 0 and 1"),
        ({"lm": LMSettings("openai/x", host=True)}, "compare without it"),
    ],
)
def test_settings_that_make_no_comparison_are_refused(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(NotComparable, match=says):
        benchmark_native_vs_legacy("question -> answer", QUESTIONS, **setting)


def test_a_metric_that_fails_does_so_at_the_first_row(server: OpenAIServer) -> None:
    before = len(server.bodies)
    with pytest.raises(NotComparable, match=r"the metric failed on row 1 .ZeroDivisionError"):
        benchmark_native_vs_legacy(
            "question -> answer", QUESTIONS, lm=model(server), metric=lambda legacy, native: 1 / 0, warmup=0
        )
    assert len(server.bodies) == before + 2


def test_an_engine_that_cannot_start_is_named(server: OpenAIServer, tmp_path: Path) -> None:
    with pytest.raises(EngineNotStarted, match=r"native engine cannot be started .*dspex doctor") as caught:
        benchmark_native_vs_legacy("question -> answer", QUESTIONS, lm=LMSettings("nobody/x"))
    assert caught.value.engine == "native"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    program = {"program": SignatureProgram("question -> answer")}
    with pytest.raises(MissingLegacy, match=re.escape("dspex[legacy]")):
        benchmark_native_vs_legacy(
            "question -> answer", QUESTIONS, lm=model(server), pool=PoolOptions(program, python=str(python))
        )
