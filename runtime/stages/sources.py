"""A producer of what an iterable gives.

await rt.start(Source(open("log.txt")), name="lines")           # or an async iterable
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from typing import TypeVar, final

import anyio

from .dispatchers import Dispatcher
from .stage import Producer

E = TypeVar("E")


@final
class Source(Producer[E]):
    """Reads the items as they are asked for, and ends NORMAL when the last one is handed out.

    A plain iterable is read on the event loop: one that blocks holds everybody up. What reading raises is a crash.
    """

    def __init__(self, items: Iterable[E] | AsyncIterable[E], *, dispatcher: Dispatcher | None = None) -> None:
        self.dispatcher = dispatcher
        self._async = items if isinstance(items, AsyncIterable) else None
        self._items: Iterator[E] = iter(()) if isinstance(items, AsyncIterable) else iter(items)
        self._wanted = 0
        self._more: anyio.Event | None = None

    async def init(self) -> None:
        if self._async is not None:
            self._more = anyio.Event()
            self.task(self._read, self._async)

    async def handle_demand(self, demand: int) -> Iterable[E]:
        if self._more is not None:
            self._wanted += demand
            self._more.set()
            return ()
        events: list[E] = []
        for item in self._items:
            events.append(item)
            if len(events) == demand:
                return events
        self.emit(events)
        self.finish()
        return ()

    async def _read(self, items: AsyncIterable[E]) -> None:
        await self._asked()
        async for item in items:
            self._wanted -= 1
            self.emit([item])
            await self._asked()
        self.finish()

    async def _asked(self) -> None:
        while self._wanted <= 0:
            self._more = anyio.Event()
            await self._more.wait()
