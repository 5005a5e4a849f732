"""What travels: the question, the way it took, the answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, final

from ..engine import Prediction
from .delivery import Delivery

if TYPE_CHECKING:
    from .telemetry import EngineTrace, RequestTrace

Engine = Literal["native", "legacy"]


@final
@dataclass(frozen=True, slots=True)
class RoutedProgram:
    """One program and where its two sides are found. At least one side."""

    name: str
    native: str | None = None
    """The registered name of its ``ProgramActor``."""
    legacy: str | None = None
    """The registered name of the pool that has a program of this name."""
    features: Callable[[], Collection[str] | None] | None = field(default=None, repr=False, compare=False)
    """Says which features of the registry it uses, by id; asked when a flag first speaks of features. None, or None for an
    answer: nobody knows, so a flag for a feature does not reach it unless it names the program."""

    def __post_init__(self) -> None:
        if self.native is None and self.legacy is None:
            raise ValueError(f"program {self.name!r} has no side: name its native actor, its legacy pool, or both")

    def uses(self, feature: str) -> bool | None:
        """Whether it uses a feature, by id; None: nobody knows."""
        known = self.features() if self.features is not None else None
        return None if known is None else feature in known


@final
@dataclass(frozen=True, slots=True)
class Attempt:
    """One engine's try that failed, before another was asked."""

    engine: Engine
    error: str
    """The class of the error, and what it says."""


@final
@dataclass(frozen=True, slots=True)
class Request:
    """A question on its way. ``deadline`` is absolute, in seconds of the runtime's clock; None: no limit."""

    program: RoutedProgram
    inputs: Mapping[str, object] = field(repr=False)
    engine: Engine
    reason: str
    """Why this engine, in words."""
    since: float
    deadline: float | None
    failed: tuple[Attempt, ...] = ()
    key: str | None = field(default=None, repr=False)
    """Whose request it is, for rollouts that stick."""
    shadow: Engine | None = None
    """The engine that is asked as well, afterwards, to be compared."""
    asked_at: float | None = None
    """When the caller asked, in seconds of the runtime's clock; None: as ``since``."""
    for_comparison: bool = False
    """True: nobody waits for the answer; it is the shadow of a request that was answered."""
    delivery: Delivery | None = field(default=None, repr=False)
    """Where the pieces of the answer go while it is written; None: they are not wanted."""
    trace: RequestTrace | None = field(default=None, repr=False)
    """The trace it belongs to; None: nobody traces it."""
    attempt: EngineTrace | None = field(default=None, repr=False)
    """At an arm: the part of the trace that is this engine's try."""


@final
@dataclass(frozen=True, slots=True)
class Route:
    """How an answer came about."""

    engine: Engine
    reason: str
    attempts: tuple[Attempt, ...]
    """What was tried before and failed; empty in the ordinary case."""
    latency_s: float
    """From the router's acceptance to the answer."""
    worker: str | None = None
    """Legacy: which worker."""
    incarnation: str | None = None
    """Legacy: which incarnation of it."""

    worker_attempts: int = 1
    """Legacy: how many workers had it in hand; more than 1 after a crash."""
    usd: float | None = None
    """What it cost, where the app knows prices (``Dspex(prices=...)``) and the engine counted tokens."""
    first_chunk_s: float | None = None
    """Streamed: from the router's acceptance to the first piece; None: it was not streamed, or came all at once."""

    @property
    def fell_back(self) -> bool:
        """True if another engine was asked first."""
        return bool(self.attempts)


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction and its route. Fields are read as ``answer["score"]`` or from ``answer.prediction``."""

    prediction: Prediction
    route: Route

    def __getitem__(self, name: str) -> object:
        return self.prediction[name]
