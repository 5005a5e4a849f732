"""How many repetitions a pool allows itself, so that a crashing program does not double its own load."""

from __future__ import annotations

from .policies import RetryPolicy

__all__ = ["RetryBudget"]


class RetryBudget:
    """A purse of at most `burst` coins: a repetition takes one, each finished request puts `ratio` of one back."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.coins = float(policy.burst)

    def finished(self) -> None:
        self.coins = min(float(self._policy.burst), self.coins + self._policy.ratio)

    def take(self) -> bool:
        """False: not now."""
        if self.coins < 1:
            return False
        self.coins -= 1
        return True
