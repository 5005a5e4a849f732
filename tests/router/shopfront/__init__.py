"""A package of dspy programs as they stand today; it does not import dspy itself."""

from typing import Any

EXECUTED: list[str] = ["once"]


class Receipt:
    """A class that callers and programs share."""

    paid: Any = True
