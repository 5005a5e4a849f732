"""Answers as text for a job's journal, with their usage: an answer that is read back counts as it did when it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic_core import from_json, to_json

from .answer import Answer
from .metering import Codec
from .prices import Price, cost_of
from .wire import Completion

__all__ = ["answers_codec", "completions_codec"]

_OF_COMPLETION = tuple(field.name for field in fields(Completion) if field.name not in ("cache_hit", "request_id"))


def completions_codec(price: Price | None) -> Codec[tuple[Completion, ...]]:
    """For the answers of `LM`, whose tokens cost `price` where the provider does not say."""
    return Codec(
        to_text=_completions_to_text,
        from_text=_completions_from_text,
        tokens=lambda completions: _sum([_tokens(completion.usage) for completion in completions]),
        cost=lambda completions: cost_of(completions, price)[0],
    )


def answers_codec() -> Codec[Answer]:
    """For the answers of LMs of the user's own. The provider's response itself is not kept."""
    return Codec(
        to_text=_answer_to_text,
        from_text=_answer_from_text,
        tokens=lambda answer: 0 if answer.cache_hit else _tokens(answer.usage),
        cost=lambda answer: 0.0 if answer.cache_hit else answer.cost,
    )


def _completions_to_text(completions: tuple[Completion, ...]) -> str:
    kept = [
        {name: value for name in _OF_COMPLETION if (value := getattr(completion, name)) not in (None, (), {})}
        for completion in completions
    ]
    return to_json(kept).decode()


def _completions_from_text(text: str) -> tuple[Completion, ...]:
    made: list[Completion] = []
    for kept in from_json(text):
        for name in ("tool_calls", "citations"):
            if name in kept:
                kept[name] = tuple(kept[name])
        kept.setdefault("text", None)
        made.append(Completion(**kept))
    return tuple(made)


def _answer_to_text(answer: Answer) -> str:
    kept = {
        "outputs": answer.outputs,
        "usage": dict(answer.usage),
        "model": answer.model,
        "cost": answer.cost,
        "cost_details": None if answer.cost_details is None else dict(answer.cost_details),
        "cache_hit": answer.cache_hit,
    }
    return to_json(kept).decode()


def _answer_from_text(text: str) -> Answer:
    kept = from_json(text)
    return Answer(**kept, response=kept)


def _tokens(usage: Mapping[str, Any]) -> int | None:
    total = usage.get("total_tokens")
    if isinstance(total, int):
        return total
    sent, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return sent + made if isinstance(sent, int) and isinstance(made, int) else None


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
