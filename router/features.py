"""The feature registry: everything public in dspy 3.4, one record each, with what the native engine makes of it.

    FEATURES["react"].status            # "native"
    feature("dspy.GEPA").reason
    print(matrix())                     # docs/feature-matrix.md is made of it

A test holds it to the truth: every public name of the installed dspy is in exactly one record, and every record that says
"native" is there in the engine.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from ..engine.dspy_names import PATHS
from .errors import UnknownFeature
from .feature import Feature

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "signatures": "Signatures and fields",
        "predictors": "Predictors and modules",
        "code": "Modules that write and run code",
        "adapters": "Adapters",
        "models": "Language models and clients",
        "types": "Types of fields",
        "tools": "Tools and MCP",
        "streaming": "Streaming",
        "records": "Examples, predictions, saving",
        "settings": "Settings, usage, logs, threads",
        "evaluation": "Evaluation",
        "optimizers": "Optimizers",
        "finetuning": "Training of weights",
        "retrieval": "Retrieval and data",
        "errors": "Errors",
    }
)
"""The kinds of features, in the order of the matrix, with their titles."""

_THREADS: Final = "async, its work as tasks of one event loop; dspy is synchronous, or takes threads"
_NOT_YET: Final = "optimize in dspy; the state it saves is loaded here with program.load"


def _records() -> Iterator[Feature]:
    """The records, by kind."""
    # The oldest series was found by reading the wheels of dspy 2.5.43, 2.6.27, 3.0.4, 3.1.3, 3.2.1, 3.3.1 and 3.4.1.
    yield Feature(
        "signatures",
        "signatures",
        ("Signature", "SignatureMeta", "make_signature", "ensure_signature", "infer_prefix", "signatures"),
        "2.5",
        "errors say what to do; types of the caller are found at any depth; 1,000 derivations cost the same each",
    )
    yield Feature("fields", "signatures", ("InputField", "OutputField"), "2.5")
    yield Feature("old_fields", "signatures", ("OldField", "OldInputField", "OldOutputField"), "2.5")

    yield Feature("predict", "predictors", ("Predict", "predict"), "2.5", "`n` answers are asked for at the same time")
    yield Feature("chain_of_thought", "predictors", ("ChainOfThought",), "2.5")
    yield Feature("react", "predictors", ("ReAct",), "2.5", "tools that are not async run in a thread, not on the loop")
    yield Feature("react_v2", "predictors", ("ReActV2",), "3.3", "the tool calls of one turn run at the same time")
    yield Feature("best_of_n", "predictors", ("BestOfN",), "2.6", _THREADS)
    yield Feature("refine", "predictors", ("Refine",), "2.6", _THREADS)
    yield Feature("multi_chain_comparison", "predictors", ("MultiChainComparison",), "2.5")
    yield Feature("knn", "predictors", ("KNN",), "2.5")
    yield Feature("majority", "predictors", ("majority",), "2.5")
    yield Feature("parallel", "predictors", ("Parallel",), "2.5", _THREADS)
    yield Feature(
        "module",
        "predictors",
        ("Module", "BaseModule", "primitives"),
        "2.5",
        "async first: acall is the program, the call without await is for outside of a loop",
    )
    yield Feature(
        "flex",
        "predictors",
        ("Flex",),
        "3.3",
        instead="give the program a legacy side; or write the module by hand, which is what Flex saves one from",
    )
    yield Feature(
        "avatar",
        "predictors",
        ("predict.avatar.Avatar",),
        "2.5",
        why="superseded in dspy by ReAct",
        instead="use ReAct, or a legacy side",
    )

    sandbox = "the code runs in a process of its own without network and files; there is no Deno to install"
    going = f"deprecated in dspy, which has RLM in its place; {sandbox}"
    yield Feature("program_of_thought", "code", ("ProgramOfThought",), "2.5", going)
    yield Feature("code_act", "code", ("CodeAct",), "2.6", going)
    yield Feature("rlm", "code", ("RLM",), "3.1", sandbox)
    yield Feature(
        "interpreters",
        "code",
        (
            *("PythonInterpreter", "LocalInterpreter", "CodeInterpreter", "CodeInterpreterError", "CodeExecutionError"),
            *("FinalOutput", "SandboxSerializable", "resolve_interpreter_factory"),
        ),
        "3.4",
        "LocalInterpreter is confined as well; dspy's runs code with all the rights of your process",
    )

    yield Feature("adapter", "adapters", ("Adapter", "adapters"), "2.5")
    yield Feature(
        "chat_adapter",
        "adapters",
        ("ChatAdapter",),
        "2.5",
        "its second request as JSON is counted and logged, and may be refused",
    )
    yield Feature("json_adapter", "adapters", ("JSONAdapter",), "2.5")
    yield Feature("xml_adapter", "adapters", ("XMLAdapter",), "3.0")
    yield Feature("two_step_adapter", "adapters", ("TwoStepAdapter",), "2.6")
    yield Feature("baml_adapter", "adapters", ("adapters.baml_adapter.BAMLAdapter",), "3.0")

    yield Feature(
        "lm",
        "models",
        ("LM", "clients"),
        "2.5",
        "calls OpenAI, Anthropic and compatible servers through their own SDKs; other providers need a base_url",
    )
    yield Feature("base_lm", "models", ("BaseLM", "inspect_history"), "2.5")
    yield Feature("lm15", "models", ("lm15",), "3.4")
    yield Feature("embedder", "models", ("Embedder",), "2.5")
    yield Feature("dummy_lm", "models", ("utils.DummyLM", "utils.DummyVectorizer"), "2.5")
    yield Feature("caching", "models", ("configure_cache",), "2.6", "answers are JSON in one SQLite file, not pickles")
    yield Feature(
        "litellm_logging",
        "models",
        ("enable_litellm_logging", "disable_litellm_logging"),
        "2.5",
        elsewhere="not offered",
        instead="drop the call; the engine's own records go to the logger dspex.engine",
    )
    yield Feature(
        "typesafe_client",
        "models",
        ("experimental.TypeSafe",),
        "3.4",
        why="experimental in dspy",
    )

    yield Feature("type", "types", ("Type",), "2.5")
    yield Feature("image", "types", ("Image",), "2.5")
    yield Feature("audio", "types", ("Audio",), "2.6")
    yield Feature("file", "types", ("File",), "3.1")
    yield Feature("history", "types", ("History",), "2.6")
    yield Feature("code_type", "types", ("Code",), "3.0")
    yield Feature("reasoning", "types", ("Reasoning",), "3.1")
    yield Feature("citations", "types", ("experimental.Citations", "experimental.Document"), "3.0")
    yield Feature(
        "decisions",
        "types",
        ("experimental.Noul", "experimental.Choice", "experimental.Score"),
        "3.4",
        why="experimental in dspy",
    )

    yield Feature(
        "tools", "tools", ("Tool", "ToolCalls", "ToolCallResults"), "3.3", "tools that are not async run in a thread"
    )
    yield Feature("mcp", "tools", ("Tool.from_mcp_tool",), "2.6")
    yield Feature("langchain_tools", "tools", ("Tool.from_langchain",), "2.6")

    yield Feature("streaming", "streaming", ("streamify", "streaming"), "2.6")
    yield Feature(
        "status_messages",
        "streaming",
        (
            "streaming.StatusMessage",
            "streaming.StatusMessageProvider",
            "streaming.StreamListener",
            "streaming.StreamResponse",
        ),
        "2.6",
    )

    yield Feature("examples", "records", ("Example", "Prediction", "Completions"), "2.5")
    yield Feature(
        "saving",
        "records",
        ("load", "Module.save", "Module.load"),
        "2.5",
        "state is JSON, both ways; a whole program as a pickle (save_program=True) is refused",
    )

    yield Feature(
        "settings",
        "settings",
        ("settings", "configure", "context", "load_settings", "dsp"),
        "3.1",
        "settings live in a context variable: any thread or task may change them",
    )
    yield Feature("usage", "settings", ("track_usage",), "2.6")
    yield Feature("callbacks", "settings", ("utils.callback.BaseCallback",), "2.5")
    yield Feature("logs", "settings", ("configure_dspy_loggers", "enable_logging", "disable_logging"), "2.5")
    yield Feature("sync_and_async", "settings", ("asyncify", "syncify"), "3.0")
    yield Feature(
        "utils", "settings", ("utils",), "2.5", "what programs import from it is here; the rest is dspy's own affair"
    )
    yield Feature(
        "threading",
        "settings",
        ("threading",),
        "3.4",
        elsewhere="not offered",
        why="Python's own module, which dspy imports and so shows",
        instead="import threading",
    )

    yield Feature("evaluate", "evaluation", ("Evaluate", "evaluate"), "2.5", _THREADS)
    yield Feature(
        "metrics",
        "evaluation",
        ("evaluate.EM", "evaluate.normalize_text", "evaluate.answer_exact_match", "evaluate.answer_passage_match"),
        "2.5",
    )
    yield Feature("judged_metrics", "evaluation", ("evaluate.SemanticF1", "evaluate.CompleteAndGrounded"), "2.5")

    yield Feature("teleprompter", "optimizers", ("teleprompt", "teleprompt.Teleprompter"), "2.5")
    yield Feature("labeled_few_shot", "optimizers", ("LabeledFewShot",), "2.5")
    yield Feature("bootstrap_few_shot", "optimizers", ("BootstrapFewShot",), "2.5", _THREADS)
    yield Feature(
        "bootstrap_random_search", "optimizers", ("BootstrapFewShotWithRandomSearch", "BootstrapRS"), "2.5", _THREADS
    )
    yield Feature("knn_few_shot", "optimizers", ("KNNFewShot",), "2.6")
    yield Feature("ensemble", "optimizers", ("Ensemble",), "2.5")
    for id, name, since in (
        ("bootstrap_optuna", "BootstrapFewShotWithOptuna", "2.6"),
        ("copro", "COPRO", "2.5"),
        ("mipro_v2", "MIPROv2", "2.5"),
        ("infer_rules", "InferRules", "2.6"),
        ("simba", "SIMBA", "2.6"),
        ("gepa", "GEPA", "3.0"),
        ("better_together", "BetterTogether", "2.5"),
        ("avatar_optimizer", "AvatarOptimizer", "2.6"),
    ):
        yield Feature(id, "optimizers", (name,), since, instead=_NOT_YET)
    yield Feature(
        "re_anchor", "optimizers", ("experimental.ReAnchor",), "3.4", why="experimental in dspy", instead=_NOT_YET
    )
    yield Feature("propose", "optimizers", ("propose",), "3.4", instead=_NOT_YET)
    yield Feature("bootstrap_trace", "optimizers", ("bootstrap_trace_data",), "3.0", instead=_NOT_YET)

    yield Feature("training", "finetuning", ("Provider", "TrainingJob"), "2.5")
    tune = "`optimize` runs it in a worker with dspy; the engine calls the model that comes out of it by its name"
    weights = "it trains weights, which the engine leaves to dspy"
    yield Feature(
        "bootstrap_finetune", "finetuning", ("BootstrapFinetune",), "2.5", why=weights, instead=tune, refuses=True
    )
    yield Feature(
        "grpo",
        "finetuning",
        ("teleprompt.grpo.GRPO",),
        "2.6",
        why=weights,
        instead=tune,
        refuses=True,
    )

    fetch = "give the program a legacy side; or fetch passages in a tool or a method of your module"
    yield Feature("embeddings", "retrieval", ("Embeddings", "EmbeddingsWithScores", "retrievers"), "3.2", instead=fetch)
    yield Feature("colbert", "retrieval", ("ColBERTv2",), "2.5", instead=fetch)
    yield Feature("retrieve", "retrieval", ("Retrieve",), "2.5", instead=fetch)
    yield Feature(
        "datasets",
        "retrieval",
        ("datasets",),
        "2.5",
        why="they are read before a program runs, not by it",
        instead="read them with dspy, or make Examples of your own rows",
    )

    yield Feature(
        "errors",
        "errors",
        (
            *(
                "DSPyError",
                "AdapterParseError",
                "ContextWindowExceededError",
                "LMError",
                "LMAuthError",
                "LMBillingError",
            ),
            *("LMCollectionLimitError", "LMConfigurationError", "LMInvalidRequestError", "LMLockTimeoutError"),
            *("LMNotConfiguredError", "LMProviderError", "LMRateLimitError", "LMServerError", "LMStreamAssemblyError"),
            *("LMTimeoutError", "LMTransportError", "LMUnexpectedError", "LMUnsupportedFeatureError"),
            *("LMUnsupportedModelError", "is_retryable_lm_error"),
        ),
        "3.4",
        "messages say what to do next",
    )


FEATURES: Final[Mapping[str, Feature]] = MappingProxyType({record.id: record for record in _records()})
"""Every feature by its id."""


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


_BY_NAME: Final[Mapping[str, Feature]] = MappingProxyType(
    {name: record for record in FEATURES.values() for name in record.names}
)
_BY_LAST: Final[Mapping[str, Feature]] = MappingProxyType(
    {name.rpartition(".")[2]: record for record in reversed(list(FEATURES.values())) for name in reversed(record.names)}
)
_BY_WORD: Final[Mapping[str, Feature]] = MappingProxyType(
    {_plain(word): record for word, record in (*_BY_LAST.items(), *_BY_NAME.items(), *FEATURES.items())}
)


def feature(name: str) -> Feature:
    """The record of a feature by its id or by a name of dspy's: "react", "ReAct", "dspy.ReAct".

    Raises UnknownFeature, with the names that are near.
    """
    found = find_feature(name)
    if found is None:
        raise UnknownFeature(name, near(name, FEATURES))
    return found


def find_feature(name: str) -> Feature | None:
    """As ``feature``; None if there is none."""
    short = name.removeprefix("dspex.engine.").removeprefix("dspy.")
    found = _BY_NAME.get(short) or _BY_WORD.get(_plain(short))
    if found is None and (short != name or short.partition(".")[0] in PATHS):  # a submodule of dspy's
        found = _BY_LAST.get(short.rpartition(".")[2])
    return found


def near(word: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """The known words that this one may have been meant for, nearest first."""
    return tuple(difflib.get_close_matches(word, list(known), n=3, cutoff=0.6))


_RULE: Final = "|---|---|---|---|---|---|"


def matrix() -> str:
    """The availability matrix as Markdown: a table for each kind, of what is native now."""
    parts: list[str] = []
    for kind, title in KINDS.items():
        records = [record for record in FEATURES.values() if record.kind == kind]
        parts += [f"## {title}\n", "| feature | in dspy | since | status | how, or why not | what to do |", _RULE]
        for record in records:
            names = ", ".join(f"`{name}`" for name in record.names)
            parts.append(
                f"| `{record.id}` | {names} | {record.since} | {record.status} | {record.reason} | {record.todo} |"
            )
        parts.append("")
    return "\n".join(parts)
