"""`LocalInterpreter`: the interface of dspy 3.4's class of this name, over the same sandbox as `PythonInterpreter`.

There it is a subprocess with all rights of its user; a program that was content with that runs here too, unless it
needs files, network or installed packages, which the sandbox does not have.
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self, cast

from ..callbacks import with_callbacks
from ..sync import run_sync
from .errors import CodeExecutionError, CodeInterpreterError
from .limits import SandboxLimits
from .process import Message
from .session import FinalOutput, SandboxSession

__all__ = ["LocalInterpreter"]

_OWNED = frozenset({"SUBMIT", "__builtins__"})


class LocalInterpreter(SandboxSession):
    """A Python session in a sandbox process. Variables, arguments and results are JSON, strictly."""

    execution_instructions = (
        "Code runs as Python in a persistent local subprocess. State, imports, functions, and JSON-compatible variables "
        "persist for this session. Host tools and SUBMIT are available as global functions. All threads must finish before "
        "each code execution returns; use context-managed executors for parallel work."
    )
    """Told to the model by `RLM`: prompt text, and so dspy's."""

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        output_fields: list[dict[str, Any]] | None = None,
        *,
        execution_timeout: float | None = None,
        callbacks: Sequence[object] | None = None,
        limits: SandboxLimits | None = None,
        accept_missing: Collection[str] = (),
    ) -> None:
        """Describe an interpreter.

        Args:
            tools: host functions, sync or async, that the code may call by name; JSON in, JSON out.
            output_fields: dicts with "name": the parameters of SUBMIT. None: it takes one value.
            execution_timeout: seconds for one execution, host tools included; its end is the end of the session. None:
                the limits hold, and the code is told of their end.
            limits, accept_missing: as for `PythonInterpreter`.

        Raises:
            ValueError: a name or the timeout is not valid.
        """
        if execution_timeout is not None and execution_timeout <= 0:
            raise ValueError("execution_timeout must be positive or None")
        _check_tool_names(tools or {})
        fields = None if output_fields is None else [dict(field) for field in output_fields]
        _check_output_fields(fields)
        super().__init__(tools, fields, callbacks, limits, accept_missing)
        self.execution_timeout = execution_timeout

    def __enter__(self) -> Self:
        self.start()
        return self

    async def __aenter__(self) -> Self:
        await self.astart()
        return self

    @with_callbacks
    async def aexecute(self, code: str, variables: dict[str, Any] | None = None) -> Any:  # docstring: SandboxSession
        if self._busy:
            raise CodeInterpreterError("LocalInterpreter already has an active execution.")
        given: Any = {} if variables is None else variables
        _check_tool_names(self.tools)
        _check_output_fields(self.output_fields)
        if not isinstance(code, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all checked
            raise CodeInterpreterError("code must be a string")
        self._check_variables(given)
        self._refuse_if_ended()
        request = {
            "type": "execute",
            "code": code,
            "variables": given,
            "tools": dict.fromkeys(self.tools),
            "submit": self._submit(),
            "seconds": 0 if self.execution_timeout is not None else self.limits.seconds,
            "cpu": self.limits.cpu_seconds,
            "output": self.limits.output_bytes,
        }
        message = await self._run(request, seconds=self.execution_timeout)
        match message["type"]:
            case "final":
                return FinalOutput(message["value"])
            case "result":
                value, printed = message["value"], message["stdout"].rstrip("\n")
                return value if value is not None else (printed or None)
            case "syntax":
                raise SyntaxError(message["error"])
            case "error":
                raise CodeExecutionError(f"{message['kind']}: {message['text']}")
            case "leaked":
                await self._end(
                    f"Python worker failed: executed code left background threads running: {message['threads']!r}"
                )
            case _:
                await self._end(f"Python worker returned an unknown message: {message!r}")

    def invoke_tool(self, tool_name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """As `ainvoke_tool`, from synchronous code."""
        return run_sync(self.ainvoke_tool, tool_name, args, kwargs)

    @with_callbacks
    async def ainvoke_tool(self, tool_name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call a host function as the code would. Raises CodeInterpreterError if there is none of that name."""
        return await self._tool(tool_name, args, kwargs)

    async def _called(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return await self.ainvoke_tool(name, args, kwargs)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise CodeInterpreterError("LocalInterpreter session has been shut down.")

    def _check_variables(self, variables: Any) -> None:
        if not isinstance(variables, dict):
            raise CodeInterpreterError("variables must map Python identifiers to JSON-compatible values")
        names = list(cast("dict[object, object]", variables))
        invalid = [name for name in names if not _is_free_name(name) or name in self.tools]
        if invalid:
            raise CodeInterpreterError(
                "variable names must be non-reserved Python identifiers distinct from tool names; "
                f"invalid names: {invalid!r}"
            )
        try:
            json.dumps(variables, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise CodeInterpreterError(f"variables must be JSON-compatible: {error}") from error

    def _submit(self) -> Message:
        fields = self.output_fields
        return {"style": "exact", "names": None if fields is None else [field["name"] for field in fields]}

    def _returned(self, value: Any) -> Any:
        json.dumps(value, allow_nan=False)  # raises what the code is told
        return value


def _is_free_name(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name) and name not in _OWNED


def _check_tool_names(tools: Mapping[str, object]) -> None:
    invalid = [name for name in tools if not _is_free_name(name)]
    if invalid:
        raise ValueError(f"tool names must be non-reserved Python identifiers; invalid names: {invalid!r}")


def _check_output_fields(fields: list[dict[str, Any]] | None) -> None:
    if fields is None:
        return
    candidates: list[object] = list(fields)
    names = [cast("dict[str, object]", each).get("name") if isinstance(each, dict) else None for each in candidates]
    if any(not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) for name in names):
        raise ValueError("output field names must be non-keyword Python identifiers")
    if len(names) != len(set(names)):
        raise ValueError("output field names must be unique")
    try:
        json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"output fields must be JSON-compatible: {error}") from error
