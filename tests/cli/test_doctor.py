"""`dspex doctor` as it is run: real interpreter, real worker, real server."""

import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from dspex.cli import main
from dspex.cli.extras import PURPOSES, installed_extras
from openai_server import OpenAIServer


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


def doctor(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["doctor", *arguments])
    return result.exit_code, result.output


def by_name(output: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(output)}


def test_it_says_what_works_on_this_machine() -> None:
    pytest.importorskip("dspy", reason="needs the extra `legacy`")
    code, output = doctor("--json")
    checks = by_name(output)
    assert checks["python"]["state"] == "ok"
    assert checks["dspy in a worker"]["found"].startswith("dspy 3.")
    assert "ready in" in checks["dspy in a worker"]["found"]
    assert {"limit of open files", "limit of memory"} <= checks.keys()
    assert {"kernel", "sandbox", "extra openai", "extra legacy", "local weights", "model"} <= checks.keys()
    assert all(check["advice"] for check in checks.values() if check["state"] != "ok")
    assert code == (1 if any(check["state"] == "broken" for check in checks.values()) else 0)


def test_every_extra_is_looked_at_and_its_purpose_is_told() -> None:
    installed = set(importlib.metadata.metadata("dspex").get_all("Provides-Extra") or ()) - {"all", "dev"}
    assert {extra.name for extra in installed_extras()} == installed
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(PURPOSES) == set(project["optional-dependencies"]) - {"all", "dev"}


@pytest.mark.parametrize(
    ("version", "found", "state"),
    [
        (None, "not installed", "warning"),
        ("1.5", "another version: openai 1.5 (wanted: <4,>=2.54)", "warning"),
        ("2.60", "openai 2.60", "ok"),
    ],
)
def test_an_extra_that_is_not_there_or_in_another_version_is_a_warning(
    version: str | None, found: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(name: str, ask: Callable[[str], str] = importlib.metadata.version) -> str:
        if name != "openai":
            return ask(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    _, output = doctor("--json", "--python", "/nowhere/python")
    check = by_name(output)["extra openai"]
    assert (check["state"], check["found"]) == (state, found)
    assert ('pip install "dspex[openai]"' in check["advice"]) is (state == "warning")


def test_low_limits_and_missing_kernel_features_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.delattr(os, "memfd_create")
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        _, output = doctor("--python", "/nowhere/python")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "warning  limit of open files: 200 (at most " in output
    assert "-> ulimit -n 1024 or more" in output
    assert "without anonymous memory files" in output
    assert "large requests then go through the socket" in output


def test_an_interpreter_without_dspy_is_a_warning_that_says_what_to_install(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    _, output = doctor("--json", "--python", str(python))
    check = by_name(output)["dspy in a worker"]
    assert check["state"] == "warning"
    assert "dspex[legacy]" in check["advice"]


def test_an_interpreter_that_is_not_there_is_broken() -> None:
    code, output = doctor("--python", "/nowhere/python")
    assert code == 1
    assert "BROKEN   dspy in a worker: /nowhere/python is no program" in output
    assert "-> name an interpreter" in output
    assert output.strip().endswith("broken: dspy in a worker")


@pytest.mark.parametrize(
    ("arguments", "key", "says"),
    [
        (["--model", "openai/x", "--api-base", "http://127.0.0.1:9"], "k", "does not answer"),
        (["--model", "openai/x"], None, "OPENAI_API_KEY is not set"),
        (["--model", "nobody/x"], "k", "no such provider"),
    ],
)
def test_a_model_that_cannot_be_reached_is_broken_and_says_why(
    arguments: list[str], key: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", "a-secret-key")
    code, output = doctor("--python", "/nowhere/python", *arguments)
    assert code == 1
    assert says in output
    assert "a-secret-key" not in output


def test_an_endpoint_that_answers_is_well(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    _, output = doctor("--python", "/nowhere/python", "--model", "openai/tiny", "--api-base", server.url)
    assert f"ok       model openai/tiny: {server.url} answers" in output


def test_the_command_line_helps_and_refuses() -> None:
    run = [sys.executable, "-m", "dspex.cli"]
    helped = subprocess.run([*run, "doctor", "--help"], capture_output=True, text=True, timeout=60)
    assert helped.returncode == 0
    assert "--api-base" in helped.stdout
    refused = subprocess.run([*run, "doktor"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "No such command 'doktor'" in refused.stderr
