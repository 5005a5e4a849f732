"""Every block of Python in the documentation runs when it is pasted into a file.

Blocks are self-contained. One that needs something a machine may not have says so in its fence: ```python needs=openai,trio
is skipped where one of these modules is not installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
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
