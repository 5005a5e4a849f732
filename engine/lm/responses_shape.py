"""OpenAI's Responses API beside its chat API: requests from the one shape to the other, answers to dspy's outputs.

The engine speaks chat messages everywhere; a model of `model_type="responses"` gets them translated here, as dspy 3.4
translates them. What is already in the Responses shape passes as it is.
"""

from __future__ import annotations

import copy as copying
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from .json_schema import strict_json_schema
from .shapes import items, plain, read

__all__ = ["responses_body", "responses_outputs"]

_TEXT_PARTS = ("text", "input_text", "output_text")
_CITED = ("cited_text", "text", "supported_text")
_CITATION_FIELDS = frozenset({*_CITED, "document_title", "title", "url"})


def responses_body(messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    """`input` and options of a Responses request, for chat messages and chat options. The arguments are not changed."""
    body = copying.deepcopy(dict(options))
    body["input"] = [item for message in messages for item in _items(message)]
    _rename_options(body)
    _translate_tools(body)
    wanted = body.pop("response_format", None)
    if wanted is not None:
        if isinstance(wanted, type) and issubclass(wanted, BaseModel):
            wanted = {
                "name": wanted.__name__,
                "type": "json_schema",
                "schema": strict_json_schema(wanted.model_json_schema()),
                "strict": True,
            }
        elif isinstance(wanted, Mapping) and isinstance(read(wanted, "json_schema"), Mapping):
            wanted = {"type": "json_schema", **cast("Mapping[str, Any]", wanted["json_schema"])}
        body["text"] = {**body.get("text", {}), "format": wanted}
    if not body.get("stop"):
        body.pop("stop", None)
    return body


def _rename_options(body: dict[str, Any]) -> None:
    ceiling = body.pop("max_tokens", None)
    completion_ceiling = body.pop("max_completion_tokens", None)
    ceiling = ceiling if ceiling is not None else completion_ceiling
    if ceiling is not None:
        body["max_output_tokens"] = ceiling
    effort = body.pop("reasoning_effort", None)
    if effort is not None and body.get("reasoning") is None:
        body["reasoning"] = {"effort": effort, "summary": "auto"}


def _translate_tools(body: dict[str, Any]) -> None:
    if body.get("tools"):
        tools: list[Any] = []
        for tool in body["tools"]:
            if "function" in tool:
                rest = {key: value for key, value in tool.items() if key not in ("type", "function")}
                tool = {"type": "function", **rest, **tool["function"]}
            if tool.get("type") == "function" and tool.get("description") is None:
                tool.pop("description", None)
            tools.append(tool)
        body["tools"] = tools
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and "function" in choice:
        body["tool_choice"] = {"type": "function", "name": choice["function"]["name"]}


def _items(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    role = message.get("role")
    content = message.get("content")
    if role == "tool":
        item = {"type": "function_call_output", "output": _tool_text(content)}
        if message.get("tool_call_id") is not None:
            item["call_id"] = message["tool_call_id"]
        return [item]
    calls = cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ())
    made: list[dict[str, Any]] = []
    parts = _parts(content, role)
    if parts or role != "assistant" or not calls:
        spoken: dict[str, Any] = {"role": role, "content": parts}
        if message.get("name") is not None:
            spoken["name"] = message["name"]
        made.append(spoken)
    for call in calls if role == "assistant" else ():
        function = cast("Mapping[str, Any]", call.get("function") or call)
        asked: dict[str, Any] = {
            "type": "function_call",
            "name": function.get("name", ""),
            "arguments": function.get("arguments", "{}"),
        }
        call_id = call.get("call_id") or call.get("id")
        if call_id is not None:
            asked["call_id"] = call_id
        made.append(asked)
    return made


def _tool_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(
            str(read(part, "text", "")) if read(part, "type") in ("text", "input_text") else str(part)
            for part in cast("list[Any]", content)
        )
    return content or ""


def _parts(content: Any, role: object) -> list[dict[str, Any]]:
    kind = "output_text" if role == "assistant" else "input_text"
    if isinstance(content, str):
        return [{"type": kind, "text": content}]
    made: list[dict[str, Any]] = []
    for part in cast("list[dict[str, Any]]", content or []):
        given = part.get("type")
        if given in _TEXT_PARTS:
            made.append({"type": kind, "text": part.get("text", "")})
        elif given == "image_url":
            image: Any = part["image_url"]
            url = image if isinstance(image, str) else read(image, "url", "")
            shown: dict[str, Any] = {"type": "input_image", "image_url": url}
            if read(image, "detail") is not None:
                shown["detail"] = read(image, "detail")
            made.append(shown)
        elif given == "file":
            file = part.get("file", {})
            made.append({"type": "input_file", **{key: file.get(key) for key in ("file_data", "filename", "file_id")}})
        else:
            made.append(copying.deepcopy(part))
    return made


def responses_outputs(response: Any) -> list[str | dict[str, Any]]:
    """dspy's outputs of a Responses answer: always one dict, with "text" and what else there is."""
    texts: list[str] = []
    thinking: list[str] = []
    calls: list[dict[str, Any]] = []
    citations: list[dict[str, Any]] = []
    for item in items(response, "output"):
        kind = read(item, "type")
        if kind == "message":
            for part in items(item, "content"):
                if read(part, "type") in _TEXT_PARTS and read(part, "text") is not None:
                    texts.append(read(part, "text"))
                citations += [_citation(plain(note)) for note in items(part, "annotations")]
        elif kind == "function_call":
            calls.append(_call(item))
        elif kind == "reasoning":
            shown = items(item, "content") or items(item, "summary")
            thinking += [text for part in shown if (text := read(part, "text"))]
    output: dict[str, Any] = {"text": "".join(texts) if texts else None}
    if thinking:
        output["reasoning_content"] = "".join(thinking)
    if calls:
        output["tool_calls"] = calls
    if citations:
        output["citations"] = citations
    return [output]


def _call(item: Any) -> dict[str, Any]:
    arguments = read(item, "arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = {}
    call: dict[str, Any] = {
        "type": "function",
        "function": {"name": read(item, "name", ""), "arguments": json.dumps(arguments)},
    }
    if read(item, "call_id") is not None:
        call["id"] = read(item, "call_id")
    return call


def _citation(note: dict[str, Any]) -> dict[str, Any]:
    found = {
        "type": "citation",
        "metadata": {key: value for key, value in note.items() if key not in _CITATION_FIELDS and value is not None},
        "text": next((note[name] for name in _CITED if note.get(name)), None),
        "title": note.get("document_title") or note.get("title"),
        "url": note.get("url"),
    }
    return {key: value for key, value in found.items() if value is not None}
