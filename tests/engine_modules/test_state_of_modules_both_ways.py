"""What either engine saves of any module, demos included, the other loads; the files say the same."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest


def search(query: str, limit: int = 3) -> list[str]:
    """Search the web."""
    return [query] * limit


def reward(args: dict[str, Any], pred: Any) -> float:
    return 1.0


TYPED = "question, context: list[str] -> answer: int, sources: dict[str, float]"
BUILDERS: dict[str, Callable[[Any], Any]] = {
    "Predict": lambda library: library.Predict(TYPED),
    "ChainOfThought": lambda library: library.ChainOfThought(TYPED),
    "ReAct": lambda library: library.ReAct(TYPED, tools=[search]),
    "ReActV2": lambda library: library.ReActV2(TYPED, tools=[search]),
    "ProgramOfThought": lambda library: library.ProgramOfThought(TYPED),
    "CodeAct": lambda library: library.CodeAct(TYPED, tools=[search]),
    "RLM": lambda library: library.RLM(TYPED, tools=[search]),
    "BestOfN": lambda library: library.BestOfN(library.ReAct(TYPED, tools=[search]), 2, reward, 1.0),
    "Refine": lambda library: library.Refine(library.ChainOfThought(TYPED), 2, reward, 1.0),
    "MultiChainComparison": lambda library: library.MultiChainComparison(TYPED, M=2),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the deprecated modules, and of dspy's own fields
    pytest.mark.parametrize("name", BUILDERS),
]


def taught(library: Any, name: str) -> Any:
    """A program whose every predictor has demos of both kinds, other texts, and an LM."""
    program = BUILDERS[name](library)
    for number, (path, predictor) in enumerate(program.named_predictors()):
        values: dict[str, Any] = {key: f"{key} {number}" for key in predictor.signature.fields}
        values.update(context=["a", "ß"], answer=number, sources={"web": 0.5})
        shown = {key: value for key, value in values.items() if key in predictor.signature.fields}
        predictor.demos = [library.Example(augmented=True, **shown), {"question": path}]
        predictor.signature = predictor.signature.with_instructions(f"{predictor.signature.instructions} ({path})")
    program.set_lm(library.LM("openai/gpt-4o-mini", temperature=0.25, max_tokens=77))
    return program


def test_both_name_and_save_the_same(dspy: ModuleType, name: str, tmp_path: Path):
    found: list[Any] = []
    for library in (engine, dspy):
        taught(library, name).save(tmp_path / "state.json")
        state = json.loads((tmp_path / "state.json").read_text(encoding="utf-8"))
        del state["metadata"]
        found.append(state)
    assert found[0] == found[1]


@pytest.mark.parametrize("direction", ["dspy to dspex", "dspex to dspy"])
def test_what_one_saves_the_other_loads(dspy: ModuleType, name: str, direction: str, tmp_path: Path):
    writer, reader = (dspy, engine) if direction == "dspy to dspex" else (engine, dspy)
    path = tmp_path / "state.json"
    taught(writer, name).save(path)
    loaded = BUILDERS[name](reader)
    loaded.load(path)
    assert loaded.dump_state() == taught(reader, name).dump_state()
    assert all(isinstance(predictor.lm, reader.LM) for _, predictor in loaded.named_predictors())
    assert {predictor.lm.kwargs["max_tokens"] for _, predictor in loaded.named_predictors()} == {77}
