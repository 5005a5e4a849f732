"""Dispatchers: which consumer gets which event.

    class Words(Producer[str]):
        dispatcher = PartitionDispatcher(4, hash=lambda word: len(word) % 4)

DemandDispatcher: each event to one consumer, the one with the most demand. BroadcastDispatcher: each event to all, at the pace
of the slowest. PartitionDispatcher: each event to the one consumer of its partition. A dispatcher given to a class or an object
says what kind; each start of a stage makes a fresh one of it.
"""

from __future__ import annotations

import builtins
import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Self, final

from .errors import BadSubscription, UnknownPartition
from .subscriptions import Deliver, Subscription

Event = Any
"""Of any type: what it is, producer and consumer agree on."""


class Dispatcher:
    """The base. What ``dispatch`` hands back waits in the stage's buffer."""

    def fresh(self) -> Self:
        """A new one of the same kind, without consumers."""
        return type(self)()

    def subscribe(self, subscription: Subscription) -> None:
        """A consumer comes, with no demand yet. Raises BadSubscription if it cannot be taken."""
        raise NotImplementedError

    def cancel(self, subscription: Subscription) -> None:
        """A consumer is gone, and its demand with it."""
        raise NotImplementedError

    def ask(self, subscription: Subscription, count: int) -> None:
        """A consumer can take so many more."""
        raise NotImplementedError

    def demand(self) -> int:
        """How many events would be handed out now, at most."""
        raise NotImplementedError

    def dispatch(self, events: list[Event]) -> list[Event]:
        """Hand out events, in order; returns those for which there is no demand."""
        raise NotImplementedError

    def waiting(self) -> int:
        """How many events it keeps itself."""
        return 0


def _send(subscription: Subscription, events: list[Event]) -> None:
    subscription.consumer.send(Deliver(subscription, events))


@final
class DemandDispatcher(Dispatcher):
    """The consumer with the most demand is served first; among equals, the one that has waited longest."""

    def __init__(self) -> None:
        self._demands: list[tuple[int, Subscription]] = []
        """The largest first."""

    def subscribe(self, subscription: Subscription) -> None:
        self._demands.append((0, subscription))

    def cancel(self, subscription: Subscription) -> None:
        self._demands = [entry for entry in self._demands if entry[1] is not subscription]

    def ask(self, subscription: Subscription, count: int) -> None:
        before = next(count for count, other in self._demands if other is subscription)
        self.cancel(subscription)
        self._place(before + count, subscription)

    def demand(self) -> int:
        return sum(count for count, subscription in self._demands if subscription.consumer.alive)

    def dispatch(self, events: list[Event]) -> list[Event]:
        while events and self._demands and self._demands[0][0]:
            count, subscription = self._demands.pop(0)
            if not subscription.consumer.alive:
                self._demands.append((0, subscription))  # what is given to the dead is lost
                continue
            batch, events = events[:count], events[count:]
            _send(subscription, batch)
            self._place(count - len(batch), subscription)
        return events

    def _place(self, count: int, subscription: Subscription) -> None:
        index = next((i for i, (other, _) in enumerate(self._demands) if other < count), len(self._demands))
        self._demands.insert(index, (count, subscription))


@final
class BroadcastDispatcher(Dispatcher):
    """Every consumer gets every event, or those its ``selector`` takes; the slowest sets the pace.

    Events that a selector leaves out do not use up demand. A process may subscribe once.
    """

    def __init__(self) -> None:
        self._demands: dict[Subscription, int] = {}

    def subscribe(self, subscription: Subscription) -> None:
        if any(other.consumer == subscription.consumer for other in self._demands):
            raise BadSubscription(f"{subscription.consumer.label} is subscribed already: a broadcast is sent once")
        self._demands[subscription] = 0

    def cancel(self, subscription: Subscription) -> None:
        self._demands.pop(subscription, None)

    def ask(self, subscription: Subscription, count: int) -> None:
        self._demands[subscription] += count

    def demand(self) -> int:
        return min((count for subscription, count in self._demands.items() if subscription.consumer.alive), default=0)

    def dispatch(self, events: list[Event]) -> list[Event]:
        while events and (count := self.demand()):
            batch, events = events[:count], events[count:]
            for subscription in self._demands:
                if not subscription.consumer.alive:
                    continue
                selector = subscription.options.selector
                chosen = batch if selector is None else [event for event in batch if selector(event)]
                if chosen:
                    self._demands[subscription] -= len(chosen)
                    _send(subscription, chosen)
        return events


@final
class _Partition:
    __slots__ = ("demand", "queue", "subscription")

    def __init__(self) -> None:
        self.subscription: Subscription | None = None
        self.demand = 0
        self.queue: deque[Event] = deque()


@final
class PartitionDispatcher(Dispatcher):
    """Events are divided by ``hash``, one consumer a partition, which subscribes with ``partition=``.

    ``partitions`` is their number, named from 0 on, or their names. ``hash`` gives an event's partition, or None to leave the
    event out; by default it is computed from the event's ``repr``, the same in every run. Up to ``queue_size`` events for a
    partition that has no demand wait for it, also when its consumer is gone: the next one gets them. While they are so many,
    nothing more is asked of the producer, and what it produces unasked waits in the stage's buffer. Raises ValueError.
    """

    def __init__(
        self,
        partitions: int | Iterable[Hashable],
        *,
        hash: Callable[[Any], Hashable | None] | None = None,
        queue_size: int = 1000,
    ) -> None:
        names: list[Hashable] = [*(range(partitions) if isinstance(partitions, int) else partitions)]
        if not names or len(set(names)) != len(names) or None in names:
            raise ValueError(f"partitions are their number, 1 or more, or different names, not {partitions!r}")
        if queue_size < 1:
            raise ValueError(f"queue_size counts events, 1 or more, not {queue_size!r}")
        self._hash = hash
        self._queue_size = queue_size
        self._names = names
        self._partitions = {name: _Partition() for name in names}
        self.left_out = 0
        """How many events the hash gave no partition."""

    def fresh(self) -> PartitionDispatcher:
        return PartitionDispatcher(self._names, hash=self._hash, queue_size=self._queue_size)

    def subscribe(self, subscription: Subscription) -> None:
        name = subscription.options.partition
        partition = self._partitions.get(name)
        known = ", ".join(map(repr, self._names))
        if partition is None:
            raise BadSubscription(f"partition={name!r} is none of {known}: subscribe with one of these")
        taken = partition.subscription
        if taken is not None and taken.consumer.alive:
            raise BadSubscription(
                f"partition {name!r} is taken by {taken.consumer.label}: a partition has one consumer"
            )
        partition.subscription = subscription
        partition.demand = 0

    def cancel(self, subscription: Subscription) -> None:
        for partition in self._partitions.values():
            if partition.subscription is subscription:
                partition.subscription = None
                partition.demand = 0

    def ask(self, subscription: Subscription, count: int) -> None:
        partition = self._partitions[subscription.options.partition]
        if partition.subscription is subscription:
            partition.demand += count
            self._serve(partition)

    def demand(self) -> int:
        if any(len(partition.queue) >= self._queue_size for partition in self._partitions.values()):
            return 0
        return max((p.demand for p in self._partitions.values() if _listens(p)), default=0)

    def dispatch(self, events: list[Event]) -> list[Event]:
        left: list[Event] = []
        full: set[Hashable] = set()
        for event in events:
            name = self._partition_of(event)
            if name is None:
                self.left_out += 1
                continue
            partition = self._partitions.get(name)
            if partition is None:
                raise UnknownPartition(f"the hash named {name!r}, and the partitions are {self._names!r}")
            room = self._queue_size + (partition.demand if _listens(partition) else 0)
            if name in full or len(partition.queue) >= room:
                full.add(name)  # those after it must not overtake it
                left.append(event)
            else:
                partition.queue.append(event)
        for partition in self._partitions.values():
            self._serve(partition)
        return left

    def waiting(self) -> int:
        return sum(len(partition.queue) for partition in self._partitions.values())

    def _partition_of(self, event: Event) -> Hashable | None:
        if self._hash is not None:
            return self._hash(event)
        return self._names[zlib.crc32(builtins.repr(event).encode()) % len(self._names)]

    def _serve(self, partition: _Partition) -> None:
        subscription = partition.subscription
        count = min(partition.demand, len(partition.queue))
        if subscription is not None and count and _listens(partition):
            _send(subscription, [partition.queue.popleft() for _ in range(count)])
            partition.demand -= count


def _listens(partition: _Partition) -> bool:
    return partition.subscription is not None and partition.subscription.consumer.alive
