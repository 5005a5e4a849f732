"""Language model clients: `LM` for providers, `BaseLM` for your own, `DummyLM` for tests, and their errors."""

from . import lm15
from .base import BaseLM
from .chunks import StreamChunk
from .client import LM
from .dummy import DummyLM
from .errors import (
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
    is_retryable_lm_error,
)
from .extras import MissingExtra
from .history import inspect_history
from .limits import LimitStatistics
from .prices import Price
from .training import ReinforceJob, TrainingJob, TrainingProvider

__all__ = [
    "LM",
    "BaseLM",
    "ContextWindowExceededError",
    "DummyLM",
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
    "LimitStatistics",
    "MissingExtra",
    "Price",
    "ReinforceJob",
    "StreamChunk",
    "TrainingJob",
    "TrainingProvider",
    "inspect_history",
    "is_retryable_lm_error",
    "lm15",
]
