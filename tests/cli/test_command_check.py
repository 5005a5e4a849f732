"""`dspex check` as it is run: text, JSON, SARIF, exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dspex.cli import main
from dspex.migration.verdicts import RULES

CORPUS = Path(__file__).parents[1] / "migration" / "corpus"
NATIVE = "import dspy\nqa = dspy.Predict('a -> b')\n"
CHANGES = "import dspy\nlm = dspy.OpenAI(model='x')\n"
UNKNOWN = "import dspy\nx = getattr(dspy, name)\n"
LEGACY = "import dspy\nx = dspy.Flex('a -> b')\n"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("a", NATIVE), ("b", CHANGES), ("c", UNKNOWN), ("d", LEGACY)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "level", "status"),
    [
        ("a", "changes", 0),
        ("b", "changes", 1),
        ("b", "unknown", 0),
        ("c", "unknown", 1),
        ("c", "legacy", 0),
        ("d", "legacy", 1),
        ("d", "never", 0),
    ],
)
def test_the_status_follows_the_level(folder: Path, name: str, level: str, status: int) -> None:
    assert run(folder / f"{name}.py", "--fail-on", level)[0] == status


def test_the_default_fails_on_anything_that_is_not_native(folder: Path) -> None:
    assert run(folder / "a.py")[0] == 0
    assert run(folder)[0] == 1


def test_what_cannot_be_read_is_status_2_with_the_reason(tmp_path: Path) -> None:
    for arguments, said in (
        ([tmp_path / "gone"], "no such file"),
        ([tmp_path], "no Python file"),
        ([], "Missing argument"),
        ([tmp_path, "--json", "--sarif"], "give one of them"),
        ([tmp_path, "--fail-on", "native"], "Invalid value"),
    ):
        status, output = run(*arguments)
        assert status == 2, output
        assert said in output


def test_text_shows_each_finding_with_its_line_reason_and_advice(folder: Path) -> None:
    status, output = run(folder)
    assert status == 1
    assert f"{folder}/b.py  native with changes" in output
    assert "2:6  native with changes dspy.OpenAI: dspy had it up to 2.5" in output
    assert "-> use dspy.LM" in output
    assert "predictor qa (Predict)" in output
    assert "Next: dspex plan" in output
    assert "\x1b" not in output
    assert "dspy.Predict" not in output
    assert "dspy.Predict: the engine has it" in run(folder, "--all")[1]


def test_what_is_next_depends_on_what_was_found(folder: Path, tmp_path: Path) -> None:
    assert "all native. Next: dspex convert" in run(folder / "a.py")[1]
    assert "Next: make the edits above" in run(folder / "b.py")[1]
    (tmp_path / "e.py").write_text("import os\n")
    assert run(tmp_path / "e.py") == (0, run(tmp_path / "e.py")[1])
    assert "no use of dspy in 1 files" in run(tmp_path / "e.py")[1]


def test_json_is_versioned_and_whole(folder: Path) -> None:
    status, output = run(folder, "--json")
    report = json.loads(output)
    assert status == 1
    assert (report["schema"], report["version"], report["verdict"]) == ("dspex.check", 1, "legacy only")
    assert report["summary"]["files"] == {"native": 1, "native with changes": 1, "unknown": 1, "legacy only": 1}
    assert report["summary"]["files_read"] == 4
    (b,) = [file for file in report["files"] if file["path"].endswith("b.py")]
    finding = next(use for use in b["uses"] if use["verdict"] != "native")
    assert finding.keys() >= {"line", "column", "end_line", "end_column", "name", "verdict", "rule", "reason", "advice"}
    assert (finding["line"], finding["column"], finding["rule"]) == (2, 6, "removed")


def test_exclude_leaves_out(folder: Path) -> None:
    assert run(folder, "--exclude", "b.py", "--exclude", "[cd]*")[0] == 0


def test_sarif_has_the_structure_that_2_1_0_asks_for() -> None:
    status, output = run(CORPUS, "--sarif", "--fail-on", "never")
    assert status == 0
    log = json.loads(output)
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (sarif_run,) = log["runs"]
    driver = sarif_run["tool"]["driver"]
    assert driver["name"]
    rules = [rule["id"] for rule in driver["rules"]]
    assert rules == list(RULES)
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    results: list[dict[str, Any]] = sarif_run["results"]
    assert len(results) > 40
    for result in results:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert " " not in physical["artifactLocation"]["uri"]
        region = physical["region"]
        assert all(isinstance(region[key], int) and region[key] >= 1 for key in region)
        assert (region["endLine"], region["endColumn"]) >= (region["startLine"], region["startColumn"])


def test_colours_appear_on_a_terminal_only_and_respect_no_color(folder: Path) -> None:
    command = [sys.executable, "-m", "dspex.cli", "check", str(folder / "b.py")]

    def on_a_terminal(**environment: str) -> str:
        ours, theirs = os.openpty()
        try:
            env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
            process = subprocess.Popen(
                command, stdout=theirs, stderr=theirs, env={**env, "TERM": "xterm", **environment}
            )
            os.close(theirs)
            seen = b""
            while True:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
                if not part:
                    break
                seen += part
            process.wait(timeout=60)
        finally:
            os.close(ours)
        return seen.decode()

    coloured = on_a_terminal()
    assert "\x1b[33m" in coloured
    assert "\x1b[33m" not in on_a_terminal(NO_COLOR="1")


def test_help_teaches_and_completion_is_click_s() -> None:
    helped = CliRunner().invoke(main, ["check", "--help"]).output
    for word in ("native with changes", "Exit status", "Examples", "--sarif", "--fail-on"):
        assert word in helped
    listed = CliRunner().invoke(main, ["--help"]).output
    assert all(name in listed for name in ("check", "convert", "doctor", "plan"))
    done = subprocess.run(
        [sys.executable, "-c", "from dspex.cli import main; main(prog_name='dspex')"],
        env={**os.environ, "_DSPEX_COMPLETE": "bash_complete", "COMP_WORDS": "dspex ch", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "check" in done.stdout


def test_neither_dspy_nor_a_provider_s_sdk_is_imported(folder: Path) -> None:
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom dspex.cli import main\n"
        f"CliRunner().invoke(main, ['check', {str(folder)!r}])\nCliRunner().invoke(main, ['plan', {str(folder)!r}])\n"
        "heavy = ('dspy', 'openai', 'anthropic', 'litellm', 'numpy', 'optuna', 'libcst')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
