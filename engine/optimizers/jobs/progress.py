"""What can be seen of a job: its trials, the best so far, how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..trials import TrialKind
from .budget import Budget, Spent

__all__ = ["JobState", "JobStatus", "TrialRecord", "TrialState", "trial_table"]

JobState = Literal["running", "done", "exhausted", "cancelled", "failed"]
"""exhausted: the budget was used up. failed: the optimizer raised."""

TrialState = Literal["running", "done", "failed", "stopped"]
"""stopped: the job ended first."""


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial. Scores are the optimizer's own, and higher is better."""

    number: int
    """From 1, in the order of their beginning."""
    kind: TrialKind
    label: str
    phase: str
    """What the optimizer was doing, by its own account."""
    size: int | None
    """Examples it is scored on, if the optimizer said."""
    state: TrialState
    score: float | None = None
    seconds: float = 0.0
    """So far, or in all."""
    attempts: int = 1
    error: str | None = None
    """The class of what it raised, for one that failed."""

    def counts_more_than(self, other: TrialRecord | None) -> bool:
        """Whether this trial makes its program the best so far: scores on everything come before scores on a part."""
        if self.score is None:
            return False
        if other is None or other.score is None:
            return True
        if self.kind != other.kind:
            return self.kind == "full"
        return self.score > other.score


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job at one moment. Prints as a table."""

    name: str
    optimizer: str
    state: JobState
    phase: str
    trials: tuple[TrialRecord, ...]
    planned: int | None
    """How many trials there will be, if the optimizer said."""
    best: TrialRecord | None
    spent: Spent
    budget: Budget
    calls_in_hand: int
    answered_by_journal: int
    """Calls of this run that an earlier one had made."""
    seconds_left: float | None
    """Estimate from the trials so far; None: unknown."""

    def __str__(self) -> str:
        finished = sum(trial.state == "done" for trial in self.trials)
        of = "" if self.planned is None else f" of {self.planned}"
        lines = [f"{self.name}: {self.optimizer}, {self.state}{f', {self.phase}' if self.phase else ''}"]
        lines += [f"  {line}" for line in trial_table(self.trials, self.best)]
        lines.append(f"  trials  {finished}{of} done")
        if self.best is not None:
            lines.append(f"  best    {self.best.score:g} (trial {self.best.number})")
        lines.append(f"  spent   {self.spent}{_limits(self.budget)}")
        if self.answered_by_journal:
            lines.append(f"  journal {self.answered_by_journal} calls answered by it")
        if self.seconds_left is not None:
            lines.append(f"  left    about {self.seconds_left:.0f} s")
        return "\n".join(lines)


def trial_table(trials: Sequence[TrialRecord], best: TrialRecord | None = None) -> list[str]:
    """The trials as lines of a table; none for none."""
    if not trials:
        return []
    rows = [("trial", "kind", "size", "score", "seconds", "state", "what")]
    for trial in trials:
        state = f"{trial.state} ({trial.error})" if trial.error else trial.state
        if best is not None and trial.number == best.number:
            state += " *"
        score = "" if trial.score is None else f"{trial.score:g}"
        size = "" if trial.size is None else str(trial.size)
        rows.append((str(trial.number), trial.kind, size, score, f"{trial.seconds:.1f}", state, trial.label))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _limits(budget: Budget) -> str:
    parts = [
        f"{limit} {name}" if name != "cost" else f"${limit}"
        for name, limit in (
            ("calls", budget.calls),
            ("tokens", budget.tokens),
            ("cost", budget.cost),
            ("seconds", budget.seconds),
        )
        if limit is not None
    ]
    return f" (at most {', '.join(parts)})" if parts else ""
