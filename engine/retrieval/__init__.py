"""Retrieval: passages for a question, by meaning (`Embeddings`), by words (`BM25`), by both (`Hybrid`), and as an actor."""

from .bm25 import BM25
from .embeddings import Embeddings, EmbeddingsWithScores
from .errors import IndexMismatch, IndexUnreadable, RetrievalError
from .fusion import Hybrid, reciprocal_rank_fusion
from .index import Hit, IndexRetriever, IndexStatistics, PassageIndex
from .retrieve import Retrieve

__all__ = [
    "BM25",
    "Embeddings",
    "EmbeddingsWithScores",
    "Hit",
    "Hybrid",
    "IndexMismatch",
    "IndexRetriever",
    "IndexStatistics",
    "IndexUnreadable",
    "PassageIndex",
    "RetrievalError",
    "Retrieve",
    "reciprocal_rank_fusion",
]
