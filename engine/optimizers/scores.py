"""Whether a search scored anything: one whose every example failed has found nothing, and must not look as if it had.

dspy counts an example that fails as 0, and returns a program with the score 0.
"""

from __future__ import annotations

from typing import Any

from .errors import NothingScored

__all__ = ["Scores"]


class Scores:
    """Looks at the results of a search's evaluations."""

    def __init__(self) -> None:
        self._some = False
        self._failure: Exception | None = None

    def note(self, result: Any) -> None:
        """One more candidate has been evaluated."""
        failures: Any = getattr(result, "failures", ())
        if failures and len(failures) >= len(result.results):
            self._failure = failures[-1][1]
        else:
            self._some = True

    def require_some(self, optimizer: object, program: Any) -> None:
        """Raises NothingScored, with `program`, if every example that was noted failed."""
        if self._failure is not None and not self._some:
            raise NothingScored(
                f"{type(optimizer).__name__} could score no candidate: the program or the metric failed on every example "
                "of each. Run both on one example; a metric must return a number or a bool.",
                program=program,
            ) from self._failure
