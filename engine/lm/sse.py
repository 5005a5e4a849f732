"""Server-sent events out of an SDK's raw streaming response.

The SDKs parse event streams themselves, through chains of async generators that they leave unfinished: at the end of a
stream, and whenever a reader stops. trio remarks on each. Read line by line through their public raw response, the chain
is ours to finish; and the events stay plain data, which costs less than an object each.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import anyio
from pydantic_core import from_json

__all__ = ["EventStream", "events_of"]

_DONE = "[DONE]"
_PATIENCE = 0.5  # seconds for a server to close what it has ended; then it is closed from here


class EventStream:
    """The `data` of each event, as JSON data, until the stream ends or says `[DONE]`.

    Raises while iterating: ValueError for data that is not JSON; the HTTP library's errors.
    """

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.ended = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        data: list[str] = []
        while True:
            try:
                line = await anext(self._lines)
            except StopAsyncIteration:
                self.ended = True
                line = ""
            if line:
                if line.startswith("data:"):
                    data.append(line[5:].removeprefix(" "))
                continue
            if data:
                text = "\n".join(data)
                if text == _DONE:
                    self.ended = True
                else:
                    found: object = from_json(text)
                    if not isinstance(found, dict):
                        raise ValueError(f"an event holds {type(found).__name__} and not an object")
                    return cast("dict[str, Any]", found)
            if self.ended:
                raise StopAsyncIteration
            data.clear()


@asynccontextmanager
async def events_of(streaming: Any) -> AsyncGenerator[EventStream, None]:
    """The events of `client.….with_streaming_response.create(...)`. Leaving the block closes the connection."""
    async with streaming as response:
        lines: AsyncIterator[str] = response.iter_lines()
        events = EventStream(lines)
        try:
            yield events
        finally:
            # Read to the end, so that the generators below finish in this task; a reader who leaves early has no patience.
            patience = _PATIENCE if events.ended else 0.0
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + patience), suppress(Exception):
                async for _ in lines:
                    pass
