"""Which engine, and why: a function of the flags, the program, the key, and what was measured."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import final

from .errors import EngineMissing
from .flags import Flags
from .request import Engine, RoutedProgram
from .requirement import Measured, MeasuredBy, Requirement, meet
from .rollout import is_native, place


@final
@dataclass(frozen=True, slots=True)
class Decision:
    """The engine that serves, the reason in words: the flag that decided. ``shadow``: the engine to compare it with."""

    engine: Engine
    reason: str
    shadow: Engine | None = None
    flag: str = field(default="", compare=False)
    """The flag that decided, or "engine" or "require" for what the call itself asked."""


def decide(
    flags: Flags,
    program: RoutedProgram,
    key: str | None,
    *,
    asked: Engine | None = None,
    require: Requirement | None = None,
    measured: MeasuredBy | None = None,
) -> Decision:
    """Choose. ``asked`` is the caller's own wish and outranks every flag; see ``flags`` for the order of the rest.

    ``require``: the call's own bound, in place of the program's flag. ``measured``: what is known of an engine; None:
    nothing, and a requirement then leaves it to the flags. Without a key, a rollout draws one for this request alone, so
    nothing sticks.

    Raises EngineMissing, with the flag to change, if the program does not have the engine chosen.
    """
    if key is None and (require is not None or program.name in flags.native_percent or program.name in flags.require):
        key = uuid.uuid4().hex
    decision = _choose(flags, program, key or "", asked)
    bound = require if require is not None else flags.require.get(program.name)
    if bound is not None and asked is None:
        decision = _bounded(program, key or "", decision, bound, measured, of_call=require is not None)
    for engine in (decision.engine, decision.shadow):
        if engine is not None and getattr(program, engine) is None:
            raise EngineMissing(program.name, engine, decision.reason)
    return decision


def _choose(flags: Flags, program: RoutedProgram, key: str, asked: Engine | None) -> Decision:
    name = program.name
    if asked is not None:
        return Decision(asked, f"engine={asked!r} in the call", flag="engine")
    mode = flags.mode.get(name)
    barred = _barred(flags, program) if flags.features else None
    if barred is not None:
        # The native engine may not answer; being compared harms nobody.
        return Decision("legacy", f"features[{barred!r}]='legacy'", "native" if mode == "shadow" else None, "features")
    if mode == "native" or mode == "legacy":
        return Decision(mode, f"mode[{name!r}]={mode!r}", flag="mode")
    if mode == "shadow":
        serves = flags.shadow_serves
        return Decision(serves, f"mode[{name!r}]='shadow'", _other(serves), "mode")
    percent = flags.native_percent.get(name)
    if percent is not None:
        native = is_native(name, key, percent)
        return Decision(
            "native" if native else "legacy", f"native_percent[{name!r}]={percent:g}", flag="native_percent"
        )
    if not flags.use_native_signatures and program.uses("signatures") is not False:
        return Decision("legacy", "use_native_signatures=False", flag="use_native_signatures")
    return Decision(
        "native" if flags.use_native_predictors else "legacy",
        f"use_native_predictors={flags.use_native_predictors}",
        flag="use_native_predictors",
    )


def _barred(flags: Flags, program: RoutedProgram) -> str | None:
    """The key of the flag that keeps this program from the native engine, if one does."""
    for key, engine in flags.features.items():
        named, _, feature = key.rpartition("/")
        if engine != "legacy":
            continue
        if named == program.name and program.uses(feature) is not False:
            return key
        if not named and program.uses(feature) and flags.features.get(f"{program.name}/{feature}") != "native":
            return key
    return None


def _bounded(
    program: RoutedProgram,
    key: str,
    decision: Decision,
    bound: Requirement,
    measured: MeasuredBy | None,
    *,
    of_call: bool,
) -> Decision:
    if decision.flag in ("features", "mode"):
        # A flag's own requirement is known to be outranked; a call's was meant, so the answer says what became of it.
        said = f"{decision.reason} outranks require {bound}" if of_call else decision.reason
        return replace(decision, reason=said)
    if measured is None:
        return replace(decision, reason=f"require {bound}: nothing is measured; {decision.reason}")
    sides: tuple[Engine, ...] = ("native", "legacy")
    known: dict[Engine, Measured] = {
        side: measured(program.name, side, bound.percentile) for side in sides if getattr(program, side) is not None
    }
    chosen = meet(bound, decision.engine, decision.reason, known, place(f"require {program.name}", key))
    if chosen.engine == decision.engine:
        return replace(decision, reason=chosen.reason)
    return Decision(chosen.engine, chosen.reason, decision.shadow, "require")


def _other(engine: Engine) -> Engine:
    return "legacy" if engine == "native" else "native"
