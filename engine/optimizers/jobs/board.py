"""The board of a job: its trials, the best program so far, and how long the rest will take. For the event loop alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..trials import TrialKind
from .progress import TrialRecord, TrialState

__all__ = ["Board", "copy_of"]


class Board:
    """Trials by number. `now` is the job's clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._trials: list[TrialRecord] = []
        self._began: list[float] = []
        self._planned: int | None = None
        self._planned_at = now()
        self._done_before_plan = 0
        self.phase = ""
        self.best: TrialRecord | None = None
        self.best_program: Any = None
        """A copy of it, made when its score was known."""
        self.draft: Callable[[], Any] | None = None

    def begin(self, *, kind: TrialKind, size: int | None, label: str) -> int:
        """A trial begins; its number."""
        number = len(self._trials) + 1
        self._trials.append(TrialRecord(number, kind, label, self.phase, size, "running"))
        self._began.append(self._now())
        return number

    def again(self, number: int) -> None:
        """It is tried once more."""
        record = self._trials[number - 1]
        self._trials[number - 1] = replace(record, attempts=record.attempts + 1)

    def end(
        self,
        number: int,
        state: TrialState,
        *,
        program: Any = None,
        score: float | None = None,
        error: BaseException | None = None,
    ) -> tuple[TrialRecord, bool]:
        """It has ended. Returns how it stands, and whether its program is the best so far, which is copied then."""
        record = replace(
            self._trials[number - 1],
            state=state,
            score=score,
            seconds=self._now() - self._began[number - 1],
            error=None if error is None else type(error).__name__,
        )
        self._trials[number - 1] = record
        is_best = state == "done" and record.counts_more_than(self.best)
        if is_best:
            self.best = record
            self.best_program = copy_of(program)
        return record, is_best

    def plan(self, count: int | None, phase: str) -> None:
        """So many trials from here on, and what is being done now."""
        if phase:
            self.phase = phase
        if count is not None:
            self._planned = len(self._trials) + count
            self._planned_at = self._now()
            self._done_before_plan = self._finished()

    def _finished(self) -> int:
        return sum(trial.state != "running" for trial in self._trials)

    @property
    def planned(self) -> int | None:
        """How many trials there will be in all, if known."""
        return self._planned

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All, in the order of their beginning; the seconds of a running one are those so far."""
        now = self._now()
        return tuple(
            replace(trial, seconds=now - began) if trial.state == "running" else trial
            for trial, began in zip(self._trials, self._began, strict=True)
        )

    @property
    def seconds_left(self) -> float | None:
        """By the pace since the plan was made; None without a plan or a finished trial."""
        if self._planned is None:
            return None
        finished = self._finished()
        since = finished - self._done_before_plan
        if since <= 0:
            return None
        return max(0, self._planned - finished) * (self._now() - self._planned_at) / since


def copy_of(program: Any) -> Any:
    """As it is now: an optimizer may go on changing the object."""
    deepcopy = getattr(program, "deepcopy", None)
    return program if deepcopy is None else deepcopy()
