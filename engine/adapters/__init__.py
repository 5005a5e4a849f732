"""Adapters: from signature, demos and inputs to messages, and from the model's text to outputs."""

from .base import Adapter, AdapterStatistics, LanguageModel
from .chat import ChatAdapter, Fallback
from .errors import AdapterError, AdapterParseError, FieldValueError
from .json import JSONAdapter

__all__ = [
    "Adapter",
    "AdapterError",
    "AdapterParseError",
    "AdapterStatistics",
    "ChatAdapter",
    "Fallback",
    "FieldValueError",
    "JSONAdapter",
    "LanguageModel",
]
