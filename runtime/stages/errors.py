"""The errors of pipelines.

StageError                       (an ActorError)
├── BadSubscription              its options break a rule, or the producer cannot take it       (also a ValueError)
├── UnknownSubscription          it was cancelled, or belongs to another stage                  (also a LookupError)
└── UnknownPartition             the hash of a PartitionDispatcher named a partition it has not (also a LookupError)
"""

from __future__ import annotations

from ..exits import ActorError


class StageError(ActorError):
    """Base of what goes wrong between stages."""


class BadSubscription(StageError, ValueError):
    """A subscription that breaks a rule; the message names it. A refused consumer is cancelled with this as the reason."""


class UnknownSubscription(StageError, LookupError):
    """The stage has no such subscription, or has it no longer."""


class UnknownPartition(StageError, LookupError):
    """The hash named a partition that the dispatcher does not have; the producer crashes with it."""
