"""Demand-driven pipelines, as Elixir's GenStage: demand flows up, events flow down, buffers are bounded."""

from .dispatchers import BroadcastDispatcher, DemandDispatcher, Dispatcher, PartitionDispatcher
from .errors import BadSubscription, StageError, UnknownPartition, UnknownSubscription
from .reading import reading
from .sources import Source
from .stage import Consumer, Producer, Stage
from .subscriptions import Subscribe, Subscription

__all__ = [
    "BadSubscription",
    "BroadcastDispatcher",
    "Consumer",
    "DemandDispatcher",
    "Dispatcher",
    "PartitionDispatcher",
    "Producer",
    "Source",
    "Stage",
    "StageError",
    "Subscribe",
    "Subscription",
    "UnknownPartition",
    "UnknownSubscription",
    "reading",
]
