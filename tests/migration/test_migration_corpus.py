"""The programs of the corpus: judged as expected, planned, converted, and equal under both engines afterwards."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from dspex.migration import CheckReport, FileReport, Verdict, check, convert, suggest_migration_path
from migration_corpus import CORPUS, expectations

EXPECTED = expectations()


def by_path(report: CheckReport, root: Path = CORPUS) -> dict[str, FileReport]:
    return {Path(file.path).relative_to(root).as_posix(): file for file in report.files}


def test_every_file_that_uses_dspy_is_reported(corpus: CheckReport) -> None:
    assert sorted(by_path(corpus)) == sorted(EXPECTED)
    assert corpus.problems == ()


@pytest.mark.parametrize("path", sorted(EXPECTED))
def test_a_file_is_judged_as_expected(corpus: CheckReport, path: str) -> None:
    found = by_path(corpus)[path]
    assert {
        "verdict": found.verdict.value,
        "programs": {program.name: program.verdict.value for program in found.programs},
        "findings": [
            [use.place.cell, use.place.line, use.rule] if use.place.cell else [use.place.line, use.rule]
            for use in found.findings
        ],
    } == EXPECTED[path]


def test_every_finding_says_why_and_what_to_do(corpus: CheckReport) -> None:
    findings = [use for file in corpus.files for use in file.findings]
    assert len(findings) > 40
    assert [use for use in findings if not use.reason or not use.advice] == []


def test_the_plan_of_the_corpus_moves_what_can_be_moved_and_names_the_rest(corpus: CheckReport) -> None:
    plan = suggest_migration_path(corpus)
    moved = {(Path(each.path).name, each.program) for each in plan.programs}
    assert ("multihop_rag.py", "MultiHop") in moved
    assert ("recommend.py", "Recommend") in moved
    assert {(Path(rest.path).name, rest.program) for rest in plan.look_at} >= {("patched.py", "Ask")}
    assert all(rest.reasons for rest in [*plan.look_at, *plan.stays])
    listed = len(plan.programs) + sum(bool(rest.program) for rest in [*plan.look_at, *plan.stays])
    assert listed == len(corpus.programs)


RUNNABLE = sorted(path.stem for path in CORPUS.glob("*.py") if "def run()" in path.read_text())


@contextmanager
def module_from(path: Path, name: str) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


def played(module: ModuleType, namespace: Any, dummy: Any) -> tuple[Any, list[Any]]:
    """What `run()` gives on a model that answers from the script, and every prompt that the model saw."""
    lm = dummy(module.ANSWERS)
    with namespace.context(lm=lm):
        result = module.run()
    return json.loads(json.dumps(result)), [entry["messages"] for entry in lm.history]


@pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")  # dspy's announcement for 3.5
@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("to_async", [False, True], ids=["imports", "async"])
def test_a_converted_program_sends_the_prompts_and_gives_the_results_of_the_original(
    dspy: ModuleType, tmp_path: Path, name: str, to_async: bool
) -> None:
    copy = tmp_path / f"{name}.py"
    shutil.copy(CORPUS / f"{name}.py", copy)
    made = convert([copy], to_async=to_async)
    assert [file.state for file in made.files] == ["converted"], made.files[0].reasons
    made.write()
    assert "import dspy\n" not in copy.read_text()
    with module_from(CORPUS / f"{name}.py", f"original_{name}") as original:
        expected = played(original, dspy, dspy.utils.DummyLM)
    with module_from(copy, f"converted_{name}") as converted:
        found = played(converted, engine, engine.DummyLM)
    assert found == expected
    assert expected[1] or name == "custom_lm"


def test_the_corpus_has_enough_programs_that_run() -> None:
    assert len(RUNNABLE) >= 9


def test_the_converted_corpus_is_native_where_it_was_and_converting_again_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(CORPUS, root)
    first = convert([root])
    assert first.write() > 0
    again = convert([root])
    assert again.of("converted") == ()
    assert {file.path for file in first.of("converted")} <= {file.path for file in again.of("already")}
    after = by_path(check([root]), root)
    for file in first.of("converted"):
        assert after[Path(file.path).relative_to(root).as_posix()].verdict is Verdict.NATIVE


def test_a_package_is_converted_whole_or_not_at_all(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    shutil.copytree(CORPUS / "shop", root)
    held = convert([tmp_path])
    assert held.of("converted") == ()
    reasons = {Path(file.path).name: file.reasons for file in held.of("left")}
    assert "TypedPredictor" in reasons["old_search.py"][0]
    assert "shares objects with" in reasons["base.py"][0]
    (root / "old_search.py").unlink()
    (root / "main.py").unlink()
    free = convert([tmp_path])
    assert {Path(file.path).name for file in free.of("converted")} == {"base.py", "search.py"}
    assert free.of("left") == ()


def test_a_package_of_modules_sends_the_same_prompts(
    dspy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [{"query": "oak"}, {"reasoning": "fits", "articles": ["table"]}]
    shutil.copytree(CORPUS / "shop", tmp_path / "shop")
    for name in ("old_search.py", "main.py"):
        (tmp_path / "shop" / name).unlink()

    def run(root: Path, namespace: Any, dummy: Any) -> tuple[Any, Any]:
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(root))
            shop = importlib.import_module("shop")
            lm = dummy(answers)
            with namespace.context(lm=lm):
                made = shop.Recommend()(customer="Ann", wishes="a table")
        return made.articles, [entry["messages"] for entry in lm.history]

    expected = run(CORPUS, dspy, dspy.utils.DummyLM)
    assert convert([tmp_path]).write() == 2
    found = run(tmp_path, engine, engine.DummyLM)
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]
    assert found == expected
