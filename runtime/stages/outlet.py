"""The producing side of a stage: its consumers, its buffer, and the demand that has not been met.

Its events:

    runtime.stage.subscribed     producer, consumer
    runtime.stage.cancelled      producer, consumer, reason       also when the consumer has ended
    runtime.stage.dropped        stage, count                     the buffer was full
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, final

from ..actor import Actor
from ..exits import Reason
from ..signals import Down, Monitor
from .dispatchers import Dispatcher
from .errors import BadSubscription
from .subscriptions import Ask, Buffered, Cancelled, Join, Leave, Subscription


@final
class Outlet:
    """One producer's. All methods but ``heard`` are plain: they may be used from a helper task."""

    def __init__(self, host: Actor, dispatcher: Dispatcher, size: int | None, keep: Buffered) -> None:
        self._host = host
        self._dispatcher = dispatcher
        self._size = size
        self._keep: Buffered = keep
        self._buffer: deque[Any] = deque()
        self._monitors: dict[Subscription, Monitor] = {}
        self._requested = 0
        """What was asked of ``handle_demand`` and has not come."""
        self.produced = self.dropped = 0

    # --- events -------------------------------------------------------------------------------------------------

    def push(self, events: Iterable[Any]) -> None:
        """Hand out events; what nobody has asked for waits in the buffer, and what does not fit is dropped."""
        listed = list(events)
        if not listed:
            return
        self.produced += len(listed)
        self._requested = max(0, self._requested - len(listed))
        if self._buffer:
            self._buffer.extend(listed)
            self.flush()
        else:
            self._buffer.extend(self._dispatcher.dispatch(listed))
        self._cut()

    def flush(self) -> None:
        """Hand out what waits in the buffer, as far as there is demand."""
        while self._buffer and (count := self._dispatcher.demand()):
            batch = [self._buffer.popleft() for _ in range(min(count, len(self._buffer)))]
            left = self._dispatcher.dispatch(batch)
            self._buffer.extendleft(reversed(left))
            if len(left) == len(batch):
                return

    def _cut(self) -> None:
        over = len(self._buffer) - self._size if self._size is not None else 0
        if over <= 0:
            return
        take = self._buffer.popleft if self._keep == "last" else self._buffer.pop
        for _ in range(over):
            take()
        self.dropped += over
        self._host.rt.events.emit("runtime.stage.dropped", stage=self._host.ref.label, count=over)

    @property
    def drained(self) -> bool:
        """True if all that was produced was handed out."""
        return not self._buffer and not self._dispatcher.waiting()

    # --- demand -------------------------------------------------------------------------------------------------

    def wanted(self) -> int:
        """How many events could be handed out at once, besides those that wait in the buffer."""
        return max(0, self._dispatcher.demand() - len(self._buffer))

    def request(self) -> int:
        """How many more to ask of the producer; they count as requested from now on."""
        missing = max(0, self.wanted() - self._requested)
        self._requested += missing
        return missing

    @property
    def short(self) -> bool:
        """True if there is demand that was not passed on."""
        return self.wanted() > self._requested

    # --- consumers ----------------------------------------------------------------------------------------------

    async def heard(
        self,
        message: Join | Ask | Leave,
        joined: Callable[[Subscription], Any],
        left: Callable[[Reason, Subscription], Any],
    ) -> None:
        """Something a consumer says."""
        subscription = message.subscription
        if isinstance(message, Join):
            try:
                self._dispatcher.subscribe(subscription)
            except BadSubscription as error:
                subscription.consumer.send(Cancelled(subscription, error))
                return
            self._monitors[subscription] = self._host.monitor(subscription.consumer)
            self._emit("subscribed", subscription)
            await joined(subscription)
        elif subscription not in self._monitors:
            if isinstance(message, Leave):
                subscription.consumer.send(Cancelled(subscription, message.reason))
        elif isinstance(message, Ask):
            self._dispatcher.ask(subscription, message.count)
            self.flush()
        else:
            await self._lose(subscription, message.reason, left)
            subscription.consumer.send(Cancelled(subscription, message.reason))

    async def down(self, message: Down, left: Callable[[Reason, Subscription], Any]) -> bool:
        """A process has ended. False: it was none of the consumers."""
        for subscription, monitor in self._monitors.items():
            if monitor is message.monitor:
                await self._lose(subscription, message.reason, left)
                return True
        return False

    async def _lose(
        self, subscription: Subscription, reason: Reason, left: Callable[[Reason, Subscription], Any]
    ) -> None:
        self._host.demonitor(self._monitors.pop(subscription))
        self._dispatcher.cancel(subscription)
        self._emit("cancelled", subscription, reason=reason)
        # The others may take what the lost one did not, and a broadcast need not wait for it.
        self.flush()
        await left(reason, subscription)

    def _emit(self, what: str, subscription: Subscription, **data: object) -> None:
        self._host.rt.events.emit(
            f"runtime.stage.{what}",
            producer=subscription.producer.label,
            consumer=subscription.consumer.label,
            **data,
        )

    def statistics(self) -> dict[str, int]:
        """Counts."""
        return {
            "produced": self.produced,
            "dropped": self.dropped,
            "buffered": len(self._buffer) + self._dispatcher.waiting(),
            "demand": self._dispatcher.demand(),
            "consumers": len(self._monitors),
        }
