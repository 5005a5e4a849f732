"""Between the protocol and the chat shape that the rest of the engine speaks, in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from ..errors import LMUnsupportedFeatureError
from ..json_schema import strict_json_schema
from ..shapes import read
from ..wire import Completion
from .types import (
    AudioPart,
    CitationPart,
    Config,
    DataPart,
    DocumentPart,
    FunctionTool,
    ImagePart,
    Message,
    Reasoning,
    RefusalPart,
    Request,
    Response,
    TextPart,
    ThinkingPart,
    TokenLogprob,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    TopLogprob,
    Usage,
)

__all__ = ["chat_of_request", "completion_of_response", "request_from_openai_chat", "response_of_completion"]

_SAME = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "service_tier", "store")
_NOT_OF_A_REQUEST = frozenset({"stream", "stream_options"})


def request_from_openai_chat(body: Mapping[str, Any]) -> Request:
    """The request for a chat body: `model`, `messages` and options by their OpenAI names.

    Raises:
        LMUnsupportedFeatureError: something in it has no place in a request; it is named.
        ValueError, TypeError: malformed.
    """
    rest = {key: value for key, value in body.items() if key not in _NOT_OF_A_REQUEST and value is not None}
    model = rest.pop("model")
    system: list[Any] = []
    messages: list[Message] = []
    for message in rest.pop("messages"):
        role = message.get("role")
        if role == "system" and not messages:
            system += _parts(message.get("content"))
        else:
            messages.append(_message(message))
    tools = tuple(_tool(tool) for tool in rest.pop("tools", ()))
    config = _config(rest)
    only_text = all(isinstance(part, TextPart) for part in system)
    return Request(
        model=model,
        messages=tuple(messages),
        system=("\n\n".join(part.text for part in system) if only_text else tuple(system)) if system else None,
        tools=tools,
        config=config,
    )


def _config(rest: dict[str, Any]) -> Config:
    made: dict[str, Any] = {name: rest.pop(name) for name in _SAME if name in rest}
    ceiling = rest.pop("max_completion_tokens", None) or rest.pop("max_tokens", None)
    rest.pop("max_tokens", None)
    made["max_tokens"] = ceiling
    made["stop"] = rest.pop("stop", ())
    made["user_id"] = rest.pop("user", None)
    made["cache"] = rest.pop("prompt_cache", None)
    effort = rest.pop("reasoning_effort", None)
    if effort is not None:
        made["reasoning"] = Reasoning("off" if effort == "none" else effort)
    if rest.pop("logprobs", None):
        made["logprobs"] = rest.pop("top_logprobs", 0)
    wanted: Any = rest.pop("response_format", None)
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        schema = strict_json_schema(wanted.model_json_schema())
        wanted = {"type": "json_schema", "schema": schema, "name": wanted.__name__, "strict": True}
    elif read(wanted, "json_schema") is not None:
        wanted = {"type": "json_schema", **cast("Mapping[str, Any]", read(wanted, "json_schema"))}
    made["response_format"] = wanted
    choice, parallel = rest.pop("tool_choice", None), rest.pop("parallel_tool_calls", None)
    if isinstance(choice, Mapping):
        name = cast("Mapping[str, Any]", choice)["function"]["name"]
        made["tool_choice"] = ToolChoice("required", (name,), parallel)
    elif choice is not None or parallel is not None:
        made["tool_choice"] = ToolChoice(choice or "auto", parallel=None if choice == "none" else parallel)
    return Config(**{name: value for name, value in made.items() if value is not None}, extensions=rest or None)


def _tool(tool: Mapping[str, Any]) -> FunctionTool:
    if "function" not in tool:
        raise _unsupported(f"tool of type {tool.get('type')!r}")
    function = tool["function"]
    parameters: dict[str, Any] = function.get("parameters") or {"type": "object", "properties": {}}
    return FunctionTool(function["name"], function.get("description"), parameters)


def _message(message: Mapping[str, Any]) -> Message:
    role = message.get("role")
    if role == "tool":
        content = _parts(message.get("content")) or [TextPart("")]
        return Message("tool", (ToolResultPart(str(message.get("tool_call_id")), tuple(content)),))
    parts: list[Any] = _parts(message.get("content"))
    for call in cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ()):
        function = call.get("function") or call
        arguments = function.get("arguments") or "{}"
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
        parts.append(ToolCallPart(call.get("id") or f"call_{len(parts)}", function.get("name", ""), parsed))
    return Message("developer" if role == "system" else str(role), tuple(parts) or (TextPart(""),))


def _parts(content: Any) -> list[Any]:
    if content is None:
        return []
    if isinstance(content, str):
        return [TextPart(content)]
    return [_part(part) for part in content]


def _part(part: Mapping[str, Any]) -> Any:
    kind = part.get("type")
    if kind == "text":
        return TextPart(part.get("text", ""))
    if kind == "image_url":
        image = part["image_url"]
        return ImagePart(**_media(image if isinstance(image, str) else read(image, "url", "")))
    if kind == "input_audio":
        audio = part["input_audio"]
        return AudioPart(media_type=f"audio/{audio.get('format')}", data=audio.get("data"))
    if kind == "file":
        file = part.get("file", {})
        media = _media(file["file_data"]) if file.get("file_data") else {}
        return DocumentPart(**media, file_id=file.get("file_id"), filename=file.get("filename"))
    raise _unsupported(f"content of type {kind!r}")


def _media(url: str) -> dict[str, Any]:
    if not url.startswith("data:"):
        return {"url": url}
    head, _, data = url.partition(",")
    return {"media_type": head.removeprefix("data:").partition(";")[0], "data": data}


def chat_of_request(request: Request) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Chat messages and options for a request."""
    messages: list[dict[str, Any]] = []
    if request.system is not None:
        system = request.system
        messages.append({"role": "system", "content": system if isinstance(system, str) else _content(system)})
    for message in request.messages:
        messages += _chat_messages(message)
    config = request.config
    options: dict[str, Any] = {name: getattr(config, name) for name in (*_SAME, "max_tokens")}
    options.update(user=config.user_id, stop=list(config.stop) or None, prompt_cache=config.cache)
    if config.reasoning is not None:
        options["reasoning_effort"] = "none" if config.reasoning.is_off else config.reasoning.effort
    if config.logprobs is not None:
        options.update(logprobs=True, top_logprobs=config.logprobs or None)
    if config.response_format is not None:
        wanted = dict(config.response_format)
        if wanted.get("type") == "json_schema":
            wanted = {"type": "json_schema", "json_schema": {key: wanted[key] for key in wanted if key != "type"}}
            wanted["json_schema"].setdefault("name", "answer")
        options["response_format"] = wanted
    if request.tools:
        options["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in request.tools
        ]
    choice = config.tool_choice
    if choice is not None:
        options["parallel_tool_calls"] = choice.parallel
        named = choice.mode == "required" and len(choice.allowed) == 1
        options["tool_choice"] = (
            {"type": "function", "function": {"name": choice.allowed[0]}} if named else choice.mode
        )
    options.update(config.extensions or {})
    return messages, {key: value for key, value in options.items() if value is not None}


def _chat_messages(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [
            {"role": "tool", "tool_call_id": part.id, "content": _content(part.content)}
            for part in message.parts_of(ToolResultPart)
        ]
    said = [part for part in message.parts if not isinstance(part, ToolCallPart | ThinkingPart | CitationPart)]
    made: dict[str, Any] = {"role": message.role, "content": _content(said) if said else None}
    calls = message.parts_of(ToolCallPart)
    if calls:
        made["tool_calls"] = [_chat_call(call) for call in calls]
    return [made]


def _chat_call(call: ToolCallPart) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.input)}}


def _content(parts: Sequence[Any]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, TextPart | RefusalPart) for part in parts):
        return "\n".join(part.text for part in parts)
    return [_chat_part(part) for part in parts]


def _chat_part(part: Any) -> dict[str, Any]:
    if isinstance(part, TextPart | RefusalPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, DataPart):
        return {"type": "text", "text": json.dumps(part.value, ensure_ascii=False)}
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.url or f"data:{part.media_type};base64,{part.data}"}}
    if isinstance(part, AudioPart):
        form = (part.media_type or "audio/wav").partition("/")[2]
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": form}}
    if isinstance(part, DocumentPart):
        file = {"file_id": part.file_id, "filename": part.filename}
        if part.data is not None:
            file["file_data"] = f"data:{part.media_type};base64,{part.data}"
        return {"type": "file", "file": {key: value for key, value in file.items() if value is not None}}
    raise _unsupported(f"a {type(part).__name__} in a message")


def completion_of_response(response: Response) -> Completion:
    """An engine's answer as the rest of the engine knows it."""
    message = response.message
    texts = [
        part.text if isinstance(part, TextPart | RefusalPart) else json.dumps(part.value, ensure_ascii=False)
        for part in message.parts
        if isinstance(part, TextPart | RefusalPart | DataPart)
    ]
    usage = response.usage
    counts: dict[str, object] = {
        name: value
        for name, value in (
            ("prompt_tokens", usage.input_tokens),
            ("completion_tokens", usage.output_tokens),
            ("total_tokens", usage.total_tokens),
        )
        if value is not None
    }
    sent = {
        "cached_tokens": usage.cache_read_tokens,
        "cache_creation_tokens": usage.cache_write_tokens,
        "audio_tokens": usage.input_audio_tokens,
    }
    made = {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.output_audio_tokens}
    details = [{key: value for key, value in group.items() if value is not None} for group in (sent, made)]
    if counts or any(details):
        counts["prompt_tokens_details"], counts["completion_tokens_details"] = (group or None for group in details)
    return Completion(
        text="".join(texts) if texts else None,
        model=response.model,
        finish_reason="tool_calls" if response.finish_reason == "tool_call" else response.finish_reason,
        usage=counts,
        reasoning="".join(part.text for part in message.parts_of(ThinkingPart)) or None,
        tool_calls=tuple(_chat_call(call) for call in response.tool_calls),
        citations=tuple(
            {key: value for key, value in (("text", c.text), ("title", c.title), ("url", c.url)) if value is not None}
            for c in response.citations
        ),
        logprobs=None if response.logprobs is None else {"content": [_chat_logprob(t) for t in response.logprobs]},
    )


def _chat_logprob(token: TokenLogprob) -> dict[str, Any]:
    def one(scored: TokenLogprob | TopLogprob) -> dict[str, Any]:
        spelled = None if scored.bytes is None else list(scored.bytes)
        return {"token": scored.token, "logprob": scored.logprob, "bytes": spelled}

    return {**one(token), "top_logprobs": [one(top) for top in token.top]}


def response_of_completion(completion: Completion) -> Response:
    """The answer in the protocol's terms."""
    parts: list[Any] = []
    if completion.reasoning:
        parts.append(ThinkingPart(completion.reasoning))
    if completion.text is not None:
        parts.append(TextPart(completion.text))
    for call in completion.tool_calls:
        function = cast("Mapping[str, Any]", call["function"])
        try:
            arguments = json.loads(function.get("arguments") or "{}")
        except ValueError:
            arguments = {"": function.get("arguments")}  # kept, though the model wrote no JSON
        parts.append(ToolCallPart(str(call.get("id") or "call"), str(function["name"]), arguments))
    for citation in completion.citations:
        found = {key: citation.get(key) for key in ("url", "title")}
        cited = CitationPart(text=cast("str", citation.get("text") or citation.get("cited_text") or ""), **found)  # type: ignore[arg-type]
        parts.append(cited)
    usage = completion.usage
    sent = cast("Mapping[str, Any]", usage.get("prompt_tokens_details") or {})
    made = cast("Mapping[str, Any]", usage.get("completion_tokens_details") or {})
    finish = completion.finish_reason or "stop"
    return Response(
        id=completion.request_id,
        model=completion.model,
        message=Message("assistant", tuple(parts) or (TextPart(""),)),
        finish_reason={"tool_calls": "tool_call"}.get(finish, finish) if finish in _KNOWN_FINISH else "stop",
        usage=Usage(
            input_tokens=cast("int | None", usage.get("prompt_tokens")),
            output_tokens=cast("int | None", usage.get("completion_tokens")),
            total_tokens=cast("int | None", usage.get("total_tokens")),
            cache_read_tokens=sent.get("cached_tokens"),
            cache_write_tokens=sent.get("cache_creation_tokens"),
            reasoning_tokens=made.get("reasoning_tokens"),
            input_audio_tokens=sent.get("audio_tokens"),
            output_audio_tokens=made.get("audio_tokens"),
        ),
        logprobs=_logprobs(completion.logprobs),
    )


_KNOWN_FINISH = frozenset({"stop", "length", "tool_calls", "content_filter", "error"})


def _logprobs(logprobs: Any) -> tuple[TokenLogprob, ...] | None:
    if not isinstance(logprobs, Mapping):
        return None
    tokens = cast("Sequence[Mapping[str, Any]]", cast("Mapping[str, Any]", logprobs).get("content") or ())
    return tuple(
        TokenLogprob(
            str(token["token"]),
            float(token["logprob"]),
            top=tuple(TopLogprob(str(t["token"]), float(t["logprob"])) for t in token.get("top_logprobs") or ()),
        )
        for token in tokens
    )


def _unsupported(what: str) -> LMUnsupportedFeatureError:
    return LMUnsupportedFeatureError(f"A Request cannot carry {what}.", feature=what)
