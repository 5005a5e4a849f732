"""The end of a pipeline in ordinary code: its events as an async iterator, for a web socket, a test, a script.

    async with reading(Subscribe("answers", max_demand=8)) as answers:
        async for answer in answers:
            await socket.send(answer)

It asks for more as they are taken, so a slow reader slows the pipeline down. Leaving the block ends the subscription; events
that were on their way to it are then lost with it.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar, final

import anyio

from ..exits import ActorExit, Reason, is_orderly
from ..plain import Mailbox, Plain
from ..ref import Ref
from ..runtime import Runtime, current_runtime
from .stage import Consumer
from .subscriptions import Subscribe, Subscription

E = TypeVar("E")


@final
class _Reader(Consumer[Any]):
    def __init__(self, options: tuple[Subscribe, ...]) -> None:
        self.subscribe_to = [dataclasses.replace(one, demand="manual") for one in options]
        self.found: deque[tuple[Any, Subscription]] = deque()
        self.taken: dict[Subscription, int] = {}
        self.changed = anyio.Event()

    async def handle_subscribe(self, subscription: Subscription) -> None:
        self.taken[subscription] = 0
        self.ask(subscription, subscription.options.max_demand)

    async def handle_cancel(self, reason: Reason, subscription: Subscription) -> None:
        self.taken.pop(subscription, None)

    async def handle_events(self, events: list[Any], subscription: Subscription) -> None:
        self.found.extend((event, subscription) for event in events)
        self.changed.set()

    def take(self) -> Any:
        event, subscription = self.found.popleft()
        if subscription in self.taken:
            self.taken[subscription] += 1
            if self.taken[subscription] >= subscription.options.batch:
                self.ask(subscription, self.taken[subscription])
                self.taken[subscription] = 0
        return event


@final
class _Events(AsyncIterator[Any]):
    def __init__(self, reader: _Reader, ref: Ref[_Reader]) -> None:
        self._reader = reader
        self._ref = ref

    async def __anext__(self) -> Any:
        """Cancelled: nothing is lost."""
        reader = self._reader
        while not reader.found:
            reason = self._ref.exit_reason
            if reason is not None:
                if is_orderly(reason):
                    raise StopAsyncIteration
                raise ActorExit(reason, self._ref.label)
            reader.changed = anyio.Event()
            await reader.changed.wait()
        return reader.take()


@asynccontextmanager
async def reading(*subscriptions: Subscribe, runtime: Runtime | None = None) -> AsyncGenerator[AsyncIterator[Any]]:
    """Subscribe, and read the events in order. ``demand`` is always by what is taken; ``cancel`` decides what ends the reading.

    Permanent (the default): it ends when a producer does, after the last event; raises ActorExit if that was not orderly.
    ``runtime``: by default the current one. Raises RuntimeClosed outside any.
    """
    reader = _Reader(subscriptions)
    rt = runtime or current_runtime()
    ref = await rt.start(reader)

    async def watch(me: Mailbox) -> None:
        await ref.ended()
        reader.changed.set()

    # A process and not a task group: what the block raises is to come out as it is.
    rt.launch(Plain(watch))
    try:
        yield _Events(reader, ref)
    finally:
        ref.kill()
