"""Every scenario recorded from Erlang/OTP gives the same trace here, on both loops."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from replay import differences, excuse, records

HERE = Path(__file__).parent
SCENARIOS = [record for path in sorted((HERE / "data").glob("*.jsonl")) for record in records(path)]
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
    assert len(SCENARIOS) == len(BY_NAME) == 937


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
