"""Whether anything of a call has already been streamed to a reader: what was seen cannot be taken back.

An adapter that would ask again in another format, and a client that would try again, first look here: once a piece is
out, neither may. Scopes nest, and concurrent calls have their own.

    with fallback_scope() as progress:
        ...
        if progress.emitted: raise
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["StreamProgress", "fallback_scope", "mark_emitted"]


@dataclass(slots=True)
class StreamProgress:
    """What has become visible inside one scope."""

    emitted: bool = False


_scopes: ContextVar[tuple[StreamProgress, ...]] = ContextVar("dspex stream progress", default=())


@contextmanager
def fallback_scope() -> Generator[StreamProgress, None, None]:
    """A scope that learns of every piece streamed inside it."""
    progress = StreamProgress()
    token = _scopes.set((*_scopes.get(), progress))
    try:
        yield progress
    finally:
        _scopes.reset(token)


def mark_emitted() -> None:
    """Tell every enclosing scope that a piece is out."""
    for progress in _scopes.get():
        progress.emitted = True
