"""`KNNFewShot`: demos chosen at each call: the training examples that are nearest to its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..modules import KNN
from ..off_loop import ask
from ..sync import run_sync
from .bootstrap import BootstrapFewShot
from .teleprompter import Teleprompter

__all__ = ["KNNFewShot"]


class KNNFewShot(Teleprompter):
    """Bootstraps the program from the nearest examples, at each call."""

    def __init__(self, k: int, trainset: Sequence[Any], vectorizer: Any, **few_shot_bootstrap_args: Any) -> None:
        """Describe the search.

        Args:
            k: how many neighbours.
            trainset: examples with their inputs named.
            vectorizer: an `Embedder`, or a function from a list of texts to a numpy array.
            **few_shot_bootstrap_args: for the `BootstrapFewShot` of each call.
        """
        self.KNN = KNN(k, list(trainset), vectorizer=vectorizer)
        self.few_shot_bootstrap_args = few_shot_bootstrap_args

    async def acompile(self, student: Any, *, teacher: Any = None) -> Any:
        """A copy of the student that bootstraps itself at each call."""
        made = student.reset_copy()

        async def aforward(**kwargs: Any) -> Any:
            nearest = await self.KNN.acall(**kwargs)
            bootstrap = BootstrapFewShot(**self.few_shot_bootstrap_args)
            compiled = await bootstrap.acompile(student, teacher=teacher, trainset=nearest)
            return await ask(compiled, **kwargs)

        def forward(**kwargs: Any) -> Any:
            return run_sync(aforward, **kwargs)

        made.aforward, made.forward = aforward, forward
        return made
