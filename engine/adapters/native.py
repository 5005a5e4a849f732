"""What a model can do by itself: call tools, think, cite. Then the fields for it leave the prompt and the answer's text.

Before the request (`asked_natively`), the tools of an input go to `tools=` and the outputs that the model provides are
taken out of the signature; after it, tool calls in the provider's shape become `ToolCalls`. As dspy 3.4 Adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import json_repair

from ..signatures import SignatureMeta
from ..types import ToolCalls, Type
from .demos import Record
from .language_model import LanguageModel
from .plan import Plan

TOOL_OPTIONS = ("tools", "tool_choice", "parallel_tool_calls")


def tools_as_options(
    plan: Plan, signature: SignatureMeta, lm: LanguageModel, options: dict[str, Any], inputs: Record, parallel: bool | None
) -> SignatureMeta:
    """The signature without its tools and tool calls, which `options` then ask for; or as it is, without such options,
    when the model cannot call tools.

    Raises:
        ValueError: the signature has an output of tool calls and no input of tools.
    """
    if plan.tool_calls is None:
        return signature
    if plan.tools is None:
        raise ValueError(
            f"You provided an output field {plan.tool_calls} to receive the tool calls information, "
            "but did not provide any tools as the input. Please provide a list of tools as the input by adding an "
            "input field with type `list[dspy.Tool]`."
        )
    if not lm.supports_function_calling:
        for name in TOOL_OPTIONS:
            options.pop(name, None)
        return signature
    given: Any = inputs[plan.tools]
    tools: Sequence[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
    options["tools"] = [tool.format_as_litellm_function_call() for tool in tools]
    if parallel is not None and options.get("parallel_tool_calls") is None:
        options["parallel_tool_calls"] = parallel
    return plan.without(signature, (plan.tool_calls, plan.tools))


def provided_by_the_model(
    plan: Plan,
    signature: SignatureMeta,
    field: str,
    kind: type[Type],
    lm: LanguageModel,
    options: dict[str, Any],
) -> SignatureMeta:
    """The signature without `field` when the model provides its value; `options` then ask for it."""
    if kind.adapt_to_native_lm_feature.__func__ is Type.adapt_to_native_lm_feature.__func__:  # pyright: ignore[reportFunctionMemberAccess]
        return plan.without(signature, (field,)) if kind.is_native(lm, options) else signature
    return kind.adapt_to_native_lm_feature(signature, field, lm, options)


def tool_calls_of(given: Sequence[Any]) -> ToolCalls:
    """The calls in an answer, in the shape of OpenAI's chat or responses API, as dicts or as objects of the SDK."""
    return ToolCalls.from_dict_list([_call(each) for each in given])


def _call(given: Any) -> dict[str, Any]:
    function: Any = _get(given, "function") or None
    arguments = _get(function, "arguments") or _get(given, "arguments")
    if isinstance(arguments, str):
        arguments = json_repair.loads(arguments)
    elif not isinstance(arguments, dict):
        arguments = {}
    return {
        # An item of the responses API has an id of its own too; results refer to the id of the call.
        "id": _get(given, "call_id") or _get(given, "id"),
        "name": _get(function, "name") or _get(given, "name"),
        "args": arguments,
    }


def _get(source: Any, name: str) -> Any:
    if isinstance(source, Mapping):
        return cast("Mapping[str, Any]", source).get(name)
    return getattr(source, name, None)
