"""A program's state as text, for the journal: what `load_state` takes, without the addresses of its models.

An address may hold a credential, and `load_state` takes none from a file unless it is told to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json

__all__ = ["state_text"]


def state_text(program: Any) -> str | None:
    """JSON; None for a program that has no state, or one that JSON cannot say. The journal does without it then."""
    dump = getattr(program, "dump_state", None)
    if dump is None:
        return None
    try:
        return to_json(_without_addresses(dump()), inf_nan_mode="null").decode()
    except PydanticSerializationError:
        return None


def _without_addresses(state: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in state.items():
        if name == "lm" and isinstance(value, Mapping):
            lm = cast("Mapping[str, Any]", value)
            made[name] = {option: each for option, each in lm.items() if option not in ("api_base", "base_url")}
        elif isinstance(value, Mapping) and "signature" in value:  # a predictor of a program
            made[name] = _without_addresses(cast("Mapping[str, Any]", value))
        else:
            made[name] = value
    return made
