"""The values of the protocol: what is asked of a model and what it answers, in no provider's words.

Names, fields and refusals are those that dspy 3.4 offers as `dspy.lm15`, for what this engine can carry: text, images,
documents, audio, thinking, refusals, citations, data, tools and their results. All are immutable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, cast

__all__ = [
    "AudioPart",
    "CacheConfig",
    "CitationDelta",
    "CitationPart",
    "Config",
    "DataPart",
    "DocumentPart",
    "ErrorDetail",
    "FunctionTool",
    "ImagePart",
    "Message",
    "Part",
    "Reasoning",
    "RefusalPart",
    "Request",
    "Response",
    "StreamDeltaEvent",
    "StreamEndEvent",
    "StreamErrorEvent",
    "StreamEvent",
    "StreamStartEvent",
    "TextDelta",
    "TextPart",
    "ThinkingDelta",
    "ThinkingPart",
    "TokenLogprob",
    "ToolCallDelta",
    "ToolCallPart",
    "ToolChoice",
    "ToolResultPart",
    "TopLogprob",
    "Usage",
]

P = TypeVar("P")

_ROLES = ("user", "assistant", "tool", "developer")
_FINISH_REASONS = ("stop", "length", "tool_call", "content_filter", "error")
_EFFORTS = ("off", "minimal", "low", "medium", "high", "xhigh", "max")


def _text(value: object, name: str, *, empty: bool = True) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string")
    if not empty and not value:
        raise ValueError(f"{name} cannot be empty")


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text."""

    text: str
    type: Literal["text"] = field(default="text", init=False)

    def __post_init__(self) -> None:
        _text(self.text, "TextPart.text")


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image, by base64 `data` or by `url`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    type: Literal["image"] = field(default="image", init=False)


@dataclass(frozen=True, slots=True)
class AudioPart:
    """Sound, by base64 `data`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    type: Literal["audio"] = field(default="audio", init=False)


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A document, by base64 `data`, `url` or the provider's `file_id`."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    type: Literal["document"] = field(default="document", init=False)


@dataclass(frozen=True, slots=True)
class ThinkingPart:
    """The model's thinking."""

    text: str
    type: Literal["thinking"] = field(default="thinking", init=False)

    def __post_init__(self) -> None:
        _text(self.text, "ThinkingPart.text")


@dataclass(frozen=True, slots=True)
class RefusalPart:
    """The model says that it will not answer."""

    text: str
    type: Literal["refusal"] = field(default="refusal", init=False)

    def __post_init__(self) -> None:
        _text(self.text, "RefusalPart.text", empty=False)


@dataclass(frozen=True, slots=True)
class CitationPart:
    """What the answer refers to."""

    url: str | None = None
    title: str | None = None
    text: str | None = None
    type: Literal["citation"] = field(default="citation", init=False)

    def __post_init__(self) -> None:
        if self.url is None and self.title is None and self.text is None:
            raise ValueError("CitationPart requires at least one of url, title, or text")


@dataclass(frozen=True, slots=True)
class DataPart:
    """Structured data; in an answer perhaps with probabilities."""

    value: Any
    probabilities: Mapping[str, Mapping[str, float]] | None = None
    method: str | None = None
    type: Literal["data"] = field(default="data", init=False)


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """The model asks for a tool to be run."""

    id: str
    name: str
    input: dict[str, Any]
    type: Literal["tool_call"] = field(default="tool_call", init=False)

    def __post_init__(self) -> None:
        _text(self.id, "ToolCallPart.id", empty=False)
        _text(self.name, "ToolCallPart.name", empty=False)
        if not isinstance(self.input, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("ToolCallPart.input must be a JSON object")


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """What a tool returned."""

    id: str
    content: tuple[Any, ...]
    name: str | None = None
    is_error: bool = False
    type: Literal["tool_result"] = field(default="tool_result", init=False)

    def __post_init__(self) -> None:
        _text(self.id, "ToolResultPart.id", empty=False)
        object.__setattr__(self, "content", _parts(self.content))


Part: TypeAlias = (
    TextPart
    | ImagePart
    | AudioPart
    | DocumentPart
    | ThinkingPart
    | RefusalPart
    | CitationPart
    | DataPart
    | ToolCallPart
    | ToolResultPart
)
_PART_CLASSES = (
    TextPart,
    ImagePart,
    AudioPart,
    DocumentPart,
    ThinkingPart,
    RefusalPart,
    CitationPart,
    DataPart,
    ToolCallPart,
    ToolResultPart,
)
_NOT_IN_PROMPTS = (ThinkingPart, RefusalPart, CitationPart, ToolCallPart, ToolResultPart)


def _parts(content: Any) -> tuple[Any, ...]:
    if isinstance(content, str):
        return (TextPart(content),)
    if isinstance(content, _PART_CLASSES):
        return (content,)
    if not isinstance(content, Sequence):
        raise TypeError("content must be a string, Part, or sequence of Parts")
    if not content:
        raise ValueError("content sequence cannot be empty")
    made = tuple(TextPart(part) if isinstance(part, str) else part for part in cast("Sequence[Any]", content))
    if not all(isinstance(part, _PART_CLASSES) for part in made):
        raise TypeError("content sequence must contain strings or Part objects")
    return made


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: who speaks, and the parts of what is said."""

    role: str
    parts: tuple[Any, ...]

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f"unsupported role: {self.role}")
        if isinstance(self.parts, str):
            raise TypeError("Message.parts must be Part objects; use Message.user('text') for strings")
        parts = (self.parts,) if isinstance(self.parts, _PART_CLASSES) else tuple(self.parts)
        object.__setattr__(self, "parts", parts)
        if not parts:
            raise ValueError("Message requires at least one part")
        if not all(isinstance(part, _PART_CLASSES) for part in parts):
            raise TypeError("Message.parts must contain Part objects")
        if self.role == "tool" and not all(isinstance(part, ToolResultPart) for part in parts):
            raise TypeError("tool messages may only contain ToolResultPart objects")
        if self.role == "assistant" and any(isinstance(part, ToolResultPart) for part in parts):
            raise TypeError("assistant messages cannot contain ToolResultPart objects")
        if self.role in ("user", "developer") and any(isinstance(part, _NOT_IN_PROMPTS) for part in parts):
            raise TypeError(f"{self.role} messages cannot contain model/tool protocol parts")

    @staticmethod
    def user(content: Any) -> Message:
        """What the user says: a string, a part or several."""
        return Message("user", _parts(content))

    @staticmethod
    def assistant(content: Any) -> Message:
        """What the model said."""
        return Message("assistant", _parts(content))

    @staticmethod
    def developer(content: Any) -> Message:
        """Instructions in the middle of a conversation."""
        return Message("developer", _parts(content))

    @staticmethod
    def tool(results: Any, output: Any = None, *, is_error: bool = False) -> Message:
        """What tools returned: `tool(call_id, output)`, `tool({call_id: output, ...})` or `tool(ToolResultPart(...))`."""
        if isinstance(results, str):
            if output is None:
                raise TypeError("Message.tool(call_id) is missing the output: Message.tool(call_id, output).")
            return Message("tool", (ToolResultPart(results, _parts(output), is_error=is_error),))
        if output is not None:
            raise TypeError("Message.tool() takes an output only with a call-id string: Message.tool(call_id, output).")
        if isinstance(results, Mapping):
            answers = cast("Mapping[str, Any]", results)
            return Message("tool", tuple(ToolResultPart(call, _parts(value)) for call, value in answers.items()))
        return Message("tool", (results,) if isinstance(results, ToolResultPart) else tuple(results))

    def parts_of(self, cls: type[P]) -> list[P]:
        """The parts of one kind."""
        return [part for part in self.parts if isinstance(part, cls)]

    def first(self, cls: type[P]) -> P | None:
        """The first part of one kind, or None."""
        return next((part for part in self.parts if isinstance(part, cls)), None)

    @property
    def text(self) -> str | None:
        """The text, when there is nothing but text."""
        if not all(isinstance(part, TextPart) for part in self.parts):
            return None
        return "\n".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A tool the model may ask for; `parameters` is a JSON schema of an object."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    type: Literal["function"] = field(default="function", init=False)

    def __post_init__(self) -> None:
        _text(self.name, "FunctionTool.name", empty=False)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How much the model thinks before it answers."""

    effort: str
    thinking_budget: int | None = None
    summary: str | None = None

    def __post_init__(self) -> None:
        if self.effort not in _EFFORTS:
            raise ValueError(f"unsupported reasoning effort: {self.effort}")
        if self.effort == "off" and (self.thinking_budget is not None or self.summary is not None):
            raise ValueError("Reasoning(effort='off') cannot specify thinking_budget or summary")

    @property
    def is_off(self) -> bool:
        """No thinking at all."""
        return self.effort == "off"


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """What the provider should keep of a prompt (see `dspex.engine.lm.prompt_cache`).

    Attributes:
        mode: "auto", or "off".
        retention: "short" or "long", None for the provider's default.
        key: helps a provider to route equal prefixes to the same machine.
        prefix_until_index: keeps up to this message, counted without the system message.
        prefix: "stable" keeps system and tools, "history" everything up to the last message.
        resource: the id of a stored cache.
    """

    mode: str = "auto"
    retention: str | None = None
    key: str | None = None
    prefix_until_index: int | None = None
    prefix: str | None = None
    resource: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "off"):
            raise ValueError(f"unsupported cache mode: {self.mode}")
        if self.retention not in (None, "short", "long"):
            raise ValueError(f"unsupported cache retention: {self.retention}")
        if self.prefix not in (None, "stable", "history"):
            raise ValueError(f"unsupported cache prefix: {self.prefix}")
        rest = (self.retention, self.key, self.prefix, self.prefix_until_index, self.resource)
        if self.mode == "off" and any(value is not None for value in rest):
            raise ValueError(
                "CacheConfig(mode='off') cannot specify retention, key, prefix, prefix_until_index, or resource"
            )
        if self.prefix is not None and self.prefix_until_index is not None:
            raise ValueError("CacheConfig cannot specify both prefix and prefix_until_index")
        if self.prefix_until_index is not None and self.prefix_until_index < 0:
            raise ValueError("prefix_until_index must be non-negative")

    def as_state(self) -> dict[str, Any]:
        """The fields that are set, as JSON data."""
        names = ("mode", "retention", "key", "prefix_until_index", "prefix", "resource")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether and which tools the model may or must ask for: `mode` "auto", "required" or "none"."""

    mode: str = "auto"
    allowed: tuple[str, ...] = ()
    parallel: bool | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "required", "none"):
            raise ValueError(f"unsupported tool choice mode: {self.mode}")
        object.__setattr__(self, "allowed", (self.allowed,) if isinstance(self.allowed, str) else tuple(self.allowed))
        if self.mode == "none" and (self.allowed or self.parallel is not None):
            raise ValueError("ToolChoice(mode='none') cannot specify allowed or parallel")


@dataclass(frozen=True, slots=True)
class Config:
    """How to generate. What has no field here goes into `extensions` by the provider's own name."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    response_format: dict[str, Any] | None = None
    tool_choice: ToolChoice | None = None
    reasoning: Reasoning | None = None
    cache: CacheConfig | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    service_tier: str | None = None
    user_id: str | None = None
    store: bool | None = None
    logprobs: int | None = None
    probabilities: str | None = None
    extensions: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()))
        if self.max_tokens is not None and self.max_tokens <= 0:
            raise ValueError("max_tokens must be positive")
        for name, low, high in (
            ("temperature", 0, 2),
            ("top_p", 0, 1),
            ("frequency_penalty", -2, 2),
            ("presence_penalty", -2, 2),
        ):
            value: object = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be numeric")
            if not low <= value <= high:
                raise ValueError(f"{name} must be in [{low}, {high}]")
        for name, kind in (("tool_choice", ToolChoice), ("reasoning", Reasoning), ("cache", CacheConfig)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request for one answer."""

    model: str
    messages: tuple[Message, ...]
    system: str | tuple[Any, ...] | None = None
    tools: tuple[FunctionTool, ...] = ()
    config: Config = field(default_factory=Config)

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError("model is required")
        messages = (self.messages,) if isinstance(self.messages, Message) else tuple(self.messages)
        object.__setattr__(self, "messages", messages)
        tools = (self.tools,) if isinstance(self.tools, FunctionTool) else tuple(self.tools)
        object.__setattr__(self, "tools", tools)
        if self.system == "":
            raise ValueError("system cannot be empty")
        if self.system is not None and not isinstance(self.system, str):
            object.__setattr__(self, "system", _parts(self.system))
        if not messages:
            raise ValueError("at least one message is required")
        if not all(isinstance(message, Message) for message in messages):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                'Request.messages must contain Message objects — wrap plain text with Message.user("...").'
            )
        if not all(isinstance(tool, FunctionTool) for tool in tools):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("Request.tools must contain Tool objects")
        names = [tool.name for tool in tools]
        if len(set(names)) != len(names):
            raise ValueError("Request.tools cannot contain duplicate tool names")
        if not isinstance(self.config, Config):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("Request.config must be a Config")
        missing = set(self.config.tool_choice.allowed if self.config.tool_choice else ()) - set(names)
        if missing:
            raise ValueError(f"ToolChoice.allowed contains tools not present in Request.tools: {sorted(missing)}")


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One token that might have come, and its log probability."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    token_id: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token that came, its log probability, and the likeliest others."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    token_id: int | None = None
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts, by the provider's own account. None means that it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.total_tokens is None and self.input_tokens is not None and self.output_tokens is not None:
            object.__setattr__(self, "total_tokens", self.input_tokens + self.output_tokens)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    id: str | None
    model: str
    message: Message
    finish_reason: str
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] | None = None
    provider_data: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.message, Message):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("Response.message must be a Message")
        if self.message.role != "assistant":
            raise ValueError("Response.message must have role 'assistant'")
        if self.finish_reason not in _FINISH_REASONS:
            raise ValueError(f"unsupported finish reason: {self.finish_reason}")
        if not isinstance(self.usage, Usage):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("Response.usage must be a Usage")

    @property
    def text(self) -> str | None:
        """The visible text; None when there is none, or something else beside it."""
        text = self.message.text
        if text is not None:
            return text
        if all(isinstance(part, TextPart | CitationPart | ThinkingPart) for part in self.message.parts):
            texts = [part.text for part in self.message.parts_of(TextPart)]
            return "\n".join(texts) if texts else None
        return None

    @property
    def tool_calls(self) -> list[ToolCallPart]:
        """The tools the model asks for."""
        return self.message.parts_of(ToolCallPart)

    @property
    def citations(self) -> list[CitationPart]:
        """What the answer refers to."""
        return self.message.parts_of(CitationPart)

    def parse_json(self, **default: Any) -> Any:
        """The text as JSON.

        Raises:
            ValueError: it is none, and no `default=` was given.
        """
        try:
            return json.loads((self.text or "").strip())
        except ValueError as error:
            if "default" in default:
                return default["default"]
            raise ValueError(f"Cannot parse response as JSON: {error}") from error

    @property
    def json(self) -> Any:
        """The text as JSON, None when it is none."""
        return self.parse_json(default=None)

    @property
    def data(self) -> Any:
        """The value of a data part, else the text as JSON."""
        part = self.message.first(DataPart)
        return self.json if part is None else part.value


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text."""

    text: str
    part_index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    type: Literal["text"] = field(default="text", init=False)


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More thinking."""

    text: str
    part_index: int = 0
    type: Literal["thinking"] = field(default="thinking", init=False)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the JSON text of a tool call's input."""

    input: str
    part_index: int = 0
    id: str | None = None
    name: str | None = None
    type: Literal["tool_call"] = field(default="tool_call", init=False)


@dataclass(frozen=True, slots=True)
class CitationDelta:
    """A citation."""

    text: str | None = None
    url: str | None = None
    title: str | None = None
    part_index: int = 0
    type: Literal["citation"] = field(default="citation", init=False)


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """What went wrong in a stream: `code` as the errors' `default_code`."""

    code: str
    message: str
    provider_code: str | None = None


@dataclass(frozen=True, slots=True)
class StreamStartEvent:
    """The first event of a stream."""

    id: str | None = None
    model: str | None = None
    type: Literal["start"] = field(default="start", init=False)


@dataclass(frozen=True, slots=True)
class StreamDeltaEvent:
    """A piece of the answer."""

    delta: TextDelta | ThinkingDelta | ToolCallDelta | CitationDelta
    type: Literal["delta"] = field(default="delta", init=False)


@dataclass(frozen=True, slots=True)
class StreamEndEvent:
    """The last event of a stream that went well."""

    finish_reason: str | None = None
    usage: Usage | None = None
    provider_data: dict[str, Any] | None = None
    type: Literal["end"] = field(default="end", init=False)


@dataclass(frozen=True, slots=True)
class StreamErrorEvent:
    """The last event of a stream that failed."""

    error: ErrorDetail
    type: Literal["error"] = field(default="error", init=False)


StreamEvent: TypeAlias = StreamStartEvent | StreamDeltaEvent | StreamEndEvent | StreamErrorEvent
