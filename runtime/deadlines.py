"""Deadlines of calls, by the bucket.

Every call has a deadline, and hardly any is ever reached. A timer or cancel scope for each costs more than the call
(asyncio.timeout 2.8 us, trio.fail_after 11.8 us), so calls with the same timeout that begin within one tick share a
bucket: joining is a set insertion, leaving a set removal, the clock is read and a timer set once a bucket. A call is
never cut off early, and at most one tick late.
"""

from __future__ import annotations

import math
from typing import Final, final

from .backend import Backend, Slot, Timer
from .exits import CallTimeout

TICK: Final = 0.025
"""Seconds: how late a call may time out. Calls that begin within one tick share a timer."""

EXACT_BELOW: Final = 0.5
"""Seconds: a call that may take less has a timer of its own, and times out when it should."""


def check_seconds(seconds: object) -> None:
    """Raises ValueError for a negative time or NaN, TypeError for what is no number; None is no limit."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"a timeout is seconds >= 0 or None, not {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"a timeout is seconds >= 0 or None, not {seconds!r}")


@final
class Bucket:
    """Calls that time out together."""

    __slots__ = ("seconds", "slots", "when")

    def __init__(self, when: float | None, seconds: float) -> None:
        self.when = when
        """The deadline in seconds of the runtime's clock; None: no limit."""
        self.seconds = seconds
        self.slots: dict[Slot, object] = {}
        """The waiting callers, with whom they wait for."""


@final
class Deadlines:
    """All deadlines of one runtime."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._never = Bucket(None, math.inf)
        self.open: dict[float | None, Bucket] = {None: self._never, math.inf: self._never}
        """Buckets that can still be joined, by timeout in seconds: look here first."""
        self._timers: dict[Bucket, Timer] = {}

    def within(self, seconds: float) -> Bucket:
        """The bucket of calls that begin now and may take ``seconds``. Short times have a bucket of their own."""
        check_seconds(seconds)
        now = self._backend.now()
        if seconds < EXACT_BELOW:
            return self._new(now + seconds, seconds)
        bucket = self._new(now + seconds + TICK, seconds)
        self.open[seconds] = bucket
        self._backend.call_at(now + TICK, lambda: self._close(bucket))
        return bucket

    def within_or_never(self, seconds: float | None) -> Bucket:
        """The bucket of calls that begin now; None: without a limit."""
        return self.open.get(seconds) or self.within(math.inf if seconds is None else seconds)

    def until(self, when: float | None) -> Bucket:
        """A bucket with this deadline in seconds of the runtime's clock; one that has passed expires at once."""
        if when is None:
            return self._never
        return self._new(when, max(0.0, when - self._backend.now()))

    def _new(self, when: float, seconds: float) -> Bucket:
        bucket = Bucket(when, seconds)
        self._timers[bucket] = self._backend.call_at(when, lambda: self._expire(bucket))
        return bucket

    def leave(self, bucket: Bucket, slot: Slot) -> None:
        """The call is over. A bucket of its own takes its timer with it."""
        bucket.slots.pop(slot, None)
        self.leave_empty(bucket)

    def leave_empty(self, bucket: Bucket) -> None:
        """Somebody has left; the last one takes the timer along, unless others may still join."""
        if not bucket.slots and self.open.get(bucket.seconds) is not bucket:
            timer = self._timers.pop(bucket, None)
            if timer is not None:
                timer.cancel()

    def _close(self, bucket: Bucket) -> None:
        if self.open.get(bucket.seconds) is bucket:
            del self.open[bucket.seconds]
        if not bucket.slots and bucket in self._timers:
            self._timers.pop(bucket).cancel()

    def _expire(self, bucket: Bucket) -> None:
        self._timers.pop(bucket, None)
        slots, bucket.slots = bucket.slots, {}
        for slot, who in slots.items():
            if not slot.done():
                slot.set_exception(CallTimeout(str(who), bucket.seconds))
