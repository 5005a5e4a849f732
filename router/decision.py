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
    """The engine that serves, the reason in words, the flag that decided."""

    engine: Engine
    reason: str


def decide(flags: Flags, program: RoutedProgram, key: str | None) -> Decision:
    """Choose. Without a key, a rollout draws one for this request alone, so nothing sticks.

    Raises EngineMissing, with the flag to change, if the program does not have the engine chosen.
    """
    percent = flags.native_percent.get(program.name)
    engine: Engine
    if percent is not None:
        flag = f"native_percent[{program.name!r}]={percent:g}"
        engine = (
            "native" if is_native(program.name, key if key is not None else uuid.uuid4().hex, percent) else "legacy"
        )
    else:
        flag = f"use_native_predictors={flags.use_native_predictors}"
        engine = "native" if flags.use_native_predictors else "legacy"
    if getattr(program, engine) is None:
        raise EngineMissing(program.name, engine, flag)
    return Decision(engine, flag)
