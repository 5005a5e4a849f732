"""The site is built strictly: a link without a target, a page outside the navigation, a name that is not there fail it."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("mkdocstrings") is None, reason="needs mkdocs-material and mkdocstrings"
)
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    reference = (tmp_path / "site" / "reference" / "runtime.html").read_text(encoding="utf-8")
    assert "open_runtime" in reference
    assert "dspy" in (tmp_path / "site" / "performance.html").read_text(encoding="utf-8")
    assert "rag.py" in (tmp_path / "site" / "examples.html").read_text(encoding="utf-8")
