"""The engine neither writes nor reads pickles: loading one runs code from the file. Whoever asks is told what to do."""

from __future__ import annotations

from .failure import EngineError

__all__ = ["PickleRefused"]


class PickleRefused(EngineError, ValueError):
    """A pickle was asked for, to read or to write."""

    default_code = "pickle_refused"
