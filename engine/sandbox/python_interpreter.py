"""`PythonInterpreter`: where the code-running modules run code unless told otherwise.

    with PythonInterpreter() as interpreter:
        interpreter.execute("print(1 + 2)")              # "3\\n"

Interface, results and error texts are those of dspy 3.4's class of this name. That one is Pyodide in Deno, which it
downloads at first use; this one is a process of CPython that the kernel shuts in (`inside/confinement.py`): no network,
no files but the standard library, no other processes, bounded time and memory. It starts in 0.06 s and needs nothing
installed, but a Linux kernel with namespaces and seccomp; where those are not permitted it refuses to start.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import keyword
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..callbacks import with_callbacks
from ..sync import run_sync
from .errors import CodeExecutionError, CodeInterpreterError
from .limits import SandboxLimits
from .process import Message
from .session import FinalOutput, SandboxSession

__all__ = ["PythonInterpreter"]


class PythonInterpreter(SandboxSession):
    """A Python session in a sandbox process. Variables may be of any type that pydantic can write as JSON."""

    execution_instructions = (
        "Python runs in Pyodide/WebAssembly. State persists across executions, but subprocesses and native extensions are "
        "unavailable. Python standard libraries such as re, json, collections, and math are available. Host filesystem, "
        "environment, and network access require explicit permission."
    )
    """Told to the model by `RLM`: prompt text, and so dspy's. What it rules out is ruled out here too."""

    def __init__(
        self,
        deno_command: list[str] | None = None,
        enable_read_paths: Sequence[Any] | None = None,
        enable_write_paths: Sequence[Any] | None = None,
        enable_env_vars: list[str] | None = None,
        enable_network_access: list[str] | None = None,
        sync_files: bool = True,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        output_fields: list[dict[str, Any]] | None = None,
        callbacks: Sequence[object] | None = None,
        *,
        limits: SandboxLimits | None = None,
        accept_missing: Collection[str] = (),
    ) -> None:
        """Describe an interpreter.

        Args:
            tools: host functions, sync or async, that the code may call by name.
            output_fields: dicts with "name", the parameters of SUBMIT; without them it takes one value.
            sync_files: accepted and without effect: there are no files.
            limits: bounds on time, memory and output.
            accept_missing: guarantees ("files", "network", "processes", "limits") that it may run without, where the
                machine does not permit them. None by default: then it refuses to start there.

        Raises:
            NotImplementedError: `deno_command`, or a hole in the sandbox (`enable_*`) was asked for.
        """
        if isinstance(deno_command, dict):
            raise TypeError("deno_command must be a list of strings, not a dict")
        for name, value in (
            ("deno_command", deno_command),
            ("enable_read_paths", enable_read_paths),
            ("enable_write_paths", enable_write_paths),
            ("enable_env_vars", enable_env_vars),
            ("enable_network_access", enable_network_access),
        ):
            if value:
                raise NotImplementedError(
                    f"{name}: this sandbox has no holes, and no Deno (DenoInterpreter has). Hand data in as variables, and "
                    "let a host function in `tools` do what needs files, environment or network."
                )
        super().__init__(tools, output_fields, callbacks, limits, accept_missing)
        self.sync_files = sync_files

    @with_callbacks
    async def aexecute(self, code: str, variables: dict[str, Any] | None = None) -> Any:  # docstring: SandboxSession
        if self._busy:
            raise CodeInterpreterError("PythonInterpreter cannot execute recursively from one of its tools.")
        self._refuse_if_ended()
        given: dict[str, Any] = {}
        for name, value in (variables or {}).items():
            if not name.isidentifier() or keyword.iskeyword(name) or name == "json":
                raise CodeInterpreterError(f"Invalid variable name: '{name}'")
            given[name] = _data(value)
        request = {
            "type": "execute",
            "code": code,
            "variables": given,
            "tools": {name: _parameters(tool) for name, tool in self.tools.items()},
            "submit": self._submit(),
            "seconds": self.limits.seconds,
            "cpu": self.limits.cpu_seconds,
            "output": self.limits.output_bytes,
        }
        message = await self._run(request, seconds=None)
        match message["type"]:
            case "final":
                return FinalOutput(message["value"])
            case "result":
                return message["value"] if message["value"] is not None else message["stdout"]
            case "syntax":
                raise SyntaxError(f"Invalid Python syntax. message: {message['error']}")
            case "error":
                raise CodeExecutionError(f"{message['kind']}: {message['args'] or message['text']}")
            case "leaked":
                await self._end(f"executed code left background threads running: {message['threads']!r}")
            case other:
                await self._end(f"Unexpected message from the sandbox: {other!r}")

    def invoke_tool(self, tool_name: str, kwargs: dict[str, Any]) -> Any:
        """As `ainvoke_tool`, from synchronous code."""
        return run_sync(self.ainvoke_tool, tool_name, kwargs)

    @with_callbacks
    async def ainvoke_tool(self, tool_name: str, kwargs: dict[str, Any]) -> Any:
        """Call a host function as the code would. Raises CodeInterpreterError if there is none of that name."""
        return await self._tool(tool_name, (), kwargs)

    async def _called(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return await (self._tool(name, args, kwargs) if args else self.ainvoke_tool(name, kwargs))

    def _submit(self) -> Message | None:
        if not self.output_fields:
            return None
        names = [str(field["name"]) for field in self.output_fields]
        for name in names:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise CodeInterpreterError(f"Invalid output field name: '{name}'")
        return {"style": "signature", "names": names}

    def _returned(self, value: Any) -> Any:
        """None becomes "" and what JSON cannot hold its `str`, as in dspy."""
        plain = _plain(value)
        if plain is None:
            return ""
        try:
            json.dumps(plain, allow_nan=False)
        except (TypeError, ValueError):
            return str(plain)
        return plain


def _parameters(tool: Callable[..., Any]) -> list[str] | None:
    """Names for positional arguments, which travel by name. None: they travel by position."""
    try:
        parameters = inspect.signature(tool).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind in (each.VAR_POSITIONAL, each.POSITIONAL_ONLY) for each in parameters):
        return None
    return [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]


def _data(value: Any) -> Any:
    """A variable as JSON data: tuples and sets become lists, models and the rest what pydantic makes of them.

    Raises:
        CodeInterpreterError: there is no such form.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, BaseModel):
        return _data(_dumped(value))
    if isinstance(value, dict):
        return {key: _data(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_data(item) for item in cast("list[Any]", value)]
    if isinstance(value, set):
        members = [_data(item) for item in cast("set[Any]", value)]
        try:
            return sorted(members)
        except TypeError:  # of kinds that do not compare
            return members
    try:
        return _data(to_jsonable_python(value))
    except PydanticSerializationError:
        raise CodeInterpreterError(f"Unsupported value type: {type(value).__name__}") from None


def _plain(value: Any) -> Any:
    """A tool's result as JSON data where it has such a form; else itself."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, BaseModel):
        return _plain(_dumped(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):  # pyright: ignore[reportUnknownArgumentType]
        return _plain(cast("Any", value)._asdict())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        return value


def _dumped(value: BaseModel) -> Any:
    try:
        return value.model_dump(mode="json")
    except PydanticSerializationError as error:
        raise CodeInterpreterError(f"Unable to serialize {type(value).__name__} as JSON: {error}") from error
