"""The shadow of a request: when it has been answered, the other engine is asked too, and the two are compared.

It comes after the answer, in an actor of its own, so it can neither delay the answer nor fail it. It is bounded: so many
at a time, so many waiting; what is more is not compared, which is counted and an event.

Events:

    router.shadow.compared    program, score, served_error, shadow_error     both have answered; errors by their classes
    router.shadow.dropped     program                                        too many wait: this one is not compared
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import final

from ..runtime import Actor, ActorError, NamedRef
from .arms import Arm
from .comparison import Metric, Scores, fields_equal, scores_of
from .errors import ArmDown
from .outcomes import Outcome
from .request import Answer, Engine, Request


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowOptions:
    """How shadows are run and judged."""

    metric: Metric = field(default_factory=fields_equal)
    """For every program that has none of its own."""
    metrics: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    """By program."""
    concurrency: int = 4
    """Shadows that run at a time."""
    waiting: int = 256
    """Shadows that wait; one more is not run."""
    timeout: float = 60.0
    """Seconds that a shadow gets to answer."""


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """One request, answered by both engines. It holds no payload: fields by name, errors by class."""

    program: str
    served: Engine
    at: float
    """When, in seconds since the epoch."""
    served_s: float
    shadow_s: float
    served_error: str | None
    shadow_error: str | None
    score: float | None
    """1: the same; None: the metric itself failed."""
    fields: Mapping[str, float]
    metric_error: str | None = None

    @property
    def same_end(self) -> bool:
        """Both answered, or both failed."""
        return (self.served_error is None) == (self.shadow_error is None)


@final
class Shadow(Actor):
    """Asks the other engine and compares. ``report`` hears of each comparison, on the event loop."""

    def __init__(
        self, options: ShadowOptions, arms: Mapping[Engine, str], report: Callable[[Comparison], None]
    ) -> None:
        self._options = options
        self._arms = arms
        self._report = report
        self._waiting: deque[Outcome] = deque()
        self._running = 0
        self._compared = 0
        self._dropped = 0

    def compare(self, outcome: Outcome) -> None:
        """Take on a request whose outcome at the engine that serves is known."""
        if self._running < self._options.concurrency:
            self._running += 1
            self.task(self._work, outcome)
        elif len(self._waiting) < self._options.waiting:
            self._waiting.append(outcome)
        else:
            self._dropped += 1
            self.rt.events.emit("router.shadow.dropped", program=outcome.program)

    async def _work(self, outcome: Outcome) -> None:
        try:
            await self._one(outcome)
            while self._waiting:
                await self._one(self._waiting.popleft())
        finally:
            self._running -= 1

    async def _one(self, outcome: Outcome) -> None:
        request = outcome.request
        assert request is not None
        assert request.shadow is not None
        began = self.rt.now()
        answer: Answer | None = None
        error: str | None = None
        try:
            answer = await self._ask(request, request.shadow)
        except Exception as failure:  # whatever the other engine raises is what we came to learn
            error = type(failure).__name__
        shadow_s = self.rt.now() - began
        scores, metric_error = await self._judged(outcome, answer, error)
        comparison = Comparison(
            program=outcome.program,
            served=outcome.engine,
            at=time.time(),
            served_s=outcome.latency_s,
            shadow_s=shadow_s,
            served_error=outcome.error,
            shadow_error=error,
            score=scores.score if scores is not None else None,
            fields=scores.fields if scores is not None else {},
            metric_error=metric_error,
        )
        self._compared += 1
        self._report(comparison)
        self.rt.events.emit(
            "router.shadow.compared",
            program=comparison.program,
            score=comparison.score,
            served_error=comparison.served_error,
            shadow_error=comparison.shadow_error,
        )

    async def _ask(self, request: Request, engine: Engine) -> Answer:
        name = self._arms[engine]
        arm: NamedRef[Arm] = self.rt.ref(name)
        now = self.rt.now()
        again = replace(request, since=now, deadline=now + self._options.timeout, reason="shadow", failed=())
        try:
            return await arm.until(again.deadline).call(Arm.ask, again)
        except ActorError as error:
            if not arm.alive:
                raise ArmDown(request.program.name, engine, name) from error
            raise

    async def _judged(
        self, outcome: Outcome, answer: Answer | None, error: str | None
    ) -> tuple[Scores | None, str | None]:
        if answer is None or outcome.answer is None:
            return Scores(1.0 if error is not None and outcome.error is not None else 0.0), None
        metric = self._options.metrics.get(outcome.program, self._options.metric)
        try:
            return await scores_of(metric, outcome.answer.prediction, answer.prediction), None
        except Exception as failure:  # the user's metric: its failure is a finding, not our end
            return None, f"{type(failure).__name__}: {failure}"

    def statistics(self) -> Mapping[str, int]:
        """Counts since the start of this incarnation; ``running`` and ``waiting`` are of now."""
        return {
            "compared": self._compared,
            "dropped": self._dropped,
            "running": self._running,
            "waiting": len(self._waiting),
        }

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        return f"{self._compared} compared, {len(self._waiting)} waiting, {self._dropped} dropped"
