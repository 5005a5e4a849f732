"""Whether anything of a call has already been streamed to a reader: what was seen cannot be taken back.

An adapter that would ask again in another format first looks here: once a piece is out, it may not. Scopes nest, and
concurrent calls have their own.

    with fallback_scope() as progress:
        ...
        if progress.emitted: raise
"""

from __future__ import annotations

from contextvars import ContextVar, Token

from .settings import settings

__all__ = ["StreamProgress", "fallback_scope", "mark_emitted"]


class StreamProgress:
    """One scope, and what has become visible inside it. A context manager."""

    __slots__ = ("_token", "emitted")

    def __init__(self) -> None:
        self.emitted = False
        self._token: Token[tuple[StreamProgress, ...]] | None = None

    def __enter__(self) -> StreamProgress:
        self._token = _scopes.set((*_scopes.get(), self))
        return self

    def __exit__(self, *exc: object) -> None:
        if self._token is not None:
            _scopes.reset(self._token)
            self._token = None


class _NothingStreams(StreamProgress):
    """Stands for every scope while nobody listens, and costs nothing."""

    __slots__ = ()

    def __enter__(self) -> StreamProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


_scopes: ContextVar[tuple[StreamProgress, ...]] = ContextVar("dspex stream progress", default=())
_NOTHING = _NothingStreams()


def fallback_scope() -> StreamProgress:
    """A scope that learns of every piece streamed inside it."""
    return StreamProgress() if settings.send_stream is not None else _NOTHING


def mark_emitted() -> None:
    """Tell every enclosing scope that a piece is out."""
    for progress in _scopes.get():
        progress.emitted = True
