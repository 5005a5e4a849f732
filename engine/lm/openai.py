"""OpenAI's chat completions through the official SDK, and every server that speaks the same HTTP by `base_url`.

Only the SDK's own seams are used (`base_url`, `timeout`, `max_retries`, `extra_body`), which are the same in openai
2.54 and 3.x. Options travel in `extra_body`: the SDK then neither refuses a new option nor needs to know a server's
own ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from .errors import LMNotConfiguredError, LMUnexpectedError
from .extras import require
from .json_schema import strict_json_schema
from .refusals import cause_of, lm_error
from .wire import Access, ChatRequest, Completion

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["OpenAIProvider", "is_reasoning_model"]

_PARAMS = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    }
)
# Models that OpenAI served before it could bind an answer to a JSON schema.
_WITHOUT_SCHEMA = re.compile(r"^(?:gpt-3\.5|gpt-4(?:$|-\d|-turbo|-32k|-vision)|gpt-4o-2024-05-13)")
_REASONING = re.compile(r"^(?:o[1345](?:-(?:mini|nano|pro))?(?:-\d{4}-\d{2}-\d{2})?|gpt-5(?:\.\d+)*(?!-chat)(?:-.*)?)$")
_PLACEHOLDER_KEY = "none-needed"


def is_reasoning_model(model: str) -> bool:
    """True for OpenAI's reasoning families (o1, o3, o4, o5, gpt-5 but not its chat variants), as dspy 3.4 decides."""
    return _REASONING.match(model.rsplit("/", 1)[-1].lower()) is not None


class OpenAIProvider:
    """`LM("openai/...")`. Holds nothing; the SDK's client lives in `Connections`."""

    name = "openai"

    def supported_params(self, model: str) -> frozenset[str]:
        """All chat options; only the reasoning families take `reasoning_effort`."""
        return _PARAMS if is_reasoning_model(model) else _PARAMS - {"reasoning_effort"}

    def supports_response_schema(self, model: str) -> bool:
        """True but for the old models known not to. A compatible server that cannot answers 400, typed."""
        return _WITHOUT_SCHEMA.match(model.lower()) is None

    def supports_function_calling(self, model: str) -> bool:
        """True: `tools` go out and tool calls come back as the provider sends them."""
        return True

    async def connect(self, access: Access) -> AsyncOpenAI:
        """Make the SDK's client. A server given by `base_url` may need no key, so none is demanded then.

        Raises:
            MissingExtra: `openai` is not installed.
            LMNotConfiguredError: no key was given and OPENAI_API_KEY is not set.
        """
        sdk = await require("openai", extra="openai", purpose='LM("openai/...")')
        key = access.api_key
        if key is None and not os.environ.get("OPENAI_API_KEY"):
            if access.base_url is None and not os.environ.get("OPENAI_BASE_URL"):
                raise LMNotConfiguredError(
                    "No API key for openai: pass api_key=... to LM(...) or set OPENAI_API_KEY.", provider=self.name
                )
            key = _PLACEHOLDER_KEY
        return sdk.AsyncOpenAI(api_key=key, base_url=access.base_url, max_retries=0)

    async def complete(self, client: AsyncOpenAI, request: ChatRequest) -> Completion:
        """One POST to /chat/completions.

        Raises:
            LMError: of the class that fits.
        """
        import openai

        try:
            answer: Any = await client.chat.completions.create(
                model=request.model,
                messages=list(request.messages),  # type: ignore[arg-type]  # ours are plain dicts of the same shape
                extra_body=_body(request.options),
                extra_headers=dict(request.headers) or None,
                # Reading may take as long as the call may; connecting may not, or one dead address eats all of it.
                timeout=openai.Timeout(request.timeout, connect=min(request.timeout, 5.0)),
            )
        except Exception as error:
            secrets = (client.api_key,) if client.api_key != _PLACEHOLDER_KEY else ()
            raise lm_error(
                error, provider=self.name, model=request.label, base_url=str(client.base_url), secrets=secrets
            ) from cause_of(error, secrets=secrets)
        return _completion(answer, request)

    async def close(self, client: AsyncOpenAI) -> None:
        """Close the client's connection pool."""
        await client.close()


def _body(options: Mapping[str, object]) -> dict[str, object]:
    body = dict(options)
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


def _completion(answer: Any, request: ChatRequest) -> Completion:
    # The SDK does not validate what it received: a proxy's HTML page arrives as a string, an error object of some
    # compatible servers as an answer whose `choices` is None.
    choices: Any = getattr(answer, "choices", None)
    choice = cast("list[Any]", choices)[0] if isinstance(choices, list) and choices else None
    message: Any = getattr(choice, "message", None)
    if message is None:
        raise LMUnexpectedError(
            f"The server answered 200 with something that is not a chat completion ({type(answer).__name__}). "
            "Check that base_url is the API's root (it usually ends in /v1).",
            model=request.label,
            provider="openai",
        )
    logprobs = getattr(choice, "logprobs", None) if request.options.get("logprobs") else None
    reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return Completion(
        text=message.content,
        model=getattr(answer, "model", None) or request.model,
        finish_reason=getattr(choice, "finish_reason", None),
        usage=_usage(getattr(answer, "usage", None)),
        reasoning=reasoning if isinstance(reasoning, str) else None,
        tool_calls=tuple(_tool_call(call) for call in getattr(message, "tool_calls", None) or ()),
        logprobs=logprobs.model_dump() if logprobs is not None else None,
        request_id=getattr(answer, "_request_id", None),
    )


def _tool_call(call: Any) -> dict[str, object]:
    function = getattr(call, "function", None)
    return {
        "id": getattr(call, "id", None),
        "type": "function",
        "function": {"name": getattr(function, "name", ""), "arguments": getattr(function, "arguments", "{}")},
    }


def _usage(usage: Any) -> dict[str, object]:
    if usage is None:
        return {}
    counts: dict[str, object] = {}
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        value = getattr(usage, name, None)
        if value is not None:
            counts[name] = value
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = getattr(usage, name, None)
        counts[name] = details.model_dump(exclude_none=True) if isinstance(details, BaseModel) else None
    return counts
