"""What the registry calls native works: each feature is used once, on the engine, with a model that says what it is told."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspex.engine as dspy
import pydantic
import pytest
from dspex.engine.dspy_names import DspyModule
from dspex.router import FEATURES

DSPY: Any = DspyModule("dspy", "")  # for names that programs import from dspy's submodules
QA = "question -> answer"
Probe = Callable[[Path], object]


def told(*answers: dict[str, Any]) -> Any:
    return dspy.context(lm=dspy.utils.DummyLM(list(answers)))


def predicts(program: Any, *answers: dict[str, Any]) -> bool:
    with told(*answers):
        return program(question="Why?").answer == "so"


SO = {"answer": "so"}
REASONED = {"reasoning": "r", **SO}


def twice(number: int) -> int:
    """Twice a number."""
    return 2 * number



class Described(dspy.Signature):
    """Say it."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def over_adapter(adapter: Any, text: str) -> bool:
    class Says(dspy.BaseLM):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return {"model": "says", "choices": [{"message": {"content": text}}], "usage": {}}

    with dspy.context(lm=Says("says"), adapter=adapter):
        return dspy.Predict(QA)(question="Why?").answer == "so"


CHAT = "[[ ## answer ## ]]\nso\n\n[[ ## completed ## ]]"


def saves(folder: Path) -> bool:
    program = dspy.Predict(QA)
    program.demos = [dspy.Example(question="a", answer="b")]
    program.save(str(folder / "p.json"))
    fresh = dspy.Predict(QA)
    fresh.load(str(folder / "p.json"))
    return len(fresh.demos) == 1


def streams(_: Path) -> bool:
    async def run() -> Any:
        last = None
        with told(SO):
            async for chunk in dspy.streamify(dspy.Predict(QA))(question="Why?"):
                last = chunk
        return last

    return asyncio.run(run()).answer == "so"


def trainset() -> list[Any]:
    return [dspy.Example(question=f"{n}?", answer="so").with_inputs("question") for n in range(4)]


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return example.answer == prediction.answer


def compiled(optimizer: Any, **given: Any) -> bool:
    with told(*[SO] * 40):
        return isinstance(optimizer.compile(dspy.Predict(QA), **given), dspy.Module)


def compiles(optimizer: Any) -> bool:
    return compiled(optimizer, trainset=trainset())


def embeds(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


class McpTool:
    name, description, inputSchema = "twice", "Twice.", {"type": "object", "properties": {"n": {"type": "integer"}}}


class Arguments(pydantic.BaseModel):
    n: int


class LangChainTool:
    name, description, args_schema = "twice", "Twice.", Arguments

    async def ainvoke(self, given: dict[str, Any]) -> int:
        return 2 * given["n"]


PROBES: dict[str, Probe] = {
    "signatures": lambda _: dspy.make_signature(QA).signature == QA,
    "fields": lambda _: list(Described.output_fields) == ["answer"],
    "old_fields": lambda _: dspy.OldInputField(desc="d") is not None,
    "predict": lambda _: predicts(dspy.Predict(QA), SO),
    "chain_of_thought": lambda _: predicts(dspy.ChainOfThought(QA), REASONED),
    "react": lambda _: predicts(
        dspy.ReAct(QA, tools=[twice]),
        {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}},
        REASONED,
    ),
    "best_of_n": lambda _: predicts(dspy.BestOfN(dspy.Predict(QA), N=2, reward_fn=lambda *_: 1.0, threshold=1.0), SO, SO),
    "refine": lambda _: predicts(dspy.Refine(dspy.Predict(QA), N=2, reward_fn=lambda *_: 1.0, threshold=1.0), SO, SO),
    "majority": lambda _: dspy.majority([dspy.Prediction(**SO), dspy.Prediction(**SO)]).answer == "so",
    "parallel": lambda _: dspy.Parallel(num_threads=2, disable_progress_bar=True) is not None,
    "knn": lambda _: len(dspy.KNN(1, trainset(), dspy.Embedder(embeds))(question="1?")) == 1,
    "module": lambda _: dspy.Module().named_predictors() == [],
    "program_of_thought": lambda _: dspy.ProgramOfThought(QA).named_predictors() != [],
    "code_act": lambda _: dspy.CodeAct(QA, tools=[twice]).named_predictors() != [],
    "rlm": lambda _: dspy.RLM(QA).named_predictors() != [],
    "adapter": lambda _: issubclass(dspy.ChatAdapter, dspy.Adapter),
    "chat_adapter": lambda _: over_adapter(dspy.ChatAdapter(), CHAT),
    "json_adapter": lambda _: over_adapter(dspy.JSONAdapter(), '{"answer": "so"}'),
    "xml_adapter": lambda _: over_adapter(dspy.XMLAdapter(), "<answer>so</answer>"),
    "baml_adapter": lambda _: over_adapter(DSPY.adapters.baml_adapter.BAMLAdapter(), '{"answer": "so"}'),
    "two_step_adapter": lambda _: over_adapter(dspy.TwoStepAdapter(dspy.utils.DummyLM([SO])), "so it is"),
    "lm": lambda _: dspy.LM("openai/gpt-4o-mini", api_key="k").model == "openai/gpt-4o-mini",
    "base_lm": lambda _: over_adapter(dspy.ChatAdapter(), CHAT),
    "dummy_lm": lambda _: dspy.utils.DummyLM([SO])("x") != [],
    "embedder": lambda _: len(dspy.Embedder(embeds)(["a", "bb"])) == 2,
    "type": lambda _: issubclass(dspy.Image, dspy.Type),
    "image": lambda _: dspy.Image("https://example.org/a.png").url.endswith("a.png"),
    "audio": lambda _: dspy.Audio(data="QQ==", audio_format="wav").audio_format == "wav",
    "file": lambda _: dspy.File.from_bytes(b"x", filename="a.txt").filename == "a.txt",
    "history": lambda _: len(dspy.History(messages=[{"question": "a"}]).messages) == 1,
    "code_type": lambda _: dspy.Code(code="x = 1").code == "x = 1",
    "reasoning": lambda _: str(dspy.Reasoning(content="r")) == "r",
    "citations": lambda _: DSPY.experimental.Citations(citations=[]).citations == [],
    "tools": lambda _: dspy.Tool(twice)(number=2) == 4,
    "mcp": lambda _: dspy.Tool.from_mcp_tool(None, McpTool()).name == "twice",
    "langchain_tools": lambda _: dspy.Tool.from_langchain(LangChainTool()).name == "twice",
    "streaming": streams,
    "status_messages": lambda _: DSPY.streaming.StatusMessage("m").message == "m",
    "examples": lambda _: dspy.Example(a=1, b=2).with_inputs("a").labels().b == 2,
    "saving": saves,
    "usage": lambda _: dspy.track_usage() is not None,
    "callbacks": lambda _: DSPY.utils.callback.BaseCallback() is not None,
    "sync_and_async": lambda _: asyncio.run(dspy.asyncify(twice)(2)) == 4,
    "metrics": lambda _: DSPY.evaluate.EM("so", ["so"]) and DSPY.evaluate.normalize_text("The  A!") == "",
    "judged_metrics": lambda _: DSPY.evaluate.SemanticF1().named_predictors() != [],
    "evaluate": lambda _: (
        evaluated(dspy.Evaluate(devset=trainset(), metric=exact, display_progress=False)) == 100.0
    ),
    "labeled_few_shot": lambda _: compiles(dspy.LabeledFewShot(k=2)),
    "bootstrap_few_shot": lambda _: compiles(dspy.BootstrapFewShot(metric=exact)),
    "bootstrap_random_search": lambda _: compiles(
        dspy.BootstrapFewShotWithRandomSearch(metric=exact, num_candidate_programs=1, num_threads=1)
    ),
    "knn_few_shot": lambda _: compiled(dspy.KNNFewShot(1, trainset(), dspy.Embedder(embeds))),
    "ensemble": lambda _: dspy.Ensemble().compile([dspy.Predict(QA)]) is not None,
}


def evaluated(evaluate: Any) -> float:
    with told(*[SO] * 4):
        return evaluate(dspy.Predict(QA)).score


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:DeprecationWarning")
@pytest.mark.parametrize("feature", PROBES)
def test_a_native_feature_works(feature: str, tmp_path: Path) -> None:
    record = FEATURES[feature]
    assert record.native, record.reason
    assert PROBES[feature](tmp_path)


def test_what_is_native_and_not_tried_here_is_tried_elsewhere() -> None:
    """Agents and settings have rooms of tests of their own; nothing else goes untried."""
    elsewhere = {"react_v2", "multi_chain_comparison", "interpreters", "lm15", "caching", "settings", "logs", "utils"}
    elsewhere |= {"teleprompter", "errors", "training"}
    gained = {record.id for record in FEATURES.values() if record.kind in ("optimizers", "retrieval", "finetuning")}
    native = {record.id for record in FEATURES.values() if record.native}
    assert native - set(PROBES) - elsewhere - gained == set()
