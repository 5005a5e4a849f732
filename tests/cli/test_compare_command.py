"""`dspex compare` as it is run: real dspy in a real worker, and a model server on a real port."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import here
from openai_server import OpenAIServer

pytest.importorskip("dspy", reason="needs the extra `legacy`")

PROGRAM = '''
import dspy

class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.ask(question=question)

def never(legacy, native):
    return 0.0

async def same(legacy, native):
    return {"answer": legacy.answer == native.answer}

def one(answer):
    return 1
'''


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    name = f"answers_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(PROGRAM)
    (tmp_path / "qa.csv").write_text("question,answer\nWhy?,answer to Why?\nHow?,no\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return tmp_path


def program(folder: Path, name: str) -> str:
    return f"answers_{folder.name}:{name}"


def test_a_table_a_page_and_a_status_come_of_it(server: OpenAIServer, folder: Path) -> None:
    model = ["--model", "openai/tiny", "--api-base", server.url, "--option", "temperature=0"]
    done = here("compare", program(folder, "QA"), "--data", "qa.csv", *model, "--html", "r.html", "--min-parity", "0.3")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{program(folder, 'QA')}  openai/tiny, 2 rows"
    shown = " ".join(done.stdout.split())
    for part in ("parity 100.0% 34.2% to 100.0% 2 wilson", "native, as expected 50.0%", "answered 2 2", "LM calls 2 2"):
        assert part in shown
    assert (folder / "r.html").read_text().startswith("<!doctype html>")
    assert server.bodies[-1]["temperature"] == 0


def test_a_parity_under_the_bound_is_status_1_and_json_has_all_of_it(server: OpenAIServer, folder: Path) -> None:
    model = ["--model", "openai/tiny", "--api-base", server.url]
    metric = ["--metric", f"answers_{folder.name}.py:never"]
    done = here("compare", program(folder, "QA"), "--data", "qa.csv", *model, *metric, "--min-parity", "0.5", "--json")
    assert done.exit_code == 1
    assert "parity is under the bound: at least 0.0% with 95% confidence, not 50.0%" in done.stderr
    told = json.loads(done.stdout)
    assert (told["schema"], told["parity"]["mean"], told["different"]) == ("dspex.compare", 0.0, 2)
    assert told["engines"]["legacy"]["lm_calls"] == 2


def test_nothing_answered_is_no_success(server: OpenAIServer, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('{"question": "status 400"}\n')
    model = ["--model", "openai/tiny", "--api-base", server.url, "--option", "num_retries=0"]
    done = here("compare", "question -> answer", "--data", "bad.jsonl", *model)
    assert done.exit_code == 1
    assert "nothing was answered" in done.stderr
    assert "as you wish" in done.stdout


def test_only_what_is_expected_counts_as_right_or_wrong(server: OpenAIServer, folder: Path) -> None:
    rows = '{"question": "Why?", "answer": "answer to Why?", "row": 7}\n{"question": "How?", "row": 8}\n'
    (folder / "rows.jsonl").write_text(rows)
    (folder / "two.py").write_text('def two(dspy): return dspy.Predict("question -> answer, names: str")\n')
    model = ["--model", "openai/tiny", "--api-base", server.url]
    for program in ("two:two", f"answers_{folder.name}:QA"):
        done = here("compare", program, "--data", "rows.jsonl", *model, "--ignore", "names", "--json")
        told = json.loads(done.stdout)
        assert told["engines"]["native"]["accuracy"] == told["engines"]["legacy"]["accuracy"]
        assert (told["engines"]["native"]["accuracy"]["mean"], told["engines"]["native"]["accuracy"]["n"]) == (1.0, 1)
        assert list(told["fields"]) == ["answer"]


def test_workers_without_dspy_are_said_with_what_to_install(folder: Path) -> None:
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    model = ["--model", "openai/tiny", "--api-base", "http://127.0.0.1:9"]
    done = here("compare", "question -> answer", "--data", "qa.csv", *model, "--python", str(python))
    assert done.exit_code == 2
    assert "dspex[legacy]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["question -> answer", "--data", "qa.csv"], "give --model NAME, or --local"),
        (["question -> answer", "--data", "qa.csv", "--local", "--model", "openai/x"], "give one of them"),
        (["question -> answer", "--data", "qa.csv", "--api-base", "http://x"], "Give --model"),
        (["question -> answer", "--data", "none.csv", "--model", "openai/x"], "none.csv: it cannot be read"),
        (["question, hint -> answer", "--data", "qa.csv", "--model", "openai/x"], "row 1 lacks hint"),
        (["question -> answer", "--data", "qa.csv", "--model", "openai/x", "--metric", "ANSWERS:one"], "two predictions"),
        (["question -> answer", "--data", "qa.csv", "--model", "openai/x", "--option", "x"], "write NAME=JSON"),
        (["question -> answer", "--data", "qa.csv", "--local", "none.gguf"], "none.gguf"),
        (["ANSWERS:Nothing", "--data", "qa.csv"], "there is no `Nothing` in it"),
        (["ANSWERS:one", "--data", "qa.csv", "--state", "none.json"], "none.json"),
        (["none.py:x", "--data", "qa.csv"], "there is no file none.py"),
        (["ANSWERS:QA"], "Missing option '--data'"),
        (["ANSWERS:QA", "--data", "qa.csv", "--html", "none/r.html"], "none/r.html cannot be written"),
    ],
)
def test_what_cannot_be_compared_is_status_2_and_says_what_to_do(
    arguments: list[str], says: str, folder: Path
) -> None:
    done = here("compare", *(each.replace("ANSWERS", f"answers_{folder.name}") for each in arguments))
    assert done.exit_code == 2, done.output
    assert says in " ".join(done.stderr.split())
