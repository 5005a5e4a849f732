"""Which engine, and why: a pure function of the flags, the program and the key."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import final

from .errors import EngineMissing
from .flags import Flags
from .request import Engine, RoutedProgram
from .rollout import is_native


@final
@dataclass(frozen=True, slots=True)
class Decision:
    """The engine that serves, the reason in words: the flag that decided. ``shadow``: the engine to compare it with."""

    engine: Engine
    reason: str
    shadow: Engine | None = None


def decide(flags: Flags, program: RoutedProgram, key: str | None, *, asked: Engine | None = None) -> Decision:
    """Choose. ``asked`` is the caller's own wish and outranks every flag.

    Without a key, a rollout draws one for this request alone, so nothing sticks.

    Raises EngineMissing, with the flag to change, if the program does not have the engine chosen.
    """
    decision = _choose(flags, program.name, key, asked)
    for engine in (decision.engine, decision.shadow):
        if engine is not None and getattr(program, engine) is None:
            raise EngineMissing(program.name, engine, decision.reason)
    return decision


def _choose(flags: Flags, name: str, key: str | None, asked: Engine | None) -> Decision:
    if asked is not None:
        return Decision(asked, f"engine={asked!r} in the call")
    mode = flags.mode.get(name)
    if mode == "native" or mode == "legacy":
        return Decision(mode, f"mode[{name!r}]={mode!r}")
    if mode == "shadow":
        serves = flags.shadow_serves
        return Decision(serves, f"mode[{name!r}]='shadow'", _other(serves))
    percent = flags.native_percent.get(name)
    if percent is not None:
        native = is_native(name, key if key is not None else uuid.uuid4().hex, percent)
        return Decision("native" if native else "legacy", f"native_percent[{name!r}]={percent:g}")
    return Decision(
        "native" if flags.use_native_predictors else "legacy", f"use_native_predictors={flags.use_native_predictors}"
    )


def _other(engine: Engine) -> Engine:
    return "legacy" if engine == "native" else "native"
