"""Streamed answers: a program's pieces as they come, and its result at the end.

    async with open_stream(pool, "qa", {"question": "Why?"}, fields=("answer",), within=30) as stream:
        async for chunk in stream:
            print(chunk.value["text"], end="")
    print(stream.result.values)

The worker sends only as many pieces as the consumer has room for (`credit`): a slow consumer slows the program down, and
nothing piles up. Leaving the block early cancels the request, as any caller that goes away. Streams wait in the pool's queue
like everything else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Self

import anyio

from ..runtime import NamedRef, Ref
from .errors import LegacyError
from .messages import Chunk, Streaming
from .pool import LegacyPool
from .results import LegacyResult
from .specs import LMSettings

__all__ = ["LegacyStream", "open_stream"]


class LegacyStream:
    """Iterate over it once; made by `open_stream`. `result` is there when the iteration has ended well."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[Chunk, Callable[[int], None]]] = deque()
        self._news = anyio.Event()
        self._over = False
        self._result: LegacyResult | None = None
        self._error: BaseException | None = None
        self.received = 0
        """Pieces that have arrived."""

    @property
    def result(self) -> LegacyResult:
        """The whole answer. Raises LegacyError while it is not there."""
        if self._result is None:
            raise LegacyError("the stream has no result yet: iterate to its end first")
        return self._result

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """The next piece. Cancelled, it has taken none."""
        while not self._chunks:
            if self._over:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            await self._news.wait()
        chunk, grant = self._chunks.popleft()
        grant(1)
        return chunk

    def take(self, chunk: Chunk, grant: Callable[[int], None]) -> None:
        """Called by the worker's actor."""
        self.received += 1
        self._chunks.append((chunk, grant))
        self._tell()

    def end(self, result: LegacyResult | None, error: BaseException | None) -> None:
        """Called when the request is over."""
        self._over, self._result, self._error = True, result, error
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()


@asynccontextmanager
async def open_stream(
    pool: NamedRef[LegacyPool] | Ref[LegacyPool],
    program: str,
    inputs: Mapping[str, object],
    *,
    within: float | None = 30.0,
    fields: tuple[str, ...] = (),
    credit: int = 16,
    lm: LMSettings | None = None,
    idempotent: bool | None = None,
    session: str | None = None,
) -> AsyncGenerator[LegacyStream]:
    """A request whose answer is streamed. `within`: seconds for all of it.

    `fields`: output fields whose text dspy streams as the model writes it. Without any, what a program yields (whose
    `forward` is a generator; its last value, or what it returns, is the result) is streamed, and other programs' results just
    arrive. `credit`: pieces that may be on their way, at least 1. The iteration raises what `LegacyPool.run` refuses with, and
    `CallTimeout`; a request of which a piece has arrived is never repeated.
    """
    if credit < 1:
        raise ValueError(f"credit must be at least 1, not {credit}")
    if isinstance(fields, str):
        raise TypeError(f"fields is a tuple of names: write ({fields!r},)")
    stream = LegacyStream()
    streaming = Streaming(fields, credit, stream.take, lambda: stream.received > 0)

    async def ask() -> None:
        try:
            result = await pool.within(within).call(
                LegacyPool.run, program, inputs, lm=lm, idempotent=idempotent, session=session, streaming=streaming
            )
        except Exception as error:
            stream.end(None, error)
        else:
            stream.end(result, None)

    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        try:
            yield stream
        except Exception as error:  # the caller gets it as it is, not in the group of a task that is none of its business
            failure = error
        finally:
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
