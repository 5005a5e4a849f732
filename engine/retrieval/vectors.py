"""Rows of numbers: checked, normalised, and the nearest of them found exactly.

A search is one product of a matrix and a vector and is bound by memory: 100,000 rows of 384 float32 are 154 MB to read
(figures in benchmarks/RESULTS.md). What follows is kept small beside it: the top is found by a partition, and only the
rows that can be in it are sorted, 0.2 ms instead of 1.6.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..lm import MissingExtra
from .errors import RetrievalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[Any]

__all__ = ["AT_ONCE", "nearest", "normalized", "numpy_for", "rows_of", "search"]

_TINY = 1e-10
_SCORES = 8_000_000  # at a time, 32 MB

AT_ONCE = 1_000_000
"""Numbers in a matrix: up to there a search takes less than a thread's start, and may be made on the event loop."""


def numpy_for(purpose: str) -> Any:
    """The module numpy. Raises MissingExtra."""
    try:
        return importlib.import_module("numpy")
    except ModuleNotFoundError as error:
        raise MissingExtra("retrieval", module="numpy", purpose=purpose) from error


def rows_of(vectors: object, texts: int) -> Vectors:
    """What an embedder returned, as one row a text. Raises RetrievalError for another shape, and for what is no number."""
    numpy = numpy_for("a vector index")
    try:
        rows: Vectors = numpy.asarray(vectors)
        if rows.dtype.kind not in "fiu":
            rows = rows.astype(numpy.float32)
    except (TypeError, ValueError) as error:
        raise RetrievalError(f"The embedder must return one row of numbers for each text ({error}).") from error
    if rows.ndim != 2 or rows.shape[0] != texts or rows.shape[1] == 0:
        raise RetrievalError(
            f"The embedder was given a list of {texts} text(s) and must return an array of shape ({texts}, dimensions), "
            f"not one of shape {rows.shape}."
        )
    if not numpy.isfinite(rows).all():
        raise RetrievalError("The embedder returned NaN or infinite numbers, with which nothing can be compared.")
    return rows


def normalized(rows: Vectors) -> Vectors:
    """Rows of length 1, so that a product is a cosine; a row of zeros stays one."""
    numpy = numpy_for("a vector index")
    return rows / numpy.maximum(numpy.linalg.norm(rows, axis=1, keepdims=True), _TINY)


def search(rows: Vectors, asked: Vectors, counts: Sequence[int]) -> list[tuple[Vectors, Vectors]]:
    """For each asked row, the positions of its `count` nearest rows and their scores. Blocks: see `AT_ONCE`.

    Several are one product of two matrices, which reads the rows once for all of them.
    """
    found: list[tuple[Vectors, Vectors]] = []
    step = max(1, _SCORES // max(1, len(rows)))
    for begin in range(0, len(asked), step):
        part = asked[begin : begin + step]
        if rows.size <= AT_ONCE:
            scores = [_in_order(rows, query) for query in part]
        elif len(part) == 1:
            scores = [rows @ part[0]]
        else:
            scores = part @ rows.T
        for line, count in zip(scores, counts[begin : begin + step], strict=True):
            top = nearest(line, count)
            found.append((top, line[top]))
    return found


def _in_order(rows: Vectors, query: Vectors) -> Vectors:
    """`rows @ query`, summed in the order of dspy's `einsum`: three times slower, and equal to the last digit."""
    return numpy_for("a vector index").einsum("qd,kd->qk", query.reshape(1, -1), rows, order="C")[0]


def nearest(scores: Vectors, k: int) -> Vectors:
    """Positions of the `k` highest of these scores, highest first; of equal ones the earlier. All of them, if fewer."""
    numpy = numpy_for("a vector index")
    count = len(scores)
    if k <= 0:
        return numpy.empty(0, dtype=numpy.intp)
    if k < count:
        edge = numpy.partition(scores, count - k)[count - k]
        candidates = numpy.flatnonzero(scores >= edge)
    else:
        candidates = numpy.arange(count)
    return candidates[numpy.lexsort((candidates, -scores[candidates]))[:k]]
