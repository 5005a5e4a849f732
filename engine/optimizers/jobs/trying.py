"""How a job runs trials: each as a task under its TaskSupervisor, a few at a time, tried again when it fails."""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from ....runtime import ActorExit, Crash, Exited, Ref, Runtime
from ....supervisors import TaskSupervisor
from ...evaluation import EvaluationResult
from ...places import PLACE, Place, next_place
from ..trials import TrialKind
from .board import Board, copy_of
from .journal import Journal
from .meter import JobMeter
from .states import state_text

__all__ = ["JobTrials", "TrialPolicy"]

T = TypeVar("T")

_INSIDE: ContextVar[bool] = ContextVar("dspex inside a trial", default=False)


@dataclass(frozen=True, slots=True)
class TrialPolicy:
    """What a job does with its trials. Raises ValueError."""

    concurrency: int = 2
    """Trials at a time, where the optimizer has several that do not depend on each other. Each runs its own number of
    examples at a time (`num_threads`)."""
    attempts: int = 2
    """How often one is tried that crashes, or in which every example fails. Calls that were finished are not repeated when
    there is a journal."""

    def __post_init__(self) -> None:
        for name in ("concurrency", "attempts"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"TrialPolicy.{name} must be a whole number of at least 1, not {value!r}")


class JobTrials:
    """The `TrialHost` of a job."""

    def __init__(
        self,
        rt: Runtime,
        name: str,
        tasks: Ref[TaskSupervisor],
        policy: TrialPolicy,
        board: Board,
        meter: JobMeter,
        journal: Journal | None,
    ) -> None:
        self._rt = rt
        self._name = name
        self._tasks = tasks
        self._policy = policy
        self._board = board
        self._meter = meter
        self._journal = journal
        self._slots = anyio.Semaphore(policy.concurrency)
        self._loop_thread = threading.get_ident()
        self.last_failure: BaseException | None = None
        """Of a trial, or of a phase in which nothing worked."""

    async def trial(
        self,
        program: Any,
        evaluate: Callable[[], Awaitable[T]],
        *,
        kind: TrialKind,
        size: int | None,
        label: str,
        score: Callable[[T], float] | None,
    ) -> T:
        """See `trials.trial`. An evaluation in which every example failed is a failed trial; its result is returned all
        the same, since the optimizer knows what it counts."""
        place = next_place("t")
        if _INSIDE.get():  # a trial in a trial has its outer one's place among those that run
            return await self._tried(program, evaluate, place, kind, size, label, score)
        async with self._slots:
            return await self._tried(program, evaluate, place, kind, size, label, score)

    async def _tried(
        self,
        program: Any,
        evaluate: Callable[[], Awaitable[T]],
        place: Place | None,
        kind: TrialKind,
        size: int | None,
        label: str,
        score: Callable[[T], float] | None,
    ) -> T:
        number = self._board.begin(kind=kind, size=size, label=label)
        try:
            outcome = await self._attempt(evaluate, place)
            for _ in range(1, self._policy.attempts):
                if _failure(outcome) is None:
                    break
                self._board.again(number)
                outcome = await self._attempt(evaluate, place)
        except BaseException:
            self._ended(number, "stopped")
            raise
        error = _failure(outcome)
        if error is not None:
            self.last_failure = error
            self._ended(number, "failed", error=error)
        else:
            self._scored(number, program, _score(outcome, score))
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def _attempt(self, evaluate: Callable[[], Awaitable[T]], place: Place | None) -> T | BaseException:
        async def work() -> T:
            _INSIDE.set(True)
            if place is not None:
                PLACE.set(Place(place.path))  # counted from the start at each attempt
            return await evaluate()

        task = await TaskSupervisor.async_nolink(self._tasks, work)
        try:
            outcome = await task.yield_(within=None)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await task.shutdown()
            raise
        assert outcome is not None
        if isinstance(outcome, Exited):
            reason = outcome.reason
            return reason.error if isinstance(reason, Crash) else ActorExit(reason, task.ref.label)
        return outcome.value

    async def together(self, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """See `trials.together`."""
        place = next_place("c")
        results: dict[int, T] = {}
        failed: list[Exception] = []
        waiting = iter(range(len(calls)))  # whoever is free takes the next: they begin in order

        async def work() -> None:
            for position in waiting:
                if place is not None:
                    PLACE.set(place.at(position))
                try:
                    results[position] = await calls[position]()
                except Exception as error:
                    failed.append(error)
                    group.cancel_scope.cancel()
                    return

        async with anyio.create_task_group() as group:
            for _ in range(min(self._policy.concurrency, len(calls))):
                group.start_soon(work)
        if failed:
            raise failed[0]
        return [results[position] for position in range(len(calls))]

    def report_trial(self, program: Any, score: float, *, kind: TrialKind, size: int | None, label: str) -> None:
        """See `trials.report_trial`."""
        # Of a thread's program a copy is made at once, since the thread goes on with it.
        reported = program if self._on_loop_thread() else copy_of(program)

        def note() -> None:
            number = self._board.begin(kind=kind, size=size, label=label)
            self._scored(number, reported, float(score))

        self._on_loop(note)

    def keep_draft(self, program: Callable[[], Any]) -> None:
        """See `trials.keep_draft`."""
        self._board.draft = program

    def report_failure(self, error: BaseException) -> None:
        """See `trials.report_failure`."""
        self.last_failure = error

    def plan_trials(self, count: int | None, *, phase: str) -> None:
        """See `trials.plan_trials`."""

        def note() -> None:
            self._board.plan(count, phase)
            self._rt.events.emit("engine.job.planned", job=self._name, phase=phase, trials=count)

        self._on_loop(note)

    def may_go_on(self) -> bool:
        """See `trials.may_go_on`."""
        return not self._meter.stopping

    def _scored(self, number: int, program: Any, score: float) -> None:
        if math.isnan(score):  # neither better nor worse than any: it would stay the best for ever, or never be
            error = self.last_failure = ValueError("the score is not a number (NaN): see what the metric returns")
            self._ended(number, "failed", error=error)
        else:
            self._ended(number, "done", program=program, score=score)

    def _ended(self, number: int, state: Any, *, program: Any = None, score: float | None = None, error: Any = None) -> None:
        record, is_best = self._board.end(number, state, program=program, score=score, error=error)
        kept = state_text(self._board.best_program) if is_best and self._journal is not None else None
        if self._journal is not None:
            self._journal.trial(record, kept)
        self._rt.events.emit(
            "engine.job.trial",
            job=self._name,
            trial=record.number,
            kind=record.kind,
            state=record.state,
            score=record.score,
            best=is_best,
        )

    def _on_loop_thread(self) -> bool:
        return threading.get_ident() == self._loop_thread

    def _on_loop(self, function: Callable[[], None]) -> None:
        if self._on_loop_thread():
            function()
        else:
            self._rt.kernel.backend.call_from_thread(function)


def _score(result: Any, score: Callable[[Any], float] | None) -> float:
    found = score(result) if score is not None else getattr(result, "score", result)
    return float(found)


def _failure(result: object) -> BaseException | None:
    """What an attempt raised, or what an example did if every one did."""
    if isinstance(result, BaseException):
        return result
    if isinstance(result, EvaluationResult) and result.failures and len(result.failures) >= len(result.results):
        return result.failures[-1][1]
    return None
