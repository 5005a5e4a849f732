"""What goes to a provider and what comes back, free of any SDK's types.

`ChatRequest` is one request for one answer. `Completion` is one answer. A provider turns the first into the second or
raises an `LMError`; everything above this line (retries, n, history, usage) is written once for all providers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Access", "ChatRequest", "Completion", "Provider"]


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
    """One chat request for one answer.

    Attributes:
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
        request_id: the provider's id of the request.
    """

    text: str | None
    model: str
    finish_reason: str | None = None
    usage: Mapping[str, object] = field(default_factory=dict[str, object])
    reasoning: str | None = None
    tool_calls: tuple[Mapping[str, object], ...] = ()
    logprobs: object | None = None
    request_id: str | None = None

    def output(self) -> str | dict[str, Any]:
        """The answer in dspy's shape: a string, or a dict when there is more than text."""
        extra: dict[str, Any] = {}
        if self.reasoning:
            extra["reasoning_content"] = self.reasoning
        if self.logprobs is not None:
            extra["logprobs"] = self.logprobs
        if self.tool_calls:
            extra["tool_calls"] = [dict(call) for call in self.tool_calls]
        if not extra:
            return self.text or ""
        return {"text": self.text, **extra}


class Provider(Protocol):
    """One way of speaking to a model server. Instances hold no connection; `connect` makes one per event loop.

    A client is `Any`: each provider's is its SDK's, and no one else looks inside.
    """

    @property
    def name(self) -> str:
        """The prefix in "prefix/model"."""
        ...

    def supported_params(self, model: str) -> frozenset[str]:
        """Names of the OpenAI-style options that reach this model."""
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

    async def complete(self, client: Any, request: ChatRequest) -> Completion:
        """Make exactly one HTTP request.

        Raises:
            LMError: of the class that fits. Cancellation passes through and closes the connection.
        """
        ...

    async def close(self, client: Any) -> None:
        """Close the client's connections."""
        ...
