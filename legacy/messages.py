"""What the pool and its workers tell each other. Plain frozen data; every answer names the process that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..runtime import Address, Ref
from .errors import LegacyError
from .specs import LMSettings

__all__ = ["Assignment", "Finished", "RunOutcome", "WorkerGaveUp", "WorkerReady"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A request in the hands of one worker. `number` is unique in this interpreter, across pools and their restarts."""

    number: int
    program: str
    inputs: Mapping[str, object] = field(repr=False)
    lm: LMSettings | None
    pool: Ref[object] = field(repr=False)
    """Who gets the `Finished`: this incarnation of the pool, not whoever has its name later."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a program gave back, and the seconds that it ran inside the worker."""

    values: Mapping[str, object] = field(repr=False)
    usage: Mapping[str, object]
    run_s: float


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker can take a request now. Sent after each load, and when the pool asks."""

    worker: str
    ref: Address
    incarnation: str
    dspy: str


@dataclass(frozen=True, slots=True)
class WorkerGaveUp:
    """A worker cannot serve, for a reason that starting it again does not mend."""

    worker: str
    ref: Address
    error: LegacyError


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an assignment whose worker is well and idle again."""

    number: int
    worker: str
    incarnation: str
    outcome: RunOutcome | LegacyError
