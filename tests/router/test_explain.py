"""What runs where and why: of features, live programs of both engines, sources that are only read, and an app's programs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dspex import engine
from dspex.legacy import ImportedProgram, SignatureProgram
from dspex.router import (
    Chooser,
    Dspex,
    Engine,
    Explanation,
    Flags,
    ProgramSpec,
    UnknownFeature,
    UnknownProgram,
    UnreadableProgram,
    explain,
)


def nothing(city: str) -> str:
    """Nothing of a city."""
    return city


class Outer(engine.Module):
    """Holds others in lists and dicts; its method uses what is not among its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [engine.ChainOfThought("question -> answer")]
        self.by_name = {"agent": engine.ReAct("question -> answer", tools=[nothing])}

    def forward(self, question: str) -> Any:
        return engine.majority([step(question=question) for step in self.steps])


class Described(engine.Signature):
    """Say what is there."""

    picture: engine.Image = engine.InputField()
    pages: list[engine.File] | None = engine.InputField()
    words: str = engine.OutputField()


def test_a_live_program_is_walked_through_lists_and_dicts_and_its_source_is_read() -> None:
    explained = explain(Outer())
    assert explained.kind == "native program"
    assert explained.native
    assert explained.blockers == ()
    uses = {use.feature: use for use in explained.uses}
    assert {"module", "chain_of_thought", "react", "predict", "signatures", "tools", "majority"} == set(uses)
    assert "steps[0]" in uses["chain_of_thought"].where
    assert "by_name['agent']" in uses["react"].where
    assert uses["majority"].where[0].startswith("Outer, line ")


def test_types_of_fields_are_features_wherever_they_stand_in_the_annotation() -> None:
    assert {"signatures", "image", "file"} <= explain(Described).features
    program = engine.Predict(Described)
    uses = {use.feature: use.where for use in explain(program).uses}
    assert uses["image"] == ("self: picture",)
    assert uses["file"] == ("self: pages",)


def test_a_subclass_of_ones_own_is_what_it_derives_from() -> None:
    class Careful(engine.ReAct):
        pass

    assert "react" in explain(Careful("question -> answer", tools=[])).features
    assert "react" in explain(Careful).features


def test_a_live_program_of_the_real_dspy_is_explained_like_ours() -> None:
    dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")
    theirs = explain(dspy.ReAct("question, picture: dspy.Image -> answer", tools=[nothing]))
    signature = engine.Signature("question, picture: dspy.Image -> answer", custom_types={"dspy": engine})
    ours = explain(engine.ReAct(signature, tools=[nothing]))
    assert theirs.kind == "dspy program"
    assert theirs.features == ours.features >= {"react", "image"}
    assert [use.where for use in theirs.uses] == [use.where for use in ours.uses]
    assert "import path" in theirs.notes[-1]
    assert explain(dspy.ChainOfThought).features == {"chain_of_thought"}


def test_an_optimizer_a_model_and_an_adapter_are_explained_as_what_they_are() -> None:
    dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")
    trained = explain(dspy.BootstrapFinetune(metric=None))
    assert (trained.kind, trained.features) == ("dspy program", {"bootstrap_finetune"})
    assert trained.native == explain("bootstrap_finetune").native
    assert explain(engine.LM("openai/tiny", api_key="k")).features == {"lm"}
    assert explain(engine.XMLAdapter()).features == {"xml_adapter"}


def test_what_only_legacy_has_is_found_in_a_live_program_of_dspys() -> None:
    dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")

    class Finds(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flexible = dspy.Retrieve(k=3)
            self.answer = dspy.Predict("question -> answer")

    explained = explain(Finds())
    assert {"retrieve", "predict", "module"} <= explained.features
    if not explain("retrieve").native:
        assert explained.engine == "legacy"
        assert [use.feature for use in explained.blockers] == ["retrieve"]
        assert "retrieve is legacy only" in explained.reason


@pytest.mark.parametrize(
    ("path", "features"),
    [
        ("seer", {"signatures", "fields", "image", "module", "chain_of_thought", "colbert"}),
        ("qa", {"signatures", "react", "file"}),
        ("tuned", {"bootstrap_finetune"}),
        ("SIMPLE", {"signatures", "predict"}),
    ],
)
def test_an_import_path_is_read_and_never_run(path: str, features: set[str]) -> None:
    explained = explain(f"explained_programs:{path}")
    assert explained.kind == "source"
    assert explained.features == features
    assert "explained_programs" not in sys.modules
    assert all(where.startswith("line ") for use in explained.uses for where in use.where)


def test_a_name_that_dspy_has_no_more_runs_nowhere() -> None:
    explained = explain("explained_programs:old")
    assert explained.engine is None
    assert "line 43: dspy 3.4 has no dspy.Assert" in explained.notes


def test_a_whole_module_is_read_by_its_name() -> None:
    assert {"colbert", "bootstrap_finetune", "image"} <= explain("explained_programs").features


@pytest.mark.parametrize("text", ["no_such_module:qa", "no such thing", "a:b:c", ":qa", "explained_programs:", ""])
def test_a_text_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises((UnknownFeature, UnreadableProgram)):
        explain(text)


def test_a_path_whose_name_is_not_defined_says_so() -> None:
    with pytest.raises(UnreadableProgram, match="defines no 'nobody'"):
        explain("explained_programs:nobody")


def test_a_source_that_is_no_python_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_written.py").write_text("def qa(:")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnreadableProgram, match="half_written"):
        explain("half_written:qa")


@pytest.mark.parametrize("thing", [7, None, object(), int, lambda dspy: dspy])
def test_what_is_no_program_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="explain"):
        explain(thing)


def test_a_function_that_makes_a_program_is_read() -> None:
    def local(dspy: Any) -> Any:
        return dspy.Predict("question -> answer")

    import written_once

    assert explain(local).features == {"signatures", "predict"}

    assert explain(written_once.qa).features == {"signatures", "chain_of_thought", "module"}


def test_a_spec_is_explained_by_what_its_native_side_makes_or_what_its_legacy_side_says() -> None:
    both = explain(ProgramSpec.of_signature("qa", "question -> answer", module="ChainOfThought"))
    assert (both.kind, both.sides, both.engine) == ("program", ("native", "legacy"), "native")
    assert both.features == {"signatures", "predict", "chain_of_thought"}
    legacy = explain(ProgramSpec("qa", legacy=SignatureProgram("question -> answer", module="ReAct")))
    assert (legacy.sides, legacy.engine, legacy.features) == (("legacy",), "legacy", {"signatures", "react"})
    assert "though all of it is native" in legacy.reason
    imported = explain(ProgramSpec("qa", legacy=ImportedProgram("explained_programs:seer")))
    assert (imported.engine, imported.sides) == ("legacy", ("legacy",))
    away = explain(ProgramSpec("qa", legacy=ImportedProgram("only.in_the_worker:qa")))
    assert any("could not be read here" in note for note in away.notes)


def test_a_factory_s_program_is_read_inside_its_function() -> None:
    uses = {use.feature: use.where for use in explain(ProgramSpec.of_factory("qa", "written_once:qa")).uses}
    assert uses["chain_of_thought"] == ("think", "Twice, line 10")


def test_a_native_side_that_cannot_be_made_is_a_note() -> None:
    def broken() -> engine.Module:
        raise OSError("no disk")

    explained = explain(ProgramSpec("qa", native=broken, legacy=SignatureProgram("question -> answer")))
    assert "OSError: no disk" in explained.notes[0]
    assert explained.features == {"signatures", "predict"}


def test_it_prints_as_a_table_and_is_json() -> None:
    explained = explain(Outer())
    lines = str(explained).splitlines()
    assert lines[0].startswith("Outer (native program): native, ")
    columns = [lines[1].index(title) for title in ("feature", "runs", "status", "where", "why")]
    assert all(line[column - 1] == " " and line[column] != " " for line in lines[2:9] for column in columns)
    said = json.loads(json.dumps(explained.to_dict()))
    assert said["engine"] == "native"
    assert {use["feature"] for use in said["features"]} == explained.features
    assert "to do for gepa" in str(explain("gepa")) or explain("gepa").native


def test_explaining_imports_no_dspy() -> None:
    program = "import sys; from dspex.router import explain; explain('react'); explain('json'); print('dspy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"


# --- an app's programs ------------------------------------------------------------------------------------------------


def app(**flags: Any) -> Dspex:
    return Dspex(
        [
            ProgramSpec.of_signature("qa", "question -> answer", module="ChainOfThought"),
            ProgramSpec("own", native=lambda: engine.Predict("question -> answer")),
        ],
        flags=Flags(**flags),
    )


def following(explained: Explanation) -> tuple[str, str, str]:
    assert explained.next is not None
    return explained.next.engine, explained.next.flag, explained.next.reason


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, ("native", "use_native_predictors", "use_native_predictors=True")),
        ({"use_native_signatures": False}, ("legacy", "use_native_signatures", "use_native_signatures=False")),
        ({"mode": {"qa": "shadow"}}, ("legacy", "mode", "mode['qa']='shadow'")),
        ({"native_percent": {"qa": 100}}, ("native", "native_percent", "native_percent['qa']=100")),
        ({"features": {"predict": "legacy"}}, ("legacy", "features", "features['predict']='legacy'")),
        ({"features": {"react": "legacy"}}, ("native", "use_native_predictors", "use_native_predictors=True")),
    ],
)
def test_an_app_says_what_the_flags_would_do_with_the_next_request(
    flags: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    explained = app(**flags).explain("qa")
    assert following(explained) == expected
    assert f"next request: {expected[0]}, because {expected[2]}" in str(explained)
    assert explained.to_dict()["next"]["flag"] == expected[1]


class Chooses(Chooser):
    """Legacy for the careful; nothing to say of others; away for one."""

    def choose(self, program: str, key: str | None) -> tuple[Engine, str] | None:
        if key == "unlucky":
            raise ConnectionError("away")
        return ("legacy", "they are careful") if key == "careful" else None


def test_an_app_s_chooser_is_asked_as_the_router_would_ask_it() -> None:
    spec = ProgramSpec.of_signature("qa", "question -> answer")
    chosen = Dspex([spec], chooser=Chooses())
    assert following(chosen.explain("qa", key="careful")) == ("legacy", "chooser", "they are careful")
    assert following(chosen.explain("qa"))[1] == "use_native_predictors"
    unlucky = chosen.explain("qa", key="unlucky")
    assert following(unlucky)[1] == "use_native_predictors"
    assert "the chooser fails, and the flags decide: ConnectionError: away" in unlucky.notes


def test_an_app_says_what_a_bound_would_do() -> None:
    explained = app().explain("qa", require="p95<2s")
    assert following(explained)[0] == "native"
    assert "only 0 of 20 samples of native" in following(explained)[2]
    with pytest.raises(ValueError, match="no bound"):
        app().explain("qa", require="soon")


def test_an_app_says_why_the_next_request_would_be_refused() -> None:
    explained = app(use_native_predictors=False).explain("own")
    assert explained.next is None
    assert explained.refused is not None
    assert "use_native_predictors=False" in explained.refused
    with pytest.raises(UnknownProgram):
        app().explain("q")
