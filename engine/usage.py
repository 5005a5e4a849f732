"""How many tokens the calls inside a block used.

    with track_usage() as usage:
        program(question="...")
    usage.get_total_tokens()      # {"openai/gpt-4o-mini": {"prompt_tokens": 100, ...}}

Nested blocks roll up into the enclosing one when they end. As dspy 3.4: numbers add up, flags and texts keep the first
value, sub-dicts merge.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import cast

from pydantic import BaseModel

from .settings import settings

__all__ = ["UsageTracker", "track_usage"]


class UsageTracker:
    """Collects the usage entries of each LM, in the order the answers came."""

    def __init__(self) -> None:
        self.usage_data: dict[str, list[dict[str, object]]] = {}

    def add_usage(self, lm: str, usage_entry: Mapping[str, object]) -> None:
        """Note one answer's usage. An empty entry counts nothing."""
        if usage_entry:
            entry = {key: _plain(value) for key, value in usage_entry.items()}
            self.usage_data.setdefault(lm, []).append(entry)

    def get_total_tokens(self) -> dict[str, dict[str, object]]:
        """The sum for each LM, by the name it was given in `LM(...)`."""
        totals: dict[str, dict[str, object]] = {}
        for lm, entries in self.usage_data.items():
            total: dict[str, object] = {}
            for entry in entries:
                total = _merged(total, entry)
            totals[lm] = total
        return totals


def _plain(value: object) -> object:
    return value.model_dump() if isinstance(value, BaseModel) else value


def _merged(left: Mapping[str, object] | None, right: Mapping[str, object] | None) -> dict[str, object]:
    if not left or not right:
        return dict(left or right or {})
    result = dict(left)
    for key, value in right.items():
        current = result.get(key)
        if isinstance(value, Mapping) or isinstance(current, Mapping):
            result[key] = _merged(
                cast("Mapping[str, object] | None", current), cast("Mapping[str, object] | None", value)
            )
        elif current is None:
            result[key] = value
        elif _counts(current) and _counts(value):
            result[key] = cast("float", current) + cast("float", value)
    return result


def _counts(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextmanager
def track_usage() -> Generator[UsageTracker, None, None]:
    """Collect the usage of every LM call inside the block, in this task and the tasks it starts."""
    outer = cast("UsageTracker | None", settings.usage_tracker)
    tracker = UsageTracker()
    with settings.context(usage_tracker=tracker):
        try:
            yield tracker
        finally:
            if outer is not None:
                for lm, entries in tracker.usage_data.items():
                    outer.usage_data.setdefault(lm, []).extend(entries)
