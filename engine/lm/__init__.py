"""Language model clients: `LM` for providers, `BaseLM` for your own, `DummyLM` for tests, and their errors."""

from .base import BaseLM
from .client import LM
from .dummy import DummyLM
from .errors import (
    ContextWindowExceededError,
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
    is_retryable_lm_error,
)
from .extras import MissingExtra

__all__ = [
    "LM",
    "BaseLM",
    "ContextWindowExceededError",
    "DummyLM",
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
    "is_retryable_lm_error",
]
