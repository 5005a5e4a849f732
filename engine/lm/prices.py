"""What a call cost: as the provider reports it, or by the prices you give. Never from a table of ours, which would age.

    LM("openai/gpt-4o-mini", price=Price(input=0.15, output=0.60, cached_input=0.075))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from .wire import Completion

__all__ = ["Price", "cost_of"]


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens.

    Attributes:
        input: tokens of the prompt.
        output: tokens of the answer, thinking included.
        cached_input: prompt tokens read from the provider's cache; None means as `input`.
        cache_write: prompt tokens written into the provider's cache; None means as `input`.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input", "cache_write"):
            value: object = getattr(self, name)
            if name in ("cached_input", "cache_write") and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"Price.{name} is dollars for a million tokens, not {value!r}")

    def of(self, usage: Mapping[str, object]) -> float | None:
        """Dollars for a usage; None when it lacks a count."""
        sent, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not isinstance(sent, int | float) or not isinstance(made, int | float):
            return None
        details = cast("Mapping[str, Any]", usage.get("prompt_tokens_details") or {})
        cached = details.get("cached_tokens") or 0
        written = details.get("cache_creation_tokens") or 0
        total = (
            (sent - cached - written) * self.input
            + cached * (self.input if self.cached_input is None else self.cached_input)
            + written * (self.input if self.cache_write is None else self.cache_write)
            + made * self.output
        )
        return total / 1_000_000


def cost_of(completions: tuple[Completion, ...], price: Price | None) -> tuple[float | None, dict[str, object]]:
    """Dollars for all answers together and where the figure comes from; None when one of them has no figure."""
    reported = [completion.cost for completion in completions]
    if reported and all(cost is not None for cost in reported):
        return sum(cast("list[float]", reported)), {"kind": "reported", "currency": "USD"}
    if price is None:
        return None, {}
    costs = [price.of(completion.usage) for completion in completions]
    if any(cost is None for cost in costs):
        return None, {"kind": "unknown", "reason": "input or output usage was not reported"}
    return sum(cast("list[float]", costs)), {"kind": "estimate", "currency": "USD"}
