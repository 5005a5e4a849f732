"""What callers get from a pool: the result of a request, and the pool's counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from .worker.wire import Typed

__all__ = ["LegacyResult", "PoolStatistics", "WorkerStatistics", "plain"]


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
    typed: Mapping[str, object] = field(default_factory=lambda: {}, repr=False)
    """The same fields with their types: dspy's own and pydantic models as `Typed`, arrays as `Array`. Such a value can be
    an input again, and is then an object of its class in the worker."""
    lm_calls: int | None = None
    """Answers of language models that it took, those from a cache included; None where the worker's dspy does not tell."""


def plain(value: object) -> Any:
    """`value` with every `Typed` as a dict of its fields."""
    if isinstance(value, Typed):
        return {name: plain(item) for name, item in value.fields.items()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [plain(item) for item in cast("list[object]", value)]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in cast("tuple[object, ...]", value))
    return value


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker process. The counts belong to this incarnation of it."""

    worker: str
    incarnation: str
    dspy: str
    state: Literal["idle", "busy", "replacing"]
    requests: int
    failures: int
    pid: int = 0
    rss_bytes: int = 0
    """As it last told; 0 before its first request."""
    in_hand: int = 0
    load_s: float = 0.0
    """What it paid before its first request could run."""


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
    start: Literal["fork", "spawn"] = "spawn"
    """How workers are started: forked from a warden, or each by itself."""
    active: int = 0
    """Workers that shall have a process now: between `workers` and `max_workers`."""
    sessions: int = 0
    quarantined: int = 0
    """Different requests that have killed a worker lately."""
    open_circuits: tuple[str, ...] = ()
    recycled: int = 0
    shed: int = 0
