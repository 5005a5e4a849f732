"""Optuna's studies without the line that it writes to stderr for each; its own level is as it was afterwards.

dspy sets Optuna's level for the whole process.
"""

from __future__ import annotations

from typing import Any

__all__ = ["new_study"]


def new_study(optuna: Any, sampler: Any) -> Any:
    """A study in memory that maximizes."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize", sampler=sampler)
    finally:
        optuna.logging.set_verbosity(level)
