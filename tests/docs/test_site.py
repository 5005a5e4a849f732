"""The site is built strictly: a link without a target, a page outside the navigation, a name that is not there fail it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("mkdocstrings") is None, reason="needs mkdocs-material and mkdocstrings"
)

FACES = {
    "dspex.runtime": "runtime",
    "dspex.supervisors": "supervisors",
    "dspex.engine": "engine",
    "dspex.engine.evaluation": "engine",
    "dspex.engine.optimizers": "optimizers",
    "dspex.engine.retrieval": "retrieval",
    "dspex.legacy": "legacy",
    "dspex.migration": "migration",
    "dspex.router": "router",
    "dspex.runtime.testing": "testing",
}
"""Each face, and the page of the reference that shows it."""


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs`. Not with --quiet: mkdocs counts only the warnings that it shows, and --strict would pass over all."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=180,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("site")
    built = build(ROOT, made)
    assert built.returncode == 0, built.stdout + built.stderr
    yield made
    shutil.rmtree(made)


@pytest.fixture
def hook() -> ModuleType:
    """docs/site.py, under another name than that of the standard library's module."""
    spec = importlib.util.spec_from_file_location("dspex_docs_site", ROOT / "docs" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_of_the_folder_is_on_the_site(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")]
    assert [str(page) for page in pages if not (site / page).exists()] == []


@pytest.mark.parametrize("face", FACES)
def test_the_reference_has_every_name_of_the_face(site: Path, face: str) -> None:
    html = (site / "reference" / f"{FACES[face]}.html").read_text(encoding="utf-8")
    shown = {anchor.rpartition(".")[2] for anchor in re.findall(r'id="(dspex\.[^"]+)"', html)}
    offered = importlib.import_module(face)
    names = [name for name in offered.__all__ if not inspect.ismodule(getattr(offered, name))]
    assert names
    assert [name for name in names if name not in shown] == []


def test_the_made_pages_show_what_they_are_made_of(site: Path) -> None:
    performance = (site / "performance.html").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.+)$", (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles
    assert [title for title in titles if title.replace("`", "") not in re.sub("<[^>]+>", "", performance)] == []
    examples = (site / "examples.html").read_text(encoding="utf-8")
    assert [file.name for file in (ROOT / "examples").glob("*.py") if file.name not in examples] == []


def test_nothing_of_the_site_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img|iframe)[^>]+src="(https?:)?//|<link[^>]+rel="stylesheet"[^>]+href="(https?:)?//')
    assert [page.name for page in site.rglob("*.html") if fetched.search(page.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("page", "text", "told"),
    [
        ("lost.md", "# Lost\n", 'not included in the "nav"'),
        ("index.md", "# Start\n\n[x](nowhere.md)\n", "nowhere.md"),
        ("index.md", "# Start\n\n[x](index.md#nowhere)\n", "nowhere"),
        ("index.md", "# Start\n\n::: dspex.Nothing\n", "dspex.Nothing"),
        ("index.md", "# Start\n\n[x](../tests/conftest.py)\n", "tests/conftest.py"),
    ],
    ids=["outside the navigation", "dead link", "dead anchor", "no such name", "out of the site"],
)
def test_what_is_wrong_is_noticed(tmp_path: Path, page: str, text: str, told: str) -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[0]
    (tmp_path / "mkdocs.yml").write_text(f"{settings}\nnav:\n  - Start here: index.md\n  - Performance: performance.md\n"
                                         "  - Examples: examples.md\n")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "site.py", tmp_path / "docs")
    (tmp_path / "__init__.py").write_text('"""A package."""\n')
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "RESULTS.md").write_text("# Results\n")
    (tmp_path / "docs" / "index.md").write_text("# Start\n")
    (tmp_path / "docs" / page).write_text(text)
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert told in built.stdout + built.stderr


def test_links_into_the_repository_lead_to_the_pages_made_of_it(hook: ModuleType) -> None:
    def led(text: str, page: str) -> str:
        return hook.on_page_markdown(text, page=SimpleNamespace(file=SimpleNamespace(src_uri=page)))

    assert led("[a](../benchmarks/RESULTS.md#the-router)", "index.md") == "[a](performance.md#the-router)"
    assert led("see [`a`](../runtime/actor.py).", "index.md") == "see `a`."
    assert led("[a](../../examples/rag.py)", "runtime/tasks.md") == "[a](../examples.md#ragpy)"
    assert led("[a](../actors.md) [b](https://x.org/../y)", "runtime/tasks.md") == "[a](../actors.md) [b](https://x.org/../y)"
