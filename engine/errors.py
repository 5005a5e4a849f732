"""Every error the engine raises on purpose, in one place to import from and to look at.

    EngineError  (dspy: DSPyError)
    ├── LMError                              lm/errors.py, where each class is described
    │   ├── LMConfigurationError
    │   │   └── LMNotConfiguredError
    │   ├── LMUnsupportedFeatureError
    │   ├── LMTransportError *
    │   ├── LMLockTimeoutError *
    │   ├── LMCollectionLimitError
    │   ├── LMUnexpectedError
    │   │   └── LMStreamAssemblyError    a stream ended before its answer
    │   └── LMProviderError
    │       ├── LMAuthError
    │       ├── LMBillingError
    │       ├── LMRateLimitError *
    │       ├── LMTimeoutError *
    │       ├── LMServerError *
    │       └── LMInvalidRequestError
    │           ├── ContextWindowExceededError
    │           └── LMUnsupportedModelError
    ├── AdapterError                         adapters/errors.py
    │   ├── AdapterParseError                the answer does not hold the signature's outputs
    │   └── FieldValueError (TypeError)      a value cannot be written into the prompt
    ├── MissingInputError (ValueError)       a request from outside lacks inputs
    ├── PickleRefused (ValueError)           a pickle was asked for
    ├── StateFileError (ValueError, KeyError)    a file is not a saved state
    ├── StateMismatchError (KeyError)        a saved state does not fit the program
    ├── JobStopped, JournalError, BadJob     jobs of optimizers: optimizers/jobs/outcomes.py, journal.py
    └── SyncInsideLoopError (RuntimeError)   a synchronous call on a running event loop

    SignatureError (ValueError)              signatures/errors.py: what is wrong with a signature, leaf by leaf
    MissingExtra (ImportError)               an optional package is not installed; names the extra

`*`: a second attempt may succeed (`is_retryable_lm_error`); the LM client has already made those it may. Besides these,
calling something wrongly raises Python's own ValueError or TypeError, and what the engine does not have yet raises
NotImplementedError. Cancellation is never turned into an error.
"""

from .adapters import AdapterError, AdapterParseError, FieldValueError
from .failure import EngineError
from .inputs import MissingInputError
from .lm import (
    ContextWindowExceededError,
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
    is_retryable_lm_error,
)
from .pickles import PickleRefused
from .saved_state import StateFileError, StateMismatchError
from .signatures import SignatureError
from .sync import SyncInsideLoopError

__all__ = [
    "AdapterError",
    "AdapterParseError",
    "ContextWindowExceededError",
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
]
