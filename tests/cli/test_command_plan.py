"""`dspex plan` as it is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from dspex.cli import main


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["plan", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "p.py"
    path.write_text("import dspy\nqa = dspy.Predict('a -> b')\n")
    return path


def test_it_prints_a_document_with_flags_and_boxes(program: Path) -> None:
    status, output = run(program)
    assert status == 0
    assert output.startswith("# Migration plan\n\n1 to move, 0 to look at first, 0 to leave")
    assert "- [ ] **shadow**" in output
    assert 'qa = "shadow"' in output
    assert run(program, "--markdown") == (0, output)


def test_json_and_statistics(program: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    stats.write_text(json.dumps({"programs": {"qa": {"legacy": {"requests": 10, "failed": 1, "p95_s": 2.0}}}}))
    status, output = run(program, "--stats", stats, "--json")
    assert status == 0
    (planned,) = json.loads(output)["programs"]
    assert planned["traffic"] == {"requests": 10, "share": 1.0, "error_rate": 0.1, "p95_s": 2.0}


def test_what_is_wrong_is_status_2_and_says_what_to_do(program: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ([tmp_path / "gone"], "no such file"),
        ([program, "--stats", tmp_path / "gone.json"], "app.stats()"),
        ([program, "--json", "--markdown"], "give one of them"),
    ):
        status, output = run(*arguments)
        assert status == 2, output
        assert said in output
