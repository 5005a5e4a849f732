"""Backoff, beyond OTP and opt in: the longer a child keeps failing, the longer a supervisor waits before it starts it again.

    Supervisor([Child("feed", Feed)], intensity=20, period=60, backoff=Backoff(first=0.1, longest=30))

OTP restarts at once, and gives up after ``intensity`` restarts: right for a bug, wrong for a server that is down for a
minute. The wait is a timer, not a sleep: the supervisor answers calls meanwhile, and the child counts as being restarted
(``ChildRestarting``; ``terminate_child`` calls the restart off). Every restart still counts for the intensity, so give it
room. With one_for_all and rest_for_one, those who are restarted together wait together, stopped.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import final

from .specs import BadChildSpec


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait: ``first`` seconds, then ``factor`` times as long each time, never more than ``longest``.

    Raises BadChildSpec when a rule is broken.
    """

    first: float = 0.1
    """Seconds before the first restart; 0: at once, and then every time."""
    factor: float = 2.0
    """1 or more."""
    longest: float = 30.0
    """Seconds; not less than ``first``. The jitter comes on top."""
    jitter: float = 0.1
    """From 0 to 1: a wait of w takes between w * (1 - jitter) and w * (1 + jitter), so that many do not wake as one."""
    stable: float = 60.0
    """A child that ran this many seconds before it ended begins again at ``first``."""
    seed: int | None = None
    """For the jitter; None: another one in every run."""
    _random: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("first", "factor", "longest", "jitter", "stable"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise BadChildSpec("backoff", value, f"backoff: {name} is a number >= 0, not {value!r}")
        if self.factor < 1:
            raise BadChildSpec("backoff", self.factor, f"backoff: factor is 1 or more, not {self.factor!r}")
        if self.jitter > 1:
            raise BadChildSpec("backoff", self.jitter, f"backoff: jitter is from 0 to 1, not {self.jitter!r}")
        if self.longest < self.first:
            raise BadChildSpec(
                "backoff", self.longest, f"backoff: longest ({self.longest:g} s) is less than first ({self.first:g} s)"
            )
        object.__setattr__(self, "_random", random.Random(self.seed))

    def seconds(self, attempt: int) -> float:
        """How long to wait before this restart in a row, the first being 1."""
        wait = self.first
        for _ in range(attempt - 1):
            if wait >= self.longest or wait * self.factor == wait:
                break
            wait *= self.factor
        return min(wait, self.longest) * (1 + self.jitter * self._random.uniform(-1, 1))
