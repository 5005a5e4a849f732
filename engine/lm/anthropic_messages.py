"""From OpenAI-shaped messages, tools and options to Anthropic's Messages API.

System and developer messages move to `system`; an answer's tool calls become `tool_use` blocks, tool messages become
`tool_result` blocks of a user turn; images, files and text become their blocks; `response_format` with a schema becomes
`output_config`, `reasoning_effort` becomes thinking (adaptive for the models that take that, else a budget). Blocks that
are already Anthropic's own pass as they are. What has no equal is refused by name with `LMUnsupportedFeatureError`,
never dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from .errors import LMUnsupportedFeatureError
from .json_schema import strict_json_schema
from .prompt_cache import anthropic_marks
from .shapes import read
from .wire import ChatRequest

__all__ = ["anthropic_call"]

# OpenAI options without an equal here.
_REFUSED = frozenset({"frequency_penalty", "logit_bias", "logprobs", "presence_penalty", "seed", "top_logprobs"})
# The ceilings the 3.x models document; a larger value is refused by the API. Others take what dspy 3.4 assumes.
_OLD_CEILINGS = (
    ("claude-3-5-", 8192),
    ("claude-3.5-", 8192),
    ("claude-3-haiku", 4096),
    ("claude-3-opus", 4096),
    ("claude-3-sonnet", 4096),
)
_DEFAULT_MAX_TOKENS = 16384
# Tokens of thinking for models that take a budget, and the models that take an effort instead: as dspy 3.4.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32768}
_ADAPTIVE = (
    "sonnet-5",
    "opus-5",
    "sonnet-4-6",
    "opus-4-6",
    "opus-4-7",
    "opus-4-8",
    "fable",
    "mythos",
    "haiku-5",
)
_TOOL_CHOICES = {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}}


def anthropic_call(request: ChatRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of `messages.create` that the SDK demands by name, and the rest of the body.

    Raises:
        LMUnsupportedFeatureError: the request holds what this API has not.
    """
    body = _options(request)
    system, turns = _conversation(request)
    marked = anthropic_marks(body, system, turns)
    call: dict[str, Any] = {"model": request.model, "max_tokens": body.pop("max_tokens"), "messages": turns}
    if marked:
        call["system"] = marked
    return call, body


def _options(request: ChatRequest) -> dict[str, Any]:
    refused = sorted(_REFUSED & request.options.keys())
    if refused:
        raise LMUnsupportedFeatureError(
            f"LM({request.label!r}) cannot pass {', '.join(refused)} to the Messages API; remove it for this model, "
            "or use a model behind an OpenAI-compatible endpoint.",
            features=refused,
            model=request.label,
            provider="anthropic",
        )
    body: dict[str, Any] = dict(request.options)
    body.pop("stream", None)
    body.pop("stream_options", None)
    ceiling = body.pop("max_completion_tokens", None) or body.pop("max_tokens", None)
    body["max_tokens"] = ceiling or _default_max_tokens(request.model)
    stop = body.pop("stop", None)
    if stop is not None:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    user = body.pop("user", None)
    if user is not None:
        body["metadata"] = {**body.get("metadata", {}), "user_id": user}
    _tools(body)
    _think(body, request)
    _format(body, request)
    return body


def _default_max_tokens(model: str) -> int:
    name = model.lower()
    return next((ceiling for marker, ceiling in _OLD_CEILINGS if marker in name), _DEFAULT_MAX_TOKENS)


def _tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    choice: Any = body.pop("tool_choice", None)
    parallel = body.pop("parallel_tool_calls", None)
    if isinstance(choice, str):
        choice = dict(_TOOL_CHOICES.get(choice, {"type": choice}))
    elif read(choice, "function") is not None:
        choice = {"type": "tool", "name": read(read(choice, "function"), "name")}
    if parallel is False and tools:
        choice = {**(cast("dict[str, Any] | None", choice) or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None and tools:
        body["tool_choice"] = choice


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if "function" not in tool:
        return dict(tool)  # one of Anthropic's own
    function = tool["function"]
    made: dict[str, Any] = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        made["description"] = function["description"]
    return made


def _think(body: dict[str, Any], request: ChatRequest) -> None:
    effort = body.pop("reasoning_effort", None)
    if effort is None:
        return
    if effort in ("none", "off", "disable"):
        body["thinking"] = {"type": "disabled"}
    elif any(marker in request.model.lower() for marker in _ADAPTIVE):
        body["thinking"] = {"type": "adaptive"}
        level = "low" if effort == "minimal" else effort
        body["output_config"] = {**body.get("output_config", {}), "effort": level}
    elif effort in _BUDGETS:
        # The ceiling counts thinking too: what was asked for is meant for the answer.
        body["thinking"] = {"type": "enabled", "budget_tokens": _BUDGETS[effort]}
        body["max_tokens"] += _BUDGETS[effort]
    else:
        raise _unsupported(f"reasoning_effort={effort!r}", request)


def _format(body: dict[str, Any], request: ChatRequest) -> None:
    wanted: Any = body.pop("response_format", None)
    if wanted is None:
        return
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        schema: Any = strict_json_schema(wanted.model_json_schema())
    else:
        schema = read(read(wanted, "json_schema"), "schema") or read(wanted, "schema")
    if not schema:
        raise LMUnsupportedFeatureError(
            f"LM({request.label!r}) cannot send response_format={{'type': 'json_object'}}: the Messages API binds an "
            "answer only to a schema. Give a json_schema, or leave it out.",
            feature="response_format",
            model=request.label,
            provider="anthropic",
        )
    body["output_config"] = {**body.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}


def _conversation(request: ChatRequest) -> tuple[str, list[dict[str, Any]]]:
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system.append(_text_only(message.get("content"), request))
        elif role == "tool":
            result = {
                "type": "tool_result",
                "tool_use_id": message.get("tool_call_id"),
                "content": _blocks(message.get("content"), request) or "",
            }
            # The results of one turn's calls belong into one user turn.
            if turns and turns[-1]["role"] == "user" and _is_results(turns[-1]["content"]):
                turns[-1]["content"].append(result)
            else:
                turns.append({"role": "user", "content": [result]})
        elif role in ("user", "assistant"):
            turns.append({"role": role, "content": _content(message, request)})
        else:
            raise _unsupported(f"messages of role {role!r}", request)
    return "\n\n".join(system), turns


def _is_results(content: object) -> bool:
    return isinstance(content, list) and all(
        part.get("type") == "tool_result" for part in cast("list[dict[str, Any]]", content)
    )


def _content(message: Mapping[str, Any], request: ChatRequest) -> str | list[dict[str, Any]]:
    content = _blocks(message.get("content"), request)
    calls = cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ())
    if not calls:
        return content
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content or [])
    return [*cast("list[dict[str, Any]]", blocks), *(_tool_use(call) for call in calls)]


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = cast("Mapping[str, Any]", call.get("function") or call)
    arguments = function.get("arguments") or "{}"
    return {
        "type": "tool_use",
        "id": call.get("id"),
        "name": function.get("name", ""),
        "input": json.loads(arguments) if isinstance(arguments, str) else arguments,
    }


def _blocks(content: Any, request: ChatRequest) -> str | list[dict[str, Any]]:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return [_block(part, request) for part in content]


def _block(part: Mapping[str, Any], request: ChatRequest) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "image_url":
        image = part["image_url"]
        return {"type": "image", "source": _source(image if isinstance(image, str) else read(image, "url", ""))}
    if kind == "file":
        file = part.get("file", {})
        if file.get("file_id"):
            return {"type": "document", "source": {"type": "file", "file_id": file["file_id"]}}
        block: dict[str, Any] = {"type": "document", "source": _source(file.get("file_data") or "")}
        if file.get("filename"):
            block["title"] = file["filename"]
        return block
    if kind == "input_audio":
        raise _unsupported("content of type 'input_audio'", request)
    return dict(part)


def _source(url: str) -> dict[str, Any]:
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        return {"type": "base64", "media_type": head.removeprefix("data:").partition(";")[0], "data": data}
    return {"type": "url", "url": url}


def _text_only(content: Any, request: ChatRequest) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts: list[str] = []
    for part in content:
        if part.get("type") != "text":
            raise _unsupported(f"system content of type {part.get('type')!r}", request)
        parts.append(str(part.get("text", "")))
    return "".join(parts)


def _unsupported(what: str, request: ChatRequest) -> LMUnsupportedFeatureError:
    return LMUnsupportedFeatureError(
        f"LM({request.label!r}) cannot send {what}: the Messages API has no equal. Remove it for this model.",
        feature=what,
        model=request.label,
        provider="anthropic",
    )
