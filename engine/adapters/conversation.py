"""A `History` as turns: each of its messages is a question and an answer, and between them tools may have been called.

With native tool calling, calls and their results are written as the chat API has them, if each result names its call;
otherwise the calls stand in the answer and the results in a question of their own. As dspy 3.4.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol, cast

from ..signatures import InputField, SignatureMeta, make_signature
from ..types import ToolCallResults, ToolCalls
from .demos import Record
from .language_model import Message
from .plan import Plan
from .values import jsonable

_RESULTS = make_signature({"tool_call_results": (ToolCallResults, InputField())})


class TurnWriter(Protocol):
    """The part of an adapter that writes turns."""

    use_native_function_calling: bool

    def format_user_message_content(
        self, signature: SignatureMeta, inputs: Record, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str: ...
    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str: ...
    def _plan(self, signature: SignatureMeta) -> Plan: ...


def turns_of(adapter: TurnWriter, signature: SignatureMeta, message: dict[str, Any]) -> Iterator[Message]:
    """The turns of one message of a history; `signature` has no history field."""
    plan = adapter._plan(signature)  # pyright: ignore[reportPrivateUsage] - one room
    calls_field, calls = _tool_calls_in(message)
    results = None
    if calls is not None and calls.tool_call_results is not None:
        results = ToolCallResults.model_validate(calls.tool_call_results)
    # Only what was asked is a request, and repeats its reminder: the provider's prompt cache then finds it unchanged.
    asked = any(field.name in message for field in plan.inputs)
    content = adapter.format_user_message_content(signature, message, main_request=asked)
    if content:
        yield {"role": "user", "content": content}
    if adapter.use_native_function_calling and calls is not None:
        yield from _native_turns(adapter, signature, message, calls, results)
        return
    values = message
    if calls is not None and calls_field is not None and results is not None:
        values = {**message, calls_field: calls.model_copy(update={"tool_call_results": None})}
    content = adapter.format_assistant_message_content(signature, values)
    if content:
        yield {"role": "assistant", "content": content}
    if results is not None:
        shown = adapter.format_user_message_content(_RESULTS, {"tool_call_results": results})
        yield {"role": "user", "content": shown}


def _native_turns(
    adapter: TurnWriter,
    signature: SignatureMeta,
    message: dict[str, Any],
    calls: ToolCalls,
    results: ToolCallResults | None,
) -> Iterator[Message]:
    plan = adapter._plan(signature)  # pyright: ignore[reportPrivateUsage] - one room
    absent = tuple(
        name
        for name, field in plan.outputs.items()
        if field.spec.annotation == ToolCalls or message.get(name) is None
    )
    content = ""
    if len(absent) < len(plan.outputs):
        content = adapter.format_assistant_message_content(plan.without(signature, absent), message)
    if results is not None:
        ids = [call.id for call in calls.tool_calls]
        if not all(ids) or ids != [result.call_id for result in results.tool_call_results]:
            results = None
    if content or results is not None:
        turn: Message = {"role": "assistant", "content": content or None}
        if results is not None:
            turn["tool_calls"] = [_as_provider_call(call) for call in calls.tool_calls]
        yield turn
    for result in results.tool_call_results if results is not None else ():
        text = result.value if isinstance(result.value, str) else _json(result.value)
        yield {"role": "tool", "tool_call_id": result.call_id, "name": result.name, "content": text}


def _tool_calls_in(message: dict[str, Any]) -> tuple[str | None, ToolCalls | None]:
    for name, value in message.items():
        if isinstance(value, ToolCalls) or (isinstance(value, dict) and "tool_calls" in value):
            return name, ToolCalls.model_validate(cast("Any", value))
    return None, None


def _as_provider_call(call: ToolCalls.ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _json(call.args)}}


def _json(value: Any) -> str:
    return json.dumps(jsonable(value), ensure_ascii=False)
