"""The end of a pipeline that works on several events at a time, each in a process of its own: ConsumerSupervisor of GenStage.

    def fetch(url: str) -> Startable: ...          # an actor, or Plain(function, url)

    Child("fetchers", lambda: ConsumerSupervisor(fetch, subscribe_to=[Subscribe("urls", max_demand=8)]), type="supervisor")

At most ``max_demand`` children of a subscription live at a time; when as many have ended as make a batch
(``max_demand - min_demand``), so many more events are asked for. Children are temporary: how one ends is its own affair, and
its event is done with. They are stopped when this process is; when a producer's end ends it, they first finish.

Its event:

    runtime.stage.child_failed      stage, reason          a child crashed, was killed, or did not start
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from ..runtime import SHUTDOWN, ActorError, Down, ExitSignal, Monitor, Reason, Ref, Startable, StartFailed, is_orderly
from ..runtime.stages import Consumer, Subscribe, Subscription
from .dynamic import DynamicSupervisor
from .specs import Shutdown as ShutdownTime

E = TypeVar("E")


class ConsumerSupervisor(Consumer[E], Generic[E]):
    """``start(event)`` makes the child for an event. ``shutdown``: as in ``Child``, for the children. Raises BadChildSpec."""

    trap_exit: ClassVar[bool] = True
    shutdown = None

    def __init__(
        self,
        start: Callable[[E], Startable],
        *,
        subscribe_to: Sequence[Subscribe] = (),
        shutdown: ShutdownTime | None = None,
    ) -> None:
        self._supervisor = DynamicSupervisor(start, id="event", restart="temporary", shutdown=shutdown)
        self.subscribe_to = [self._by_hand(options) for options in subscribe_to]
        self._working: dict[Monitor, Subscription] = {}
        self._done: Counter[Subscription] = Counter()
        self._leaving: tuple[Reason] | None = None

    async def init(self) -> None:
        self._children: Ref[DynamicSupervisor] = (await self.start_link(self._supervisor)).within(None)

    async def terminate(self, reason: Reason) -> None:
        """Stop the children."""
        if self._children.alive:
            await self._children.stop(SHUTDOWN)

    async def subscribe(self, options: Subscribe) -> Subscription | None:
        """See ``Consumer.subscribe``."""
        return await super().subscribe(self._by_hand(options))

    async def handle_subscribe(self, subscription: Subscription) -> None:
        self.ask(subscription, subscription.options.max_demand)

    async def handle_cancel(self, reason: Reason, subscription: Subscription) -> None:
        self._done.pop(subscription, None)

    async def handle_events(self, events: list[E], subscription: Subscription) -> None:
        for event in events:
            try:
                child = await self._children.call(DynamicSupervisor.start_child, event)
            except StartFailed as failed:
                self._failed(failed.reason)
                child = None
            if child is None:
                self._finished(subscription)
            else:
                self._working[self.monitor(child)] = subscription

    async def handle_info(self, message: Any) -> None:
        """The end of a child makes room for another event."""
        if isinstance(message, Down) and message.monitor in self._working:
            if not is_orderly(message.reason):
                self._failed(message.reason)
            self._finished(self._working.pop(message.monitor))
            self._leave_when_done()
        elif isinstance(message, ExitSignal):
            self.stop(message.reason)
        else:
            await super().handle_info(message)

    def statistics(self) -> dict[str, int]:
        """See ``Consumer``; ``working``: children that live."""
        return {**super().statistics(), "working": len(self._working)}

    # --- the inside ---------------------------------------------------------------------------------------------

    @staticmethod
    def _by_hand(options: Subscribe) -> Subscribe:
        return dataclasses.replace(options, demand="manual")

    def _finished(self, subscription: Subscription) -> None:
        self._done[subscription] += 1
        if self._done[subscription] >= subscription.options.batch:
            count = self._done.pop(subscription)
            try:
                self._in.ask(subscription, count)
            except ActorError:
                return  # it is over

    def _let_down(self, reason: Reason) -> None:
        self._leaving = (reason,)
        self._leave_when_done()

    def _leave_when_done(self) -> None:
        if self._leaving is not None and not self._working:
            self.stop(self._leaving[0])

    def _failed(self, reason: Reason) -> None:
        self.rt.events.emit("runtime.stage.child_failed", stage=self.ref.label, reason=reason)
