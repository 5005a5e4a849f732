"""`BM25`: passages that share words with the query, scored by the library bm25s."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ..example import Prediction
from ..lm import MissingExtra
from ..off_loop import in_thread
from ..sync import run_sync
from .vectors import nearest

__all__ = ["BM25", "Lexical", "words"]

Method = Literal["robertson", "lucene", "atire", "bm25l", "bm25+"]

_AT_ONCE = 20_000  # passages; up to there scoring takes less than the way into a thread and back costs others


def words(text: str) -> list[str]:
    """Letters and digits in a row, in lower case. No word is left out: those that are everywhere weigh next to nothing."""
    return re.findall(r"\w+", text.lower())


class Lexical:
    """Scores of a fixed list of passages."""

    def __init__(
        self, corpus: Sequence[str], tokenize: Callable[[str], Sequence[str]], method: Method, k1: float, b: float
    ) -> None:
        try:
            bm25s = importlib.import_module("bm25s")
        except ModuleNotFoundError as error:
            raise MissingExtra("retrieval", module="bm25s", purpose="BM25") from error
        self._tokenize = tokenize
        tokens = [list(tokenize(passage)) for passage in corpus]
        self._known = {token for passage in tokens for token in passage}
        self._scorer: Any = None
        if self._known:
            self._scorer = bm25s.BM25(k1=k1, b=b, method=method)
            self._scorer.index(tokens, show_progress=False)

    def best(self, query: str, k: int) -> tuple[list[int], list[float]]:
        """Positions and scores of at most `k` passages that share a word with the query, best first."""
        asked = [token for token in self._tokenize(query) if token in self._known]
        if not asked:
            return [], []
        scores: Any = self._scorer.get_scores(asked)
        top: Any = nearest(scores, k)
        kept = [int(index) for index in top if scores[index] > 0]
        return kept, [float(scores[index]) for index in kept]


class BM25:
    """Ranks passages by BM25. Exact words count, so it finds names, codes and numbers that vectors blur.

    The index is made at the first search (in a worker thread on an event loop), since that takes about 10 us a word.
    """

    def __init__(
        self,
        corpus: Sequence[str],
        k: int = 5,
        *,
        tokenize: Callable[[str], Sequence[str]] = words,
        method: Method = "lucene",
        k1: float = 1.5,
        b: float = 0.75,
    ) -> None:
        """Describe the index; nothing is imported yet.

        Args:
            corpus: the passages.
            k: passages a query at most.
            tokenize: what makes words of a text, of passages and queries alike.
            method: the variant, as bm25s names them.
            k1: how fast repeated words stop counting.
            b: how much long passages are held back, 0 to 1.

        Raises ValueError: the corpus is empty or holds something that is not a text.
        """
        self.corpus = list(corpus)
        if not self.corpus or not all(isinstance(each, str) for each in self.corpus):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError("the corpus of BM25 is a list of texts, at least one")
        self.k = k
        self._make = lambda: Lexical(self.corpus, tokenize, method, k1, b)
        self._index: Lexical | None = None

    def __call__(self, query: str, k: int | None = None) -> Prediction:
        """`acall` from synchronous code."""
        return run_sync(self.acall, query, k)

    async def acall(self, query: str, k: int | None = None) -> Prediction:
        """A Prediction with `passages`, `indices` (positions in the corpus) and `scores`, best first.

        Passages that share no word with the query are not found, so there may be fewer than `k`, or none.

        Raises MissingExtra: bm25s is not installed.
        """
        index = self._index
        if index is None:
            index = self._index = await in_thread(self._make)
        count = self.k if k is None else k
        search = index.best
        indices, scores = search(query, count) if len(self.corpus) <= _AT_ONCE else await in_thread(search, query, count)
        return Prediction(passages=[self.corpus[each] for each in indices], indices=indices, scores=scores)
