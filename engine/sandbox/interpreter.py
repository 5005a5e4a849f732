"""What a module that runs code asks of an interpreter, and which interpreter it gets. As dspy 3.4.

Anything with `tools`, `start`, `execute` and `shutdown` will do: your own remote sandbox, or a scripted one in a test.
An interpreter that also has `aexecute` and `ashutdown`, as ours do, is awaited; one that has not runs in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

import anyio

from ..off_loop import in_thread
from ..settings import settings
from .python_interpreter import PythonInterpreter

__all__ = [
    "CodeInterpreter",
    "create_interpreter",
    "release",
    "resolve_interpreter_factory",
    "run_code",
    "start",
    "validate_interpreter",
    "validate_interpreter_factory",
]


@runtime_checkable
class CodeInterpreter(Protocol):
    """A place where Python code runs, with a namespace that lasts from call to call."""

    @property
    def tools(self) -> dict[str, Callable[..., Any]]:
        """Host functions that the code may call by name. Callers may add to it between executions."""
        ...

    def start(self) -> None:
        """Get ready now; otherwise the first `execute` does. May be called again."""
        ...

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        """Run `code` with `variables` as globals.

        Returns `FinalOutput` if the code called SUBMIT, else what it printed or its last value, or None.
        Raises `SyntaxError`, `CodeExecutionError` (the code failed) or `CodeInterpreterError` (the session is over).
        """
        ...

    def shutdown(self) -> None:
        """End the session."""
        ...


InterpreterFactory = Callable[[], CodeInterpreter]


def validate_interpreter_factory(factory: object, name: str = "interpreter_factory") -> None:
    """Raises TypeError unless `factory` is a callable that is not itself an interpreter."""
    if not isinstance(factory, type) and isinstance(factory, CodeInterpreter):
        raise TypeError(
            f"{name} received an object that already implements CodeInterpreter, so its ownership is ambiguous. "
            "If this object also creates interpreters, pass a dedicated zero-argument creation callable instead."
        )
    if not callable(factory):
        raise TypeError(
            f"{name} must be a zero-argument callable that creates a CodeInterpreter, not {type(factory).__name__}."
        )


def resolve_interpreter_factory(factory: InterpreterFactory | None = None) -> InterpreterFactory:
    """The factory to use now: `factory`, else `settings.interpreter_factory`, else `PythonInterpreter`.

    None and `PythonInterpreter` both count as "not chosen", since the latter is the modules' default argument.

    Raises:
        TypeError: the configured factory is not a zero-argument callable.
    """
    if factory is not None and factory is not PythonInterpreter:
        return factory
    configured: Any = settings.get("interpreter_factory")
    if configured is None:
        return PythonInterpreter
    validate_interpreter_factory(configured, name="dspy.settings.interpreter_factory")
    return cast("InterpreterFactory", configured)


def create_interpreter(factory: InterpreterFactory | None) -> CodeInterpreter:
    """A new interpreter from `factory`, resolved as above. Raises TypeError if what it makes is none."""
    made = cast("object", resolve_interpreter_factory(factory)())
    if not isinstance(made, CodeInterpreter):
        raise TypeError(f"interpreter_factory must return a CodeInterpreter, not {type(made).__name__}.")
    return made


def validate_interpreter(interpreter: object) -> None:
    """Raises TypeError unless it is an interpreter."""
    if not isinstance(interpreter, CodeInterpreter):
        raise TypeError(f"interpreter must implement CodeInterpreter, not {type(interpreter).__name__}.")


async def run_code(interpreter: CodeInterpreter, code: str, variables: Mapping[str, Any] | None = None) -> Any:
    """`interpreter.execute`, without stopping the event loop. Cancelled, it leaves a blocking interpreter running."""
    # `aexecute` counts only where `execute` is the one it belongs to: a subclass may override the classic method alone.
    aexecute = _async_form(interpreter, "execute")
    arguments = () if variables is None else (dict(variables),)
    if aexecute is not None:
        return await aexecute(code, *arguments)
    if variables is None:
        return await in_thread(interpreter.execute, code)
    return await in_thread(partial(interpreter.execute, code, variables=dict(variables)))


async def start(interpreter: CodeInterpreter) -> None:
    """`interpreter.start`, without stopping the event loop."""
    astart = _async_form(interpreter, "start")
    await (in_thread(interpreter.start) if astart is None else astart())


async def release(interpreter: CodeInterpreter) -> None:
    """`interpreter.shutdown`, without stopping the event loop, and whatever cancels us meanwhile."""
    ashutdown = _async_form(interpreter, "shutdown")
    with anyio.CancelScope(shield=True):
        await (in_thread(interpreter.shutdown) if ashutdown is None else ashutdown())


def _async_form(interpreter: CodeInterpreter, method: str) -> Callable[..., Any] | None:
    asynchronous: Any = getattr(interpreter, f"a{method}", None)
    classic: Any = getattr(type(interpreter), method, None)
    return asynchronous if asynchronous is not None and getattr(classic, "is_sync_face", False) else None

