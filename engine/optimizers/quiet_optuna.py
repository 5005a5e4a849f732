"""Optuna's studies, without what it says of each: a line on stderr, and a warning that its multivariate sampler may change.

Its level and the filters of warnings are as they were afterwards. dspy sets the level for the whole process and leaves the
warning to its user, who has not chosen the sampler.
"""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["new_study"]


def new_study(optuna: Any, *, seed: int, multivariate: bool = False) -> Any:
    """A study in memory that maximizes, by a TPE sampler of this seed.

    multivariate: the sampler looks at all parameters together.
    """
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=multivariate)
        return optuna.create_study(direction="maximize", sampler=sampler)
    finally:
        optuna.logging.set_verbosity(level)
