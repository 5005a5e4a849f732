"""`KNN`: the training examples nearest to an input, by the dot product of their embeddings."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..example import Example
from ..off_loop import in_thread
from ..sync import SyncInsideLoopError

__all__ = ["KNN"]


class KNN:
    """Finds similar examples. The training set is embedded when this is made; on an event loop, where that would
    block, at the first `acall`.

    Attributes:
        k: how many examples a call returns.
        trainset: the examples, whose inputs are marked (`with_inputs`).
        embedding: what turns texts into vectors: an `Embedder`, or a function from a list of texts to a numpy array.
    """

    def __init__(self, k: int, trainset: list[Example], vectorizer: Any) -> None:
        self.k = k
        self.trainset = trainset
        self.embedding = vectorizer
        self._texts = [
            _text({key: value for key, value in example.items() if key in example._input_keys})  # pyright: ignore[reportPrivateUsage, reportOperatorIssue]
            for example in trainset
        ]
        self.trainset_vectors: Any = None
        with suppress(SyncInsideLoopError):
            self.trainset_vectors = _float32(self.embedding(self._texts))

    def __call__(self, **kwargs: Any) -> list[Example]:
        """The `k` nearest examples, nearest first."""
        if self.trainset_vectors is None:
            self.trainset_vectors = _float32(self.embedding(self._texts))
        return self._nearest(self.embedding([_text(kwargs)]))

    async def acall(self, **kwargs: Any) -> list[Example]:
        """As a call, without blocking the event loop."""
        if self.trainset_vectors is None:
            self.trainset_vectors = _float32(await self._embedded(self._texts))
        return self._nearest(await self._embedded([_text(kwargs)]))

    async def _embedded(self, texts: Sequence[str]) -> Any:
        acall = getattr(self.embedding, "acall", None)
        if inspect.iscoroutinefunction(acall):
            return await acall(texts)
        return await in_thread(self.embedding, texts)

    def _nearest(self, vector: Any) -> list[Example]:
        scores = (self.trainset_vectors @ vector.T).squeeze()
        return [self.trainset[index] for index in scores.argsort()[-self.k :][::-1]]


def _text(fields: dict[str, Any]) -> str:
    return " | ".join(f"{key}: {value}" for key, value in fields.items())


def _float32(vectors: Any) -> Any:
    return vectors.astype("float32")
