"""`LabeledFewShot`: examples of the training set as demos, as they are. No model is asked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from .teleprompter import Teleprompter

__all__ = ["LabeledFewShot"]


class LabeledFewShot(Teleprompter):
    """Gives every predictor `k` examples."""

    def __init__(self, k: int = 16) -> None:
        self.k = k

    async def acompile(self, student: Any, *, trainset: Sequence[Any], sample: bool = True) -> Any:
        """A copy of the student with demos. `sample`: drawn at random, the same at every run; else the first `k`."""
        self.student = student.reset_copy()
        self.trainset = trainset
        count = min(self.k, len(trainset))
        rng = random.Random(0)
        if count:
            for predictor in self.student.predictors():
                predictor.demos = rng.sample(trainset, count) if sample else trainset[:count]
        return self.student
