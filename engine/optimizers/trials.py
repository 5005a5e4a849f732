"""Trials: what an optimizer tells whoever runs it, and what it is told.

    async def acompile(self, student, *, trainset, valset=None):
        plan_trials(len(candidates), phase="search")
        async def score(candidate):
            return await trial(candidate, partial(evaluate.acall, candidate), size=len(valset))
        results = await together([partial(score, candidate) for candidate in candidates])
        ...

A job (`OptimizerJob`) puts itself into a context variable, and these functions find it there, so that `compile` keeps dspy's
parameters. Without a job each costs one look at that variable: `trial` awaits its work, `together` runs one after the other
in order, `may_go_on` is true, and what is reported is dropped.

An optimizer does nothing about being stopped: a job whose budget is used up or which is cancelled lets the LM calls in hand
finish and then cancels `acompile`. What cannot be cancelled, such as a search in a thread, asks `may_go_on()` between steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, Literal, Protocol, TypeVar

__all__ = [
    "JOB",
    "TrialHost",
    "TrialKind",
    "keep_draft",
    "may_go_on",
    "plan_trials",
    "report_failure",
    "report_trial",
    "together",
    "trial",
]

T = TypeVar("T")

TrialKind = Literal["full", "minibatch"]
"""full: scored on the whole validation set; such scores compare with each other. minibatch: on a part of it."""


class TrialHost(Protocol):
    """What runs optimizers and hears of their trials: the job."""

    async def trial(
        self,
        program: Any,
        evaluate: Callable[[], Awaitable[T]],
        *,
        kind: TrialKind,
        size: int | None,
        label: str,
        score: Callable[[T], float] | None,
    ) -> T: ...

    async def together(self, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]: ...

    def report_trial(self, program: Any, score: float, *, kind: TrialKind, size: int | None, label: str) -> None: ...

    def report_failure(self, error: BaseException) -> None: ...

    def keep_draft(self, program: Callable[[], Any]) -> None: ...

    def plan_trials(self, count: int | None, *, phase: str) -> None: ...

    def may_go_on(self) -> bool: ...


JOB: ContextVar[TrialHost | None] = ContextVar("dspex optimizer job", default=None)
"""The job that runs the optimizer here. Set by the job alone; threads started by anyio inherit it."""


async def trial(
    program: Any,
    evaluate: Callable[[], Awaitable[T]],
    *,
    kind: TrialKind = "full",
    size: int | None = None,
    label: str = "",
    score: Callable[[T], float] | None = None,
) -> T:
    """Score one candidate: the result of `await evaluate()`, and the job has it in its table.

    Args:
        program: the candidate. Its state is copied when the score is known.
        evaluate: does the work; called once, or again after it raised if the job's policy says so.
        kind: whether the score is of the whole validation set.
        size: examples it is scored on.
        label: a few words for the table, such as "seed -3" or "instruction 2, demos 5".
        score: finds the score in the result; default its `score`, or the result itself if it is a number.

    Raises:
        Exception: what `evaluate` raised, after the job has tried it as often as its policy says.
    Cancelled: the evaluation is.
    """
    job = JOB.get()
    if job is None:
        return await evaluate()
    return await job.trial(program, evaluate, kind=kind, size=size, label=label, score=score)


async def together(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The results of `await call()` for each, in order: trials that do not depend on each other.

    In a job they run at the same time, as many as the job allows trials; else one after the other. The first that raises
    ends the others and is raised.
    """
    job = JOB.get()
    if job is None:
        return [await call() for call in calls]
    return await job.together(calls)


def report_trial(
    program: Any, score: float, *, kind: TrialKind = "full", size: int | None = None, label: str = ""
) -> None:
    """A candidate that was scored by other means than `trial`, such as by a library in a thread. From any thread."""
    job = JOB.get()
    if job is not None:
        job.report_trial(program, score, kind=kind, size=size, label=label)


def report_failure(error: BaseException) -> None:
    """Something in which nothing worked, because of `error`, although the optimizer goes on. A job in which no trial was
    scored either fails with it, so that what the optimizer returns is not taken for success."""
    job = JOB.get()
    if job is not None:
        job.report_failure(error)


def keep_draft(program: Callable[[], Any]) -> None:
    """What a job that is stopped before anything was scored should keep: `program()` makes it when it is wanted."""
    job = JOB.get()
    if job is not None:
        job.keep_draft(program)


def plan_trials(count: int | None = None, *, phase: str = "") -> None:
    """How many trials there will be in all from now on (None: unknown), and what is being done. Called as often as known
    better; the job's estimate of the time left comes from it."""
    job = JOB.get()
    if job is not None:
        job.plan_trials(count, phase=phase)


def may_go_on() -> bool:
    """False once the job is to stop. From any thread; for loops that cancellation does not reach."""
    job = JOB.get()
    return job is None or job.may_go_on()


