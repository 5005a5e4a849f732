"""OpenTelemetry's names for calls of models, tools and agents: every literal of theirs that we write is in this file.

They follow the semantic conventions for generative AI as of 1.41, which are marked as in development: when a name
changes there, this is the file to change. What the conventions have no word for begins with `dspex.`.

Values are counts, names and options. Prompts, answers, arguments and results have names of their own, below, which are used
only when the user asks for it (`OpenTelemetry(capture_content=True)`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit

Attributes = dict[str, Any]
"""A span's attributes: str, bool, int, float, and lists of one of these."""

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"

# -- spans -----------------------------------------------------------------------------------------------------------

OPERATION: Final = "gen_ai.operation.name"
CHAT: Final = "chat"
TEXT_COMPLETION: Final = "text_completion"
EXECUTE_TOOL: Final = "execute_tool"
INVOKE_AGENT: Final = "invoke_agent"

PROVIDER: Final = "gen_ai.provider.name"
AGENT_NAME: Final = "gen_ai.agent.name"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
OUTPUT_TYPE: Final = "gen_ai.output.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

_OPTIONS: Final[Mapping[str, str]] = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
}
_STOP: Final = "gen_ai.request.stop_sequences"
_CHOICES: Final = "gen_ai.request.choice.count"

CACHE_HIT: Final = "dspex.cache_hit"
MODULE: Final = "dspex.module"
PROGRAM: Final = "dspex.program"
ENGINE: Final = "dspex.engine"
REASON: Final = "dspex.route.reason"
FELL_BACK: Final = "dspex.route.fell_back"
SHADOW: Final = "dspex.shadow"
WORKER: Final = "dspex.worker.name"
INCARNATION: Final = "dspex.worker.incarnation"
WORKER_ATTEMPTS: Final = "dspex.worker.attempts"
LOST_SPANS: Final = "dspex.worker.lost_spans"

# -- content: only when it was asked for --------------------------------------------------------------------------

INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"

# -- metrics ---------------------------------------------------------------------------------------------------------

DURATION: Final = "gen_ai.client.operation.duration"
DURATION_BUCKETS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = "gen_ai.client.token.usage"
TOKENS_BUCKETS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
TOKEN_TYPE: Final = "gen_ai.token.type"

_IN_METRICS: Final = (OPERATION, PROVIDER, REQUEST_MODEL, RESPONSE_MODEL, SERVER_ADDRESS, SERVER_PORT, ERROR_TYPE)


def request_attributes(model: str, options: Mapping[str, Any], *, api: str = "chat") -> Attributes:
    """What is known of an LM call before it is made. `model` is "provider/name", or a name of OpenAI's."""
    prefix, slash, name = model.partition("/")
    made: Attributes = {
        OPERATION: TEXT_COMPLETION if api == "text" else CHAT,
        PROVIDER: prefix if slash else "openai",
        REQUEST_MODEL: name if slash else model,
    }
    for option, attribute in _OPTIONS.items():
        value = options.get(option)
        if isinstance(value, int | float) and not isinstance(value, bool):
            made[attribute] = value
    stop = options.get("stop")
    if stop:
        made[_STOP] = [stop] if isinstance(stop, str) else [str(each) for each in stop]
    count = options.get("n")
    if isinstance(count, int) and count > 1:
        made[_CHOICES] = count
    if options.get("response_format") is not None:
        made[OUTPUT_TYPE] = "json"
    server = options.get("base_url") or options.get("api_base")
    if isinstance(server, str):
        made.update(_server(server))
    return made


def _server(url: str) -> Attributes:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return {}
    made: Attributes = {}
    if parts.hostname:
        made[SERVER_ADDRESS] = parts.hostname
        made[SERVER_PORT] = port if port is not None else 443 if parts.scheme == "https" else 80
    return made


def answer_attributes(
    *, model: str | None, usage: Mapping[str, object], finish_reasons: Sequence[str], cache_hit: bool
) -> Attributes:
    """What is known when it has been answered."""
    made: Attributes = {}
    if model:
        made[RESPONSE_MODEL] = model
    if finish_reasons:
        made[FINISH_REASONS] = list(finish_reasons)
    used = usage_of(usage)
    if used is not None:
        made[INPUT_TOKENS], made[OUTPUT_TOKENS] = used
    if cache_hit:
        made[CACHE_HIT] = True
    return made


def usage_of(usage: Mapping[str, object]) -> tuple[int, int] | None:
    """Tokens read and written, by OpenAI's or Anthropic's names; None: nothing was counted."""
    read = usage.get("prompt_tokens", usage.get("input_tokens"))
    written = usage.get("completion_tokens", usage.get("output_tokens"))
    if not isinstance(read, int) and not isinstance(written, int):
        return None
    return read if isinstance(read, int) else 0, written if isinstance(written, int) else 0


def tool_attributes(name: str) -> Attributes:
    """What is known of a tool call before it is made."""
    return {OPERATION: EXECUTE_TOOL, TOOL_NAME: name, TOOL_TYPE: "function"}


def metric_attributes(attributes: Mapping[str, Any]) -> Attributes:
    """Of a call's attributes, those that measurements are filed under: few values each."""
    return {name: attributes[name] for name in _IN_METRICS if name in attributes}


# -- content ---------------------------------------------------------------------------------------------------------


def input_attribute(prompt: object, messages: Iterable[Mapping[str, Any]] | None) -> Attributes:
    """What the model is asked."""
    asked = messages if messages is not None else [{"role": "user", "content": prompt}]
    return {INPUT_MESSAGES: _text([{"role": each.get("role"), "parts": _parts(each)} for each in asked])}


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if not isinstance(content, list):
        return [{"type": "text", "content": str(content)}]
    parts: list[dict[str, Any]] = []
    for part in cast("list[Mapping[str, Any]]", content):
        kind = str(part.get("type"))
        # An image or a file is named, not copied: spans are no place for megabytes.
        parts.append({"type": kind, "content": str(part.get("text"))} if kind == "text" else {"type": kind})
    return parts


def output_attribute(outputs: object) -> Attributes:
    """What it answered."""
    answered: list[Any] = cast("list[Any]", outputs) if isinstance(outputs, list) else [outputs]
    return {
        OUTPUT_MESSAGES: _text(
            [{"role": "assistant", "parts": [{"type": "text", "content": _spoken(each)}]} for each in answered]
        )
    }


def _spoken(output: Any) -> str:
    return output if isinstance(output, str) else _text(output)


def arguments_attribute(arguments: object) -> Attributes:
    """What a tool is given."""
    return {TOOL_ARGUMENTS: _text(arguments)}


def result_attribute(result: object) -> Attributes:
    """What it gave back."""
    return {TOOL_RESULT: _text(result)}


def _text(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
