"""What several of the modules need of their surroundings: the adapter in force, and words for an error."""

from __future__ import annotations

import traceback
from typing import Any

from ..adapters import ChatAdapter
from ..settings import settings

__all__ = ["adapter_in_force", "told_to_model"]

_CHAT = ChatAdapter()


def told_to_model(error: BaseException, *, traceback_frames: int = 0) -> str:
    """An error as an observation for the model: its text, or with `traceback_frames` the outermost frames of its
    traceback too, on a line of their own. As dspy 3.4 words it.
    """
    if traceback_frames <= 0:
        return str(error)
    lines = traceback.format_exception(type(error), error, error.__traceback__, limit=traceback_frames)
    return "\n" + "".join(lines).strip()


def adapter_in_force() -> Any:
    """The adapter of the settings, by default a `ChatAdapter`. `Any`: a program may bring one that only looks like it."""
    return settings.adapter or _CHAT
