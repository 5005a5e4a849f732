"""What programs in workers may call in this process: tools and metrics by name, and the language model.

    options = PoolOptions(
        {"agent": SignatureProgram("question -> answer", module="ReAct", tools=("search",))},
        callables={"search": search},          # def search(query: str) -> list[str]: ...
        lm=LMSettings("openai/gpt-4o-mini", host=True),
        lm_server=serve,                       # async def serve(call: LMCall) -> str | Mapping[str, object]: ...
    )

Arguments and results cross a process border: plain data. A plain function runs in a thread, so that it cannot stop the loop.
An exception becomes `dspex_host.HostCallFailed` in the program, with its class's name and its text.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

__all__ = ["HostCallable", "LMCall", "LMServer", "answer_call", "describe"]

HostCallable = Callable[..., object]
"""Async or plain; called with keyword arguments."""

HOST_LM = "dspex.lm"


@dataclass(frozen=True, slots=True)
class LMCall:
    """One call of a worker's program to its language model."""

    model: str
    messages: Sequence[Mapping[str, object]] = field(repr=False)
    """As in OpenAI's chat completions."""
    options: Mapping[str, object] = field(repr=False)
    """temperature, max_tokens, n, tools, response_format (a JSON schema), ..."""


LMServer = Callable[[LMCall], Awaitable[object]]
"""Answers with a text, or with a mapping: `text` or `texts` (one for each of n), and optionally `usage`, `model`,
`tool_calls` (a list of {"id", "name", "arguments"})."""

_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def describe(function: HostCallable) -> dict[str, object]:
    """What an agent is told of a tool: its docstring and its parameters as JSON schemas."""
    arguments: dict[str, object] = {}
    try:
        parameters = list(inspect.signature(function, eval_str=True).parameters.items())
    except (NameError, TypeError, ValueError):
        parameters = list[tuple[str, inspect.Parameter]]()
    for name, parameter in parameters:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        kind: Any = getattr(parameter.annotation, "__origin__", parameter.annotation)
        schema: dict[str, object] = {"type": _JSON_TYPES[kind]} if kind in _JSON_TYPES else {}
        if parameter.default is not parameter.empty and isinstance(parameter.default, str | int | float | bool):
            schema["default"] = parameter.default
        arguments[name] = schema
    return {"description": inspect.getdoc(function) or "", "arguments": arguments}


async def answer_call(
    name: str, arguments: Mapping[str, Any], callables: Mapping[str, HostCallable], lm_server: LMServer | None
) -> dict[str, object]:
    """The fields of an answer to a worker's question. Raises nothing but cancellation."""
    try:
        if name == HOST_LM:
            if lm_server is None:
                raise LookupError("the pool has no lm_server")
            call = LMCall(str(arguments["model"]), arguments["messages"], arguments["options"])
            return {"ok": True, "value": await lm_server(call)}
        function = callables.get(name)
        if function is None:
            raise LookupError(f"the pool has no callable {name!r}; it has {', '.join(map(repr, callables)) or 'none'}")
        if inspect.iscoroutinefunction(function):
            return {"ok": True, "value": await function(**arguments)}
        value = await anyio.to_thread.run_sync(lambda: function(**arguments), abandon_on_cancel=True)
        return {"ok": True, "value": await value if inspect.isawaitable(value) else value}
    except Exception as error:
        return {"ok": False, "message": f"{type(error).__name__}: {error}"}
