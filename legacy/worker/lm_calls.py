"""How often a request asked its language models, whichever they are: read from the history that dspy keeps anyway.

A callback would count as well, but make every call of every module and adapter slower, and stand among the program's own.
"""

from __future__ import annotations

import sys
from typing import Any


class AskedModels:
    """Made before the request runs. Answers from a cache count, calls that failed do not."""

    def __init__(self) -> None:
        self._history: Any = getattr(sys.modules.get("dspy.clients.base_lm"), "GLOBAL_HISTORY", None)
        self._last: Any = self._history[-1] if self._history else None

    def count(self) -> int | None:
        """Since then; None where dspy does not tell. From the end, as the oldest entries are dropped at the front."""
        if self._history is None:
            return None
        number = 0
        for entry in reversed(self._history):
            if entry is self._last:
                break
            number += 1
        return number
