"""`Answer`: what one call of a language model got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Output"]

Output = str | dict[str, Any]


@dataclass(slots=True)
class Answer:
    """What one call got: the outputs, and what they cost.

    Attributes:
        outputs: one per candidate, in dspy's shape.
        usage: token counts of all candidates together; empty for a cache hit.
        response: the provider's answer, for the history.
        model: the model that answered, by its own account.
        cost: US dollars, None when nobody said.
        cost_details: where the cost comes from.
        cache_hit: no request was made.
        typed: the answer as the protocol's `Response`, when a `Request` was asked.
    """

    outputs: list[Output]
    usage: Mapping[str, object] = field(default_factory=dict[str, object])
    response: object = None
    model: str | None = None
    cost: float | None = None
    cost_details: Mapping[str, object] | None = None
    cache_hit: bool = False
    typed: object = None
