"""What a model asks to be called, and what came of it: `ToolCalls` and `ToolCallResults`, dspy's names and shapes.

    calls = ToolCalls.from_dict_list([{"name": "search", "args": {"query": "otters"}}, ...])
    results = await calls.aexecute([search, fetch])      # all at once; in the order of the calls
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import anyio
import json_repair
import pydantic

from ..sync import run_sync
from .base import Type, forget_docstring
from .worker_thread import run_in_thread

__all__ = ["ToolCallResults", "ToolCalls"]


class _NamedTool(Protocol):
    @property
    def name(self) -> str | None: ...
    @property
    def func(self) -> Callable[..., Any]: ...
    async def acall(self, **kwargs: Any) -> Any: ...


Functions = Mapping[str, Any] | Sequence[Any]
"""Where a call finds its function: callables by name, or a list of `Tool`s."""


class ToolCall(Type):
    """One call. The id links it to its result; it is the provider's and not shown to the model in prompts."""

    __qualname__ = "ToolCalls.ToolCall"

    id: str | None = None
    name: str
    args: dict[str, Any] = pydantic.Field(json_schema_extra={"additionalProperties": True})

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return _without_property(forget_docstring(handler, handler(core_schema)), "id")

    def format(self) -> dict[str, Any]:
        """Name and arguments."""
        return {"name": self.name, "args": self.args}

    def execute(self, functions: dict[str, Any] | list[Any] | None = None) -> Any:
        """Run the function this call names, with no check of its arguments, and return its result.

        Args:
            functions: callables by name, or `Tool`s; None looks the name up where `execute` is called.

        Raises:
            ValueError: there is no such function.
            RuntimeError: the function raised; the cause is kept.
        """
        if functions is None:
            frame = inspect.currentframe()
            caller = frame.f_back if frame is not None else None
            try:
                function = (caller.f_locals.get(self.name) or caller.f_globals.get(self.name)) if caller else None
            finally:
                del frame, caller
        else:
            function = self._function_in(functions)
        try:
            return self._found(function)(**(self.args or {}))
        except _NotFoundError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise RuntimeError(f"Error executing tool '{self.name}': {error}") from error

    async def aexecute(self, functions: Functions) -> Any:
        """Run what this call names: a `Tool` by its `acall` (arguments checked), an async callable here, any other in a
        worker thread. Cancelling cancels it, as `Tool.acall` describes.

        Raises:
            ValueError: there is no such function.
            RuntimeError: the function raised; the cause is kept.
        """
        try:
            found = self._found(self._entry_in(functions))
            acall = getattr(found, "acall", None)
            arguments = self.args or {}
            if acall is not None:
                return await acall(**arguments)
            if inspect.iscoroutinefunction(found):
                return await found(**arguments)
            result = await run_in_thread(found, arguments)
            return await result if inspect.iscoroutine(result) else result
        except _NotFoundError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise RuntimeError(f"Error executing tool '{self.name}': {error}") from error

    def _entry_in(self, functions: Functions) -> Any:
        if isinstance(functions, Mapping):
            return functions.get(self.name)
        return next((tool for tool in cast("Sequence[_NamedTool]", functions) if tool.name == self.name), None)

    def _function_in(self, functions: Functions) -> Any:
        entry = self._entry_in(functions)
        return entry.func if entry is not None and not isinstance(functions, Mapping) else entry

    def _found(self, function: Any) -> Callable[..., Any]:
        if function is None:
            raise _NotFoundError(
                f"Tool function '{self.name}' not found. Please pass the tool functions to the `execute` method."
            )
        return function


class _NotFoundError(Exception):
    pass


class ToolCalls(Type):
    """The calls of one answer, in order; and, in a conversation's history, what they returned."""

    ToolCall = ToolCall

    tool_calls: list[ToolCall]
    tool_call_results: Any | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return _without_property(forget_docstring(handler, handler(core_schema)), "tool_call_results")

    @classmethod
    def from_dict_list(cls, tool_calls_dicts: list[dict[str, Any]]) -> ToolCalls:
        """Calls from dicts: dspy's (`name`, `args`), OpenAI's chat (`function`) or responses (`call_id`) shape."""
        return cls(tool_calls=[ToolCall(**_call_fields(each)) for each in tool_calls_dicts])

    @classmethod
    def description(cls) -> str:
        return (
            "Tool calls must be a JSON object with `tool_calls`, a list of calls. "
            "Each call must include `name` and `args`. "
            'Example: {"tool_calls": [{"name": "search", "args": {"query": "cats"}}]}'
        )

    def format(self) -> dict[str, Any]:
        """The calls without ids."""
        return {"tool_calls": [call.format() for call in self.tool_calls]}

    @pydantic.model_serializer()
    def serialize_model(self) -> Any:
        """As `format`, with the results where there are any."""
        data = self.format()
        if self.tool_call_results is not None:
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(cast("Any", type(self.tool_call_results)))
            data["tool_call_results"] = adapter.dump_python(self.tool_call_results, mode="json")
        return data

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_input(cls, data: Any) -> Any:
        """Accepts calls, a dict of them, one call, or a list of calls, in each of the shapes of `from_dict_list`."""
        if isinstance(data, cls):
            return data
        if isinstance(data, list):
            items = cast("list[Any]", data)
            if all(isinstance(each, dict) and _is_call(cast("dict[str, Any]", each)) for each in items):
                return {"tool_calls": [ToolCall(**_call_fields(each)) for each in items]}
        elif isinstance(data, dict):
            given = cast("dict[str, Any]", data)
            if "tool_calls" in given:
                if isinstance(given["tool_calls"], list):
                    return _calls_of(given)
            elif _is_call(given):
                return {"tool_calls": [ToolCall(**_call_fields(given))]}
        raise ValueError(f"Received invalid value for `dspy.ToolCalls`: {data}")

    def execute(
        self, functions: Functions, *, describe_error: Callable[[ToolCall, Exception], Any] | None = None
    ) -> ToolCallResults:
        """`aexecute` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        return run_sync(self.aexecute, functions, describe_error=describe_error)

    async def aexecute(
        self, functions: Functions, *, describe_error: Callable[[ToolCall, Exception], Any] | None = None
    ) -> ToolCallResults:
        """Run all calls at once (`ToolCall.aexecute`); the results are in the order of the calls.

        A call that fails does not stop the others: its result is marked `is_error` and holds what `describe_error`
        makes of the exception, by default its text. Cancelling cancels all of them.
        """
        values: list[Any] = [None] * len(self.tool_calls)
        failed = [False] * len(self.tool_calls)

        async def run(position: int, call: ToolCall) -> None:
            try:
                values[position] = await call.aexecute(functions)
            except Exception as error:
                failed[position] = True
                values[position] = str(error) if describe_error is None else describe_error(call, error)

        if len(self.tool_calls) == 1:
            await run(0, self.tool_calls[0])
        else:
            async with anyio.create_task_group() as group:
                for position, call in enumerate(self.tool_calls):
                    group.start_soon(run, position, call)
        return ToolCallResults.from_tool_calls_and_values(self, values, failed)


def _calls_of(given: dict[str, Any]) -> dict[str, Any]:
    calls = [ToolCall(**_call_fields(each)) if isinstance(each, dict) else each for each in given["tool_calls"]]
    made: dict[str, Any] = {"tool_calls": calls}
    if "tool_call_results" in given:
        made["tool_call_results"] = given["tool_call_results"]
    return made


class _Quiet(pydantic.BaseModel):
    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core_schema)
        forget_docstring(handler, schema)
        return schema


class ToolCallResult(_Quiet):
    """What one call returned; the value of a failed one says what went wrong."""

    __qualname__ = "ToolCallResults.ToolCallResult"

    call_id: str | None = None
    name: str
    value: Any
    is_error: bool = False


class ToolCallResults(_Quiet):
    """The results of the calls of one answer, in the order of the calls."""

    ToolCallResult = ToolCallResult

    tool_call_results: list[ToolCallResult]

    @classmethod
    def from_tool_calls_and_values(
        cls,
        tool_calls: list[ToolCall] | ToolCalls,
        values: list[Any],
        is_errors: list[bool] | None = None,
    ) -> ToolCallResults:
        """Pairs calls and values by position.

        Raises:
            ValueError: the lists differ in length.
        """
        calls = tool_calls.tool_calls if isinstance(tool_calls, ToolCalls) else tool_calls
        if len(calls) != len(values):
            raise ValueError("`tool_calls` and `values` must have the same length.")
        flags = [False] * len(calls) if is_errors is None else is_errors
        if len(flags) != len(calls):
            raise ValueError("`is_errors` must have the same length as `tool_calls` when provided.")
        return cls(
            tool_call_results=[
                ToolCallResult(call_id=call.id, name=call.name, value=value, is_error=is_error)
                for call, value, is_error in zip(calls, values, flags, strict=True)
            ]
        )

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_input(cls, data: Any) -> Any:
        """Accepts results, a list of them, a dict of them, or one."""
        if isinstance(data, cls):
            return data
        if isinstance(data, list):
            return {"tool_call_results": cast("Any", data)}
        if isinstance(data, dict):
            given = cast("dict[str, Any]", data)
            if "tool_call_results" in given:
                return given
            if "name" in given and "value" in given:
                return {"tool_call_results": [given]}
        raise ValueError(f"Received invalid value for `dspy.ToolCallResults`: {data}")


def _without_property(schema: dict[str, Any], name: str) -> dict[str, Any]:
    properties = schema.get("properties")
    if isinstance(properties, dict):
        cast("dict[str, Any]", properties).pop(name, None)
    required = schema.get("required")
    if isinstance(required, list):
        schema["required"] = [each for each in cast("list[str]", required) if each != name]
    return schema


def _is_call(data: dict[str, Any]) -> bool:
    return ("name" in data and ("args" in data or "arguments" in data)) or "function" in data


def _call_fields(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"Received invalid tool call value for `dspy.ToolCalls`: {data}")
    given = cast("dict[str, Any]", data)
    if "function" in given:
        function: Any = given.get("function") or {}
        if not isinstance(function, dict):
            raise ValueError(f"Received invalid function value for `dspy.ToolCalls`: {function}")
        described = cast("dict[str, Any]", function)
        arguments = described.get("arguments", {})
        name = described.get("name") or given.get("name")
    else:
        arguments = given.get("args", given.get("arguments", {}))
        name = given.get("name")
    if isinstance(arguments, str):
        arguments = json_repair.loads(arguments)
    elif not isinstance(arguments, dict):
        arguments = {}
    return {"id": given.get("id") or given.get("call_id"), "name": name, "args": arguments}
