"""Automatic rollback: when the native engine does worse than the legacy one, its traffic goes back, by itself.

A program that is rolled back is put into the mode shadow, served by legacy. So evidence goes on coming in at nobody's
risk, and traffic returns only when it says that the native engine is well: the two thresholds (``trip`` to leave,
``clear`` to return) and ``cool_down`` keep it from swinging to and fro.

This file decides and does nothing: ``Watch`` is told of outcomes and says when to act.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, final

from .outcomes import Outcome
from .request import Engine

BY: Final = "automatic rollback"
"""The name under which flags are changed, in the audit trail."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPolicy:
    """When to roll back, and when to return. Raises ValueError for values that cannot hold."""

    window: int = 200
    """The last so many outcomes of each engine are looked at."""
    min_requests: int = 20
    """Of the native engine in the window, before anything is concluded."""
    trip: float = 0.1
    """Rolled back when the native share of failures exceeds the legacy share by more than this (0 to 1)."""
    clear: float = 0.02
    """Restored when it exceeds it by no more than this."""
    min_parity: float | None = None
    """Rolled back when the mean score of the comparisons in the window is less (0 to 1), and not restored until it is
    not. None: answers are not judged."""
    cool_down: float = 300.0
    """Seconds for which a rollback holds at least."""
    restore: bool = True
    """False: traffic returns only when somebody changes the flags."""
    ignore: frozenset[str] = frozenset({"MissingInputError", "PoolOverloaded", "CallTimeout"})
    """Errors, by class, that say nothing of the engine: the caller's own, or an overload."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_requests <= self.window:
            raise ValueError(f"1 <= min_requests <= window, not {self.min_requests} and {self.window}")
        if not 0 <= self.clear <= self.trip <= 1:
            raise ValueError(f"0 <= clear <= trip <= 1, not {self.clear} and {self.trip}")
        if self.min_parity is not None and not 0 <= self.min_parity <= 1:
            raise ValueError(f"min_parity is from 0 to 1, not {self.min_parity}")
        if not self.cool_down >= 0:
            raise ValueError(f"cool_down is in seconds >= 0, not {self.cool_down}")


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why."""

    action: Literal["roll_back", "restore"]
    reason: str


@final
class Watch:
    """One program under watch. Outlives the actor that feeds it."""

    def __init__(self, policy: RollbackPolicy) -> None:
        self._policy = policy
        self.rolled_back_at: float | None = None
        """Since when it is rolled back, in seconds of the runtime's clock."""
        self._failures: dict[Engine, deque[bool]] = {}
        self._scores: deque[float] = deque()
        self.reset()

    def reset(self) -> None:
        """Forget everything: somebody else has decided."""
        self.rolled_back_at = None
        self._forget()

    def _forget(self) -> None:
        window = self._policy.window
        self._failures = {"native": deque(maxlen=window), "legacy": deque(maxlen=window)}
        self._scores = deque(maxlen=window)

    def outcome(self, outcome: Outcome, now: float) -> Verdict | None:
        """Take an outcome into account."""
        if outcome.error in self._policy.ignore:
            return None
        self._failures[outcome.engine].append(outcome.error is not None)
        return self._judge(now)

    def compared(self, score: float, now: float) -> Verdict | None:
        """Take a comparison of two answers into account."""
        self._scores.append(score)
        return self._judge(now)

    def acted(self, verdict: Verdict, now: float) -> None:
        """What the verdict said has been done. The evidence for it does not count twice."""
        self.rolled_back_at = now if verdict.action == "roll_back" else None
        self._forget()

    def _judge(self, now: float) -> Verdict | None:
        policy = self._policy
        native = self._failures["native"]
        if len(native) < policy.min_requests:
            return None
        worse = _share(native) - _share(self._failures["legacy"])
        parity = sum(self._scores) / len(self._scores) if len(self._scores) >= policy.min_requests else None
        apart = policy.min_parity is not None and parity is not None and parity < policy.min_parity
        evidence = (
            f"native fails {_share(native):.1%} of {len(native)}, "
            f"legacy {_share(self._failures['legacy']):.1%} of {len(self._failures['legacy'])}"
        ) + (f", parity {parity:.3f}" if parity is not None else "")
        if self.rolled_back_at is None:
            return Verdict("roll_back", evidence) if worse > policy.trip or apart else None
        if not policy.restore or now - self.rolled_back_at < policy.cool_down:
            return None
        if policy.min_parity is not None and parity is None:
            return None
        return Verdict("restore", evidence) if worse <= policy.clear and not apart else None


def _share(failures: deque[bool]) -> float:
    return sum(failures) / len(failures) if failures else 0.0
