"""The stages that the tests of pipelines are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dspex.runtime.stages import Consumer, Dispatcher, Producer, Stage, Subscribe, Subscription


class Numbers(Producer[int]):
    """Counts up, as far as it may."""

    def __init__(
        self,
        *,
        until: int = 10**9,
        dispatcher: Dispatcher | None = None,
        size: int | None = 10_000,
        keep: Any = "last",
        demand: Any = "forward",
    ) -> None:
        self.demand = demand
        self.next = 0
        self.until = until
        self.dispatcher = dispatcher
        self.buffer_size = size
        self.buffer_keep = keep
        self.demands: list[int] = []

    async def handle_demand(self, demand: int) -> Iterable[int]:
        self.demands.append(demand)
        start = self.next
        self.next = min(self.until, start + demand)
        return range(start, self.next)

    def push(self, *numbers: int) -> None:
        self.emit(numbers)

    def break_down(self) -> None:
        raise RuntimeError("boom")


class Shy(Numbers):
    """Produces only what it is told to."""

    async def handle_demand(self, demand: int) -> Iterable[int]:
        self.demands.append(demand)
        return ()


class Double(Stage[int, int]):
    def __init__(self, *subscribe_to: Subscribe, dispatcher: Dispatcher | None = None) -> None:
        self.subscribe_to = subscribe_to
        self.dispatcher = dispatcher
        self.batches: list[list[int]] = []

    async def handle_events(self, events: list[int], subscription: Subscription) -> Sequence[int]:
        self.batches.append(events)
        return [2 * n for n in events]

    def break_down(self) -> None:
        raise RuntimeError("boom")


class Collect(Consumer[int]):
    """Keeps what it gets; ``seconds``: what it takes for a batch."""

    def __init__(self, *subscribe_to: Subscribe, into: list[int] | None = None, seconds: float = 0) -> None:
        self.subscribe_to = subscribe_to
        self.got: list[int] = into if into is not None else []
        self.batches: list[int] = []
        self.seconds = seconds
        self.said: list[tuple[str, object]] = []
        self.subscriptions: list[Subscription] = []

    async def handle_subscribe(self, subscription: Subscription) -> None:
        self.subscriptions.append(subscription)
        self.said.append(("subscribed", subscription.producer.label))

    async def handle_cancel(self, reason: object, subscription: Subscription) -> None:
        self.said.append(("cancelled", reason))

    async def handle_events(self, events: list[int], subscription: Subscription) -> None:
        self.batches.append(len(events))
        if self.seconds:
            await self.rt.sleep(self.seconds)
        for n in events:
            if n == -1:
                raise ValueError("poison")
            self.got.append(n)

    def break_down(self) -> None:
        raise RuntimeError("boom")
