"""dspex.engine: DSPy programs, native and asynchronous.

    import dspex.engine as dspy

    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    qa = dspy.ChainOfThought("question -> answer: float")
    pred = await qa.acall(question="17 * 3?")        # or qa(question=...) outside an event loop

Names, parameters, prompts and saved state are those of dspy 3.4, for what is offered. Importing this room imports no
provider's SDK.
"""

from .actors import ProgramActor
from .adapters import Adapter, ChatAdapter, JSONAdapter
from .base_module import BaseModule, Parameter
from .callbacks import BaseCallback
from .dspy_names import Installed, NotOffered, install_as
from .dspy_names import missing as __getattr__
from .errors import (
    AdapterError,
    AdapterParseError,
    ContextWindowExceededError,
    EngineError,
    FieldValueError,
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMError,
    LMInvalidRequestError,
    LMNotConfiguredError,
    LMProviderError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    LMUnexpectedError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
    MissingExtra,
    MissingInputError,
    SignatureError,
    StateMismatchError,
    SyncInsideLoopError,
    is_retryable_lm_error,
)
from .errors import EngineError as DSPyError
from .example import Completions, Example, Prediction
from .inputs import check_inputs, required_inputs
from .lm import LM, BaseLM, DummyLM
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
from .parallel import Parallel
from .predict import Predict
from .sandbox import (
    CodeExecutionError,
    CodeInterpreter,
    CodeInterpreterError,
    FinalOutput,
    LocalInterpreter,
    PythonInterpreter,
    SandboxLimits,
    SandboxUnavailableError,
    resolve_interpreter_factory,
)
from .saved_state import load
from .settings import Settings, configure, context, settings
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
from .usage import UsageTracker, track_usage

__all__ = [
    "LM",
    "Adapter",
    "AdapterError",
    "AdapterParseError",
    "BaseCallback",
    "BaseLM",
    "BaseModule",
    "ChainOfThought",
    "ChatAdapter",
    "Completions",
    "ContextWindowExceededError",
    "DSPyError",
    "DummyLM",
    "EngineError",
    "Example",
    "FieldValueError",
    "InputField",
    "Installed",
    "JSONAdapter",
    "LMAuthError",
    "LMBillingError",
    "LMConfigurationError",
    "LMError",
    "LMInvalidRequestError",
    "LMNotConfiguredError",
    "LMProviderError",
    "LMRateLimitError",
    "LMServerError",
    "LMTimeoutError",
    "LMTransportError",
    "LMUnexpectedError",
    "LMUnsupportedFeatureError",
    "LMUnsupportedModelError",
    "MissingExtra",
    "MissingInputError",
    "Module",
    "NotOffered",
    "OldField",
    "OldInputField",
    "OldOutputField",
    "OutputField",
    "Parameter",
    "Predict",
    "Prediction",
    "ProgramActor",
    "Settings",
    "Signature",
    "SignatureError",
    "SignatureMeta",
    "StateMismatchError",
    "SyncInsideLoopError",
    "UsageTracker",
    "check_inputs",
    "configure",
    "configure_dspy_loggers",
    "context",
    "disable_logging",
    "enable_logging",
    "ensure_signature",
    "infer_prefix",
    "install_as",
    "is_retryable_lm_error",
    "load",
    "make_signature",
    "required_inputs",
    "settings",
    "track_usage",
]
