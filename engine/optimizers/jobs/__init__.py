"""Optimizers as supervised jobs: budget, progress, cancellation, and a journal from which a killed job goes on."""

from .budget import Budget, Spent
from .job import OptimizerJob, run_job
from .journal import (
    JournalBusy,
    JournalError,
    JournalMismatch,
    JournalReport,
    JournalUnreadable,
    journal_report,
)
from .outcomes import (
    BadJob,
    BudgetExhausted,
    BudgetUnmeasurable,
    JobCancelled,
    JobFailed,
    JobOutcome,
    JobStopped,
)
from .progress import JobStatus, TrialRecord
from .trying import TrialPolicy

__all__ = [
    "BadJob",
    "Budget",
    "BudgetExhausted",
    "BudgetUnmeasurable",
    "JobCancelled",
    "JobFailed",
    "JobOutcome",
    "JobStatus",
    "JobStopped",
    "JournalBusy",
    "JournalError",
    "JournalMismatch",
    "JournalReport",
    "JournalUnreadable",
    "OptimizerJob",
    "Spent",
    "TrialPolicy",
    "TrialRecord",
    "journal_report",
    "run_job",
]
