"""`Rows`: passages in memory with their vectors, growing at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import IndexUnreadable
from .store import Row
from .vectors import numpy_for

if TYPE_CHECKING:
    from .vectors import Vectors

__all__ = ["Rows"]

_FIRST = 256  # rows of room


class Rows:
    """Only grows, and what is there is never changed: who has taken `matrix()` may read it in a thread meanwhile."""

    def __init__(self) -> None:
        self.all: list[Row] = []
        self._room: Any = None

    @property
    def dimension(self) -> int | None:
        """Numbers in a vector; None while empty."""
        return None if self._room is None else self._room.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors, their room to grow included."""
        return 0 if self._room is None else self._room.nbytes

    def extend(self, rows: Sequence[Row]) -> None:
        """Append. Raises IndexUnreadable for vectors of different lengths; then nothing is appended."""
        if not rows:
            return
        numpy = numpy_for("a vector index")
        width = len(rows[0].vector) if self._room is None else 4 * self._room.shape[1]
        if any(len(row.vector) != width or width % 4 or not width for row in rows):
            raise IndexUnreadable("The index holds vectors of different lengths. The file is damaged: make it anew.")
        count = len(self.all)
        needed = count + len(rows)
        if self._room is None or needed > len(self._room):
            grown = numpy.empty((max(_FIRST, needed, 2 * count), width // 4), dtype=numpy.float32)
            if self._room is not None:
                grown[:count] = self._room[:count]
            self._room = grown
        joined = numpy.frombuffer(b"".join(row.vector for row in rows), dtype="<f4")
        self._room[count:needed] = joined.reshape(len(rows), -1)
        self.all.extend(rows)

    def matrix(self) -> Vectors:
        """The vectors that are there now, one row each."""
        return self._room[: len(self.all)]
