"""Provider-side prompt caching: `LM(..., prompt_cache=CacheConfig(...))`.

Not the cache of answers (`dspex.engine.caching`): here the provider keeps what it computed for the beginning of a
prompt, and reads it for less. What is sent:

| | OpenAI | Anthropic |
|---|---|---|
| `prefix="stable"`, or nothing | automatic there | a mark at the end of the system message |
| `prefix="history"`, `prefix_until_index=N` | automatic there | a mark at the end of that message |
| `retention="long"` | `prompt_cache_retention="24h"` | a mark that lives an hour |
| `key` | `prompt_cache_key` | has none, so it is left out: it is a hint |
| `mode="off"` | nothing | no mark |
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, cast

from .errors import LMUnsupportedFeatureError
from .lm15.types import CacheConfig

__all__ = ["CacheConfig", "anthropic_marks", "openai_prompt_cache"]


def openai_prompt_cache(body: MutableMapping[str, Any], messages: Sequence[MutableMapping[str, Any]]) -> None:
    """Put `body["prompt_cache"]` into the terms of OpenAI's APIs, in place."""
    config = _taken(body, "openai")
    if config is None or config.mode == "off":
        return
    if config.key is not None:
        body["prompt_cache_key"] = config.key
    if config.retention == "long":
        body["prompt_cache_retention"] = "24h"


def anthropic_marks(
    body: MutableMapping[str, Any], system: str, turns: Sequence[MutableMapping[str, Any]]
) -> str | list[dict[str, Any]]:
    """Put `body["prompt_cache"]` into marks on `turns`, in place; returns the system message, marked if it must be."""
    config = _taken(body, "anthropic")
    if config is None or config.mode == "off":
        return system
    mark: dict[str, Any] = {"type": "ephemeral"}
    if config.retention == "long":
        mark["ttl"] = "1h"
    index = config.prefix_until_index
    if index is None and config.prefix == "history":
        index = len(turns) - 1
    if index is not None and turns:
        turn = turns[min(index, len(turns) - 1)]
        content = turn["content"]
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if parts:
            parts[-1] = {**parts[-1], "cache_control": parts[-1].get("cache_control", mark)}
            turn["content"] = parts
        return system
    return [{"type": "text", "text": system, "cache_control": mark}] if system else system


def _taken(body: MutableMapping[str, Any], provider: str) -> CacheConfig | None:
    config = body.pop("prompt_cache", None)
    if config is None:
        return None
    if isinstance(config, Mapping):
        config = CacheConfig(**cast("Mapping[str, Any]", config))
    if config.resource is not None:
        raise LMUnsupportedFeatureError(
            f"{provider}: cache.resource is not supported: this API has no stored caches. Leave it out.",
            feature="config.cache.resource",
            provider=provider,
        )
    return config
