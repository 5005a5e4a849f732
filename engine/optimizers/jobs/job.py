"""`OptimizerJob`: an optimizer at work, as a supervised actor with a budget, a view of its progress and a journal.

    job = OptimizerJob(
        MIPROv2(metric=metric, auto="light"), program, trainset=trainset,
        budget=Budget(calls=2000, cost=5.0), journal="qa.journal",
    )
    outcome = await run_job(job, on_progress=print)          # outcome.program

or in a tree of one's own, several at once:

    job = await rt.start(OptimizerJob(...))                  # or Child("tune", lambda: OptimizerJob(...))
    print(await job.call(OptimizerJob.status))
    outcome = await job.within(None).call(OptimizerJob.result)

With a journal, a job that was killed is started again with the same arguments: `compile` runs from its seed, and every LM
call that was finished is answered by the journal. The result is the one of an undisturbed run as long as the optimizer, the
program and the metric are functions of their seeds and of the models' answers. An `LM` that caches gives equal requests one
answer in the whole job; one with `cache=False`, or of the user's own class, may answer each differently, and the journal
tells them apart by where they were made. Calls that failed are made again.

Events:

    engine.job.started     job, optimizer, known       known: calls that the journal can answer
    engine.job.planned     job, phase, trials          what the optimizer does now, and how many trials it will make
    engine.job.trial       job, trial, kind, state, score, best    a trial has ended
    engine.job.ended       job, how, calls, score      how: done, exhausted, cancelled, failed
"""

from __future__ import annotations

import contextvars
import inspect
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import anyio

from ....runtime import (
    Actor,
    Event,
    ExitSignal,
    Reason,
    Ref,
    Refuse,
    Reply,
    Runtime,
    RuntimeClosed,
    StartFailed,
    current_runtime,
    is_orderly,
    open_runtime,
)
from ....runtime.process import BESIDE, CURRENT
from ....runtime.replies import IN_HAND
from ....supervisors import TaskSupervisor
from ...example import Example
from ...lm.metering import METER
from ...off_loop import in_thread
from ...places import PLACE, Place
from ...settings import context, settings
from ..teleprompter import Teleprompter
from ..trials import JOB
from .board import Board, copy_of
from .budget import Budget
from .identity import identity_of, seed_of
from .journal import Journal
from .meter import JobMeter
from .outcomes import BadJob, BudgetExhausted, JobCancelled, JobFailed, JobOutcome, JobStopped
from .progress import JobState, JobStatus
from .trying import JobTrials, TrialPolicy

__all__ = ["OptimizerJob", "run_job"]

_OF_THE_PROCESS = frozenset[contextvars.ContextVar[Any]]((CURRENT, BESIDE, IN_HAND, JOB, METER, PLACE))
_UNSET: Any = object()
_TIME_IS_UP = object()


class OptimizerJob(Actor):
    """Runs one `compile`. It stays when that has ended, with its outcome, until it is stopped.

    Stopped or shut down before, it cancels the optimizer and closes the journal, from which the same job goes on. If an
    answer cannot be journaled, the job fails; it never goes on unwritten.
    """

    trap_exit = True

    def __init__(
        self,
        optimizer: Any,
        student: Any,
        *,
        budget: Budget | None = None,
        journal: str | os.PathLike[str] | None = None,
        policy: TrialPolicy | None = None,
        overrides: Mapping[str, Any] | None = None,
        name: str | None = None,
        **arguments: Any,
    ) -> None:
        """Describe the job. The settings in force here (`configure`, `context`) hold in it.

        Args:
            optimizer: a `Teleprompter`, or what has `acompile` or `compile`.
            student: the program; it is not changed.
            budget: what it may spend; default: no limit.
            journal: file of its journal, made when missing; None: it cannot be resumed.
            policy: how many trials at a time, and how often one is tried.
            overrides: settings for this job, such as `{"lm": lm}`.
            name: for status and events; default the optimizer's class.
            **arguments: of `compile`: `trainset=`, `valset=`, `teacher=`, ...

        Raises:
            BadJob: no optimizer, an empty or malformed training set, a journal that is no path.
        """
        self._optimizer = optimizer
        self._student = student
        self._arguments = arguments
        self._budget = budget if budget is not None else Budget()
        self._path = journal
        self._policy = policy if policy is not None else TrialPolicy()
        self._overrides = dict(overrides or {})
        self._name = name or type(optimizer).__name__
        self._context = contextvars.copy_context()
        self._state: JobState = "running"
        self._ending: JobOutcome | JobStopped | None = None
        self._waiting: list[Reply] = []
        self._journal: Journal | None = None
        _check(optimizer, student, arguments)
        _check_path(journal)
        checked: dict[str, tuple[object, type]] = {"budget": (self._budget, Budget), "policy": (self._policy, TrialPolicy)}
        for what, (given, kind) in checked.items():
            if not isinstance(given, kind):
                raise BadJob(f"{what} is a {kind.__name__}(...), not a {type(given).__name__}")

    async def init(self) -> None:
        """Open the journal and begin. Raises JournalError."""
        if self._path is not None:
            lm = self._overrides.get("lm") or self._context.run(settings.get, "lm")
            identity = identity_of(self._optimizer, self._student, self._arguments, lm)
            self._journal = await Journal.open(self._path, identity)
            if _draws_a_seed(self._optimizer, self._arguments):
                # Left alone it would draw another in each run, and no journal could answer the second.
                self._arguments["seed"] = seed_of(identity)
        try:
            tasks = await self.start_link(TaskSupervisor())
        except BaseException:
            await self._close_journal()
            raise
        self._scope = anyio.CancelScope()
        self._meter = JobMeter(self._budget, self._journal, self.rt.now, self._scope.cancel)
        self._board = Board(self.rt.now)
        self._trials = JobTrials(
            self.rt, self._name, tasks, self._policy, self._board, self._meter, self._journal
        )
        if self._budget.seconds is not None:
            left = self._budget.seconds - self._meter.elapsed
            self.send_after(max(0.0, left), self.ref, _TIME_IS_UP)
        known = 0 if self._journal is None else self._journal.calls
        self.rt.events.emit(
            "engine.job.started", job=self._name, optimizer=type(self._optimizer).__name__, known=known
        )
        self.task(self._work)

    @property
    def name(self) -> str:
        """As in its events."""
        return self._name

    # --- messages -----------------------------------------------------------------------------------------------

    def result(self) -> JobOutcome:
        """The outcome, when the job has ended. It takes as long as the job: `job.within(None).call(OptimizerJob.result)`.

        Raises at the caller: BudgetExhausted, JobCancelled, JobFailed, each with the best program so far.
        """
        if self._ending is None:
            self._waiting.append(self.defer())
            return cast("JobOutcome", None)
        if isinstance(self._ending, JobStopped):
            raise Refuse(self._ending)
        return self._ending

    def status(self) -> JobStatus:
        """How it stands now."""
        return JobStatus(
            name=self._name,
            optimizer=type(self._optimizer).__name__,
            state=self._state,
            phase=self._board.phase,
            trials=self._board.trials,
            planned=self._board.planned,
            best=self._board.best,
            spent=self._meter.spent if self._ending is None else self._outcome_of_ending().spent,
            budget=self._budget,
            calls_in_hand=self._meter.in_hand,
            answered_by_journal=self._meter.from_journal,
            seconds_left=self._board.seconds_left if self._ending is None else 0.0,
        )

    def best(self) -> Any:
        """A copy of the best program so far; without one, of the student."""
        return copy_of(self._best_so_far())

    def cancel(self) -> None:
        """End it: no further LM call begins, those in hand are let finish. `result` then raises JobCancelled with the best
        program. Does nothing when it has ended."""
        if self._ending is None:
            self._meter.stop(None)

    async def handle_info(self, message: object) -> None:
        """The time of the budget is over: calls in hand end too. Or something that belongs to the job has ended."""
        if message is _TIME_IS_UP:
            if self._ending is None:
                self._meter.stop("seconds")
                self._scope.cancel()
        elif isinstance(message, ExitSignal):
            if not is_orderly(message.reason):
                self.stop(message.reason)
        else:
            await super().handle_info(message)

    async def terminate(self, reason: Reason) -> None:
        """Close the journal."""
        await self._close_journal()

    def tree_detail(self) -> str:
        """See `Actor.tree_detail`."""
        return f"{self._name}, {self._state}"

    # --- the work -----------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            ending = await self._ended()
            if self._journal is not None:
                try:
                    await self._journal.write()
                except Exception as error:
                    if not isinstance(ending, JobStopped):
                        ending = JobFailed(error, ending)
                        ending.__cause__ = error
        finally:
            await self._close_journal()
        self._ending = ending
        self._state = _state_of(ending)
        outcome = self._outcome_of_ending()
        self.rt.events.emit(
            "engine.job.ended",
            job=self._name,
            how=self._state,
            calls=outcome.spent.calls,
            score=None if outcome.best is None else outcome.best.score,
        )
        for reply in self._waiting:
            if isinstance(ending, JobStopped):
                reply.refuse(ending)
            else:
                reply.send(ending)
        self._waiting.clear()

    async def _ended(self) -> JobOutcome | JobStopped:
        failed: Exception | None = None
        program: Any = _UNSET
        try:
            with self._scope:
                program = await self._compiled()
        except Exception as error:
            failed = error
        why = self._meter.why
        if program is not _UNSET:
            failed = cast("Exception", why) if isinstance(why, BaseException) else self._nothing_worked()
            if failed is None:
                return self._outcome(program)
        elif failed is None or self._meter.stopping:
            # An optimizer in a thread may raise something of its own when its calls are not answered any more.
            if isinstance(why, BaseException):
                failed = cast("Exception", why)
            elif why is not None:
                return BudgetExhausted(why, self._outcome())
            else:
                return JobCancelled(self._outcome())
        made = JobFailed(failed, self._outcome())
        made.__cause__ = failed
        return made

    def _nothing_worked(self) -> Exception | None:
        """Why the optimizer's result is worth nothing although it returned one."""
        if self._meter.nothing_worked:
            return self._meter.last_error
        trials = self._board.trials
        if any(trial.state == "done" for trial in trials):
            return None
        return cast("Exception | None", self._trials.last_failure)

    async def _compiled(self) -> Any:
        for variable, there in self._context.items():
            if variable not in _OF_THE_PROCESS and variable.get(_UNSET) is not there:
                variable.set(there)
        JOB.set(self._trials)
        METER.set(self._meter)
        PLACE.set(Place())
        optimizer = self._optimizer
        acompile = getattr(optimizer, "acompile", None)
        only_sync = isinstance(optimizer, Teleprompter) and type(optimizer).acompile is Teleprompter.acompile
        with context(**self._overrides):
            if acompile is None or only_sync:
                return await in_thread(optimizer.compile, self._student, **self._arguments)
            return await acompile(self._student, **self._arguments)

    def _best_so_far(self) -> Any:
        if self._board.best_program is not None:
            return self._board.best_program
        if self._board.draft is not None:
            try:
                return self._board.draft()
            except Exception:  # a draft that cannot be made yet: the student is still there
                pass
        return copy_of(self._student)

    def _outcome(self, program: Any = _UNSET) -> JobOutcome:
        for trial in self._board.trials:
            if trial.state == "running":
                self._board.end(trial.number, "stopped")
        return JobOutcome(
            program=self._best_so_far() if program is _UNSET else program,
            best=self._board.best,
            trials=self._board.trials,
            spent=self._meter.spent,
            answered_by_journal=self._meter.from_journal,
        )

    def _outcome_of_ending(self) -> JobOutcome:
        assert self._ending is not None
        return self._ending.outcome if isinstance(self._ending, JobStopped) else self._ending

    async def _close_journal(self) -> None:
        if self._journal is not None:
            await self._journal.aclose()


def _state_of(ending: JobOutcome | JobStopped) -> JobState:
    if isinstance(ending, JobOutcome):
        return "done"
    if isinstance(ending, BudgetExhausted):
        return "exhausted"
    return "cancelled" if isinstance(ending, JobCancelled) else "failed"


def _check(optimizer: Any, student: Any, arguments: Mapping[str, Any]) -> None:
    if isinstance(optimizer, type) or not (hasattr(optimizer, "acompile") or hasattr(optimizer, "compile")):
        raise BadJob(f"{optimizer!r} is no optimizer: give an object with compile, such as BootstrapFewShot(metric=...)")
    if student is None or isinstance(student, type):
        raise BadJob(f"{student!r} is no program: give a module, such as Predict('question -> answer')")
    if arguments.get("trainset", _UNSET) is not _UNSET and not _length(arguments["trainset"]):
        raise BadJob(f"trainset is a list of examples with at least one, not {_described(arguments['trainset'])}")
    runs_examples = hasattr(optimizer, "metric") or hasattr(optimizer, "metric_fn")
    for name in ("trainset", "valset"):
        given = arguments.get(name)
        if given is None:
            continue
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise BadJob(f"{name} is a list of examples, not {_described(given)}")
        for index, example in enumerate(cast("Sequence[object]", given)):
            if not isinstance(example, Example):
                raise BadJob(f"{name}[{index}] is {_described(example)}: give Example(...).with_inputs(...)")
            if runs_examples:
                try:
                    example.inputs()
                except ValueError as error:
                    raise BadJob(f"{name}[{index}] does not say which of its fields are inputs: {error}") from error
    compile_ = getattr(optimizer, "acompile", None) or optimizer.compile
    try:
        inspect.signature(compile_).bind(student, **arguments)
    except TypeError as error:
        raise BadJob(f"{type(optimizer).__name__}.compile does not take these arguments: {error}") from error
    except ValueError:
        pass  # it has no signature to be had


def _check_path(journal: object) -> None:
    if journal is None:
        return
    if (not isinstance(journal, str) and not hasattr(journal, "__fspath__")) or "\0" in str(journal):
        raise BadJob(f"journal is the path of a file, not {journal!r}")


def _draws_a_seed(optimizer: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether `compile` takes a seed, nobody has given one, and the optimizer has none of its own."""
    if arguments.get("seed") is not None or getattr(optimizer, "seed", None) is not None:
        return False
    try:
        parameters = inspect.signature(getattr(optimizer, "acompile", None) or optimizer.compile).parameters
    except ValueError:
        return False
    return "seed" in parameters and parameters["seed"].default is None


def _length(value: object) -> int:
    return len(cast("Sequence[object]", value)) if isinstance(value, Sequence) and not isinstance(value, str) else 0


def _described(value: object) -> str:
    if value == [] or value == ():
        return "an empty one"
    return f"a {type(value).__name__}"  # its text may be long, or secret


async def run_job(
    job: OptimizerJob,
    *,
    on_progress: Callable[[JobStatus], object] | None = None,
    name: str | None = None,
    runtime: Runtime | None = None,
) -> JobOutcome:
    """Run a job to its end: in the runtime that this code runs in, or else in one of its own.

    Args:
        on_progress: called with the status when a trial has ended, and when the job has.
        name: registers the job, so that others find it: `rt.ref(name).call(OptimizerJob.status)`.
        runtime: to run in, instead of those. If it ends before the job, ActorExit is raised.

    Raises:
        BudgetExhausted, JobCancelled, JobFailed: with the best program so far.
        JournalError: nothing was run.
    Cancelled: the job is, and its journal is closed; the same job goes on from there.
    """
    async with _runtime(runtime) as rt:
        running: list[Ref[OptimizerJob]] = []

        def hear(event: Event) -> None:
            if on_progress is not None and event.data["job"] == job.name:
                on_progress(job.status())

        unsubscribe = rt.events.subscribe(hear, prefix="engine.job.")
        try:
            running.append(await rt.start(job, name=name))
            return await running[0].within(None).call(OptimizerJob.result)
        except StartFailed as error:
            raise (error.__cause__ or error) from None
        finally:
            unsubscribe()
            with anyio.CancelScope(shield=True):
                for ref in running:
                    await ref.stop()


@asynccontextmanager
async def _runtime(here: Runtime | None) -> AsyncGenerator[Runtime]:
    if here is None:
        with suppress(RuntimeClosed):
            here = current_runtime()
    if here is not None:
        yield here
        return
    async with open_runtime() as opened:
        yield opened
