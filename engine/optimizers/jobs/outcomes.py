"""How a job ends: with an outcome, or with an error that carries one.

    EngineError
    ├── JobStopped               .outcome: what there was, the best program so far included
    │   ├── BudgetExhausted      .limit says which
    │   ├── JobCancelled
    │   └── JobFailed            the optimizer raised, or could not be run: see its cause
    ├── BudgetUnmeasurable       the cause of a JobFailed: there is a limit, and a model that does not say what it costs
    ├── BadJob (ValueError)      what the job was given cannot work; nothing was run
    └── JournalError             journal.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...failure import EngineError
from .budget import Limit, Spent
from .progress import TrialRecord

__all__ = ["BadJob", "BudgetExhausted", "BudgetUnmeasurable", "JobCancelled", "JobFailed", "JobOutcome", "JobStopped"]


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What a job made.

    Attributes:
        program: what `compile` returned; or, in an error, the best program so far, whose trial is `best`: without one, the
            draft that the optimizer had; without that, a copy of the student as it was.
        best: the trial with the best score; None when nothing was scored.
        trials: all of them, in the order of their beginning.
        spent: in all runs of the job.
        answered_by_journal: calls that an earlier run had made.
    """

    program: Any
    best: TrialRecord | None
    trials: tuple[TrialRecord, ...]
    spent: Spent
    answered_by_journal: int


class JobStopped(EngineError):
    """A job ended before its optimizer did. `outcome` is what it has, `program` the best program so far."""

    default_code = "job_stopped"

    def __init__(self, message: str, outcome: JobOutcome) -> None:
        super().__init__(message)
        self.outcome = outcome

    @property
    def program(self) -> Any:
        """The best program so far."""
        return self.outcome.program


class BudgetExhausted(JobStopped):
    """The budget is used up. With a journal, the same job with a larger budget goes on from here."""

    default_code = "budget_exhausted"

    def __init__(self, limit: Limit, outcome: JobOutcome) -> None:
        super().__init__(
            f"The budget of {limit} is used up ({outcome.spent}). The best program so far is in `program`; a job with a "
            "journal goes on when it is started again with a larger budget.",
            outcome,
        )
        self.limit: Limit = limit


class JobCancelled(JobStopped):
    """The job was cancelled."""

    default_code = "job_cancelled"

    def __init__(self, outcome: JobOutcome) -> None:
        super().__init__("The job was cancelled. The best program so far is in `program`.", outcome)


class JobFailed(JobStopped):
    """The optimizer raised: its exception is the cause."""

    default_code = "job_failed"

    def __init__(self, error: BaseException, outcome: JobOutcome) -> None:
        super().__init__(
            f"The optimizer failed: {type(error).__name__}: {error} (the best program so far is in `program`)", outcome
        )


class BudgetUnmeasurable(EngineError):
    """A limit cannot be kept, since a model does not say what it used."""

    default_code = "budget_unmeasurable"


class BadJob(EngineError, ValueError):
    """What the job was given cannot work: an empty or malformed training set, no program, no optimizer."""

    default_code = "bad_job"
