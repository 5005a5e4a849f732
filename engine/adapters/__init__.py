"""Adapters: from signature, demos and inputs to messages, and from the model's text to outputs."""

from .baml import BAMLAdapter
from .base import Adapter, AdapterStatistics, run_adapter
from .chat import ChatAdapter, Fallback
from .errors import AdapterError, AdapterParseError, FieldValueError
from .field_text import FieldInfoWithName
from .json import JSONAdapter
from .language_model import LanguageModel
from .two_step import TwoStepAdapter
from .xml import XMLAdapter

__all__ = [
    "Adapter",
    "AdapterError",
    "AdapterParseError",
    "AdapterStatistics",
    "BAMLAdapter",
    "ChatAdapter",
    "Fallback",
    "FieldInfoWithName",
    "FieldValueError",
    "JSONAdapter",
    "LanguageModel",
    "TwoStepAdapter",
    "XMLAdapter",
    "run_adapter",
]
