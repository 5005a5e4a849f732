"""The names of the engine that come in on first use, and where each lives.

The engine is some hundred files, and a program uses a third of them: who calls `Predict` needs no sandbox, no optimizer
and no recursive agent. Loaded together at import they took 0.37 s of CPU and 17 MB. So the face of the room loads none
of them; its `__getattr__` (`dspy_names.py`) asks here, once for each name.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["HOMES", "late"]

_ENGINE = __name__.rpartition(".")[0]

HOMES: dict[str, str] = {
    "ProgramActor": "actors",
    **dict.fromkeys(
        ("Adapter", "BAMLAdapter", "ChatAdapter", "JSONAdapter", "TwoStepAdapter", "XMLAdapter"), "adapters"
    ),
    **dict.fromkeys(("BaseModule", "Parameter"), "base_module"),
    **dict.fromkeys(("asyncify", "syncify"), "bridges"),
    **dict.fromkeys(("Cache", "configure_cache", "request_cache"), "caching"),
    "BaseCallback": "callbacks",
    "Embedder": "embedder",
    **dict.fromkeys(
        (
            "AdapterError",
            "AdapterParseError",
            "ContextWindowExceededError",
            "DSPyError",
            "EngineError",
            "FieldValueError",
            "LMAuthError",
            "LMBillingError",
            "LMCollectionLimitError",
            "LMConfigurationError",
            "LMError",
            "LMInvalidRequestError",
            "LMLockTimeoutError",
            "LMNotConfiguredError",
            "LMProviderError",
            "LMRateLimitError",
            "LMServerError",
            "LMStreamAssemblyError",
            "LMTimeoutError",
            "LMTransportError",
            "LMUnexpectedError",
            "LMUnsupportedFeatureError",
            "LMUnsupportedModelError",
            "MissingExtra",
            "MissingInputError",
            "PickleRefused",
            "SignatureError",
            "StateFileError",
            "StateMismatchError",
            "SyncInsideLoopError",
            "is_retryable_lm_error",
        ),
        "errors",
    ),
    **dict.fromkeys(
        (
            "BadJob",
            "Budget",
            "BudgetExhausted",
            "JobCancelled",
            "JobFailed",
            "JobOutcome",
            "JobStatus",
            "JobStopped",
            "JournalError",
            "JournalMismatch",
            "OptimizerJob",
            "TrialPolicy",
            "journal_report",
            "run_job",
        ),
        "optimizers.jobs",
    ),
    **dict.fromkeys(("Evaluate", "EvaluationResult"), "evaluation"),
    **dict.fromkeys(("Completions", "Example", "Prediction"), "example"),
    **dict.fromkeys(("check_inputs", "required_inputs"), "inputs"),
    **dict.fromkeys(("LM", "BaseLM", "DummyLM", "Price", "Provider", "TrainingJob", "inspect_history", "lm15"), "lm"),
    **dict.fromkeys(("configure_dspy_loggers", "disable_logging", "enable_logging"), "logs"),
    "Module": "module",
    **dict.fromkeys(
        (
            "KNN",
            "RLM",
            "BestOfN",
            "ChainOfThought",
            "CodeAct",
            "MultiChainComparison",
            "ProgramOfThought",
            "ReAct",
            "ReActV2",
            "Refine",
            "majority",
        ),
        "modules",
    ),
    **dict.fromkeys(
        (
            "COPRO",
            "GEPA",
            "GRPO",
            "SIMBA",
            "BetterTogether",
            "BootstrapFewShot",
            "BootstrapFewShotWithOptuna",
            "BootstrapFewShotWithRandomSearch",
            "BootstrapFinetune",
            "BootstrapRS",
            "Ensemble",
            "InferRules",
            "KNNFewShot",
            "LabeledFewShot",
            "MIPROv2",
            "Teleprompter",
            "bootstrap_trace_data",
        ),
        "optimizers",
    ),
    **dict.fromkeys(("Embeddings", "EmbeddingsWithScores", "Retrieve"), "retrieval"),
    "Parallel": "parallel",
    "Predict": "predict",
    **dict.fromkeys(
        (
            "CodeExecutionError",
            "CodeInterpreter",
            "CodeInterpreterError",
            "DenoInterpreter",
            "FinalOutput",
            "LocalInterpreter",
            "PythonInterpreter",
            "SandboxLimits",
            "SandboxUnavailableError",
            "resolve_interpreter_factory",
        ),
        "sandbox",
    ),
    "SandboxSerializable": "sandbox.serializable",
    "load": "saved_state",
    **dict.fromkeys(
        (
            "InputField",
            "OldField",
            "OldInputField",
            "OldOutputField",
            "OutputField",
            "Signature",
            "SignatureMeta",
            "ensure_signature",
            "infer_prefix",
            "make_signature",
        ),
        "signatures",
    ),
    **dict.fromkeys(
        ("StatusMessage", "StatusMessageProvider", "StreamListener", "StreamResponse", "streamify"), "streaming"
    ),
    **dict.fromkeys(
        (
            "Audio",
            "Citations",
            "Code",
            "Document",
            "File",
            "History",
            "Image",
            "Reasoning",
            "Tool",
            "ToolCallResults",
            "ToolCalls",
            "Type",
        ),
        "types",
    ),
    **dict.fromkeys(("UsageTracker", "track_usage"), "usage"),
}
"""For each such name, the module below the engine that has it. The imports of the face under TYPE_CHECKING say the same
to type checkers, and a test compares the two.
"""

_RENAMED = {"DSPyError": "EngineError", "BootstrapRS": "BootstrapFewShotWithRandomSearch"}
"""Names that the module knows by another one."""


def late(name: str) -> Any:
    """The value of a name in `HOMES`, from now on an attribute of the engine as any other.

    Its module is loaded at the first call, by whichever thread comes first; the others wait for it.
    """
    module = importlib.import_module(f"{_ENGINE}.{HOMES[name]}")
    value = getattr(module, _RENAMED.get(name, name))
    setattr(sys.modules[_ENGINE], name, value)
    return value
