"""`DummyVectorizer` and `dummy_rm`: vectors and retrieval for your tests, without a model. They need numpy.

Names, results and the seed are those of dspy 3.4, so that tests written for it find the same neighbours.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .chunks import AttributeDict
from .extras import MissingExtra

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DummyVectorizer", "dummy_rm"]

_PRIME = 10**9 + 7


class DummyVectorizer:
    """Counts hashed character n-grams; one normalised row a text."""

    def __init__(self, max_length: int = 100, n_gram: int = 2) -> None:
        self.max_length = max_length
        self.n_gram = n_gram
        luck = random.Random(123)
        self.coeffs = [luck.randrange(1, _PRIME) for _ in range(n_gram)]

    def _place(self, gram: str) -> int:
        value = 1
        for factor, character in zip(self.coeffs, gram, strict=False):
            value = (value * factor + ord(character)) % _PRIME
        return value % self.max_length

    def __call__(self, texts: Sequence[str]) -> NDArray[Any]:
        """Vectors of the texts, shape (texts, max_length)."""
        numpy = _numpy()
        rows = numpy.zeros((len(texts), self.max_length), dtype=numpy.float32)
        for row, text in zip(rows, texts, strict=True):
            for start in range(len(text) - self.n_gram + 1):
                row[self._place(text[start : start + self.n_gram])] += 1
        rows -= rows.mean(axis=1, keepdims=True)
        return rows / (numpy.linalg.norm(rows, axis=1, keepdims=True) + 1e-10)


def dummy_rm(passages: Sequence[str] = ()) -> Callable[..., list[AttributeDict]]:
    """A retriever over `passages`: `rm(query, k=3)` gives the nearest, each with `long_text`."""
    if not passages:

        def nothing(query: str, *, k: int, **kwargs: Any) -> list[AttributeDict]:
            raise ValueError("No passages defined")

        return nothing
    vectorize = DummyVectorizer(max(map(len, passages)) + 100)
    known = vectorize(passages)

    def nearest(query: str, *, k: int, **kwargs: Any) -> list[AttributeDict]:
        if k > len(passages):
            raise AssertionError(f"k={k} is more than there are passages ({len(passages)})")  # dspy's error class
        order = (-(known @ vectorize([query])[0])).argsort()[:k]
        return [AttributeDict(long_text=passages[index]) for index in order]

    return nearest


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ModuleNotFoundError as error:
        raise MissingExtra("embeddings", module="numpy", purpose="DummyVectorizer") from error
