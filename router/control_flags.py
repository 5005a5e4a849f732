"""Flags as they are set by hand, one text each: `use_native_predictors=false`, `mode.qa=shadow`, `native_percent.qa=10`.

A flag that is a table is set key by key; an empty text takes the key away, and `mode=` the whole table. A program has one
mode: naming it replaces what else put the program into one. So `mode.qa=shadow` ends the share of a rollout, and
`native_percent.qa=10` a mode that is no rollout, unless the same change says otherwise; `FlagChange.changes` shows both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from .errors import BadFlags
from .features import near
from .flags import PER_PROGRAM, Flags

_BOOLS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def changes_of(flags: Flags, texts: Mapping[str, str]) -> dict[str, Any]:
    """The changes that texts ask for, as ``FlagStore.set`` takes them. Raises BadFlags with all that cannot be read.

    Values are checked by ``Flags`` itself, when the changes are made: here only what is no value at all.
    """
    problems: list[str] = []
    changes: dict[str, Any] = {}
    known = {flag.name: getattr(flags, flag.name) for flag in fields(flags)}
    for name, text in texts.items():
        flag, dot, key = name.partition(".")
        if flag not in known:
            problems.append(_unknown(flag, known))
        elif flag not in PER_PROGRAM:
            if dot:
                problems.append(f"{name}: {flag} holds for all programs; write {flag}=VALUE")
            else:
                changes[flag] = _BOOLS.get(text.strip().lower(), text) if isinstance(known[flag], bool) else text
        elif not dot and not text:
            changes[flag] = {}
        elif not key:
            problems.append(f"{flag} is a table: say which key, as in {flag}.{_EXAMPLES[flag]}")
        else:
            table = changes.setdefault(flag, dict(known[flag]))
            table.pop(key, None)
            if text:
                table[key] = _value(name, text, problems)
    if problems:
        try:
            flags.changed(changes)  # so that whoever mends the one hears of the other too
        except BadFlags as error:
            problems += error.problems
        raise BadFlags(problems)
    _one_mode(flags, texts, changes)
    return changes


_EXAMPLES: Final = {
    "native_percent": "qa=10",
    "mode": "qa=shadow",
    "features": "react=legacy",
    "require": "qa=p95<2s",
}


def _value(name: str, text: str, problems: list[str]) -> object:
    if not name.startswith("native_percent."):
        return text
    try:
        return float(text)
    except ValueError:
        problems.append(f"{name} is a number from 0 to 100, not {text!r}")
        return 0.0


def _one_mode(flags: Flags, texts: Mapping[str, str], changes: dict[str, Any]) -> None:
    for name, text in texts.items():
        flag, _, program = name.partition(".")
        if not text or not program:
            continue
        if flag == "mode" and text != "rollout" and f"native_percent.{program}" not in texts:
            _without(flags, changes, "native_percent", program)
        if flag == "native_percent" and f"mode.{program}" not in texts and flags.mode.get(program) != "rollout":
            _without(flags, changes, "mode", program)


def _without(flags: Flags, changes: dict[str, Any], flag: str, program: str) -> None:
    table: dict[str, Any] = changes.get(flag, dict(getattr(flags, flag)))
    if program in table:
        changes[flag] = {key: value for key, value in table.items() if key != program}


def _unknown(flag: str, known: Mapping[str, object]) -> str:
    meant = near(flag, known)
    return (
        f"there is no flag {flag!r}; "
        + (f"did you mean {meant[0]!r}? " if meant else "")
        + f"there are: {', '.join(known)}"
    )
