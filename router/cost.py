"""What a request cost, from the tokens that its engine counted: by the prices you give, or as the provider reports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..engine import Price


def dollars(usage: Mapping[str, object], prices: Mapping[str, Price]) -> float | None:
    """US dollars for token counts by model; None if nothing was counted, or a model has neither price nor report.

    An answer that came from a cache counted nothing: it says nothing of what a request costs.
    """
    total = 0.0
    for model, counted in usage.items():
        counts: Mapping[str, object] = cast("Any", counted) if isinstance(counted, Mapping) else {}
        reported = counts.get("cost")
        price = prices.get(model)
        each = float(reported) if isinstance(reported, int | float) else price.of(counts) if price is not None else None
        if each is None:
            return None
        total += each
    return total if usage else None
