"""A supervisor of tasks, and streams of many tasks, a few at a time: Elixir's Task.Supervisor.

    await rt.start(TaskSupervisor(), name="tasks")          # or Child("tasks", TaskSupervisor, name="tasks")
    tasks = rt.ref("tasks")

    await TaskSupervisor.start(tasks, send_mail, user)                          # nobody waits for it
    task = await TaskSupervisor.async_nolink(tasks, fetch, url)                 # its crash is a value, not ours
    page = await task.await_(within=10)

    async for result in TaskSupervisor.stream(tasks, fetch, urls, max_concurrency=4):
        match result:
            case Ok(page): ...
            case Exited(reason): ...

The functions take the supervisor first, as a reference or a name. Tasks are temporary children: they are not restarted, and
they stop with the supervisor.

A stream starts nothing before it is asked for its first result, and never has more than ``max_concurrency`` tasks that run or
whose results were not taken; it reads its input only to start the next one. Whatever ends it (a ``break``, an exception, the
cancellation or the death of the process that reads it) ends its tasks: at once if it is used with ``async with`` or
``aclose()``, and otherwise when Python drops it, which a ``break`` does.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, ParamSpec, TypeVar, overload

from ..runtime import (
    NamedRef,
    Ref,
    Startable,
)
from ..runtime.process import CURRENT
from ..runtime.tasks import Job, Task
from .dynamic import DynamicSupervisor
from .specs import Restart
from .specs import Shutdown as ShutdownTime
from .task_stream import OnTimeout, TaskStream, start_task

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an input
P = ParamSpec("P")


class TaskSupervisor(DynamicSupervisor):
    """See the module. ``restart`` is "temporary" unless a started task is to be started again when it fails.

    ``shutdown``: seconds its tasks get to stop in, 5 by default. Raises BadChildSpec.
    """

    def __init__(
        self,
        *,
        restart: Restart = "temporary",
        shutdown: ShutdownTime | None = None,
        intensity: int = 3,
        period: float = 5.0,
        name: str | None = None,
    ) -> None:
        super().__init__(
            _process_of_job,
            id="task",
            restart=restart,
            shutdown=shutdown,
            intensity=intensity,
            period=period,
            name=name,
        )

    @staticmethod
    async def start(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any],
        function: Callable[P, object],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Ref[Any]:
        """Start a task whose result nobody wants. Raises what a call of the supervisor raises."""
        return (await start_task(supervisor, Job[Any](function, args, kwargs, owner=None))).ref

    @overload
    @staticmethod
    async def async_nolink(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any],
        function: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Task[T]: ...
    @overload
    @staticmethod
    async def async_nolink(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any],
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Task[T]: ...
    @staticmethod
    async def async_nolink(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any], function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Task[Any]:
        """Start a task and wait for it with ``await_``, ``yield_``, ``await_many``. Its crash does not reach the caller."""
        return await start_task(supervisor, Job(function, args, kwargs, owner=None))

    @overload
    @staticmethod
    async def async_(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any],
        function: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Task[T]: ...
    @overload
    @staticmethod
    async def async_(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any],
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Task[T]: ...
    @staticmethod
    async def async_(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any], function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Task[Any]:
        """As ``async_nolink``, and linked to the process that runs this code, before the work begins."""
        owner = CURRENT.get()
        return await start_task(
            supervisor, Job(function, args, kwargs, owner=owner.address if owner is not None else None)
        )

    @overload
    @staticmethod
    def stream(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any],
        function: Callable[[I], Awaitable[T]],
        items: Iterable[I] | AsyncIterable[I],
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[I, T]: ...
    @overload
    @staticmethod
    def stream(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any],
        function: Callable[[I], T],
        items: Iterable[I] | AsyncIterable[I],
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[I, T]: ...
    @staticmethod
    def stream(
        supervisor: Ref[TaskSupervisor] | NamedRef[Any],
        function: Callable[[Any], Any],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[Any, Any]:
        """``function(item)`` for each item, each in a task of its own: an async iterator of Ok(value) and Exited(reason).

        ``max_concurrency``: how many tasks at a time, by default as many as there are CPUs. ``ordered``: results come in
        the order of the input, else as they are ready. ``timeout``: seconds each task may take, None for no limit. What
        reading ``items`` raises comes out of the stream, which is then closed. Raises ValueError for options out of range.
        """
        return TaskStream(supervisor, function, items, max_concurrency, ordered, timeout, on_timeout)


def _process_of_job(job: Job[Any]) -> Startable:
    return job.process()
