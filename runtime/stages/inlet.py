"""The consuming side of a stage: its subscriptions, and how much it has asked of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

from ..actor import Actor
from ..exits import NOPROC, Reason, is_orderly
from ..ref import NamedRef, Ref, process_of
from ..signals import Down, Monitor
from .errors import UnknownSubscription
from .subscriptions import Ask, Cancelled, Deliver, Join, Leave, Resubscribe, Subscribe, Subscription


@final
class _Upstream:
    __slots__ = ("cancelling", "done", "monitor")

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.cancelling = False
        """True: the producer was told, so its end is no reason to subscribe again."""
        self.done = 0
        """Events that were handled and not asked for again."""


@final
class Inlet:
    """One consumer's. ``ended`` is called when a subscription is over; it decides nothing."""

    def __init__(
        self,
        host: Actor,
        joined: Callable[[Subscription], Any],
        ended: Callable[[Reason, Subscription], Any],
        stop: Callable[[Reason], object],
    ) -> None:
        self._host = host
        self._joined = joined
        self._ended = ended
        self._stop = stop
        self._upstreams: dict[Subscription, _Upstream] = {}
        self.consumed = 0

    # --- subscribing --------------------------------------------------------------------------------------------

    async def subscribe(self, options: Subscribe) -> Subscription | None:
        """Subscribe. None: there is no such producer now; what ``options`` say of that has been done."""
        host = self._host
        to = host.rt.ref(options.to) if isinstance(options.to, str) else options.to
        found = to.resolve() if isinstance(to, NamedRef) else Ref[Any](process_of(to))
        if found is None or not found.alive:
            self._lost(options, NOPROC)
            return None
        subscription = Subscription(found, host.ref, options)
        self._upstreams[subscription] = _Upstream(host.monitor(found))
        found.send(Join(subscription))
        await self._joined(subscription)
        if options.demand == "automatic":
            found.send(Ask(subscription, options.max_demand))
        return subscription

    def ask(self, subscription: Subscription, count: int) -> None:
        """Ask for so many more. Raises UnknownSubscription, ValueError."""
        self._need(subscription)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"ask for a number of events, 1 or more, not {count!r}")
        subscription.producer.send(Ask(subscription, count))

    def cancel(self, subscription: Subscription, reason: Reason) -> None:
        """Ask the producer to end it; what is on its way still arrives. Raises UnknownSubscription."""
        self._need(subscription).cancelling = True
        subscription.producer.send(Leave(subscription, reason))

    def _need(self, subscription: Subscription) -> _Upstream:
        upstream = self._upstreams.get(subscription)
        if upstream is None:
            raise UnknownSubscription(f"{self._host.ref.label} has no such subscription, or has it no longer")
        return upstream

    # --- events -------------------------------------------------------------------------------------------------

    def batches(self, message: Deliver) -> Iterator[list[Any]]:
        """The events as they are to be handled: all at once on manual demand, else by the batch."""
        options = message.subscription.options
        size = len(message.events) if options.demand == "manual" else options.batch
        for start in range(0, len(message.events), size):
            yield message.events[start : start + size]

    def handled(self, subscription: Subscription, count: int) -> None:
        """So many are done: ask for more when it is time."""
        self.consumed += count
        upstream = self._upstreams.get(subscription)
        options = subscription.options
        if upstream is None or options.demand == "manual":
            return
        upstream.done += count
        if upstream.done >= options.batch:
            subscription.producer.send(Ask(subscription, upstream.done))
            upstream.done = 0

    # --- the end of a subscription ------------------------------------------------------------------------------

    async def cancelled(self, message: Cancelled) -> None:
        """The producer has ended it."""
        upstream = self._upstreams.pop(message.subscription, None)
        if upstream is None:
            return
        self._host.demonitor(upstream.monitor)
        await self._ended(message.reason, message.subscription)
        self._decide(message.subscription.options, message.reason)

    async def down(self, message: Down) -> bool:
        """A process has ended. False: it was no producer of this stage."""
        for subscription, upstream in self._upstreams.items():
            if upstream.monitor is message.monitor:
                del self._upstreams[subscription]
                await self._ended(message.reason, subscription)
                if upstream.cancelling:
                    self._decide(subscription.options, message.reason)
                else:
                    self._lost(subscription.options, message.reason)
                return True
        return False

    def _lost(self, options: Subscribe, reason: Reason) -> None:
        if options.resubscribe is None:
            self._decide(options, reason)
        else:
            self._host.send_after(options.resubscribe, self._host.ref, Resubscribe(options))

    def _decide(self, options: Subscribe, reason: Reason) -> None:
        if options.cancel == "permanent" or (options.cancel == "transient" and not is_orderly(reason)):
            self._stop(reason)

    def statistics(self) -> dict[str, int]:
        """Counts."""
        return {"consumed": self.consumed, "producers": len(self._upstreams)}
