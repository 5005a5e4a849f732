"""Tasks: a process for one piece of work, whose result somebody waits for. Elixir's Task.

    task = Task.async_(fetch, "https://...")        # async or plain function; it runs from the caller's next wait on
    other = Task.async_(count, words)
    page, number = await await_many([task, other], within=10)

    slow = Task.async_(think)
    done = await slow.yield_(within=2) or await slow.shutdown()     # Ok(value), Exited(reason), or None: it was stopped

``async_`` links the task to the process that runs this code: if the task crashes, so does its owner, and the other way
round; code outside any process has nothing to be linked to. ``start_nolink`` does not link. ``Task.start`` is for work whose
result nobody wants. A task that shall outlive or be stopped with something is started by a TaskSupervisor.

All of it may be waited for by anybody and more than once. Cancelling who waits does not stop the task: ``shutdown`` does.
The work sees the context variables as they were where it was started, and what it sets is its own, as in an asyncio task.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, final, overload

import anyio

from .exits import KILL, KILLED, NORMAL, SHUTDOWN, ActorExit, BadProcess, CallTimeout, Exit, Reason
from .plain import Mailbox, Plain
from .process import BESIDE, CURRENT
from .ref import Ref
from .replies import IN_HAND
from .runtime import SHUTDOWN_SECONDS, Runtime, current_runtime
from .signals import Address

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")

AWAIT_SECONDS: Final = 5.0
"""What ``await_`` and ``yield_`` wait unless told otherwise, as Elixir's."""


_OF_THE_PROCESS: Final = frozenset[contextvars.ContextVar[Any]]((CURRENT, BESIDE, IN_HAND))
"""What says which process runs: a task is a process of its own."""

_UNSET: Final = object()


@final
@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """The work is done; this is its result."""

    value: T_co


@final
@dataclass(frozen=True, slots=True)
class Exited:
    """The task ended without a result: crashed, killed, stopped."""

    reason: Reason


@final
class Job(Generic[T]):
    """A piece of work and where its result goes. For those who start tasks: TaskSupervisor, streams."""

    __slots__ = ("_abandoned", "_args", "_context", "_function", "_kwargs", "_owner", "_ref", "name", "outcome")

    def __init__(
        self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any], *, owner: Address | None
    ) -> None:
        if not callable(function):
            raise BadProcess(f"{function!r} cannot be a task: give a function and its arguments, not its result")
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._owner = owner
        """Whom the task links to before it begins."""
        self._context = contextvars.copy_context()
        self.name = str(getattr(function, "__name__", type(function).__name__))
        self.outcome: Ok[T] | None = None
        self._ref: Ref[Any] | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """Nobody will wait for it: it is killed, or not begun at all."""
        self._abandoned = True
        if self._ref is not None:
            self._ref.kill()

    def process(self, shutdown: float | None = SHUTDOWN_SECONDS) -> Plain:
        """A new process that does the work."""

        async def work(me: Mailbox) -> None:
            self._ref = me.ref
            if self._abandoned:
                raise Exit(KILLED)
            if self._owner is not None:
                try:
                    me.link(self._owner)
                except ActorExit as gone:
                    raise Exit(gone.reason) from None  # nobody is left who wants it
            for variable, there in self._context.items():
                if variable not in _OF_THE_PROCESS and variable.get(_UNSET) is not there:
                    variable.set(there)
            value: Any = self._function(*self._args, **self._kwargs)
            if inspect.isawaitable(value):
                value = await value
            self.outcome = Ok(value)

        work.__name__ = self.name
        return Plain(work, shutdown=shutdown)


@final
class Task(Generic[T]):
    """A task that was started. Made by the functions of this class, or by a TaskSupervisor."""

    __slots__ = ("_job", "ref")

    def __init__(self, ref: Ref[Any], job: Job[T]) -> None:
        self.ref = ref
        """Its process: to monitor, to kill."""
        self._job = job

    # --- starting -----------------------------------------------------------------------------------------------

    @overload
    @staticmethod
    def async_(function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]: ...
    @overload
    @staticmethod
    def async_(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]: ...
    @staticmethod
    def async_(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Start ``function(*args, **kwargs)`` in a process linked to the one that runs this code, at once.

        Raises BadProcess for what is no function, RuntimeClosed.
        """
        runtime = current_runtime()
        task = _launched(runtime, function, args, kwargs)
        owner = CURRENT.get()
        if owner is not None:
            owner.link(task.ref.process)  # it does not run before the caller waits
        return task

    @overload
    @staticmethod
    def start_nolink(function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]: ...
    @overload
    @staticmethod
    def start_nolink(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]: ...
    @staticmethod
    def start_nolink(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
        """As ``async_``, linked to nobody: its crash is seen only by those who wait for it."""
        return _launched(current_runtime(), function, args, kwargs)

    @staticmethod
    def start(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> Ref[Any]:
        """As ``start_nolink``, for work whose result nobody wants. Returns its process."""
        return _launched(current_runtime(), function, args, kwargs).ref

    # --- waiting ------------------------------------------------------------------------------------------------

    async def await_(self, *, within: float | None = AWAIT_SECONDS) -> T:
        """The result. Waits at most ``within`` seconds; None: as long as it takes.

        Raises ActorExit if the task ended without one, its ``__cause__`` being what it raised; CallTimeout, the task then
        goes on. Cancelled: the task goes on.
        """
        _check_owner(self)
        if not await self.ref.ended(within):
            raise CallTimeout(self.ref.label, within or 0.0)
        return _value(self)

    async def yield_(self, *, within: float | None = AWAIT_SECONDS) -> Ok[T] | Exited | None:
        """What became of it: its result, how it ended, or None if it is still at work after ``within`` seconds."""
        _check_owner(self)
        await self.ref.ended(within)
        return self.outcome

    @property
    def outcome(self) -> Ok[T] | Exited | None:
        """What became of it so far; None while it is at work."""
        if not self.ref.process.gone:
            return None
        reason = self.ref.exit_reason
        if reason is NORMAL and self._job.outcome is not None:
            return self._job.outcome
        return Exited(reason)

    async def shutdown(self, within: float | Literal["brutal_kill", "infinity"] = 5.0) -> Ok[T] | Exited | None:
        """Unlink it, have it stop, and wait until it is gone. Returns None if that is how it ended, else what became of it.

        ``within`` is in seconds, after which it is killed; "brutal_kill": at once; "infinity": never. Its owner does not
        end with it. Cancelled: it has been told to stop.
        """
        if isinstance(within, str) and within not in ("brutal_kill", "infinity"):
            raise ValueError(f'a task is shut down within seconds, "brutal_kill" or "infinity", not {within!r}')
        _check_owner(self)
        process = self.ref.process
        was_gone = process.gone
        owner = CURRENT.get()
        if owner is not None:
            owner.unlink(process)
        asked = KILL if within == "brutal_kill" else SHUTDOWN
        if not was_gone:
            process.exit_signal(owner, asked)
            if not await process.ended(None if isinstance(within, str) else within):
                process.exit_signal(owner, KILL)
                await process.ended()
        outcome = self.outcome
        stopped = isinstance(outcome, Exited) and not was_gone and not _failed(outcome)
        return None if stopped else outcome

    def __repr__(self) -> str:
        return f"<Task {self._job.name} {self.ref!r}>"


def _launched(
    runtime: Runtime, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Task[Any]:
    job: Job[Any] = Job(function, args, kwargs, owner=None)
    return Task(runtime.launch(job.process()), job)


async def await_many(tasks: Iterable[Task[T]], *, within: float | None = AWAIT_SECONDS) -> list[T]:
    """All results, in the order of ``tasks``; one time limit for all.

    Raises ActorExit as soon as one ends without a result, CallTimeout; the others then go on.
    """
    listed = list(tasks)
    failed = await _settled(listed, within, stop_early=True)
    if failed is not None:
        return [_value(failed)]  # raises
    late = next((task for task in listed if task.outcome is None), None)
    if late is not None:
        raise CallTimeout(late.ref.label, within or 0.0)
    return [_value(task) for task in listed]


async def yield_many(
    tasks: Iterable[Task[T]], *, within: float | None = AWAIT_SECONDS
) -> list[tuple[Task[T], Ok[T] | Exited | None]]:
    """Each task with what became of it; None for one still at work after ``within`` seconds, which goes on."""
    listed = list(tasks)
    await _settled(listed, within, stop_early=False)
    return [(task, task.outcome) for task in listed]


async def _settled(tasks: list[Task[Any]], within: float | None, *, stop_early: bool) -> Task[Any] | None:
    """Wait until all have ended, or the time is over, or one failed: that one is returned."""
    failed: list[Task[Any]] = [task for task in tasks if stop_early and isinstance(task.outcome, Exited)]
    if failed:
        return failed[0]

    async def watch(task: Task[Any]) -> None:
        await task.ref.ended(within)
        if stop_early and isinstance(task.outcome, Exited):
            failed.append(task)
            group.cancel_scope.cancel()

    for task in tasks:
        _check_owner(task)
    async with anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(functools.partial(watch, task))
    return failed[0] if failed else None


def _value(task: Task[T]) -> T:
    outcome = task.outcome
    if isinstance(outcome, Ok):
        return outcome.value
    assert outcome is not None
    raise ActorExit(outcome.reason, task.ref.label)


def _failed(outcome: Exited) -> bool:
    """True if it ended otherwise than as it was told."""
    return outcome.reason is not SHUTDOWN and outcome.reason is not KILLED


def _check_owner(task: Task[Any]) -> None:
    if CURRENT.get() is task.ref.process:
        raise BadProcess(f"{task.ref.label} cannot wait for itself")
