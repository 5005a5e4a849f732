"""What was asked and answered, kept for inspection: bounded, and off when you say so.

Each LM keeps its calls in `lm.history`, and so does every module that was calling at the time (`module.history`). An
entry has dspy's keys: prompt, messages, kwargs, response, outputs, usage, cost, timestamp, uuid, model,
response_model, model_type. Settings decide: `max_history_size` entries are kept per owner (default 10,000, oldest
dropped first), `disable_history=True` keeps none. Entries hold prompts and answers: a long-lived service should turn
history off (a `ProgramActor` does unless told otherwise). They never hold a credential.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from ..settings import settings

__all__ = ["HistoryEntry", "history_entry", "record"]

HistoryEntry = dict[str, Any]  # Any: prompts, messages and provider responses have no common type


class _Keeper(Protocol):
    history: list[HistoryEntry]


class _Asked(_Keeper, Protocol):
    """The LM, as far as its history is concerned."""

    model: str
    model_type: str


def history_entry(
    lm: _Asked,
    *,
    prompt: str | None,
    messages: Sequence[Mapping[str, object]] | None,
    kwargs: Mapping[str, object],
    response: object,
    outputs: Sequence[object],
    usage: Mapping[str, object],
    response_model: str | None,
) -> HistoryEntry:
    """One entry. `kwargs` are those of the call itself; anything named `api_*` or headers is left out."""
    return {
        "prompt": prompt,
        "messages": messages,
        "kwargs": {
            key: value for key, value in kwargs.items() if not key.startswith("api_") and not key.endswith("headers")
        },
        "response": response,
        "outputs": outputs,
        "usage": dict(usage),
        "cost": None,
        "timestamp": datetime.datetime.now().isoformat(),
        "uuid": str(uuid.uuid4()),
        "model": lm.model,
        "response_model": response_model,
        "model_type": lm.model_type,
    }


def record(lm: _Asked, entry: HistoryEntry) -> None:
    """Append to the LM's history and to that of every module now calling, within `max_history_size`."""
    limit: int = settings.max_history_size
    if settings.disable_history or limit <= 0:
        return
    callers = cast("Sequence[_Keeper]", settings.caller_modules or ())
    for keeper in (lm, *callers):
        kept = keeper.history
        if len(kept) >= limit:
            del kept[: len(kept) - limit + 1]
        kept.append(entry)
