"""Every block of Python in the documentation runs when it is pasted into a file.

Blocks are self-contained. One that needs something a machine may not have says so in its fence: ```python needs=openai,trio
is skipped where one of these modules is not installed. One that no test can run is marked ```py, under a comment that says why:
<!-- not run: reason -->; it is parsed, and what it imports is there.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from event_catalogue import ROOMS, catalogue

DOCS = Path(__file__).parents[2] / "docs"
NOT_RUN = re.compile(r"^(?:<!-- not run: (?P<why>.+) -->\n)?```py[ \t]*\n(?P<code>.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
EVENT = re.compile(r"`((?:runtime|supervisor|legacy|router|engine\.job)\.[a-z_.]+[a-z])`")
FENCE = re.compile(r"^```python(?: needs=(?P<needs>\S+))?[ \t]*\n(?P<code>.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)


def blocks() -> list[object]:
    found: list[object] = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in FENCE.finditer(text):
            line = text[: block.start()].count("\n") + 2
            missing = [name for name in (block["needs"] or "").split(",") if name and find_spec(name) is None]
            marks = [pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")]
            where = f"{page.relative_to(DOCS).as_posix()}:{line}"
            found.append(pytest.param(page, line, block["code"], id=where, marks=marks))
    return found


@pytest.mark.parametrize(("page", "line", "code"), blocks())
def test_the_block_runs(page: Path, line: int, code: str, tmp_path: Path) -> None:
    script = tmp_path / page.with_suffix(".py").name
    script.write_text("\n" * (line - 1) + code, encoding="utf-8")  # so that a traceback names the line of the page
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_fence_with_python_in_it_is_run() -> None:
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"^```(\w+)", text, re.MULTILINE)
        assert fences.count("python") == len(FENCE.findall(text)), f"{page.name}: a fence of python is not closed"


def not_run() -> list[object]:
    return [
        pytest.param(block["why"], block["code"], id=f"{page.name}:{text[: block.start()].count(chr(10)) + 1}")
        for page in sorted(DOCS.rglob("*.md"))
        for text in [page.read_text(encoding="utf-8")]
        for block in NOT_RUN.finditer(text)
    ]


@pytest.mark.parametrize(("why", "code"), not_run() or [("there is none", "")])
def test_a_block_that_is_not_run_says_why_and_names_what_is_there(why: str | None, code: str) -> None:
    assert why, "put <!-- not run: reason --> before it, or make it ```python"
    parsed = compile(code, "block", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(parsed):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dspex":
            module = importlib.import_module(str(node.module))
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_every_event_that_a_page_names_is_in_the_catalogue() -> None:
    known = {entry.name for room in ROOMS for entry in catalogue(room)}
    named = {
        (page.name, event)
        for page in DOCS.rglob("*.md")
        for event in EVENT.findall(page.read_text(encoding="utf-8"))
    }
    assert named
    assert sorted((page, event) for page, event in named if event not in known) == []
