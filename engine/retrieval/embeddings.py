"""`Embeddings`: the passages of a corpus that are nearest in meaning, exactly or with an approximate first step.

    search = Embeddings(corpus, Embedder("openai/text-embedding-3-small"), k=5)
    found = await search.acall("Who built it?")          # found.passages, found.indices

As dspy 3.4's class: names, results and files. Different on purpose: queries that come together are embedded together
without a window of time that a lone one would wait for, and equal scores keep the corpus' order.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import sniffio

from ..example import Prediction
from ..off_loop import ask, in_thread
from ..sync import run_sync
from . import approximate
from .batches import Batches
from .errors import IndexMismatch
from .saved import load, save
from .vectors import AT_ONCE, normalized, numpy_for, rows_of, search

if TYPE_CHECKING:
    from .vectors import Vectors

__all__ = ["Embeddings", "EmbeddingsWithScores"]

_CANDIDATES = 10  # times k


class Embeddings:
    """Searches a corpus by vectors.

    Attributes:
        corpus: the passages.
        corpus_embeddings: their vectors, one row each; None until they are made.
        index: the approximate index, of faiss; None where search is exact.
    """

    def __init__(
        self,
        corpus: list[str],
        embedder: Any,
        k: int = 5,
        callbacks: list[Any] | None = None,
        cache: bool = False,
        brute_force_threshold: int = 20_000,
        normalize: bool = True,
    ) -> None:
        """Embed the corpus; on a running event loop, which that would block, at the first `acall` (or `prepare`).

        Args:
            corpus: the passages.
            embedder: an `Embedder`, or a function from a list of texts to an array of one row each, plain or async.
            k: passages a query.
            callbacks: as in dspy, accepted and not used.
            cache: must be False; let the embedder cache.
            brute_force_threshold: passages from which on an approximate index is made (extra `retrieval`: faiss).
                Exact search takes about 8 ms at 100,000 vectors of 384.
            normalize: compare by cosine; otherwise by the plain product.

        Raises:
            AssertionError: `cache` is not False.
            ValueError: the corpus is empty or holds something that is not a text.
            RetrievalError: the embedder returned something else than a row a text.
            MissingExtra: numpy, or faiss where it is needed, is not installed.
        """
        assert cache is False, "Caching is not supported for embeddings-based retrievers"
        if not corpus or not all(isinstance(each, str) for each in corpus):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError("the corpus of Embeddings is a list of texts, at least one")
        self._describe(embedder, corpus=corpus, k=k, normalize=normalize)
        self.callbacks = callbacks
        self._threshold = brute_force_threshold
        if not _on_a_loop():
            run_sync(self.prepare)

    def _describe(self, embedder: Any, *, corpus: list[str], k: int, normalize: bool) -> None:
        self.embedder = embedder
        self.corpus = corpus
        self.k = k
        self.normalize = normalize
        self.corpus_embeddings: Vectors | None = None
        self.index: Any = None
        self._preparing: Batches[None, None] = Batches(self._prepare, limit=1_000_000)
        self._batches: Batches[tuple[str, int], tuple[list[int], list[float]]] = Batches(self._search)

    def __call__(self, query: str, *, k: int | None = None) -> Prediction:
        """`forward`."""
        return self.forward(query, k=k)

    def forward(self, query: str, *, k: int | None = None) -> Prediction:
        """`acall` from synchronous code. Raises SyncInsideLoopError on a running event loop."""
        return run_sync(self.aforward, query, k=k)

    async def acall(self, query: str, *, k: int | None = None) -> Prediction:
        """`aforward`."""
        return await self.aforward(query, k=k)

    async def aforward(self, query: str, *, k: int | None = None) -> Prediction:
        """A Prediction with `passages` and `indices` (positions in the corpus), nearest first; `k` of them if given.

        Raises:
            TypeError: the query is not a text.
            RetrievalError: the embedder returned something else than a row a text, or rows of another dimension.
            LMError: the embedder's model failed. Cancelled: other queries are not.
        """
        passages, indices, _ = await self._found(query, k)
        return Prediction(passages=passages, indices=indices)

    async def _found(self, query: str, k: int | None) -> tuple[list[str], list[int], list[float]]:
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a query is a text, not {type(query).__name__}")
        await self.prepare()
        indices, scores = await self._batches.ask((query, self.k if k is None else k))
        return [self.corpus[index] for index in indices], indices, scores

    async def prepare(self) -> Self:
        """Embed the corpus, if that is still to be done. Returns this object."""
        if self.corpus_embeddings is None:
            await self._preparing.ask(None)  # many may ask, it is done once
        return self

    async def _prepare(self, who: list[None]) -> list[None]:
        if self.corpus_embeddings is None:
            rows = await self._embedded(self.corpus)
            if len(self.corpus) >= self._threshold:
                self.index = await in_thread(approximate.build, rows)
            self.corpus_embeddings = rows
        return who

    async def _embedded(self, texts: Sequence[str]) -> Vectors:
        rows = rows_of(await ask(self.embedder, texts), len(texts))
        return numpy_for("Embeddings").ascontiguousarray(normalized(rows) if self.normalize else rows)

    async def _search(self, questions: list[tuple[str, int]]) -> list[tuple[list[int], list[float]]]:
        rows = self.corpus_embeddings
        assert rows is not None
        asked = await self._embedded([query for query, _ in questions])
        counts = [k for _, k in questions]
        if asked.shape[1] != rows.shape[1]:
            raise IndexMismatch(
                f"The embedder makes vectors of {asked.shape[1]} numbers, and the index was made with {rows.shape[1]}: use "
                "the embedder that made it, or embed the corpus anew."
            )
        if rows.size <= AT_ONCE:
            return self._nearest(rows, asked, counts)
        return await in_thread(self._nearest, rows, asked, counts)

    def _nearest(self, rows: Vectors, asked: Vectors, counts: list[int]) -> list[tuple[list[int], list[float]]]:
        if self.index is None:
            return [(top.tolist(), scores.tolist()) for top, scores in search(rows, asked, counts)]
        found: list[tuple[list[int], list[float]]] = []
        for query, k in zip(asked, counts, strict=True):
            places = approximate.candidates(self.index, query, k * _CANDIDATES)
            [(top, scores)] = search(rows[places], query.reshape(1, -1), [k])
            found.append((places[top].tolist(), scores.tolist()))
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Write the directory `path`: `config.json`, `corpus_embeddings.npy` and, if there is an index, `faiss_index.bin`.

        dspy reads them too. Nothing in them is code. Each file is replaced whole, and the configuration last.

        Raises RuntimeError if the corpus is not embedded yet; OSError.
        """
        if self.corpus_embeddings is None:
            raise RuntimeError("the corpus is not embedded yet: `await search.prepare()` first")
        save(
            path, k=self.k, normalize=self.normalize, corpus=self.corpus, rows=self.corpus_embeddings, index=self.index
        )

    def load(self, path: str | PathLike[str], embedder: Any) -> Self:
        """Become what was saved there, with `embedder` for queries; returns this object. Nothing changes on an error.

        Raises:
            FileNotFoundError: the directory or one of its files is missing.
            ValueError: the configuration lacks something.
            IndexUnreadable: a file is damaged, or they do not belong together.
        """
        saved = load(path)
        self._describe(embedder, corpus=saved.corpus, k=saved.k, normalize=saved.normalize)
        self.corpus_embeddings = saved.rows
        self.index = saved.index
        return self

    @classmethod
    def from_saved(cls, path: str | PathLike[str], embedder: Any) -> Self:
        """What was saved there: nothing is embedded again. Raises as `load`."""
        made = cls.__new__(cls)
        made.callbacks = None
        made._threshold = 0
        return made.load(path, embedder)


class EmbeddingsWithScores(Embeddings):
    """As `Embeddings`; the Prediction has `scores` too: cosines, or plain products without `normalize`."""

    async def aforward(self, query: str, *, k: int | None = None) -> Prediction:
        """A Prediction with `passages`, `indices` and `scores`, nearest first; `k` of them if given."""
        passages, indices, scores = await self._found(query, k)
        return Prediction(passages=passages, indices=indices, scores=scores)


def _on_a_loop() -> bool:
    try:
        sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return False
    return True
