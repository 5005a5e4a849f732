"""One layer of retries around one request, under one deadline.

The SDKs' own retries are switched off (`max_retries=0`): two layers multiply, and neither knows the caller's deadline.
This loop is written here rather than taken from a retry library because it must be silent (the usual one logs every
retry through structlog, which prints to stdout in an unconfigured process), must honour Retry-After exactly, and must
refuse to sleep past a deadline that may belong to an enclosing cancel scope.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from .errors import LMError, is_retryable_lm_error

__all__ = ["Backoff", "retrying"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before attempt number 2, 3, ... All times are seconds.

    Without a Retry-After the wait is `first * 2**k`, at most `longest`, spread by up to a quarter either way: enough
    to part a herd of clients, little enough that each wait is longer than the one before. With a Retry-After the wait
    is what the server asked for plus up to a tenth more, never less.
    """

    first: float = 0.5
    longest: float = 60.0

    def delay(self, retry: int, asked: float | None, *, luck: Callable[[], float] = random.random) -> float:
        """Seconds to wait before retry number `retry` (0 is the first)."""
        if asked is not None and math.isfinite(asked) and asked >= 0:
            return asked * (1.0 + 0.1 * luck())
        return min(self.first * 2.0 ** min(retry, 16), self.longest) * (0.75 + 0.5 * luck())


async def retrying(
    attempt: Callable[[], Awaitable[T]],
    *,
    retries: int,
    deadline: float = math.inf,
    backoff: Backoff | None = None,
    may_repeat: Callable[[], bool] = lambda: True,
) -> T:
    """Await `attempt()` until it succeeds, its error is final, or the retries or the time are used up.

    Args:
        retries: how many times to try again after the first attempt; 0 means one attempt.
        may_repeat: asked after a failure; False makes it final, as when part of the answer has been shown already.
        deadline: absolute `anyio.current_time()` seconds. An enclosing cancel scope that ends sooner counts instead.

    Raises:
        LMError: the last attempt's error, at once when waiting for the next attempt would pass the deadline.

    Cancellation is never caught: it reaches the request in flight, or ends the wait.
    """
    backoff = backoff or Backoff()
    retry = 0
    while True:
        try:
            return await attempt()
        except LMError as error:
            if retry >= retries or not is_retryable_lm_error(error) or not may_repeat():
                raise
            delay = backoff.delay(retry, error.retry_after)
            latest = min(deadline, anyio.current_effective_deadline())
            if anyio.current_time() + delay >= latest:
                error.add_note(f"Not retried: the next attempt, {delay:.1f} s later, would pass the call's deadline.")
                raise
        retry += 1
        await anyio.sleep(delay)
