"""dspex.engine: DSPy programs, native and asynchronous.

    import dspex.engine as dspy

    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    qa = dspy.ChainOfThought("question -> answer: float")
    pred = await qa.acall(question="17 * 3?")        # or qa(question=...) outside an event loop

Names, parameters, prompts and saved state are those of dspy 3.4, for what is offered; a program that imports from dspy's
submodules is served by `install_as("dspy")` (`dspy_names.py`). Importing this room imports no provider's SDK, and of
its own files only what stands at the top: the rest is loaded by the first use of a name (`late_names.py`).
"""

from typing import TYPE_CHECKING

from .dspy_names import Installed, NotOffered, install_as
from .dspy_names import missing as __getattr__  # noqa: F401 - asked for what is not here yet
from .dspy_names import offered as __dir__  # noqa: F401
from .settings import Settings, configure, context, load_settings, settings

if TYPE_CHECKING:
    from .actors import ProgramActor
    from .adapters import Adapter, BAMLAdapter, ChatAdapter, JSONAdapter, TwoStepAdapter, XMLAdapter
    from .base_module import BaseModule, Parameter
    from .bridges import asyncify, syncify
    from .caching import Cache, configure_cache, request_cache
    from .callbacks import BaseCallback
    from .embedder import Embedder
    from .errors import (
        AdapterError,
        AdapterParseError,
        ContextWindowExceededError,
        EngineError,
        FieldValueError,
        LMAuthError,
        LMBillingError,
        LMCollectionLimitError,
        LMConfigurationError,
        LMError,
        LMInvalidRequestError,
        LMLockTimeoutError,
        LMNotConfiguredError,
        LMProviderError,
        LMRateLimitError,
        LMServerError,
        LMStreamAssemblyError,
        LMTimeoutError,
        LMTransportError,
        LMUnexpectedError,
        LMUnsupportedFeatureError,
        LMUnsupportedModelError,
        MissingExtra,
        MissingInputError,
        PickleRefused,
        SignatureError,
        StateFileError,
        StateMismatchError,
        SyncInsideLoopError,
        is_retryable_lm_error,
    )
    from .errors import EngineError as DSPyError
    from .evaluation import Evaluate, EvaluationResult
    from .example import Completions, Example, Prediction
    from .inputs import check_inputs, required_inputs
    from .lm import LM, BaseLM, DummyLM, Price, Provider, TrainingJob, inspect_history, lm15
    from .logs import configure_dspy_loggers, disable_logging, enable_logging
    from .module import Module
    from .modules import (
        KNN,
        RLM,
        BestOfN,
        ChainOfThought,
        CodeAct,
        MultiChainComparison,
        ProgramOfThought,
        ReAct,
        ReActV2,
        Refine,
        majority,
    )
    from .optimizers import (
        BootstrapFewShot,
        BootstrapFewShotWithRandomSearch,
        Ensemble,
        KNNFewShot,
        LabeledFewShot,
        Teleprompter,
    )
    from .optimizers import BootstrapFewShotWithRandomSearch as BootstrapRS
    from .parallel import Parallel
    from .predict import Predict
    from .retrieval import Embeddings, EmbeddingsWithScores, Retrieve
    from .sandbox import (
        CodeExecutionError,
        CodeInterpreter,
        CodeInterpreterError,
        DenoInterpreter,
        FinalOutput,
        LocalInterpreter,
        PythonInterpreter,
        SandboxLimits,
        SandboxUnavailableError,
        resolve_interpreter_factory,
    )
    from .sandbox.serializable import SandboxSerializable
    from .saved_state import load
    from .signatures import (
        InputField,
        OldField,
        OldInputField,
        OldOutputField,
        OutputField,
        Signature,
        SignatureMeta,
        ensure_signature,
        infer_prefix,
        make_signature,
    )
    from .streaming import StatusMessage, StatusMessageProvider, StreamListener, StreamResponse, streamify
    from .types import (
        Audio,
        Citations,
        Code,
        Document,
        File,
        History,
        Image,
        Reasoning,
        Tool,
        ToolCallResults,
        ToolCalls,
        Type,
    )
    from .usage import UsageTracker, track_usage

__all__ = [
    "KNN",
    "LM",
    "RLM",
    "Adapter",
    "AdapterError",
    "AdapterParseError",
    "Audio",
    "BAMLAdapter",
    "BaseCallback",
    "BaseLM",
    "BaseModule",
    "BestOfN",
    "BootstrapFewShot",
    "BootstrapFewShotWithRandomSearch",
    "BootstrapRS",
    "Cache",
    "ChainOfThought",
    "ChatAdapter",
    "Citations",
    "Code",
    "CodeAct",
    "CodeExecutionError",
    "CodeInterpreter",
    "CodeInterpreterError",
    "Completions",
    "ContextWindowExceededError",
    "DSPyError",
    "DenoInterpreter",
    "Document",
    "DummyLM",
    "Embedder",
    "Embeddings",
    "EmbeddingsWithScores",
    "EngineError",
    "Ensemble",
    "Evaluate",
    "EvaluationResult",
    "Example",
    "FieldValueError",
    "File",
    "FinalOutput",
    "History",
    "Image",
    "InputField",
    "Installed",
    "JSONAdapter",
    "KNNFewShot",
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
    "LabeledFewShot",
    "LocalInterpreter",
    "MissingExtra",
    "MissingInputError",
    "Module",
    "MultiChainComparison",
    "NotOffered",
    "OldField",
    "OldInputField",
    "OldOutputField",
    "OutputField",
    "Parallel",
    "Parameter",
    "PickleRefused",
    "Predict",
    "Prediction",
    "Price",
    "ProgramActor",
    "ProgramOfThought",
    "Provider",
    "PythonInterpreter",
    "ReAct",
    "ReActV2",
    "Reasoning",
    "Refine",
    "Retrieve",
    "SandboxLimits",
    "SandboxSerializable",
    "SandboxUnavailableError",
    "Settings",
    "Signature",
    "SignatureError",
    "SignatureMeta",
    "StateFileError",
    "StateMismatchError",
    "StatusMessage",
    "StatusMessageProvider",
    "StreamListener",
    "StreamResponse",
    "SyncInsideLoopError",
    "Teleprompter",
    "Tool",
    "ToolCallResults",
    "ToolCalls",
    "TrainingJob",
    "TwoStepAdapter",
    "Type",
    "UsageTracker",
    "XMLAdapter",
    "asyncify",
    "check_inputs",
    "configure",
    "configure_cache",
    "configure_dspy_loggers",
    "context",
    "disable_logging",
    "enable_logging",
    "ensure_signature",
    "infer_prefix",
    "inspect_history",
    "install_as",
    "is_retryable_lm_error",
    "lm15",
    "load",
    "load_settings",
    "majority",
    "make_signature",
    "request_cache",
    "required_inputs",
    "resolve_interpreter_factory",
    "settings",
    "streamify",
    "syncify",
    "track_usage",
]
