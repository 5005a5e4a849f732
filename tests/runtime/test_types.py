"""What a type checker knows of calls: it finds the reply's type and refuses what would fail."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("typing_cases")


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    """File name to the lines the checker refuses, counted from 1, with its words. One run for all: it takes seconds."""
    if find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed: pip install basedpyright")
    project = tmp_path_factory.mktemp("types")
    config = {
        "include": [str(CASES)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "reportUnusedExpression": "none",
        "reportUnusedCallResult": "none",
    }
    (project / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(list(CASES.glob("*.py"))), done.stderr
    found: dict[str, dict[int, str]] = {path.name: {} for path in CASES.glob("*.py")}
    for complaint in report["generalDiagnostics"]:
        if complaint["severity"] == "error":
            line = complaint["range"]["start"]["line"] + 1
            found[Path(complaint["file"]).name][line] = complaint["message"]
    return found


def test_right_calls_are_accepted_with_the_types_they_have(complaints: dict[str, dict[int, str]]) -> None:
    assert complaints["right.py"] == {}


def test_wrong_calls_are_refused_and_only_those(complaints: dict[str, dict[int, str]]) -> None:
    lines = (CASES / "wrong.py").read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert len(expected) > 20
    assert set(complaints["wrong.py"]) == expected
