"""The registry tells the truth: of the installed dspy, and of the engine."""

import importlib
import json
import types
from collections import Counter
from types import ModuleType

import dspex.engine as engine
import pytest
from dspex.engine.dspy_names import NOT_OFFERED, DspyModule
from dspex.router import FEATURES, Feature, UnknownFeature, explain, feature, matrix
from dspex.router.feature import has
from dspex.router.features import KINDS


@pytest.fixture(scope="module")
def dspy() -> ModuleType:
    return pytest.importorskip("dspy", reason="needs the extra `legacy`")


def looked_up(root: object, name: str) -> object:
    for part in name.split("."):
        if isinstance(root, ModuleType) and not hasattr(root, part):
            importlib.import_module(f"{root.__name__}.{part}")
        root = getattr(root, part)
    return root


def test_every_public_name_of_dspy_is_in_exactly_one_record(dspy: ModuleType) -> None:
    public = {name for name in dir(dspy) if not name.startswith("_")}
    teleprompt = importlib.import_module("dspy.teleprompt")
    public |= {
        name if hasattr(dspy, name) else f"teleprompt.{name}"
        for name in dir(teleprompt)
        if not name.startswith("_") and not isinstance(getattr(teleprompt, name), types.ModuleType)
    }
    experimental = importlib.import_module("dspy.experimental")
    public |= {f"experimental.{name}" for name in experimental.__all__}
    counted = Counter(name for record in FEATURES.values() for name in record.names)
    public.discard("cache")  # listed only once somebody has used it; the record of caching speaks of it
    # Packages that the import of others brings along are public or not by what has been imported.
    packages = {name for name in public if isinstance(getattr(dspy, name, None), ModuleType)} - set(counted)
    assert packages <= {"datasets", "experimental", "core"}
    assert {name: counted[name] for name in public - packages if counted[name] != 1} == {}
    assert {name for name, count in counted.items() if count != 1} == set()


def test_every_name_of_a_record_is_one_of_dspys(dspy: ModuleType) -> None:
    for record in FEATURES.values():
        for name in record.names:
            looked_up(dspy, name)


@pytest.mark.parametrize("record", FEATURES.values(), ids=FEATURES)
def test_what_is_said_to_be_native_is_there_and_of_the_same_sort(record: Feature, dspy: ModuleType) -> None:
    ours = DspyModule("dspy", "")
    for name in record.names:
        theirs = looked_up(dspy, name)
        try:
            mine = looked_up(ours, name)
        except (AttributeError, ImportError):
            assert not record.native
            assert record.status in ("legacy only", "not offered")
            continue
        assert isinstance(mine, type) == isinstance(theirs, type), name
        assert callable(mine) == callable(theirs), name
    if record.native:
        assert record.status in ("native", "native with changes")


def test_what_the_engine_refuses_by_name_is_native_nowhere() -> None:
    for name in NOT_OFFERED:
        known = [record for record in FEATURES.values() if name in record.names]
        assert not any(record.native for record in known), name


def test_whatever_dspy_has_and_the_engine_offers_counts_as_had(dspy: ModuleType) -> None:
    homes = {name: record for record in FEATURES.values() for name in record.names}
    shared = [name for name in engine.__all__ if hasattr(dspy, name)]
    assert len(shared) > 80
    for name in shared:
        assert has(name)
        record = homes[name]
        assert record.native or record.refuses or not all(has(other) for other in record.names)


@pytest.mark.parametrize("record", FEATURES.values(), ids=FEATURES)
def test_a_record_says_why_and_what_to_do(record: Feature) -> None:
    assert record.kind in KINDS
    assert record.reason
    assert record.todo
    assert record.since in ("2.5", "2.6", "3.0", "3.1", "3.2", "3.3", "3.4")
    assert f"| `{record.id}` |" in matrix()
    assert json.loads(json.dumps(record.to_dict()))["status"] == record.status


@pytest.mark.parametrize("name", ["react", "ReAct", "dspy.ReAct", "dspy.predict.react.ReAct", "dspex.engine.ReAct"])
def test_a_feature_is_found_by_its_id_and_by_every_name_that_dspy_has_for_it(name: str) -> None:
    assert feature(name) is FEATURES["react"]
    assert explain(name).features == {"react"}


def test_a_name_that_is_no_feature_is_refused_with_those_that_are_near() -> None:
    with pytest.raises(UnknownFeature, match="did you mean 'react'") as caught:
        feature("reactt")
    assert caught.value.near[0] == "react"
    with pytest.raises(LookupError, match="import path"):
        explain("nothing like it at all")


def test_an_engine_that_gains_a_name_makes_its_feature_native(monkeypatch: pytest.MonkeyPatch) -> None:
    record = FEATURES["colbert"]
    assert record.status == "legacy only"
    monkeypatch.setattr(engine, "__all__", [*engine.__all__, "ColBERTv2"])
    assert record.status == "native"
    assert record.todo == "import dspex.engine as dspy"


@pytest.mark.parametrize("id", ["bootstrap_finetune", "grpo"])
def test_what_the_engine_has_only_to_refuse_it_is_not_native(id: str) -> None:
    record = FEATURES[id]
    assert all(has(name) for name in record.names)
    assert record.status == "legacy only"
    assert "optimize" in record.todo
