"""One interpreter session: a namespace in a sandbox process, and the host functions it may call.

This is the part that `PythonInterpreter` and `LocalInterpreter` share; they differ in what they accept and in how
results and errors are worded. Everything is asynchronous; `start`, `execute`, `shutdown` and the `with` block are its
synchronous face.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self, TypeVar, cast

import anyio

from ..callbacks import active_callbacks, with_callbacks
from ..off_loop import ask
from ..sync import run_sync
from .errors import CodeInterpreterError
from .limits import SandboxLimits
from .process import Message, SandboxProcess, locked_python

__all__ = ["SIMPLE_TYPES", "FinalOutput", "SandboxSession", "SessionStatistics", "sync_face"]

F = TypeVar("F", bound=Callable[..., Any])

SIMPLE_TYPES = (str, int, float, bool, list, dict, type(None))
"""Types that are named in the signature of SUBMIT."""

_GRACE = 2.0
"""Seconds between the end of the code's time, which it is told of, and the end of its process."""


class FinalOutput:
    """What `execute` returns when the code called SUBMIT. Equal to another of equal `output`."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def __repr__(self) -> str:
        return f"FinalOutput({self.output!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FinalOutput):
            return NotImplemented
        return self.output == other.output

    __hash__ = None  # pyright: ignore[reportAssignmentType] - as in dspy: it is equal by what it holds


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Counts of one session."""

    executions: int
    tool_calls: int
    running: bool


def sync_face(method: F) -> F:
    """Marks a synchronous method as the face of the asynchronous one named `a<method>`."""
    method.is_sync_face = True  # pyright: ignore[reportFunctionMemberAccess]
    return method


class SandboxSession:
    """Base of the interpreters. Nothing is started before `start` or the first `execute`."""

    callback_kind: ClassVar[str] = "interpreter"

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]] | None,
        output_fields: list[dict[str, Any]] | None,
        callbacks: Sequence[object] | None,
        limits: SandboxLimits | None,
        accept_missing: Collection[str],
    ) -> None:
        unknown = set(accept_missing) - {"files", "network", "processes", "limits"}
        if unknown:
            raise ValueError(f"accept_missing names no guarantee of a sandbox: {sorted(unknown)}")
        self.tools: dict[str, Callable[..., Any]] = dict(tools or {})
        self.output_fields = output_fields
        self.callbacks: list[Any] = list(callbacks or ())
        self.limits = limits or SandboxLimits()
        self.accept_missing = frozenset(accept_missing)
        self._process: SandboxProcess | None = None
        self._ended = False
        self._busy = False
        self._executions = 0
        self._tool_calls = 0

    # -- the synchronous face ----------------------------------------------------------------------------------------

    @sync_face
    def start(self) -> None:
        """As `astart`, from synchronous code."""
        run_sync(self.astart)

    @sync_face
    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        """As `aexecute`, from synchronous code."""
        return run_sync(self.aexecute, code, variables)

    @sync_face
    def shutdown(self) -> None:
        """As `ashutdown`, from synchronous code."""
        if self._process is None and not active_callbacks(self):
            self._ended = True  # nothing to wait for, so it may be said on an event loop too
            return
        run_sync(self.ashutdown)

    def __call__(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        """As `execute`."""
        return self.execute(code, variables)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.ashutdown()

    # -- life --------------------------------------------------------------------------------------------------------

    @with_callbacks
    async def astart(self) -> None:
        """Start the process, unless it runs already.

        Raises:
            SandboxUnavailableError: this machine does not permit the confinement.
            CodeInterpreterError: the process cannot be started, or the session is over.
        """
        self._refuse_if_ended()
        if self._process is None:
            self._process = await self._open()

    async def _open(self) -> SandboxProcess:
        return await SandboxProcess.open(locked_python(self.limits, self.accept_missing), self.limits)

    @with_callbacks
    async def ashutdown(self) -> None:
        """End the session: the process and what it held are gone. Idempotent; cancellation is delivered after it."""
        await self._close()

    async def _close(self) -> None:
        self._ended = True
        process, self._process = self._process, None
        if process is not None:
            await process.aclose()

    def statistics(self) -> SessionStatistics:
        """Counts of this session."""
        return SessionStatistics(self._executions, self._tool_calls, self._process is not None)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise CodeInterpreterError(
                f"{type(self).__name__} session has ended; create a new interpreter for a fresh session."
            )

    async def _end(self, message: str, cause: BaseException | None = None) -> NoReturn:
        await self._close()
        raise CodeInterpreterError(message) from cause

    # -- one execution -----------------------------------------------------------------------------------------------

    async def aexecute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        """Run `code` in the session's namespace, with `variables` set in it first.

        Returns:
            `FinalOutput` when the code called SUBMIT; else the value of its last expression, if it ends with one that
            is not None; else what it printed.

        Raises:
            SyntaxError: it is not Python.
            CodeExecutionError: it raised, or a tool it called did, or its time or memory was over. The session goes on.
            CodeInterpreterError: the session is over.

        Cancelled, or interrupted by an exception that is not an `Exception`, the process is killed: nobody can say
        what its namespace holds.
        """
        raise NotImplementedError

    async def _run(self, request: Message, *, seconds: float | None) -> Message:
        """Send `request` and serve its tool calls until the answer. `seconds` bounds all of it, tools included."""
        if self._process is None:
            await self.astart()
        process = cast("SandboxProcess", self._process)
        self._busy = True
        self._executions += 1
        budget = _Budget(self.limits.seconds + _GRACE if seconds is None else seconds, counts_tools=seconds is not None)
        try:
            return await self._serve(process, request, budget)
        except BaseExceptionGroup as group:
            await self._close()
            raise _only(group) from None
        except BaseException:
            await self._close()
            raise
        finally:
            self._busy = False

    async def _serve(self, process: SandboxProcess, request: Message, budget: _Budget) -> Message:
        # Tools have a cancel scope each, all of them inside this task group: none outlives the execution.
        async with anyio.create_task_group() as tools:
            with budget.scope:
                await process.send(request)
                while (message := await process.receive())["type"] == "tool":
                    self._tool_calls += 1
                    budget.pause()
                    tools.start_soon(self._answer, process, message, budget)
                return message
            tools.cancel_scope.cancel()
        raise CodeInterpreterError(self._too_long(budget.seconds))

    def _too_long(self, seconds: float) -> str:
        return f"Python worker exceeded execution timeout of {seconds:g} seconds."

    async def _answer(self, process: SandboxProcess, call: Message, budget: _Budget) -> None:
        number = call.get("id")
        try:
            name, args, kwargs = str(call.get("name")), list(call.get("args") or ()), dict(call.get("kwargs") or {})
            answer = {"type": "tool_result", "id": number, "value": self._returned(await self._called(name, args, kwargs))}
        except Exception as error:
            answer = {"type": "tool_error", "id": number, "error": f"{type(error).__name__}: {error}"}
        budget.resume()
        await process.send(answer)

    async def _called(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The result of a tool that the code called."""
        raise NotImplementedError

    async def _tool(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if name not in self.tools:
            raise CodeInterpreterError(f"Unknown tool: {name}")
        return await ask(self.tools[name], *args, **kwargs)

    def _returned(self, value: Any) -> Any:
        """What the code gets for a tool's result."""
        return value


class _Budget:
    """The time an execution has left; it stands still while host tools run, unless they count."""

    def __init__(self, seconds: float, *, counts_tools: bool) -> None:
        self.seconds = seconds
        self.scope = anyio.CancelScope(deadline=anyio.current_time() + seconds)
        self._counts_tools = counts_tools
        self._running = 0
        self._left = seconds

    def pause(self) -> None:
        if not self._counts_tools:
            if self._running == 0:
                self._left = self.scope.deadline - anyio.current_time()
                self.scope.deadline = math.inf
            self._running += 1

    def resume(self) -> None:
        if not self._counts_tools:
            self._running -= 1
            if self._running == 0:
                self.scope.deadline = anyio.current_time() + max(0.0, self._left)


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception inside nested groups; a group with several stays one."""
    if len(group.exceptions) != 1:
        return group
    found = group.exceptions[0]
    return _only(cast("BaseExceptionGroup[BaseException]", found)) if isinstance(found, BaseExceptionGroup) else found
