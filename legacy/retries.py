"""Repetition: how many a pool allows itself after crashes, and how long a worker that does not come up waits.

A request is repeated at once, since another worker is warm already: what has to be bounded is how many, so that a crashing
program does not double its own load. What takes time is the next start of a worker, and the count of its failures outlives
the actor that tries (each attempt may be another incarnation of it), so no retry loop inside one coroutine can hold it.

Why not `stamina`, the kept library for this on asyncio and trio (26.1, tried): its loop is such a coroutine; the exception
that it retries goes, text and all, to its hooks, which are global and by default write warnings with structlog or logging,
where this library is silent; `stamina.set_active(False)` in the tests of a service would switch our pauses off; and 11 ms of
import would buy the one line that `pause_after` is. Windows of time are in `breaker`, for reasons that are told there.
"""

from __future__ import annotations

from .policies import RetryPolicy

__all__ = ["RetryBudget", "pause_after"]

_FREE_FAILURES = 3
"""Failed starts in a row of one worker that are followed by another at once; later ones wait, twice as long each time."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


def pause_after(failures: int) -> float:
    """Seconds that a worker waits after so many failed starts in a row."""
    surplus = failures - _FREE_FAILURES
    return 0.0 if surplus <= 0 else min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(surplus - 1, 10))


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
