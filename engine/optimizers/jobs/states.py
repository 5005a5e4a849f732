"""A program's state as text, for the journal: what `load_state` takes."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticSerializationError, to_json

__all__ = ["state_text"]


def state_text(program: Any) -> str | None:
    """JSON; None for a program that has no state, or one that JSON cannot say. The journal does without it then."""
    dump = getattr(program, "dump_state", None)
    if dump is None:
        return None
    try:
        return to_json(dump(), inf_nan_mode="null").decode()
    except PydanticSerializationError:
        return None
