"""What goes to a provider and what comes back, free of any SDK's types.

`ChatRequest` is one request for one answer. `Completion` is one answer. A provider turns the first into the second or
raises an `LMError`; everything above this line (retries, n, history, usage) is written once for all providers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from pydantic_core import from_json, to_json

__all__ = [
    "Access",
    "ChatRequest",
    "Completion",
    "Delta",
    "Emit",
    "Provider",
    "as_hit",
    "completions_from_text",
    "completions_to_text",
]


@dataclass(frozen=True, slots=True)
class Access:
    """Where a provider is reached and with which credential. The credential never shows in `repr`.

    Attributes:
        api_key: the key, or None to let the SDK read its environment variable.
        base_url: the endpoint, or None for the provider's own.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request for one answer.

    Attributes:
        api: "chat", "text" or "responses": which of the provider's APIs is meant.
        model: the provider's name of the model, without the "openai/" prefix.
        label: the model as the user wrote it, for errors.
        messages: OpenAI-shaped chat messages.
        options: sampling and format options by their OpenAI names; None values are already gone.
        headers: extra HTTP headers for this request.
        timeout: seconds this attempt may take.
    """

    model: str
    label: str
    messages: Sequence[Mapping[str, object]]
    options: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout: float = 600.0
    api: str = "chat"


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer that is being streamed; mostly a piece of text.

    Attributes:
        text: more of the visible text.
        reasoning: more of the thinking.
        tool_calls: OpenAI-shaped pieces of tool calls: index, and what is new of id and function.
        citation: one citation.
        finish_reason: set on the last piece.
        model: the model that answers, by its own account.
    """

    text: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[Mapping[str, object], ...] = ()
    citation: Mapping[str, object] | None = None
    finish_reason: str | None = None
    model: str | None = None
    id: str | None = None


Emit: TypeAlias = Callable[[Delta], Awaitable[None]]
"""Takes the pieces of a streamed answer, in order."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of a model.

    Attributes:
        text: the visible text; None when the model only called tools.
        model: the model that answered, by its own account.
        finish_reason: "stop", "length", "tool_calls", "content_filter" or the provider's own word.
        usage: token counts by dspy's names (prompt_tokens, completion_tokens, total_tokens, ..._details).
        reasoning: the thinking the provider showed, if any.
        tool_calls: OpenAI-shaped calls: id, type, function {name, arguments as JSON text}.
        logprobs: OpenAI-shaped token probabilities, when asked for.
        citations: what the answer cites, as dicts.
        request_id: the provider's id of the request.
        service_tier: the tier that served the request, when the provider says so.
        cost: US dollars, only when the provider itself reports them.
        cache_hit: True when the answer came out of the cache; `usage` is empty then.
    """

    text: str | None
    model: str
    finish_reason: str | None = None
    usage: Mapping[str, object] = field(default_factory=dict[str, object])
    reasoning: str | None = None
    tool_calls: tuple[Mapping[str, object], ...] = ()
    logprobs: object | None = None
    citations: tuple[Mapping[str, object], ...] = ()
    request_id: str | None = None
    service_tier: str | None = None
    cost: float | None = None
    cache_hit: bool = False

    def output(self) -> str | dict[str, Any]:
        """The answer in dspy's shape: a string, or a dict when there is more than text."""
        extra: dict[str, Any] = {}
        if self.reasoning:
            extra["reasoning_content"] = self.reasoning
        if self.logprobs is not None:
            extra["logprobs"] = self.logprobs
        if self.tool_calls:
            extra["tool_calls"] = [dict(call) for call in self.tool_calls]
        if self.citations:
            extra["citations"] = [dict(citation) for citation in self.citations]
        if not extra:
            return self.text or ""
        return {"text": self.text, **extra}


def as_hit(completion: Completion) -> Completion:
    """The completion as one that cost nothing."""
    return replace(completion, usage={}, cache_hit=True)


_STORED = ("text", "model", "finish_reason", "usage", "reasoning", "tool_calls", "logprobs", "citations", "service_tier")


def completions_to_text(completions: Sequence[Completion], *, cost: float | None) -> str:
    """Answers as JSON text, for the cache. A text is immutable, so a hit needs no copy."""
    answers = [
        {name: value for name in _STORED if (value := getattr(completion, name)) not in (None, (), "")}
        for completion in completions
    ]
    return to_json({"v": 1, "cost": cost, "answers": answers}).decode()


def completions_from_text(text: object) -> tuple[tuple[Completion, ...], float | None] | None:
    """The answers again, marked as cache hits; None when the text is something else."""
    if not isinstance(text, str):
        return None
    plain = _plain_answers.get(text)
    if plain is not None:
        return plain
    found = _parsed(text)
    # Answers of nothing but text can be shared, as nobody can change them; reading JSON is most of what a hit costs.
    if found is not None and all(_is_plain(completion) for completion in found[0]):
        if len(_plain_answers) >= _PLAIN_KEPT:
            _plain_answers.clear()
        _plain_answers[text] = found
    return found


_PLAIN_KEPT = 1024
_plain_answers: dict[str, tuple[tuple[Completion, ...], float | None]] = {}


def _is_plain(completion: Completion) -> bool:
    return not completion.tool_calls and not completion.citations and completion.logprobs is None


def _parsed(text: str) -> tuple[tuple[Completion, ...], float | None] | None:
    try:
        found = from_json(text)
        if found["v"] != 1:
            return None
        answers: list[Completion] = []
        for stored in found["answers"]:
            stored["usage"] = {}
            for name in ("tool_calls", "citations"):
                if name in stored:
                    stored[name] = tuple(stored[name])
            stored.setdefault("text", None)
            answers.append(Completion(cache_hit=True, **stored))
    except (ValueError, KeyError, TypeError):
        return None
    return (tuple(answers), found.get("cost")) if answers else None


class Provider(Protocol):
    """One way of speaking to a model server. Instances hold no connection; `connect` makes one per event loop.

    A client is `Any`: each provider's is its SDK's, and no one else looks inside.
    """

    @property
    def name(self) -> str:
        """The prefix in "prefix/model"."""
        ...

    def supported_params(self, model: str, api: str) -> frozenset[str]:
        """Names of the OpenAI-style options that reach this model through this API."""
        ...

    def supports_reasoning(self, model: str) -> bool:
        """True when the model shows its thinking apart from its answer."""
        ...

    def supports_response_schema(self, model: str) -> bool:
        """True when a JSON schema given as `response_format` binds the answer."""
        ...

    def supports_function_calling(self, model: str) -> bool:
        """True when `tools=` reaches the model and its calls come back."""
        ...

    async def connect(self, access: Access) -> Any:
        """Import the SDK if need be and make its client.

        Raises:
            MissingExtra: the SDK is not installed.
            LMNotConfiguredError: there is no credential.
        """
        ...

    async def complete(self, client: Any, request: ChatRequest, emit: Emit | None = None) -> Completion:
        """Make exactly one HTTP request. With `emit`, the answer is streamed: each piece is given to it as it comes.

        Raises:
            LMError: of the class that fits. Cancellation passes through and closes the connection.
        """
        ...

    async def close(self, client: Any) -> None:
        """Close the client's connections."""
        ...
