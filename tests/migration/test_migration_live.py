"""Programs that are there: objects of dspy's and of the engine's, classes, factories, import paths."""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import ModuleType

import dspex.engine as engine
import pytest
from dspex.migration import ProgramNotFound, Verdict, validate_compatibility


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that can be imported, under a name of its own."""
    name = f"live_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        textwrap.dedent(
            """
            import dspy

            class Good(dspy.Module):
                def __init__(self, tool=None):
                    super().__init__()
                    self.ask = dspy.ChainOfThought("question -> answer")
                    self.more = [dspy.Predict("a -> b")]
                def forward(self, question):
                    return self.ask(question=question)

            class Bad(dspy.Module):
                def forward(self, question):
                    dspy.Assert(question, "no question")
                    return question

            def make():
                return Good()

            def factory(dspy):
                return dspy.ReAct("question -> answer", tools=[])

            good = Good()
            number = 3
            """
        )
    )
    (tmp_path / f"{name}_broken.py").write_text("import dspy\nraise RuntimeError('no such day')\n")
    (tmp_path / f"{name}_exit.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / f"{name}_syntax.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_predictor_of_dspy_s_is_native(dspy: ModuleType) -> None:
    for program in (dspy.Predict("a -> b"), dspy.ReAct("q -> a", tools=[]), dspy.ChainOfThought):
        found = validate_compatibility(program)
        assert found.native, found.reasons
        assert {use.name for use in found.uses} >= {"dspy.Predict"} or program is dspy.ChainOfThought


def test_what_an_object_holds_is_looked_at(dspy: ModuleType) -> None:
    program = dspy.ChainOfThought("q -> a")
    program.predict.lm = dspy.LM("bedrock/claude")
    found = validate_compatibility(program)
    assert found.verdict is Verdict.CHANGES
    assert "bedrock" in found.reasons[0]


def test_what_is_in_dspy_only_is_legacy_only(dspy: ModuleType) -> None:
    for program in (dspy.Flex, dspy.BootstrapFinetune):
        assert validate_compatibility(program).verdict is Verdict.LEGACY


def test_programs_of_the_engine_are_native() -> None:
    for program in (engine.Predict("a -> b"), engine.ReAct("q -> a", tools=[])):
        assert validate_compatibility(program).native


@pytest.mark.usefixtures("dspy")
@pytest.mark.parametrize(
    ("attribute", "verdict"),
    [
        ("Good", Verdict.NATIVE),
        ("good", Verdict.NATIVE),
        ("Bad", Verdict.CHANGES),
        ("make", Verdict.NATIVE),
        ("factory", Verdict.NATIVE),
    ],
)
def test_an_import_path_is_judged_as_its_source_is(package: str, attribute: str, verdict: Verdict) -> None:
    found = validate_compatibility(f"{package}:{attribute}")
    assert (found.verdict, found.error) == (verdict, ""), found.reasons
    assert found.to_json()["verdict"] == verdict.value


@pytest.mark.parametrize(
    ("suffix", "said"),
    [
        ("_broken", "RuntimeError: no such day"),
        ("_exit", "SystemExit: 3"),
        ("_syntax", "SyntaxError"),
        ("_gone", "ModuleNotFoundError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_a_result_and_no_crash(package: str, suffix: str, said: str) -> None:
    found = validate_compatibility(f"{package}{suffix}:program")
    assert found.verdict is Verdict.UNKNOWN
    assert said in found.error
    assert said in found.reasons[0]


def test_what_is_no_program_is_a_typed_error(package: str) -> None:
    for path, said in (("nothing", "no import path"), (":x", "no import path"), (f"{package}:gone", "no `gone`")):
        with pytest.raises(ProgramNotFound, match=said):
            validate_compatibility(path)
    for thing in (3, "x:y:z", None, {}, int):
        if isinstance(thing, str):
            continue
        with pytest.raises(ProgramNotFound, match=r"no program|nothing to do"):
            validate_compatibility(thing)
    with pytest.raises(ProgramNotFound, match="no program"):
        validate_compatibility(f"{package}:number")


def test_a_class_without_source_is_unknown() -> None:
    names: dict[str, object] = {"engine": engine}
    exec("class Made(engine.Module):\n    def forward(self): ...", names)
    assert validate_compatibility(names["Made"]).verdict is Verdict.UNKNOWN


def test_a_program_whose_attributes_raise_is_unknown_and_no_crash() -> None:
    class Closed(engine.Predict):
        def __getattribute__(self, name: str) -> object:
            if name in ("model", "engine", "__dict__"):
                raise RuntimeError("closed")
            return super().__getattribute__(name)

    closed = object.__new__(Closed)
    found = validate_compatibility(closed)
    assert found.verdict is Verdict.UNKNOWN
    assert any("closed" in reason for reason in found.reasons)
