"""What the pool and its workers tell each other. Plain frozen data; every answer names the process that it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..runtime import Address, Ref
from .errors import LegacyError
from .specs import LMSettings
from .tracing import RequestTracer

__all__ = [
    "Assignment",
    "Chunk",
    "Finished",
    "Released",
    "ReplacementReady",
    "RunOutcome",
    "Streaming",
    "WorkerGaveUp",
    "WorkerOrphaned",
    "WorkerReady",
]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a streamed answer. `value` is what the program yielded, or for a streamed field of dspy's a mapping of
    `field`, `text` and `predictor`."""

    index: int
    value: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class Streaming:
    """How a request is streamed: dspy's fields to listen to, how many chunks may be on their way, who takes them."""

    fields: tuple[str, ...]
    credit: int
    sink: Callable[[Chunk, Callable[[int], None]], None] = field(repr=False)
    """Called on the loop with each chunk and with a function that grants the worker credit for more. It must not block."""
    began: Callable[[], bool] = field(repr=False)
    """Whether the consumer has got a piece of the answer: then the request cannot be repeated, however idempotent."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A request in the hands of one worker. `number` is unique in this interpreter, across pools and their restarts."""

    number: int
    program: str
    inputs: Mapping[str, object] = field(repr=False)
    lm: LMSettings | None
    pool: Ref[object] = field(repr=False)
    """Who gets the `Finished`: this incarnation of the pool, not whoever has its name later."""
    session: str | None = None
    define: Mapping[str, object] | None = field(default=None, repr=False)
    """The session's programs, if this process was not told of them or they have changed."""
    streaming: Streaming | None = None
    tracer: RequestTracer | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a program gave back, and the seconds that it ran inside the worker."""

    values: Mapping[str, object] = field(repr=False)
    usage: Mapping[str, object]
    run_s: float
    rss_bytes: int = 0
    lm_calls: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker can take a request now. Sent after each load, and when the pool asks."""

    worker: str
    ref: Address
    incarnation: str
    dspy: str
    pid: int = 0
    forked: bool = False
    load_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerGaveUp:
    """A worker cannot serve, for a reason that starting it again does not mend."""

    worker: str
    ref: Address
    error: LegacyError


@dataclass(frozen=True, slots=True)
class WorkerOrphaned:
    """The warden of this worker is gone: it serves on, and should be replaced when it has a moment."""

    worker: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class ReplacementReady:
    """The process that shall replace `incarnation` is loaded; the pool says when to change over (`WorkerActor.swap`)."""

    worker: str
    incarnation: str
    error: LegacyError | None = None
    """Why there is none: then the old one stays in use."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an assignment whose worker is well."""

    number: int
    worker: str
    incarnation: str
    outcome: RunOutcome | LegacyError


@dataclass(frozen=True, slots=True)
class Released:
    """An abandoned request has left its worker, which serves on."""

    number: int
    worker: str
    incarnation: str
