"""Every scenario recorded from Erlang/OTP gives the same trace here, on both loops."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from record import agreed
from replay import differences, excuse, records

HERE = Path(__file__).parent
GIVEN = [record for path in sorted((HERE / "data").glob("*.jsonl")) for record in records(path)]
OURS = list(records(HERE / "recorded_here.jsonl"))
"""Recorded with record.py: what the schema has and the given scenarios do not use, and wrong specs in every combination."""
SCENARIOS = [*GIVEN, *OURS]
BY_NAME = {record["name"]: record for record in SCENARIOS}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("record", [pytest.param(record, id=record["name"]) for record in SCENARIOS])
def test_the_trace_is_that_of_otp(record: dict[str, Any], backend: str) -> None:
    found = differences(record, backend)
    if excuse(record) is not None:
        # A difference on purpose; if it were gone, its reason should go too.
        assert found
        return
    assert not found, "\n".join(found)


def test_all_scenarios_are_there() -> None:
    assert len(GIVEN) == 937
    assert len(OURS) == 188
    assert len(BY_NAME) == len(SCENARIOS)


def tampered(name: str) -> dict[str, Any]:
    record = copy.deepcopy(BY_NAME[name])
    record["trace"]["steps"][-1]["r"] = ["something else"]
    return record


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_trace_that_differs_is_noticed(backend: str) -> None:
    assert "something else" in differences(tampered("sup_default_flags"), backend)[0]


def test_the_command_prints_what_differs_and_counts(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(json.dumps(BY_NAME["sup_default_flags"]) + "\n")
    bad.write_text(json.dumps(tampered("gs_call_echo")) + "\n")

    def run(*files: Path) -> tuple[int, list[str]]:
        command = [sys.executable, str(HERE / "replay.py"), "--backend", "trio", *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    assert run(good) == (0, ["replayed 1, equal 1"])
    status, lines = run(good, bad)
    assert status == 1
    assert lines[0] == "gs_call_echo"
    assert lines[-1] == "replayed 2, equal 1"


@pytest.mark.skipif(shutil.which("erlc") is None, reason="needs Erlang: erl and erlc (Debian: erlang-base)")
def test_what_is_recorded_here_and_now_is_what_was_given(tmp_path: Path) -> None:
    names = ["sup_default_flags", "gs_call_echo", "rt_permanent_normal"]
    asked, answered = tmp_path / "asked.jsonl", tmp_path / "answered.jsonl"
    asked.write_text("".join(json.dumps({k: v for k, v in BY_NAME[n].items() if k != "trace"}) + "\n" for n in names))
    command = [sys.executable, str(HERE / "record.py"), str(asked), str(answered), "--runs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "recorded 3, dropped 0", done.stdout + done.stderr
    assert [record["trace"] for record in records(answered)] == [BY_NAME[name]["trace"] for name in names]


def test_recorded_runs_that_differ_weaken_the_trace_or_drop_it() -> None:
    scenario = {"name": "s", "tags": [], "steps": [{"op": "do", "proc": "driver", "cmd": ["echo", 1]}]}

    def raw(results: list[Any], *events: list[Any]) -> dict[str, Any]:
        return {"name": "s", "steps": [{"r": results, "ev": list(events)}], "final": []}

    a, b = ["start", "a#1", "-"], ["start", "b#1", "-"]
    same = agreed(scenario, [raw([1], a, b), raw([1], a, b)])
    assert same is not None
    assert same["trace"]["steps"][0]["order"] == "total"
    swapped = agreed(scenario, [raw([1], a, b), raw([1], b, a)])
    assert swapped is not None
    assert swapped["trace"]["steps"][0]["order"] == "scoped"
    assert agreed(scenario, [raw([1], a), raw([2], a)]) is None
