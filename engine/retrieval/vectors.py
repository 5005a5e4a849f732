"""Rows of numbers: checked, normalised, and the nearest of them found exactly.

A search is one product of a matrix and a vector and is bound by memory: 100,000 rows of 384 float32 are 154 MB to read
(figures in benchmarks/RESULTS.md). What follows is kept small beside it: the top is found by a partition, and only the
rows that can be in it are sorted, 0.2 ms instead of 1.6.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..lm import MissingExtra
from .errors import RetrievalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[Any]

__all__ = ["nearest", "normalized", "numpy_for", "products", "rows_of"]

_TINY = 1e-10


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


def products(rows: Vectors, query: Vectors) -> Vectors:
    """`rows @ query`, summed in the order of dspy's `einsum`, so that scores are equal to the last digit. Three times slower."""
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
