"""What a consumer and a producer agree on, and what they then say to each other.

Subscribe(to="words", max_demand=100)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Literal, final, get_args

from ..exits import Reason
from ..ref import NamedRef, Ref
from ..signals import Address
from .errors import BadSubscription

Cancel = Literal["permanent", "transient", "temporary"]
"""What the end of a subscription does to the consumer. permanent: it ends with the same reason (the default). transient: it
ends unless the reason is orderly. temporary: it lives on."""

Demand = Literal["automatic", "manual"]
"""automatic: the consumer asks for more as it works through what it has (the default). manual: it asks by ``ask``."""

Buffered = Literal["first", "last"]
"""Which events a full buffer keeps: the oldest or the newest."""

MAX_DEMAND: Final = 1000
"""Events in flight to one consumer, unless it says otherwise; as GenStage."""


@final
@dataclass(frozen=True, slots=True)
class Subscribe:
    """How to subscribe. Raises BadSubscription when a rule is broken."""

    to: Address | NamedRef[Any] | str
    """The producer; by name it is looked up at each subscription."""
    max_demand: int = MAX_DEMAND
    """The most events that are on their way or being handled at a time, 1 or more."""
    min_demand: int | None = None
    """More are asked for when so few are left: from 0 to ``max_demand - 1``; None: half of it. ``handle_events`` gets at
    most ``max_demand - min_demand`` at a time."""
    cancel: Cancel = "permanent"
    demand: Demand = "automatic"
    resubscribe: float | None = None
    """Seconds after which to subscribe again when the producer has ended or is not there yet; ``cancel`` then only decides
    about subscriptions that somebody cancelled. None: not."""
    selector: Callable[[Any], bool] | None = None
    """For a BroadcastDispatcher: only the events for which it is true."""
    partition: Hashable = None
    """For a PartitionDispatcher: which one."""

    def __post_init__(self) -> None:
        _check_count("max_demand", self.max_demand, 1, None)
        if self.min_demand is not None:
            _check_count("min_demand", self.min_demand, 0, self.max_demand - 1)
        if self.cancel not in get_args(Cancel):
            raise BadSubscription(f"cancel is one of {', '.join(get_args(Cancel))}, not {self.cancel!r}")
        if self.demand not in get_args(Demand):
            raise BadSubscription(f"demand is one of {', '.join(get_args(Demand))}, not {self.demand!r}")
        if self.resubscribe is not None and not self.resubscribe >= 0:
            raise BadSubscription(f"resubscribe is seconds >= 0, or None, not {self.resubscribe!r}")
        if self.selector is not None and not callable(self.selector):
            raise BadSubscription(f"selector is a function of an event, not {self.selector!r}")

    @property
    def batch(self) -> int:
        """How many events are handled at a time, at most."""
        return self.max_demand - (self.max_demand // 2 if self.min_demand is None else self.min_demand)


def _check_count(what: str, value: object, least: int, most: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upto = f" and <= {most}, below max_demand" if most is not None else ""
        raise BadSubscription(f"{what} counts events, an int >= {least}{upto}, not {value!r}")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One consumer at one producer. Both sides know it by this object."""

    producer: Ref[Any]
    consumer: Ref[Any]
    options: Subscribe


# --- what they say ------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Join:
    """Up: let this consumer in."""

    subscription: Subscription


@final
@dataclass(frozen=True, slots=True)
class Ask:
    """Up: the consumer can take so many more."""

    subscription: Subscription
    count: int


@final
@dataclass(frozen=True, slots=True)
class Leave:
    """Up: the consumer wants no more. What was sent before still counts."""

    subscription: Subscription
    reason: Reason


@final
@dataclass(frozen=True, slots=True)
class Deliver:
    """Down: events."""

    subscription: Subscription
    events: list[Any]


@final
@dataclass(frozen=True, slots=True)
class Cancelled:
    """Down: the subscription is over; no event follows."""

    subscription: Subscription
    reason: Reason


@final
@dataclass(frozen=True, slots=True)
class Again:
    """To itself: there is demand left, and the mailbox has had its turn."""


@final
@dataclass(frozen=True, slots=True)
class Resubscribe:
    """To itself, later."""

    options: Subscribe
