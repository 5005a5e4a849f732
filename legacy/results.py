"""What callers get from a pool: the result of a request, and the pool's counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["LegacyResult", "PoolStatistics", "WorkerStatistics"]


@dataclass(frozen=True, slots=True)
class LegacyResult:
    """What a program gave back, and how it came about."""

    values: Mapping[str, object] = field(repr=False)
    """All fields of the prediction as plain data: pydantic values as dicts, enums as their values, dates as text."""
    usage: Mapping[str, object]
    """dspy's token counts by model; empty when everything came from a cache."""
    latency_s: float
    """From the pool's acceptance to its answer, waiting and repeating included."""
    run_s: float
    """Inside the program, at the attempt that succeeded."""
    worker: str
    incarnation: str
    attempts: int
    """1 unless a worker crashed under it."""


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker process. The counts belong to this incarnation of it."""

    worker: str
    incarnation: str
    dspy: str
    state: Literal["idle", "busy", "replacing"]
    requests: int
    failures: int


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Counts since the pool actor started; `waiting` and `running` are of now."""

    workers: tuple[WorkerStatistics, ...]
    waiting: int
    running: int
    accepted: int
    completed: int
    failed: int
    """Answered with an error, of the program or of the pool."""
    retried: int
    rejected: int
    """Refused because the queue was full."""
    abandoned: int
    """Their callers went away first."""
    late: int
    """Answers of workers that nobody waited for any more."""
