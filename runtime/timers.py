"""Messages that are sent later.

As erlang:send_after/3: a timer for a process ends with the process it would wake, not with the one that set it; a timer
for a name looks the name up when it is due, and finds nobody or somebody else.
"""

from __future__ import annotations

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
@dataclass(frozen=True, slots=True)
class TimerFired:
    """What ``start_timer`` sends: which timer, and the message given to it."""

    timer: Timer
    message: object
