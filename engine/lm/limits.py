"""Rate limits by model: so many requests and tokens a minute, shared by all LM objects of the process that name the model.

    LM("openai/gpt-4o-mini", requests_per_minute=500, tokens_per_minute=200_000)

Calls over the limit wait their turn, first come first served; the wait counts against the call's `timeout`. When the
provider answers 429 all the same, everyone waits as long as it asked (or a second, doubling), and the pace is halved;
every minute without a 429 gives a tenth of it back. Tokens are guessed before a call (four characters each, and what
answers took lately) and corrected by the usage after it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

import anyio
import sniffio
from anyio.lowlevel import RunVar

__all__ = ["LimitStatistics", "RateLimit", "estimated_tokens", "rate_limit_for"]

_MINUTE = 60.0
_CHARACTERS_A_TOKEN = 4
_SLOWEST = 1 / 16  # of the pace asked for; slower, and a passing storm would stop a service
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class LimitStatistics:
    """The state of one model's limit."""

    waiting: int
    requests: int
    """Calls let through."""
    refusals: int
    """429 answers seen."""
    pace: float
    """Share of the limits now in force, 1.0 when the provider has not complained."""


class _Bucket:
    """A budget that refills evenly: `limit` a minute, and at most a minute's worth is saved up."""

    __slots__ = ("level", "limit", "since")

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self.level = limit
        self.since = now

    def wait(self, amount: float, now: float, pace: float) -> float:
        """Seconds until `amount` may be taken; 0 when it may be now. More than the whole limit waits for a full one."""
        passed = max(now - self.since, 0.0)
        self.since = now
        self.level = min(self.level + passed * self.limit * pace / _MINUTE, self.limit)
        missing = min(amount, self.limit) - self.level
        # The last bits of a float must not make a sleeper wake a moment too early, over and over.
        return 0.0 if missing <= 1e-9 * self.limit else missing * _MINUTE / (self.limit * pace)

    def take(self, amount: float) -> None:
        self.level -= amount


class RateLimit:
    """The limit of one model. Safe to use from several event loops that share a clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: _Bucket | None = None
        self._tokens: _Bucket | None = None
        self._waiting = 0
        self._pace = 1.0
        self._quiet_since = 0.0
        self._paused_until = 0.0
        self._pause = 1.0
        self._passed = 0
        self._refused = 0
        self._typical_answer = 0.0

    def tighten(self, *, requests_per_minute: float | None, tokens_per_minute: float | None, now: float) -> None:
        """Hold to these limits as well: of two LMs that limit one model, the lower number counts."""
        with self._lock:
            if requests_per_minute is not None and (
                self._requests is None or requests_per_minute < self._requests.limit
            ):
                self._requests = _Bucket(requests_per_minute, now)
            if tokens_per_minute is not None and (self._tokens is None or tokens_per_minute < self._tokens.limit):
                self._tokens = _Bucket(tokens_per_minute, now)

    async def acquire(self, tokens: float) -> float:
        """Wait for a turn for a request of about `tokens` tokens of prompt. Returns what was set aside for it.

        Cancelled while waiting, the turn goes to the next.
        """
        self._waiting += 1
        try:
            async with self._line():
                while True:
                    delay, reserved = self._try(tokens)
                    if delay <= 0.0:
                        return reserved
                    await anyio.sleep(delay)
        finally:
            self._waiting -= 1

    def _line(self) -> anyio.Lock:
        """The queue of this event loop: only its first waits for the budget, the others wait for the first."""
        lines = _lines.get(None)
        if lines is None:
            lines = WeakKeyDictionary[RateLimit, anyio.Lock]()
            _lines.set(lines)
        line = lines.get(self)
        if line is None:
            line = lines[self] = anyio.Lock()
        return line

    def _try(self, tokens: float) -> tuple[float, float]:
        now = anyio.current_time()
        with self._lock:
            reserved = tokens + self._typical_answer
            self._recover(now)
            wait = max(self._paused_until - now, 0.0)
            if self._requests is not None:
                wait = max(wait, self._requests.wait(1.0, now, self._pace))
            if self._tokens is not None:
                wait = max(wait, self._tokens.wait(reserved, now, self._pace))
            if wait > 0.0:
                return wait, 0.0
            if self._requests is not None:
                self._requests.take(1.0)
            if self._tokens is not None:
                self._tokens.take(reserved)
            self._passed += 1
            return 0.0, reserved

    def settle(self, reserved: float, usage: Mapping[str, object]) -> None:
        """Correct what was set aside by what the answer used."""
        total, made = usage.get("total_tokens"), usage.get("completion_tokens")
        with self._lock:
            self._pause = 1.0
            if isinstance(made, int | float):
                self._typical_answer += 0.2 * (float(made) - self._typical_answer)
            if self._tokens is not None and isinstance(total, int | float):
                self._tokens.take(float(total) - reserved)

    def release(self, reserved: float) -> None:
        """Give back what was set aside for a request that failed."""
        with self._lock:
            if self._tokens is not None:
                self._tokens.take(-reserved)

    def refused(self, retry_after: float | None) -> None:
        """The provider said 429: everyone waits, then goes on more slowly."""
        now = anyio.current_time()
        with self._lock:
            self._refused += 1
            pause = self._pause if retry_after is None else retry_after
            self._pause = min(self._pause * 2.0, _LONGEST_PAUSE)
            if now >= self._paused_until:
                # One storm of refusals is one reason to slow down, however many calls it hits.
                self._pace = max(self._pace / 2.0, _SLOWEST)
            self._paused_until = max(self._paused_until, now + pause)
            self._quiet_since = now + pause

    def _recover(self, now: float) -> None:
        if self._pace < 1.0 and now - self._quiet_since >= _MINUTE:
            minutes = int((now - self._quiet_since) // _MINUTE)
            self._pace = min(self._pace + 0.1 * minutes, 1.0)
            self._quiet_since += minutes * _MINUTE

    def statistics(self) -> LimitStatistics:
        """The state now."""
        with self._lock:
            return LimitStatistics(self._waiting, self._passed, self._refused, self._pace)


def estimated_tokens(messages: Sequence[Mapping[str, Any]]) -> float:
    """About how many tokens the messages are."""
    characters = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            characters += len(content)
        elif isinstance(content, list):
            characters += sum(len(str(part.get("text", ""))) for part in cast("list[dict[str, Any]]", content))
    return characters / _CHARACTERS_A_TOKEN


_lines: RunVar[WeakKeyDictionary[RateLimit, anyio.Lock]] = RunVar("dspex rate limit lines")

_Limits = dict[tuple[str, str | None], RateLimit]
_on_asyncio: _Limits = {}
_on_trio: RunVar[_Limits] = RunVar("dspex rate limits")
_lock = threading.Lock()


def rate_limit_for(
    model: str, base_url: str | None, *, requests_per_minute: float | None, tokens_per_minute: float | None
) -> RateLimit:
    """The limit that all LMs of this model share: in the process on asyncio, whose loops have one clock; on trio, whose
    runs have each their own, in the run.
    """
    if sniffio.current_async_library() == "trio":
        limits = _on_trio.get(None)
        if limits is None:
            limits = dict[tuple[str, str | None], RateLimit]()
            _on_trio.set(limits)
    else:
        limits = _on_asyncio
    with _lock:
        found = limits.setdefault((model, base_url), RateLimit())
    found.tighten(
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, now=anyio.current_time()
    )
    return found
