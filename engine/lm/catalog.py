"""The providers by prefix: whom `LM("prefix/model")` speaks to.

`openai` and `anthropic` are spoken to through their own SDKs. The others in the table serve OpenAI's chat API at an
address of theirs, so the OpenAI SDK reaches them; names and key variables are those that dspy users know. Any other
server of that kind is `LM("openai/model", base_url=...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from .anthropic import AnthropicProvider
from .errors import LMConfigurationError
from .openai import OpenAIProvider
from .wire import Access, ChatRequest, Emit, Provider

__all__ = ["is_known", "provider_of"]

_COMPATIBLE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "cerebras": ("https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",)),
    "deepseek": ("https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",)),
    "fireworks_ai": ("https://api.fireworks.ai/inference/v1", ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY")),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta/openai", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "groq": ("https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
    "mistral": ("https://api.mistral.ai/v1", ("MISTRAL_API_KEY",)),
    "moonshot": ("https://api.moonshot.ai/v1", ("MOONSHOT_API_KEY",)),
    "nvidia_nim": ("https://integrate.api.nvidia.com/v1", ("NVIDIA_NIM_API_KEY",)),
    "openrouter": ("https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",)),
    "perplexity": ("https://api.perplexity.ai", ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY")),
    "together_ai": ("https://api.together.xyz/v1", ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY")),
    "xai": ("https://api.x.ai/v1", ("XAI_API_KEY",)),
}
_ON_THIS_MACHINE: Mapping[str, str] = {
    "hosted_vllm": "http://localhost:8000/v1",
    "lm_studio": "http://localhost:1234/v1",
    "ollama": "http://localhost:11434/v1",
    "ollama_chat": "http://localhost:11434/v1",
}
_PROVIDERS: dict[str, Provider] = {
    "openai": OpenAIProvider(),
    "anthropic": AnthropicProvider(),
    **{
        prefix: OpenAIProvider(prefix, base_url=address, key_variables=variables)
        for prefix, (address, variables) in _COMPATIBLE.items()
    },
    **{
        prefix: OpenAIProvider(prefix, base_url=address, key_variables=(f"{prefix.upper()}_API_KEY",), keyless=True)
        for prefix, address in _ON_THIS_MACHINE.items()
    },
}


def is_known(prefix: str) -> bool:
    """Whether `LM("prefix/model")` reaches a provider."""
    return prefix in _PROVIDERS


def provider_of(model: str) -> tuple[Provider, str]:
    """The provider of "prefix/name" and the name it knows the model by; a name without a slash is OpenAI's.

    An unknown prefix is no error yet, as in dspy: the LM can be described, copied and saved, and refuses to be called.

    Raises:
        ValueError: nothing after the prefix.
    """
    prefix, slash, name = model.partition("/")
    if not slash:
        return _PROVIDERS["openai"], model
    if not name:
        raise ValueError(f"model {model!r} has a provider prefix but no model id after it")
    return _PROVIDERS.get(prefix) or _Nobody(prefix, model), name


class _Nobody:
    """Stands for a provider that is not known, and says so when it is needed."""

    def __init__(self, name: str, model: str) -> None:
        self.name = name
        self._model = model

    def supported_params(self, model: str, api: str) -> frozenset[str]:
        return frozenset()

    def supports_response_schema(self, model: str) -> bool:
        return False

    def supports_function_calling(self, model: str) -> bool:
        return False

    def supports_reasoning(self, model: str) -> bool:
        return False

    async def connect(self, access: Access) -> NoReturn:
        offered = ", ".join(f'"{known}/..."' for known in _PROVIDERS)
        raise LMConfigurationError(
            f"Unknown provider {self.name!r}. Supported: {offered}. A server that speaks OpenAI's HTTP is reached as "
            f'LM("openai/{self._model}", base_url="https://.../v1"); for anything else write a BaseLM subclass.',
            model=self._model,
            provider=self.name,
        )

    async def complete(self, client: Any, request: ChatRequest, emit: Emit | None = None) -> NoReturn:
        raise AssertionError("connect refuses first")

    async def close(self, client: Any) -> None:
        pass
