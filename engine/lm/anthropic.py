"""Anthropic's Messages API through the official SDK (anthropic 1.x and 2.x).

The rest of the engine speaks OpenAI-shaped messages; `anthropic_messages` translates what goes out, this file what comes
back: text, thinking, tool calls and citations, whole or streamed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from .anthropic_messages import anthropic_call
from .errors import LMError, LMNotConfiguredError, LMStreamAssemblyError, LMUnexpectedError
from .extras import require
from .refusals import cause_of, lm_error, stream_error
from .shapes import items, plain, read
from .sse import events_of
from .wire import Access, ChatRequest, Completion, Delta, Emit

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

__all__ = ["AnthropicProvider"]

_PARAMS = frozenset(
    {
        "max_tokens",
        "parallel_tool_calls",
        "response_format",
        "stop",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
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

    def supported_params(self, model: str, api: str) -> frozenset[str]:
        """The options that have an equal in the Messages API for this model."""
        params = _PARAMS if self.supports_response_schema(model) else _PARAMS - {"response_format"}
        return params | {"reasoning_effort"} if self.supports_reasoning(model) else params

    def supports_response_schema(self, model: str) -> bool:
        """True from the models of the fourth generation on."""
        return "claude-3" not in model.lower()

    def supports_function_calling(self, model: str) -> bool:
        """True."""
        return True

    def supports_reasoning(self, model: str) -> bool:
        """True from the models of the fourth generation on, and for 3.7."""
        name = model.lower()
        return "claude-3" not in name or "claude-3-7" in name

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

    async def complete(self, client: AsyncAnthropic, request: ChatRequest, emit: Emit | None = None) -> Completion:
        """One POST to /v1/messages.

        Raises:
            LMUnsupportedFeatureError: the request holds what this API has not; nothing is sent.
            LMError: of the class that fits.
        """
        call, body = anthropic_call(request)
        try:
            return await self._ask(client, call, body, request, emit)
        except (LMError, Warning):
            raise
        except Exception as error:
            secrets = (client.api_key,) if client.api_key else ()
            raise self._refusal(error, client, request, secrets) from cause_of(error, secrets=secrets)

    async def _ask(
        self, client: Any, call: dict[str, Any], body: dict[str, Any], request: ChatRequest, emit: Emit | None
    ) -> Completion:
        import anthropic

        call = {
            **call,
            "extra_body": body or None,
            "extra_headers": dict(request.headers) or None,
            "timeout": anthropic.Timeout(request.timeout, connect=min(request.timeout, 5.0)),
        }
        if emit is None:
            return _completion(await client.messages.create(**call), request)
        answer = _MessageStream(request)
        async with events_of(client.messages.with_streaming_response.create(stream=True, **call)) as events:
            async for event in events:
                if event.get("type") == "error":
                    raise stream_error(event.get("error"), provider=self.name, model=request.label)
                delta = answer.add(event)
                if delta is not None:
                    await emit(delta)
        return _completion(answer.whole(), request)

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


class _MessageStream:
    """The events of one message, put together again."""

    def __init__(self, request: ChatRequest) -> None:
        self.request = request
        self.model: str | None = None
        self.id: str | None = None
        self.blocks: dict[int, dict[str, Any]] = {}
        self.stop_reason: str | None = None
        self.usage: dict[str, Any] = {}
        self.ended = False

    def add(self, event: Any) -> Delta | None:
        """Take an event; what of it is worth forwarding."""
        kind = read(event, "type")
        if kind == "message_start":
            message = read(event, "message")
            self.model, self.id = read(message, "model"), read(message, "id")
            self._count(read(message, "usage"))
        elif kind == "content_block_start":
            return self._block(read(event, "index", 0), plain(read(event, "content_block")))
        elif kind == "content_block_delta":
            return self._more(read(event, "index", 0), read(event, "delta"))
        elif kind == "message_delta":
            self.stop_reason = read(read(event, "delta"), "stop_reason") or self.stop_reason
            self._count(read(event, "usage"))
        elif kind == "message_stop":
            self.ended = True
            reason = self.stop_reason or "end_turn"
            return self._delta(finish_reason=_FINISH.get(reason, reason))
        return None

    def _delta(self, **what: Any) -> Delta:
        return Delta(model=self.model, id=self.id, **what)

    def _block(self, index: int, block: dict[str, Any]) -> Delta | None:
        self.blocks[index] = {**block, "json": ""}
        if block.get("type") == "tool_use":
            call = {"index": self._call_index(index), "type": "function", "id": block.get("id")}
            return self._delta(tool_calls=({**call, "function": {"name": block.get("name", ""), "arguments": ""}},))
        if block.get("type") == "text" and block.get("text"):
            return self._delta(text=block["text"])
        return None

    def _more(self, index: int, delta: Any) -> Delta | None:
        block = self.blocks.setdefault(index, {"type": "text", "text": "", "json": ""})
        kind = read(delta, "type")
        if kind == "text_delta":
            block["text"] = (block.get("text") or "") + read(delta, "text", "")
            return self._delta(text=read(delta, "text"))
        if kind == "thinking_delta":
            block["thinking"] = (block.get("thinking") or "") + read(delta, "thinking", "")
            return self._delta(reasoning=read(delta, "thinking"))
        if kind == "input_json_delta":
            piece = read(delta, "partial_json", "")
            block["json"] += piece
            call = {"index": self._call_index(index), "type": "function", "function": {"arguments": piece}}
            return self._delta(tool_calls=(call,))
        if kind == "citations_delta":
            citation = plain(read(delta, "citation"))
            block["citations"] = [*(block.get("citations") or []), citation]
            return self._delta(citation=citation)
        return None

    def _call_index(self, index: int) -> int:
        return [at for at, block in sorted(self.blocks.items()) if block.get("type") == "tool_use"].index(index)

    def _count(self, usage: Any) -> None:
        counts = cast("dict[str, Any]", plain(usage) or {})
        self.usage.update({name: value for name, value in counts.items() if value is not None})

    def whole(self) -> dict[str, Any]:
        """The message in the shape of one that was not streamed.

        Raises:
            LMStreamAssemblyError: the stream ended before the message did.
        """
        blocks = [block for _, block in sorted(self.blocks.items())]
        text = "".join(block.get("text") or "" for block in blocks if block.get("type") == "text")
        try:
            for block in blocks:
                if block.get("type") == "tool_use" and block["json"]:
                    block["input"] = json.loads(block["json"])
        except ValueError:
            self.ended = False
        if not self.ended:
            raise LMStreamAssemblyError(
                "The stream ended before the answer did: the provider, or something on the way, closed it.",
                partial=text,
                model=self.request.label,
                provider="anthropic",
            )
        return {"model": self.model, "content": blocks, "stop_reason": self.stop_reason, "usage": self.usage}


def _completion(answer: Any, request: ChatRequest) -> Completion:
    if not isinstance(read(answer, "content"), list):
        raise LMUnexpectedError(
            f"The server answered 200 with something that is not a message ({type(answer).__name__}). "
            "Check that base_url is the API's root.",
            model=request.label,
            provider="anthropic",
        )
    text: list[str] = []
    thinking: list[str] = []
    calls: list[dict[str, Any]] = []
    citations: list[dict[str, Any]] = []
    for block in items(answer, "content"):
        kind = read(block, "type")
        if kind == "text":
            text.append(read(block, "text", ""))
            citations += [plain(citation) for citation in items(block, "citations")]
        elif kind == "thinking":
            thinking.append(read(block, "thinking", ""))
        elif kind == "tool_use":
            arguments = json.dumps(plain(read(block, "input", {})))
            function = {"name": read(block, "name", ""), "arguments": arguments}
            calls.append({"id": read(block, "id"), "type": "function", "function": function})
    reason = read(answer, "stop_reason")
    return Completion(
        text="".join(text) if text or not calls else None,
        model=read(answer, "model") or request.model,
        finish_reason=_FINISH.get(reason, reason) if reason else None,
        usage=_usage(read(answer, "usage")),
        reasoning="".join(thinking) or None,
        tool_calls=tuple(calls),
        citations=tuple(citations),
        request_id=read(answer, "_request_id"),
        service_tier=read(read(answer, "usage"), "service_tier"),
    )


def _usage(usage: Any) -> dict[str, object]:
    """Counts by dspy's names; cached input is input too, as dspy 3.4 counts it."""
    if usage is None:
        return {}
    cached = read(usage, "cache_read_input_tokens", 0)
    written = read(usage, "cache_creation_input_tokens", 0)
    sent = read(usage, "input_tokens", 0) + cached + written
    made = read(usage, "output_tokens", 0)
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
