"""What a job may spend, and what it has spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["LIMITS", "Budget", "Limit", "Spent"]

Limit = Literal["calls", "tokens", "cost", "seconds"]
LIMITS: Final[tuple[Limit, ...]] = ("calls", "tokens", "cost", "seconds")


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of a job, over all its runs together when it is resumed. None: no limit. Raises ValueError.

    `calls` is exact. `tokens` and `cost` are known when an answer is there: no call is begun once they are reached, and those
    in hand then may exceed them. At all three, calls in hand are let finish. `seconds` ends them as well.
    """

    calls: int | None = None
    """Requests to models, those that fail included, retries of one not. Answers from a cache or the journal are none."""
    tokens: int | None = None
    """Of prompts and answers together. The models must report their usage."""
    cost: float | None = None
    """US dollars. The provider must report the cost, or the LM have a `price`."""
    seconds: float | None = None
    """Wall time by the runtime's clock, while the job runs."""

    def __post_init__(self) -> None:
        for name in LIMITS:
            value: object = getattr(self, name)
            if value is None:
                continue
            whole = name in ("calls", "tokens")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not value > 0:
                kind = "a whole number" if whole else "a number"
                raise ValueError(f"Budget.{name} must be {kind} greater than 0, or None for no limit, not {value!r}")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a job has spent, in all its runs."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0
    """US dollars, of the calls whose cost is known."""
    seconds: float = 0.0

    def reached(self, budget: Budget, requests: int = 1) -> Limit | None:
        """The first limit that does not allow so many requests more."""
        if budget.calls is not None and self.calls + requests > budget.calls:
            return "calls"
        for name in LIMITS:
            limit = getattr(budget, name)
            if limit is not None and name != "calls" and getattr(self, name) >= limit:
                return name
        return None

    def __str__(self) -> str:
        return f"{self.calls} calls, {self.tokens} tokens, ${self.cost:.4f}, {self.seconds:.1f} s"
