"""What either engine saves, the other loads: demos, texts and LM; and a file that does not fit changes nothing."""

import gc
import json
import logging
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from pydantic import BaseModel


class Place(BaseModel):
    name: str


SIGNATURE = "question, context: list[str] -> answer: str, score: float"


def program_of(d: Any, *, lm: bool = True) -> Any:
    class Program(d.Module):
        def __init__(self) -> None:
            super().__init__()
            self.think = d.ChainOfThought(SIGNATURE)
            self.steps = [d.Predict("a -> b"), d.Predict("b -> c")]
            self.by_name = {"first": d.Predict("x -> y")}

    made = Program()
    if lm:
        made.set_lm(d.LM("openai/gpt-4o-mini", temperature=0.3, api_key="sk-not-to-be-saved"))
    return made


def taught(d: Any) -> Any:
    made = program_of(d)
    made.think.predict.demos = [
        d.Example(augmented=True, question="2+2?", context=["math"], reasoning="Add.", answer="4", score=1.0),
        {"question": "Where?", "context": ["geo", "naïve ☂"], "answer": "Paris", "score": 0.9},
        d.Example(question=Place(name="Rome"), context=[], answer="x").with_inputs("question"),
    ]
    made.think.predict.signature = made.think.predict.signature.with_instructions("Think hard.")
    made.steps[1].demos = [{"b": "1", "c": "2"}]
    made.by_name["first"].train = [{"x": 1}]
    return made


@pytest.fixture(autouse=True)
def quiet_dspy() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def test_the_state_is_dspys(dspy: ModuleType) -> None:
    assert taught(engine).dump_state() == taught(dspy).dump_state()


def test_what_we_save_dspy_loads(dspy: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = taught(engine), program_of(dspy, lm=False)
    ours.save(tmp_path / "state.json")
    logging.getLogger("dspy").addHandler(caplog.handler)
    try:
        theirs.load(tmp_path / "state.json")
    finally:
        logging.getLogger("dspy").removeHandler(caplog.handler)
    assert theirs.dump_state() == taught(dspy).dump_state()
    assert isinstance(theirs.think.predict.lm, dspy.LM)
    assert theirs.think.predict.signature.instructions == "Think hard."
    assert caplog.records == []  # no version mismatch to warn of


def test_what_dspy_saves_we_load(dspy: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs, ours = taught(dspy), program_of(engine, lm=False)
    theirs.save(tmp_path / "state.json")
    ours.load(tmp_path / "state.json")
    assert ours.dump_state() == theirs.dump_state()
    assert isinstance(ours.think.predict.lm, engine.LM)
    assert ours.think.predict.signature.instructions == "Think hard."
    assert ours.think.predict.demos[0] == {
        "augmented": True, "question": "2+2?", "context": ["math"], "reasoning": "Add.", "answer": "4", "score": 1.0,
    }  # fmt: skip
    assert caplog.records == []


def test_a_single_predictor_is_saved_as_self(dspy: ModuleType, tmp_path: Path) -> None:
    for writer, reader in ((engine, dspy), (dspy, engine)):
        made = writer.Predict("q -> a")
        made.demos = [{"q": "1", "a": "2"}]
        made.save(tmp_path / "p.json")
        read = reader.Predict("q -> a")
        read.load(tmp_path / "p.json")
        assert read.demos == [{"q": "1", "a": "2"}]
        assert read.lm is None


def test_the_file_reads_like_dspys(dspy: ModuleType, tmp_path: Path) -> None:
    taught(engine).save(tmp_path / "ours.json")
    taught(dspy).save(tmp_path / "theirs.json")
    ours, theirs = json.loads((tmp_path / "ours.json").read_text()), json.loads((tmp_path / "theirs.json").read_text())
    extra = ours["metadata"].pop("dspex")
    assert ours == theirs
    assert extra["fields"]["think.predict"] == ["question", "context", "reasoning", "answer", "score"]
    assert (tmp_path / "ours.json").read_text().startswith('{\n  "think.predict": {\n')


def test_no_key_is_in_the_file(tmp_path: Path) -> None:
    made = taught(engine)
    made.set_lm(engine.LM("openai/x", api_key="sk-secret-one", extra_headers={"Authorization": "Bearer sk-secret-two"}))
    made.save(tmp_path / "state.json")
    assert "sk-secret" not in (tmp_path / "state.json").read_text()


def test_an_endpoint_in_a_file_is_not_used_unless_trusted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = engine.Predict("q -> a")
    made.set_lm(engine.LM("openai/x", base_url="http://evil.example/v1"))
    made.save(tmp_path / "state.json")
    careful, trusting = engine.Predict("q -> a"), engine.Predict("q -> a")
    careful.load(tmp_path / "state.json")
    assert "base_url" not in careful.lm.kwargs
    assert "Ignoring unsafe LM config key(s)" in caplog.text
    trusting.load(tmp_path / "state.json", allow_unsafe_lm_state=True)
    assert trusting.lm.kwargs["base_url"] == "http://evil.example/v1"


def test_a_state_without_one_of_the_parameters_changes_nothing() -> None:
    made = taught(engine)
    before = made.dump_state()
    state = program_of(engine, lm=False).dump_state()
    del state["steps[1]"]
    with pytest.raises(engine.StateMismatchError, match=r"no entry for 'steps\[1\]'") as caught:
        made.load_state(state)
    assert isinstance(caught.value, KeyError)
    assert made.dump_state() == before


def test_a_state_with_a_broken_entry_changes_nothing() -> None:
    made = taught(engine)
    before = made.dump_state()
    state = program_of(engine, lm=False).dump_state()
    state["by_name['first']"]["lm"] = {"_dspy_lm_class": "os.system", "model": "x"}
    with pytest.raises(ValueError, match="Refusing to import"):
        made.load_state(state)
    assert made.dump_state() == before


def test_a_program_with_other_fields_is_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine.Predict("q -> a").save(tmp_path / "p.json")
    engine.Predict("question -> a").load(tmp_path / "p.json")
    assert "['q', 'a']" in caplog.text
    assert "['question', 'a']" in caplog.text


def test_another_version_is_told_and_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "p.json"
    engine.Predict("q -> a").save(path)
    state = json.loads(path.read_text())
    state["metadata"]["dependency_versions"]["dspy"] = "2.6.0"
    path.write_text(json.dumps(state))
    engine.Predict("q -> a").load(path)
    assert "mismatch of dspy version" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"metadata": {}}', '{"metadata": 3}'])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="not a saved state"):
        engine.Predict("q -> a").load(path)


def test_pickles_are_neither_written_nor_read(tmp_path: Path) -> None:
    made = engine.Predict("q -> a")
    for call in (
        lambda: made.save(tmp_path / "p.pkl"),
        lambda: made.load(tmp_path / "p.pkl", allow_pickle=True),
        lambda: made.save(tmp_path / "program", save_program=True),
    ):
        with pytest.raises(ValueError, match="code"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    made = engine.Predict("q -> a")
    made.save(path)
    before = path.read_text()
    made.demos = [{"q": object(), "a": "x"}]
    with pytest.raises(RuntimeError, match="JSON cannot"):
        made.save(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_loading_a_thousand_times_costs_no_more_each_time(tmp_path: Path) -> None:
    made = engine.ChainOfThought(SIGNATURE)
    made.save(tmp_path / "p.json")
    for _ in range(1000):  # dspy 3.4 fails with RecursionError at the 139th
        made.load(tmp_path / "p.json")
    assert made.dump_state() == engine.ChainOfThought(SIGNATURE).dump_state()


def test_a_states_extra_keys_cannot_replace_methods() -> None:
    made = engine.Predict("q -> a")
    made.load_state({**made.dump_state(), "acall": "gotcha", "config": {"x": 1}})
    assert callable(made.acall)
    assert made.config == {}


def test_loading_again_and_again_costs_the_same_and_keeps_nothing(tmp_path: Path) -> None:
    program, path = taught(engine), tmp_path / "program.json"
    program.set_lm(None)
    program.save(path)
    depth = sys.getrecursionlimit()

    def load(times: int) -> int:
        for _ in range(times):
            program.load(path)
        gc.collect()
        return sys.getallocatedblocks()

    sys.setrecursionlimit(250)  # dspy's chain of fields passes a thousand at load no. 139
    try:
        load(20)
        before = load(1)
        after = load(300)
    finally:
        sys.setrecursionlimit(depth)
    assert after - before < 300  # less than one block a load: nothing of a load outlives the next
    assert program.think.predict.demos[0]["answer"] == "4"


def test_a_parameter_with_a_load_of_its_own_is_asked_and_a_failure_still_changes_nothing() -> None:
    loaded: list[str] = []

    class Own(engine.Predict):
        def load_state(self, state: Any, **options: Any) -> Any:
            loaded.append(self.stage)
            return super().load_state(state, **options)

    class Program(engine.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain = engine.Predict("q -> a")
            self.own = Own("q -> a")

    program = Program()
    state = program.dump_state()
    state["plain"]["demos"] = [{"q": "1"}]
    program.load_state(state)
    assert loaded == [program.own.stage] * 2  # on a copy first
    assert program.plain.demos == [{"q": "1"}]
    state["plain"]["demos"] = [{"q": "2"}]
    state["own"] = {"signature": {}}
    with pytest.raises(KeyError):
        program.load_state(state)
    assert program.plain.demos == [{"q": "1"}]


def test_a_loaded_predictor_owns_its_demos() -> None:
    predict = engine.Predict("q -> a")
    state = predict.dump_state()
    state["demos"] = [{"q": "1"}]
    predict.load_state(state)
    predict.demos[0]["q"] = "changed"
    predict.demos.append({"q": "2"})
    assert state["demos"] == [{"q": "1"}]
