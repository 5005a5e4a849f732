"""Messages that are sent later.

As erlang:send_after/3: a timer for a process ends with the process it would wake, not with the one that set it; a timer
for a name looks the name up when it is due, and finds nobody or somebody else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from .backend import Timer as LoopTimer
from .process import Kernel, Process


@final
class Timer:
    """A message on its way. ``cancel`` it, or ask whether it is still ``active``."""

    __slots__ = ("_process", "_timer")

    def __init__(self, kernel: Kernel, seconds: float, send: Callable[[], None], process: Process | None) -> None:
        if not seconds >= 0:
            raise ValueError(f"a timer runs for seconds >= 0, not {seconds!r}")
        self._process = process
        self._timer: LoopTimer | None = None
        if process is not None:
            if process.gone:
                return
            if process.timers is None:
                process.timers = set()
            process.timers.add(self)

        def fire() -> None:
            self._forget()
            send()

        self._timer = kernel.backend.call_at(kernel.backend.now() + seconds, fire)

    def _forget(self) -> None:
        if self._process is not None and self._process.timers is not None:
            self._process.timers.discard(self)

    def cancel(self) -> bool:
        """Take it back. False: too late, it was sent, cancelled before, or its receiver is gone."""
        active = self.active
        self._forget()
        if self._timer is not None:
            self._timer.cancel()
        return active

    @property
    def active(self) -> bool:
        """True until the message was sent, or never will be."""
        return self._timer is not None and self._timer.active

    @property
    def when(self) -> float | None:
        """When it is due, in seconds of ``rt.now``; None if it never was going to be."""
        return self._timer.when if self._timer is not None else None


@final
class Interval:
    """A message sent again and again, as timer:send_interval/3. ``cancel`` it, or ask whether it is still ``active``.

    It is due at multiples of the time from the start, so it does not drift; times that passed while the loop was held are
    left out. It ends with the process it goes to; one to a name goes on, and finds nobody while nobody has the name.
    """

    __slots__ = ("_kernel", "_process", "_seconds", "_send", "_timer", "_when")

    def __init__(self, kernel: Kernel, seconds: float, send: Callable[[], None], process: Process | None) -> None:
        if not seconds > 0:
            raise ValueError(f"an interval is seconds > 0, not {seconds!r}")
        self._kernel = kernel
        self._seconds = seconds
        self._send = send
        self._process = process
        self._timer: LoopTimer | None = None
        if process is not None:
            if process.gone:
                return
            if process.timers is None:
                process.timers = set()
            process.timers.add(self)
        self._when = kernel.backend.now()
        self._set()

    def _set(self) -> None:
        passed = self._kernel.backend.now() - self._when
        self._when += self._seconds * max(1, math.floor(passed / self._seconds) + 1)
        self._timer = self._kernel.backend.call_at(self._when, self._fire)

    def _fire(self) -> None:
        self._set()
        self._send()

    def cancel(self) -> bool:
        """Send it no more. False: it had ended."""
        timer, self._timer = self._timer, None
        if timer is None:
            return False
        timer.cancel()
        if self._process is not None and self._process.timers is not None:
            self._process.timers.discard(self)
        return True

    @property
    def active(self) -> bool:
        """True until it was cancelled or its receiver is gone."""
        return self._timer is not None


@final
@dataclass(frozen=True, slots=True)
class TimerFired:
    """What ``start_timer`` sends: which timer, and the message given to it."""

    timer: Timer
    message: object
