"""Between an arm and a reader: the pieces of an answer that have come and were not read, a bounded number of them.

An arm that has more waits until the reader has taken one: the native program stops reading from its model, the legacy
worker runs out of credit. Both ends live on one event loop, so there is no lock; nobody holds the reader, so dropping the
reader ends the request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as held
from typing import Final, cast, final

import anyio

from ..engine import StreamResponse
from ..legacy.messages import Chunk, Streaming

AHEAD: Final = 16
"""Pieces of an answer that may wait for their reader."""


@final
@dataclass(frozen=True, slots=True)
class FieldChunk:
    """A piece of an output field's text, as the model wrote it."""

    field: str
    text: str = held(repr=False)
    predictor: str | None = None
    """The predictor's path in the program, such as "self" or "answer.predict"."""


@final
class Delivery:
    """The pieces under way, in order. ``fields``: what to listen to. ``now``: the runtime's clock."""

    __slots__ = ("_bell", "_chunks", "_full_since", "_now", "_room", "fields", "first_at", "stalled_s", "taken")

    def __init__(self, fields: tuple[str, ...], now: Callable[[], float]) -> None:
        self.fields = fields
        self.taken = 0
        """Pieces that have arrived here. From the first on, no other engine may answer."""
        self.first_at: float | None = None
        """When the first of them came."""
        self.stalled_s = 0.0
        """Seconds in which nothing more could come, since the reader took nothing."""
        self._now = now
        self._chunks: deque[tuple[FieldChunk, Callable[[int], None] | None]] = deque()
        self._full_since: float | None = None
        self._bell: anyio.Event | None = None
        self._room: anyio.Event | None = None

    # --- the arm's end ------------------------------------------------------------------------------------------

    async def put(self, piece: StreamResponse) -> None:
        """Take a piece of the native engine's, and return when there is room for the next. Cancelled: it was taken."""
        if piece.chunk:
            self._add(FieldChunk(piece.signature_field_name, piece.chunk, piece.predict_name), None)
        while len(self._chunks) >= AHEAD:
            self._room = self._room or anyio.Event()
            await self._room.wait()

    def streaming(self) -> Streaming:
        """The same for a pool of workers: it grants a worker credit for as many pieces as there is room for."""
        return Streaming(self.fields, AHEAD, self._from_worker, lambda: self.taken > 0)

    def _from_worker(self, chunk: Chunk, grant: Callable[[int], None]) -> None:
        value = chunk.value
        piece: Mapping[str, object] = cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
        text, predictor = piece.get("text"), piece.get("predictor")
        if "field" not in piece or not isinstance(text, str) or not text:
            grant(1)  # a message about progress, or what the program itself yields
            return
        self._add(FieldChunk(str(piece["field"]), text, predictor if isinstance(predictor, str) else None), grant)

    def _add(self, chunk: FieldChunk, grant: Callable[[int], None] | None) -> None:
        self.taken += 1
        if self.first_at is None:
            self.first_at = self._now()
        self._chunks.append((chunk, grant))
        if len(self._chunks) >= AHEAD:
            self._full_since = self._now()
        self.ring()

    # --- the reader's end ---------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Pieces that wait to be read, at most ``AHEAD``."""
        return len(self._chunks)

    def next(self) -> FieldChunk | None:
        """The next piece, if one is here."""
        if not self._chunks:
            return None
        chunk, grant = self._chunks.popleft()
        if self._full_since is not None:
            self.stalled_s += self._now() - self._full_since
            self._full_since = None
        if grant is not None:
            grant(1)
        elif self._room is not None:
            self._room.set()
            self._room = None
        return chunk

    def ring(self) -> None:
        """Wake the reader: a piece is here, or the request is over."""
        if self._bell is not None:
            self._bell.set()
            self._bell = None

    async def news(self) -> None:
        """Wait until somebody rings."""
        self._bell = bell = anyio.Event()
        await bell.wait()
