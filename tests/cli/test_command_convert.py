"""`dspex convert` as it is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dspex.cli import main

NATIVE = "import dspy\nqa = dspy.Predict('a -> b')\n"


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["convert", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "p.py"
    path.write_text(NATIVE)
    return path


def test_a_diff_is_shown_and_nothing_is_written(program: Path) -> None:
    result = run(program)
    assert result.exit_code == 0
    assert "-import dspy\n+import dspex.engine as dspy\n" in result.stdout
    assert "1 to convert (--write does it)" in result.stderr
    assert "convert" not in result.stdout
    assert program.read_text() == NATIVE


def test_write_makes_the_edit_and_again_there_is_nothing_to_do(program: Path) -> None:
    assert "1 converted, 0 already native" in run(program, "--write").stderr
    assert program.read_text() == NATIVE.replace("import dspy", "import dspex.engine as dspy")
    again = run(program, "--write")
    assert again.exit_code == 0
    assert "0 converted, 1 already native" in again.stderr


def test_what_is_left_is_status_1_with_the_reason(program: Path) -> None:
    program.write_text("import dspy\ndspy.Assert(True)\n")
    result = run(program, "--write")
    assert result.exit_code == 1
    assert f"left as it is: {program}" in result.stderr
    assert "dspy.Assert" in result.stderr
    assert "dspex" not in program.read_text()
    partly = run(program, "--partly", "--write")
    assert partly.exit_code == 0
    assert "to do by hand" in partly.stderr


def test_async_on_request(program: Path) -> None:
    program.write_text(NATIVE + "async def f():\n    return qa(a=1)\n")
    assert run(program).exit_code == 1
    assert "await qa.acall(a=1)" in run(program, "--async").stdout


def test_json_has_states_reasons_and_diffs(program: Path) -> None:
    made = json.loads(run(program, "--json").stdout)
    assert (made["schema"], made["version"], made["written"]) == ("dspex.convert", 1, False)
    (file,) = made["files"]
    assert (file["state"], file["reasons"]) == ("converted", [])
    assert "+import dspex.engine as dspy" in file["diff"]


def test_what_cannot_be_read_is_status_2(tmp_path: Path) -> None:
    result = run(tmp_path / "gone")
    assert result.exit_code == 2
    assert "no such file" in result.output
