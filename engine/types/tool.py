"""`Tool`: a function a model may call, described for the model and checked when the model calls it.

    def search(query: str, limit: int = 5) -> list[str]:
        "Search the web."

    tool = Tool(search)
    tool.args                                    # {'query': {'type': 'string'}, 'limit': {'type': 'integer', ...}}
    await tool.acall(query="otters", limit=3)    # or tool(query="otters") from synchronous code

Name, description and arguments are read from the function, as dspy 3.4 reads them. A call is checked against the
arguments' JSON schemas and types first (`tool_arguments.py`). What dspy does on the event loop is done off it here:
`acall` runs a plain function in a worker thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, cast

from ..callbacks import with_callbacks
from ..settings import settings
from ..sync import SyncInsideLoopError, run_sync
from .base import Type
from .tool_arguments import Argument, convert_input_schema_to_tool_args, described_parameters
from .tool_calls import ToolCallResults, ToolCalls
from .worker_thread import run_in_thread

__all__ = [
    "Tool",
    "ToolCallResults",
    "ToolCalls",
    "convert_input_schema_to_tool_args",
    "convert_langchain_tool",
    "convert_mcp_tool",
]

_ASYNC_IN_SYNC_CALL = (
    "You are calling `__call__` on an async tool, please use `acall` instead or enable "
    "async-to-sync conversion with `dspy.configure(allow_tool_async_sync_conversion=True)` "
    "or `with dspy.context(allow_tool_async_sync_conversion=True):`."
)
_ASYNC_ON_A_LOOP = (
    "You are calling `__call__` on an async tool from within a running event loop, which cannot be "
    "converted to a sync call, even with `allow_tool_async_sync_conversion` enabled. Please use "
    "`await tool.acall(...)` instead."
)


class Tool(Type):
    """A function with a name, a description and described arguments."""

    callback_kind: ClassVar[str] = "tool"

    func: Callable[..., Any]
    name: str | None = None
    desc: str | None = None
    args: dict[str, Any] | None = None
    arg_types: dict[str, Any] | None = None
    arg_desc: dict[str, str] | None = None
    has_kwargs: bool = False

    def __init__(
        self,
        func: Callable[..., Any],
        name: str | None = None,
        desc: str | None = None,
        args: dict[str, Any] | None = None,
        arg_types: dict[str, Any] | None = None,
        arg_desc: dict[str, str] | None = None,
    ) -> None:
        """Describe `func`. What is not given is read from it.

        Args:
            func: a plain or async function, a method, or an object with `__call__`. Unhinted parameters take anything.
            args: JSON schema of each argument.
            arg_types: type of each argument; a call's values are made of these types.
            arg_desc: description of each argument, for the model.

        Raises:
            NameError: a type hint names something that does not exist.
            pydantic.PydanticSchemaGenerationError: a hint has no JSON schema; give `args` and `arg_types`.
        """
        given: dict[str, Any] = {"func": func, "name": name, "desc": desc}
        super().__init__(**given, **{"args": args, "arg_types": arg_types, "arg_desc": arg_desc})
        hinted: Any = func if inspect.isfunction(func) or inspect.ismethod(func) else func.__call__
        schemas, types, self.has_kwargs = described_parameters(hinted, arg_desc)
        self.name = self.name or str(getattr(cast("Any", func), "__name__", type(func).__name__))
        self.desc = self.desc or getattr(func, "__doc__", None) or getattr(hinted, "__doc__", "")
        self.args = schemas if self.args is None else self.args
        self.arg_types = types if self.arg_types is None else self.arg_types

    @with_callbacks
    def __call__(self, **kwargs: Any) -> Any:
        """Check the arguments and run the function, here and now.

        Raises:
            ValueError: an argument is unknown or invalid; or the function is async, and the setting
                `allow_tool_async_sync_conversion` is off or this is a running event loop.
            Exception: whatever the function raises.
        """
        result = self.func(**self._checked(kwargs))
        if not inspect.iscoroutine(result):
            return result
        if not settings.allow_tool_async_sync_conversion:
            result.close()
            raise ValueError(_ASYNC_IN_SYNC_CALL)
        try:
            return run_sync(partial(_awaited, result))
        except SyncInsideLoopError as error:
            result.close()
            raise ValueError(_ASYNC_ON_A_LOOP) from error

    @with_callbacks
    async def acall(self, **kwargs: Any) -> Any:
        """Check the arguments and run the function: an async one here, a plain one in a worker thread.

        Cancelling cancels an async function. A plain function cannot be stopped from outside: its thread goes on, and
        its result is dropped; the caller is free at once.

        Raises:
            ValueError: an argument is unknown or invalid.
            Exception: whatever the function raises.
        """
        arguments = self._checked(kwargs)
        if _is_async(self.func):
            result = self.func(**arguments)
        else:
            # 100 us; nothing tells from outside whether a function is quick or blocks for a minute.
            result = await run_in_thread(self.func, arguments)
        return await cast("Awaitable[Any]", result) if inspect.iscoroutine(result) else result

    @cached_property
    def _compiled(self) -> dict[str, Argument]:
        # A cached property, not a private attribute: pydantic's == and copies leave it alone.
        return {}

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = self._compiled
        schemas, types = self.args or {}, self.arg_types or {}
        found: dict[str, Argument | None] = {}
        # All are checked before any is converted, so that the first error is dspy's.
        for name, value in given.items():
            if name not in schemas:
                if not self.has_kwargs:
                    raise ValueError(f"Arg {name} is not in the tool's args.")
                found[name] = Argument(name, {}, types[name]) if name in types else None
                continue
            argument = known.get(name)
            schema, annotation = schemas[name], types.get(name, Any)
            if argument is None or argument.schema is not schema or argument.annotation is not annotation:
                argument = known[name] = Argument(name, schema, annotation)
            argument.check(value)
            found[name] = argument
        return {
            name: value if (argument := found[name]) is None else argument.converted(value)
            for name, value in given.items()
        }

    def format(self) -> str:
        """As `str`."""
        return str(self)

    def format_as_litellm_function_call(self) -> dict[str, Any]:
        """The tool as an entry of `tools=` in the OpenAI chat API. An argument without a default is required."""
        schemas = self.args or {}
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.desc,
                "parameters": {
                    "type": "object",
                    "properties": self.args,
                    "required": [name for name, schema in schemas.items() if "default" not in schema],
                },
            },
        }

    @classmethod
    def from_mcp_tool(cls, session: Any, tool: Any, *, result_mode: Literal["text", "structured"] = "text") -> Tool:
        """A tool that calls an MCP tool through `session` (the MCP SDK's `ClientSession`, or v2's `Client`).

        Args:
            result_mode: "text" gives the text of the result (a list if there are several, the other contents if there
                is none); "structured" gives the structured content where the server sends it.

        Raises:
            ValueError: another `result_mode`. A call raises RuntimeError when the server reports an error.
        """
        return convert_mcp_tool(session, tool, result_mode=result_mode)

    @classmethod
    def from_langchain(cls, tool: Any) -> Tool:
        """A tool that calls a LangChain tool (`ainvoke`). A call raises RuntimeError when that fails."""
        return convert_langchain_tool(tool)

    def __repr__(self) -> str:
        return f"Tool(name={self.name}, desc={self.desc}, args={self.args})"

    def __str__(self) -> str:
        description = f", whose description is <desc>{self.desc}</desc>.".replace("\n", "  ") if self.desc else "."
        return f"{self.name}{description} It takes arguments {self.args}."


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = cast("Any", function).func
    # A function's own `__call__` is a method wrapper, an object's may be a coroutine function.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


# -- tools of other frameworks -----------------------------------------------------------------------------------------


def convert_langchain_tool(tool: Any) -> Tool:
    """As `Tool.from_langchain`."""

    async def func(**kwargs: Any) -> Any:
        try:
            return await tool.ainvoke(kwargs)
        except Exception as error:
            raise RuntimeError(f"Failed to call LangChain tool {tool.name}: {error!s}") from error

    declared = tool.args_schema
    args, _, arg_desc = convert_input_schema_to_tool_args(declared.model_json_schema())
    arg_types = {
        name: Any if field.annotation is None else field.annotation for name, field in declared.model_fields.items()
    }
    return Tool(
        func=func, name=tool.name, desc=tool.description, args=args, arg_types=arg_types, arg_desc=arg_desc
    )


def convert_mcp_tool(session: Any, tool: Any, *, result_mode: str = "text") -> Tool:
    """As `Tool.from_mcp_tool`."""
    if result_mode not in ("text", "structured"):
        raise ValueError(f"Unsupported MCP result mode: {result_mode!r}")
    args, arg_types, arg_desc = convert_input_schema_to_tool_args(_either(tool, "input_schema", "inputSchema", {}))

    async def func(*args: Any, **kwargs: Any) -> Any:
        result = await session.call_tool(tool.name, arguments=kwargs)
        return _mcp_result(result, structured=result_mode == "structured")

    return Tool(
        func=func, name=tool.name, desc=tool.description, args=args, arg_types=arg_types, arg_desc=arg_desc
    )


def _mcp_result(result: Any, *, structured: bool) -> Any:
    contents = list(result.content)
    texts = [each.text for each in contents if getattr(each, "type", None) == "text"]
    others = [each for each in contents if getattr(each, "type", None) != "text"]
    text = texts[0] if len(texts) == 1 else texts
    if _either(result, "is_error", "isError", False):
        raise RuntimeError(f"Failed to call a MCP tool: {text}")
    if structured and _was_sent(result, "structured_content", "structuredContent"):
        return _either(result, "structured_content", "structuredContent", None)
    return text or others


def _either(source: Any, name: str, older_name: str, default: Any) -> Any:
    """An attribute that version 2 of the MCP SDK renamed."""
    return getattr(source, name, getattr(source, older_name, default))


def _was_sent(source: Any, name: str, older_name: str) -> bool:
    """Whether the server sent the field, be it null."""
    sent = getattr(source, "model_fields_set", None)
    if sent is None:
        return hasattr(source, name) or hasattr(source, older_name)
    return name in sent or older_name in sent
