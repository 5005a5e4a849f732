"""Candidates for large corpora, by faiss: the index that dspy 3.4 builds, so that files go both ways.

Exact search costs memory bandwidth: about 0.08 us a row of 384 float32 on two cores, 8 ms at 100,000. From some
hundred thousand rows on an approximate index answers in 1 to 2 ms, for a training of seconds to minutes and a share of
missed neighbours. Its candidates are ranked exactly afterwards.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..lm import MissingExtra
from ..logs import engine_logger

if TYPE_CHECKING:
    from .vectors import Vectors

__all__ = ["build", "candidates", "read", "write"]

logger = engine_logger("dspex.engine.retrieval.approximate", dspy="dspy.retrievers.embeddings")

_BYTES = 32  # a vector's code
_PROBES = 16  # partitions that a search looks into


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "retrieval", module="faiss", purpose="An approximate index (or raise brute_force_threshold to avoid it)"
        ) from error


def build(rows: Vectors) -> Any:
    """An IVF-PQ index of these float32 rows. Raises MissingExtra; ValueError for a dimension that 32 does not divide."""
    faiss = _faiss()
    count, dimension = rows.shape
    if dimension % _BYTES:
        raise ValueError(
            f"An approximate index needs vectors whose dimension is a multiple of {_BYTES}, not {dimension}: raise "
            f"brute_force_threshold above the {count} passages."
        )
    partitions = int(2 * count**0.5)
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dimension), dimension, partitions, _BYTES, 8)
    logger.info("Training an index of %d partitions for %d vectors of %d", partitions, count, dimension)
    index.train(rows)
    index.add(rows)
    index.nprobe = min(_PROBES, partitions)
    return index


def candidates(index: Any, query: Vectors, count: int) -> Vectors:
    """Positions of up to `count` rows that may be nearest to one query row, without the -1 of faiss for "none"."""
    found: Any = index.search(query.reshape(1, -1), count)[1][0]
    return found[found >= 0]


def write(index: Any, path: Path) -> None:
    """Store the index in faiss' own format."""
    _faiss().write_index(index, str(path))


def read(path: Path) -> Any:
    """The index in that file; None, with a warning, where faiss is not installed: exact search needs no index."""
    try:
        faiss = _faiss()
    except MissingExtra:
        logger.warning("faiss is not installed: the saved index is searched exactly, which is slower for large corpora")
        return None
    return faiss.read_index(str(path))
