"""What can go wrong with an index, beside what its embedder raises."""

from __future__ import annotations

from ..failure import EngineError

__all__ = ["IndexMismatch", "IndexUnreadable", "RetrievalError"]


class RetrievalError(EngineError):
    """Base of the errors of indexes."""

    default_code = "retrieval"


class IndexMismatch(RetrievalError, ValueError):
    """The embedder's vectors do not fit those of the index: another model made it. Embed the passages anew, or use that
    model."""

    default_code = "index_mismatch"


class IndexUnreadable(RetrievalError, ValueError):
    """The files are not an index, or are damaged. They are left as they are."""

    default_code = "index_unreadable"
