"""Anthropic's Messages API through the official SDK (anthropic 1.x and 2.x).

The rest of the engine speaks OpenAI-shaped messages; here they become Anthropic's: system messages move to `system`,
`stop` becomes `stop_sequences`, and `max_tokens`, which this API demands, gets a default by model class. What has no
equal is refused by name with `LMUnsupportedFeatureError`, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from .errors import LMError, LMNotConfiguredError, LMUnexpectedError, LMUnsupportedFeatureError
from .extras import require
from .refusals import cause_of, lm_error
from .wire import Access, ChatRequest, Completion

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

__all__ = ["AnthropicProvider"]

_PARAMS = frozenset({"max_tokens", "stop", "temperature", "top_k", "top_p"})
# OpenAI options without an equal here, or whose translation is not written yet (tools, schemas).
_REFUSED = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
# The ceilings the 3.x models document; a larger value is refused by the API. Others take what dspy 3.4 assumes.
_OLD_CEILINGS = (
    ("claude-3-5-", 8192),
    ("claude-3.5-", 8192),
    ("claude-3-haiku", 4096),
    ("claude-3-opus", 4096),
    ("claude-3-sonnet", 4096),
)
_DEFAULT_MAX_TOKENS = 16384
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class AnthropicProvider:
    """`LM("anthropic/...")`. Holds nothing; the SDK's client lives in `Connections`."""

    name = "anthropic"

    def supported_params(self, model: str) -> frozenset[str]:
        """The options that have an equal in the Messages API."""
        return _PARAMS

    def supports_response_schema(self, model: str) -> bool:
        """False: structured output of this API is not translated yet."""
        return False

    def supports_function_calling(self, model: str) -> bool:
        """False: tools of this API are not translated yet."""
        return False

    async def connect(self, access: Access) -> AsyncAnthropic:
        """Make the SDK's client. Without `api_key` the SDK resolves credentials its own way (environment, profiles).

        Raises:
            MissingExtra: `anthropic` is not installed.
        """
        sdk = await require("anthropic", extra="anthropic", purpose='LM("anthropic/...")')
        base_url = access.base_url
        if base_url is not None and base_url.rstrip("/").endswith("/v1"):
            base_url = base_url.rstrip("/").removesuffix("/v1")  # the SDK adds /v1 itself; OpenAI users write it
        return sdk.AsyncAnthropic(api_key=access.api_key, base_url=base_url, max_retries=0)

    async def complete(self, client: AsyncAnthropic, request: ChatRequest) -> Completion:
        """One POST to /v1/messages.

        Raises:
            LMUnsupportedFeatureError: the request holds what this API (or this translation) has not; nothing is sent.
            LMError: of the class that fits.
        """
        import anthropic

        system, messages = _conversation(request)
        options = _options(request)
        ceiling = options.pop("max_tokens", None) or _default_max_tokens(request.model)
        extra: dict[str, Any] = {"system": system} if system else {}
        try:
            answer: Any = await cast("Any", client).messages.create(
                model=request.model,
                max_tokens=cast("int", ceiling),
                messages=cast("Any", messages),  # plain dicts of the SDK's shape
                extra_body=options or None,
                extra_headers=dict(request.headers) or None,
                timeout=anthropic.Timeout(request.timeout, connect=min(request.timeout, 5.0)),
                **extra,
            )
        except Exception as error:
            secrets = (client.api_key,) if client.api_key else ()
            raise self._refusal(error, client, request, secrets) from cause_of(error, secrets=secrets)
        return _completion(answer, request)

    def _refusal(
        self, error: Exception, client: AsyncAnthropic, request: ChatRequest, secrets: tuple[str, ...]
    ) -> LMError:
        if isinstance(error, TypeError) and "authentication" in str(error).lower():
            # The SDK looks for credentials only when it sends, and says so with a TypeError.
            return LMNotConfiguredError(
                "No API key for anthropic: pass api_key=... to LM(...) or set ANTHROPIC_API_KEY.",
                model=request.label,
                provider=self.name,
            )
        return lm_error(error, provider=self.name, model=request.label, base_url=str(client.base_url), secrets=secrets)

    async def close(self, client: AsyncAnthropic) -> None:
        """Close the client's connection pool."""
        await client.close()


def _default_max_tokens(model: str) -> int:
    name = model.lower()
    return next((ceiling for marker, ceiling in _OLD_CEILINGS if marker in name), _DEFAULT_MAX_TOKENS)


def _options(request: ChatRequest) -> dict[str, object]:
    refused = sorted(_REFUSED & request.options.keys())
    if refused:
        raise LMUnsupportedFeatureError(
            f"LM({request.label!r}) cannot pass {', '.join(refused)} to the Messages API; remove it for this model, "
            "or use a model behind an OpenAI-compatible endpoint.",
            features=refused,
            model=request.label,
            provider="anthropic",
        )
    options = dict(request.options)
    if "max_completion_tokens" in options:
        options["max_tokens"] = options.pop("max_completion_tokens")
    stop = options.pop("stop", None)
    if stop is not None:
        options["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    return options


def _conversation(request: ChatRequest) -> tuple[str, list[dict[str, object]]]:
    system: list[str] = []
    turns: list[dict[str, object]] = []
    for message in request.messages:
        role = message.get("role")
        text = _text(message, request)
        if role in ("system", "developer"):
            system.append(text)
        elif role in ("user", "assistant"):
            turns.append({"role": role, "content": text})
        else:
            raise _unsupported(f"messages of role {role!r}", request)
    return "\n\n".join(system), turns


def _text(message: Mapping[str, object], request: ChatRequest) -> str:
    if message.get("tool_calls"):
        raise _unsupported("tool calls in messages", request)
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    parts: list[str] = []
    for part in cast("list[Mapping[str, object]]", content):
        if part.get("type") != "text":
            raise _unsupported(f"content of type {part.get('type')!r}", request)
        parts.append(str(part.get("text", "")))
    return "".join(parts)


def _unsupported(what: str, request: ChatRequest) -> LMUnsupportedFeatureError:
    return LMUnsupportedFeatureError(
        f"LM({request.label!r}) cannot send {what} yet: only text reaches the Messages API.",
        feature=what,
        model=request.label,
        provider="anthropic",
    )


def _completion(answer: Any, request: ChatRequest) -> Completion:
    blocks = getattr(answer, "content", None)
    if not isinstance(blocks, list):
        raise LMUnexpectedError(
            f"The server answered 200 with something that is not a message ({type(answer).__name__}). "
            "Check that base_url is the API's root.",
            model=request.label,
            provider="anthropic",
        )
    text: list[str] = []
    thinking: list[str] = []
    for block in cast("list[Any]", blocks):
        kind = getattr(block, "type", None)
        if kind == "text":
            text.append(block.text)
        elif kind == "thinking":
            thinking.append(block.thinking)
    reason = getattr(answer, "stop_reason", None)
    return Completion(
        text="".join(text),
        model=getattr(answer, "model", None) or request.model,
        finish_reason=_FINISH.get(reason, reason) if reason else None,
        usage=_usage(getattr(answer, "usage", None)),
        reasoning="".join(thinking) or None,
        request_id=getattr(answer, "_request_id", None),
    )


def _usage(usage: Any) -> dict[str, object]:
    """Counts by dspy's names; cached input is input too, as dspy 3.4 counts it."""
    if usage is None:
        return {}
    cached = getattr(usage, "cache_read_input_tokens", None) or 0
    written = getattr(usage, "cache_creation_input_tokens", None) or 0
    sent = (getattr(usage, "input_tokens", None) or 0) + cached + written
    made = getattr(usage, "output_tokens", None) or 0
    details: dict[str, object] = {}
    if cached:
        details["cached_tokens"] = cached
    if written:
        details["cache_creation_tokens"] = written
    return {
        "prompt_tokens": sent,
        "completion_tokens": made,
        "total_tokens": sent + made,
        "prompt_tokens_details": details or None,
        "completion_tokens_details": None,
    }
