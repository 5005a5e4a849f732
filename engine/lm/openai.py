"""OpenAI's chat completions, responses and text completions through the official SDK, and every server that speaks the
same HTTP by `base_url`.

Only the SDK's own seams are used (`base_url`, `timeout`, `max_retries`, `extra_body`), which are the same in openai
2.54 and 3.x. Options travel in `extra_body`: the SDK then neither refuses a new option nor needs to know a server's
own ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from .errors import LMError, LMNotConfiguredError, LMStreamAssemblyError, LMUnexpectedError
from .extras import require
from .json_schema import strict_json_schema
from .prompt_cache import openai_prompt_cache
from .refusals import cause_of, lm_error, stream_error
from .responses_shape import responses_body, responses_outputs
from .shapes import items, plain, read
from .sse import events_of
from .wire import Access, ChatRequest, Completion, Delta, Emit

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["OpenAIProvider", "is_reasoning_model"]

_COMMON = frozenset(
    {"logprobs", "max_completion_tokens", "max_tokens", "stream", "temperature", "top_logprobs", "top_p"}
)
_TOOLS = frozenset({"parallel_tool_calls", "tool_choice", "tools"})
_CHAT_PARAMS = frozenset(
    {
        *_COMMON,
        *_TOOLS,
        "frequency_penalty",
        "logit_bias",
        "presence_penalty",
        "response_format",
        "seed",
        "stop",
        "user",
    }
)
_RESPONSES_PARAMS = frozenset({*_COMMON, *_TOOLS, "response_format", "store"})
_TEXT_PARAMS = _CHAT_PARAMS - _TOOLS - {"response_format", "max_completion_tokens"}
# Models that OpenAI served before it could bind an answer to a JSON schema.
_WITHOUT_SCHEMA = re.compile(r"^(?:gpt-3\.5|gpt-4(?:$|-\d|-turbo|-32k|-vision)|gpt-4o-2024-05-13|o1-(?:mini|preview))")
_WITHOUT_TOOLS = re.compile(r"^o1-(?:mini|preview)")
_REASONING = re.compile(r"^(?:o[1345](?:-(?:mini|nano|pro))?(?:-\d{4}-\d{2}-\d{2})?|gpt-5(?:\.\d+)*(?!-chat)(?:-.*)?)$")
_PLACEHOLDER_KEY = "none-needed"


def is_reasoning_model(model: str) -> bool:
    """True for OpenAI's reasoning families (o1, o3, o4, o5, gpt-5 but not its chat variants), as dspy 3.4 decides."""
    return _REASONING.match(model.rsplit("/", 1)[-1].lower()) is not None


class OpenAIProvider:
    """`LM("openai/...")`, and others that speak the same. Holds nothing; the SDK's client lives in `Connections`."""

    def __init__(
        self, name: str = "openai", *, base_url: str | None = None, key_variables: tuple[str, ...] = (), keyless: bool = False
    ) -> None:
        """Describe the service.

        Args:
            name: the prefix in "prefix/model".
            base_url: where it is, when the user does not say; None leaves it to the SDK.
            key_variables: environment variables that may hold the key.
            keyless: it needs no key.
        """
        self.name = name
        self._base_url = base_url
        self._key_variables = key_variables or ("OPENAI_API_KEY",)
        self._keyless = keyless

    def supported_params(self, model: str, api: str) -> frozenset[str]:
        """The API's options; only the reasoning families take `reasoning_effort`."""
        params = {"responses": _RESPONSES_PARAMS, "text": _TEXT_PARAMS}.get(api, _CHAT_PARAMS)
        if api != "text" and not self.supports_function_calling(model):
            params = params - _TOOLS
        return params | {"reasoning_effort"} if self.supports_reasoning(model) and api != "text" else params

    def supports_response_schema(self, model: str) -> bool:
        """True but for the old models known not to. A compatible server that cannot answers 400, typed."""
        return _WITHOUT_SCHEMA.match(model.lower()) is None

    def supports_function_calling(self, model: str) -> bool:
        """True but for the models known not to: `tools` go out and tool calls come back as the provider sends them."""
        return _WITHOUT_TOOLS.match(model.lower()) is None

    def supports_reasoning(self, model: str) -> bool:
        """True for OpenAI's reasoning families."""
        return self.name == "openai" and (is_reasoning_model(model) or model.lower().startswith("o1-"))

    async def connect(self, access: Access) -> AsyncOpenAI:
        """Make the SDK's client. A server given by `base_url` may need no key, so none is demanded then.

        Raises:
            MissingExtra: `openai` is not installed.
            LMNotConfiguredError: no key was given and none is in the environment.
        """
        sdk = await require("openai", extra="openai", purpose=f'LM("{self.name}/...")')
        base_url = access.base_url or self._base_url
        key = access.api_key or next((os.environ[name] for name in self._key_variables if os.environ.get(name)), None)
        if key is None:
            elsewhere = access.base_url is not None or (self.name == "openai" and os.environ.get("OPENAI_BASE_URL"))
            if not elsewhere and not self._keyless:
                raise LMNotConfiguredError(
                    f"No API key for {self.name}: pass api_key=... to LM(...) or set {' or '.join(self._key_variables)}.",
                    provider=self.name,
                )
            key = _PLACEHOLDER_KEY
        return sdk.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0)

    async def complete(self, client: AsyncOpenAI, request: ChatRequest, emit: Emit | None = None) -> Completion:
        """One POST to /chat/completions, /responses or /completions, as `request.api` says.

        Raises:
            LMError: of the class that fits.
        """
        secrets = (client.api_key,) if client.api_key != _PLACEHOLDER_KEY else ()
        ask = {"responses": self._respond, "text": self._continue}.get(request.api, self._chat)
        try:
            return await ask(client, request, emit)
        except (LMError, Warning):
            raise
        except Exception as error:
            made = lm_error(
                error, provider=self.name, model=request.label, base_url=str(client.base_url), secrets=secrets
            )
            raise made from cause_of(error, secrets=secrets)

    async def embed(self, client: AsyncOpenAI, request: ChatRequest, texts: Sequence[str]) -> list[list[float]]:
        """One POST to /embeddings: a vector for each text, in their order.

        Raises:
            LMError: of the class that fits.
        """
        secrets = (client.api_key,) if client.api_key != _PLACEHOLDER_KEY else ()
        options = dict(request.options)
        try:
            answer: Any = await cast("Any", client).embeddings.create(
                model=request.model,
                input=list(texts),
                encoding_format=options.pop("encoding_format", "float"),
                extra_body=options or None,
                **_transport(request),
            )
            found = sorted(items(answer, "data"), key=lambda item: read(item, "index", 0))
            vectors = [list(read(item, "embedding", ())) for item in found]
        except Exception as error:
            made = lm_error(
                error, provider=self.name, model=request.label, base_url=str(client.base_url), secrets=secrets
            )
            raise made from cause_of(error, secrets=secrets)
        if len(vectors) != len(texts):
            raise LMUnexpectedError(
                f"Asked for {len(texts)} embeddings, the server answered with {len(vectors)}.",
                model=request.label,
                provider=self.name,
            )
        return vectors

    async def close(self, client: AsyncOpenAI) -> None:
        """Close the client's connection pool."""
        await client.close()

    async def _chat(self, client: Any, request: ChatRequest, emit: Emit | None) -> Completion:
        body = _body(request.options)
        messages = [dict(message) for message in request.messages]
        openai_prompt_cache(body, messages)
        call = {"model": request.model, "messages": messages, **_transport(request)}
        if emit is None:
            return self._chat_completion(await client.chat.completions.create(extra_body=body, **call), request)
        stream_options = body.pop("stream_options", None) or {"include_usage": True}
        answer = _ChatStream(request, self.name)
        streaming = client.chat.completions.with_streaming_response.create(
            stream=True, stream_options=stream_options, extra_body=body, **call
        )
        async with events_of(streaming) as chunks:
            async for chunk in chunks:
                self._refuse_error(chunk, request)
                for delta in answer.add(chunk):
                    await emit(delta)
        return self._chat_completion(answer.whole(), request)

    def _chat_completion(self, answer: Any, request: ChatRequest) -> Completion:
        # The SDK does not validate what it received: a proxy's HTML page arrives as a string, an error object of some
        # compatible servers as an answer whose `choices` is None.
        choice = next(iter(items(answer, "choices")), None)
        message = read(choice, "message")
        if message is None:
            raise LMUnexpectedError(
                f"The server answered 200 with something that is not a chat completion ({type(answer).__name__}). "
                "Check that base_url is the API's root (it usually ends in /v1).",
                model=request.label,
                provider=self.name,
            )
        reasoning = read(message, "reasoning_content") or read(message, "reasoning")
        text = read(message, "content")
        return Completion(
            text=text if text is not None else read(message, "refusal"),
            model=read(answer, "model") or request.model,
            finish_reason=read(choice, "finish_reason"),
            usage=_usage(read(answer, "usage")),
            reasoning=reasoning if isinstance(reasoning, str) else None,
            tool_calls=tuple(_tool_call(call) for call in items(message, "tool_calls")),
            logprobs=plain(read(choice, "logprobs")) if request.options.get("logprobs") else None,
            request_id=read(answer, "_request_id"),
            service_tier=read(answer, "service_tier"),
            cost=_reported_cost(read(answer, "usage")),
        )

    async def _continue(self, client: Any, request: ChatRequest, emit: Emit | None) -> Completion:
        # One prompt out of the messages, and the words that dspy ends it with.
        parts = [str(message.get("content", "")) for message in request.messages]
        call = {"model": request.model, "prompt": "\n\n".join([*parts, "BEGIN RESPONSE:"]), **_transport(request)}
        body = _body(request.options)
        ceiling = body.pop("max_completion_tokens", None)
        if ceiling is not None:
            body.setdefault("max_tokens", ceiling)
        if emit is None:
            answer: Any = await client.completions.create(extra_body=body, **call)
            choice = next(iter(items(answer, "choices")), None)
            text, finish, usage = read(choice, "text"), read(choice, "finish_reason"), read(answer, "usage")
        else:
            answer, choice, finish, usage = None, None, None, None
            pieces: list[str] = []
            streaming = client.completions.with_streaming_response.create(
                stream=True, stream_options={"include_usage": True}, extra_body=body, **call
            )
            async with events_of(streaming) as chunks:
                async for chunk in chunks:
                    self._refuse_error(chunk, request)
                    answer = chunk
                    usage = read(chunk, "usage") or usage
                    for choice in items(chunk, "choices"):
                        piece = read(choice, "text", "")
                        finish = read(choice, "finish_reason") or finish
                        pieces.append(piece)
                        if piece:
                            await emit(Delta(text=piece, model=read(chunk, "model")))
            text = "".join(pieces) if choice is not None else None
            _must_be_whole(finish, text, request, self.name)
        if text is None:
            raise LMUnexpectedError(
                f"The server answered 200 with something that is not a text completion ({type(answer).__name__}).",
                model=request.label,
                provider=self.name,
            )
        return Completion(
            text=text,
            model=read(answer, "model") or request.model,
            finish_reason=finish,
            usage=_usage(usage),
            logprobs=plain(read(choice, "logprobs")) if request.options.get("logprobs") else None,
            request_id=read(answer, "_request_id"),
            cost=_reported_cost(usage),
        )

    async def _respond(self, client: Any, request: ChatRequest, emit: Emit | None) -> Completion:
        options = _body({key: value for key, value in request.options.items() if key != "response_format"})
        openai_prompt_cache(options, [])
        if request.options.get("response_format") is not None:
            options["response_format"] = request.options["response_format"]
        body = responses_body(request.messages, options)
        sent = body.pop("input")
        call = {"model": request.model, "input": sent, **_transport(request)}
        if emit is None:
            return self._responses_completion(await client.responses.create(extra_body=body, **call), request)
        answer: Any = None
        calls: dict[object, int] = {}
        streaming = client.responses.with_streaming_response.create(stream=True, extra_body=body, **call)
        async with events_of(streaming) as events:
            async for event in events:
                kind = read(event, "type", "")
                self._refuse_error({"error": event} if kind == "error" else event, request)
                if kind in ("response.completed", "response.incomplete", "response.failed"):
                    answer = read(event, "response")
                elif (delta := _responses_delta(kind, event, calls)) is not None:
                    await emit(delta)
        if answer is None:
            _must_be_whole(None, None, request, self.name)
        made = self._responses_completion(answer, request)
        await emit(Delta(finish_reason=made.finish_reason or "stop", model=made.model))
        return made

    def _refuse_error(self, event: Any, request: ChatRequest) -> None:
        """An error in the middle of a stream, where there is no HTTP status to carry it."""
        if read(event, "error") is not None:
            raise stream_error(read(event, "error"), provider=self.name, model=request.label)

    def _responses_completion(self, answer: Any, request: ChatRequest) -> Completion:
        if not isinstance(read(answer, "output"), list):
            raise LMUnexpectedError(
                f"The server answered 200 with something that is not a response ({type(answer).__name__}). Check that "
                "it serves the Responses API, or use model_type='chat'.",
                model=request.label,
                provider=self.name,
            )
        failed = read(answer, "error")
        if read(answer, "status") == "failed" or failed is not None:
            raise LMUnexpectedError(
                f"The provider reported that the response failed: {read(failed, 'message', 'no reason given')}",
                model=request.label,
                provider=self.name,
                provider_code=read(failed, "code"),
            )
        output = cast("dict[str, Any]", responses_outputs(answer)[0])
        reason = read(read(answer, "incomplete_details"), "reason")
        finish = {"max_output_tokens": "length", None: "tool_calls" if output.get("tool_calls") else "stop"}
        logprobs = [
            plain(token)
            for item in items(answer, "output")
            for part in items(item, "content")
            for token in items(part, "logprobs")
        ]
        return Completion(
            text=output["text"],
            model=read(answer, "model") or request.model,
            finish_reason=finish.get(reason, reason),
            usage=_responses_usage(read(answer, "usage")),
            reasoning=output.get("reasoning_content"),
            tool_calls=tuple(output.get("tool_calls", ())),
            logprobs={"content": logprobs} if request.options.get("logprobs") and logprobs else None,
            citations=tuple(output.get("citations", ())),
            request_id=read(answer, "_request_id"),
            service_tier=read(answer, "service_tier"),
            cost=_reported_cost(read(answer, "usage")),
        )


class _ChatStream:
    """The chunks of one chat answer, put together again."""

    def __init__(self, request: ChatRequest, provider: str) -> None:
        self.request = request
        self.provider = provider
        self.model: str | None = None
        self.id: str | None = None
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.logprobs: list[Any] = []
        self.finish: str | None = None
        self.usage: Any = None
        self.tier: str | None = None

    def add(self, chunk: Any) -> list[Delta]:
        """Take a chunk; what of it is worth forwarding."""
        self.model = read(chunk, "model") or self.model
        self.id = read(chunk, "id") or self.id
        self.usage = read(chunk, "usage") or self.usage
        self.tier = read(chunk, "service_tier") or self.tier
        made: list[Delta] = []
        for choice in items(chunk, "choices")[:1]:
            delta = read(choice, "delta")
            text = read(delta, "content")
            reasoning = read(delta, "reasoning_content") or read(delta, "reasoning")
            reasoning = reasoning if isinstance(reasoning, str) else None
            finish = read(choice, "finish_reason")
            calls = tuple(self._call(call) for call in items(delta, "tool_calls"))
            if text:
                self.text.append(text)
            if reasoning:
                self.reasoning.append(reasoning)
            self.logprobs += [plain(token) for token in items(read(choice, "logprobs"), "content")]
            self.finish = finish or self.finish
            if text or reasoning or calls or finish:
                made.append(
                    Delta(
                        text=text or None,
                        reasoning=reasoning,
                        tool_calls=calls,
                        finish_reason=finish,
                        model=self.model,
                        id=self.id,
                    )
                )
        return made

    def _call(self, piece: Any) -> dict[str, Any]:
        index = read(piece, "index", 0)
        call = self.calls.setdefault(index, {"id": None, "name": "", "arguments": ""})
        function = read(piece, "function")
        call["id"] = read(piece, "id") or call["id"]
        call["name"] = read(function, "name") or call["name"]
        call["arguments"] += read(function, "arguments", "")
        shown: dict[str, Any] = {"index": index, "type": "function", "function": {"arguments": read(function, "arguments", "")}}
        if read(function, "name"):
            shown["function"]["name"] = read(function, "name")
        if read(piece, "id"):
            shown["id"] = read(piece, "id")
        return shown

    def whole(self) -> dict[str, Any]:
        """The answer in the shape of one that was not streamed.

        Raises:
            LMStreamAssemblyError: the stream ended before the answer did.
        """
        _must_be_whole(self.finish, "".join(self.text), self.request, self.provider)
        return {
            "model": self.model,
            "usage": self.usage,
            "service_tier": self.tier,
            "choices": [
                {
                    "finish_reason": self.finish,
                    "logprobs": {"content": self.logprobs} if self.logprobs else None,
                    "message": {
                        "content": "".join(self.text) if self.text or not self.calls else None,
                        "reasoning_content": "".join(self.reasoning) or None,
                        "tool_calls": [
                            {"id": call["id"], "function": {"name": call["name"], "arguments": call["arguments"]}}
                            for _, call in sorted(self.calls.items())
                        ],
                    },
                }
            ],
        }


def _must_be_whole(finish: str | None, text: str | None, request: ChatRequest, provider: str) -> None:
    if finish is None:
        raise LMStreamAssemblyError(
            "The stream ended before the answer did: the provider, or something on the way, closed it.",
            partial=text,
            model=request.label,
            provider=provider,
        )


def _transport(request: ChatRequest) -> dict[str, Any]:
    import openai

    return {
        "extra_headers": dict(request.headers) or None,
        # Reading may take as long as the call may; connecting may not, or one dead address eats all of it.
        "timeout": openai.Timeout(request.timeout, connect=min(request.timeout, 5.0)),
    }


def _body(options: Mapping[str, object]) -> dict[str, Any]:
    body: dict[str, Any] = dict(options)
    body.pop("stream", None)
    wanted = body.get("response_format")
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": wanted.__name__,
                "schema": strict_json_schema(wanted.model_json_schema()),
                "strict": True,
            },
        }
    return body


def _tool_call(call: Any) -> dict[str, object]:
    function = read(call, "function")
    return {
        "id": read(call, "id"),
        "type": "function",
        "function": {"name": read(function, "name", ""), "arguments": read(function, "arguments", "{}")},
    }


def _responses_delta(kind: str, event: Any, calls: dict[object, int]) -> Delta | None:
    if kind == "response.output_text.delta":
        return Delta(text=read(event, "delta"))
    if kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
        return Delta(reasoning=read(event, "delta"))
    if kind == "response.output_item.added" and read(read(event, "item"), "type") == "function_call":
        item = read(event, "item")
        index = calls.setdefault(read(event, "output_index"), len(calls))
        named = {"name": read(item, "name", ""), "arguments": ""}
        return Delta(
            tool_calls=({"index": index, "type": "function", "id": read(item, "call_id"), "function": named},)
        )
    if kind == "response.function_call_arguments.delta":
        index = calls.setdefault(read(event, "output_index"), len(calls))
        return Delta(
            tool_calls=({"index": index, "type": "function", "function": {"arguments": read(event, "delta", "")}},)
        )
    return None


def _usage(usage: Any) -> dict[str, object]:
    if usage is None:
        return {}
    counts: dict[str, object] = {}
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        value = read(usage, name)
        if value is not None:
            counts[name] = value
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = read(usage, name)
        counts[name] = _present(details)
    return counts


def _responses_usage(usage: Any) -> dict[str, object]:
    if usage is None:
        return {}
    counts: dict[str, object] = {}
    for name, given in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")):
        if read(usage, given) is not None:
            counts[name] = read(usage, given)
    if read(usage, "total_tokens") is not None:
        counts["total_tokens"] = read(usage, "total_tokens")
    counts["prompt_tokens_details"] = _present(read(usage, "input_tokens_details"))
    counts["completion_tokens_details"] = _present(read(usage, "output_tokens_details"))
    return counts


def _present(details: Any) -> dict[str, Any] | None:
    if details is None:
        return None
    return {key: value for key, value in plain(details).items() if value is not None}


def _reported_cost(usage: Any) -> float | None:
    """Dollars, from those providers that bill by the answer and say so (OpenRouter's `usage.cost`)."""
    cost = read(usage, "cost")
    return float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None
