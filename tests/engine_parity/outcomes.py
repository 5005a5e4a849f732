"""What a small program did, in a form that can be compared between two implementations of the same names.

A behaviour is a function of a namespace: `dspy` or `dspex.engine`. Its outcome is what it returned or raised, the Python
warnings it caused and the log records it wrote. Addresses, random names and the two packages' own names are taken out.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pydantic

# dspy 3.4 announces what its 3.5 will drop. The engine drops neither.
_PLANS_OF_DSPY = (
    "Implementing custom LMs through BaseLM.forward() or aforward() is deprecated",
    "Passing OpenAI-style message dictionaries or other message objects to an LM",
)

Behaviour = Callable[[Any], Any]


@dataclass
class Outcome:
    """What happened."""

    value: str | None = None
    error: BaseException | None = None
    warned: list[tuple[str, str]] = field(default_factory=list)
    logged: list[tuple[str, str, str]] = field(default_factory=list)
    """Level, message and logger, under the name that dspy gives the logger."""


def observe(behaviour: Behaviour, namespace: ModuleType) -> Outcome:
    """Runs `behaviour` in `namespace` and says what it did."""
    outcome = Outcome()
    with _records(outcome.logged), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = behaviour(namespace)
            if inspect.iscoroutine(result):
                result = asyncio.run(result)
            outcome.value = shown(result)
        except Exception as error:
            outcome.error = error
    said = [(each.category.__name__, without_names(str(each.message))) for each in caught]
    outcome.warned = [each for each in said if not any(plan in each[1] for plan in _PLANS_OF_DSPY)]
    return outcome


def shown(value: Any) -> str:
    """`value` as text, without anything that differs from run to run."""
    return without_names(_shown(value))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(k)}: {_shown(v)}" for k, v in value.items()) + "}"
    if type(value) in (list, tuple):
        return f"{type(value).__name__}({', '.join(map(_shown, value))})"
    if isinstance(value, pydantic.BaseModel) and not isinstance(value, type):
        return f"{type(value).__name__}({_shown(value.model_dump())})"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({value})"
    return repr(value)


def without_names(text: str) -> str:
    """The text without addresses and without the packages' names."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"/\S*/tmp\w+/", "FOLDER/", text).replace(" (<unknown>, line 1)", "")
    return re.sub(r"\b(?:dspex\.engine|dspy)(?:\.[a-z_0-9]+)*\.(?=[A-Za-z])", "", text)


@contextmanager
def _records(into: list[tuple[str, str, str]]) -> Iterator[None]:
    from dspex.engine.logs import DSPY_NAMES

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            name = DSPY_NAMES.get(record.name, record.name)
            if name.startswith("dspy") or name == "root":
                into.append((record.levelname, without_names(record.getMessage()), name))

    handler = Keep()
    loggers = [logging.getLogger(), logging.getLogger("dspy")]
    silenced = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers = [handler]
    logging.getLogger("dspy").propagate = False
    try:
        yield
    finally:
        for logger, handlers, level in silenced:
            logger.handlers = handlers
            logger.setLevel(level)


def differences(theirs: Outcome, ours: Outcome, *, wording: bool = True) -> list[str]:
    """In what ours is not theirs; empty when a program cannot tell.

    An error of ours must be caught by every handler of builtin classes that would catch theirs, must have their class
    by name if it is dspy's own, and must contain their words; it may say more. With `wording=False` the words are ours.
    """
    found: list[str] = []
    if (theirs.error is None) != (ours.error is None):
        return [f"theirs: {theirs.error or theirs.value!r}, ours: {ours.error or ours.value!r}"]
    if theirs.error is not None and ours.error is not None:
        names = {{"EngineError": "DSPyError"}.get(cls.__name__, cls.__name__) for cls in type(ours.error).__mro__}
        wanted = [cls for cls in type(theirs.error).__mro__ if cls.__module__ == "builtins" or "dspy" in cls.__module__]
        lacking = [cls.__name__ for cls in wanted if cls.__name__ not in names]
        if lacking:
            found.append(f"{type(ours.error).__name__} is no {', '.join(lacking)} ({ours.error})")
        text, mine = without_names(str(theirs.error)), without_names(str(ours.error))
        if wording and squeezed(text).rstrip(".") not in squeezed(mine):
            found.append(f"says {mine!r}, theirs {text!r}")
    elif theirs.value != ours.value:
        found.append(f"gives\n    {ours.value}\n  theirs\n    {theirs.value}")
    if theirs.warned != ours.warned:
        found.append(f"warns {ours.warned}, theirs {theirs.warned}")
    if theirs.logged != ours.logged:
        found.append(f"logs {ours.logged}, theirs {theirs.logged}")
    return found


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)
