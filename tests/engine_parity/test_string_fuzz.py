"""Random signature strings: what dspy reads, the engine reads in the same way; what it refuses, the engine refuses or
reads, but never reads differently.
"""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from outcomes import differences, observe

_PLAIN = ["str", "int", "float", "bool", "list", "dict", "tuple", "set", "bytes", "complex", "Any", "None", "NoneType"]
_PLAIN += ["Nothing", "x.y", "3", "'text'", "True"]
_GENERIC = ["list[{}]", "List[{}]", "set[{}]", "frozenset[{}]", "Optional[{}]", "typing.List[{}]", "tuple[{}, ...]"]
_PAIRS = ["dict[{}, {}]", "Dict[{}, {}]", "Union[{}, {}]", "tuple[{}, {}]", "{} | {}", "({} | {})", "Optional[{}, {}]"]
_LITERALS = ["Literal['a', 'b']", "Literal[1, 2]", "Literal['a', None]", 'Literal["x, y"]', "Literal[True]"]
_NAMES = ["question", "context", "answer", "a", "b2", "snake_case", "camelCase", "x1y", "HTTPCode"]
_BREAKS = [",", "->", ":", "[", "]", " ", "|", "\n", "=", "*", "/"]


def expression(dice: random.Random, depth: int = 0) -> str:
    match dice.randrange(8 if depth < 3 else 3):
        case 0 | 1 | 2:
            return dice.choice(_PLAIN[:11] if dice.random() < 0.95 else _PLAIN)
        case 3 | 4:
            return dice.choice(_GENERIC).format(expression(dice, depth + 1))
        case 5:
            return dice.choice(_LITERALS)
        case _:
            return dice.choice(_PAIRS).format(expression(dice, depth + 1), expression(dice, depth + 1))


def signature_string(dice: random.Random) -> str:
    names = dice.sample(_NAMES, k=dice.randint(2, 5))
    cut = dice.randint(1, len(names) - 1)

    def side(part: list[str]) -> str:
        typed = [f"{name}:{' ' * dice.randint(0, 2)}{expression(dice)}" if dice.random() < 0.7 else name for name in part]
        return dice.choice([", ", ",", " , "]).join(typed)

    text = f"{side(names[:cut])} -> {side(names[cut:])}"
    if dice.random() < 0.15:
        at = dice.randrange(len(text))
        text = text[:at] + dice.choice(_BREAKS) + text[at + dice.randint(0, 1) :]
    return text


def read(text: str) -> Any:
    def behaviour(ns: Any) -> Any:
        sig = ns.Signature(text)
        fields = [(name, repr(f.annotation), dict(f.json_schema_extra)) for name, f in sig.fields.items()]
        return sig.signature, sig.instructions, fields

    return behaviour


@pytest.mark.parametrize("seed", range(12))
def test_random_strings_mean_the_same(dspy: ModuleType, seed: int) -> None:
    dice = random.Random(seed)
    different = {}
    for _ in range(40):
        text = signature_string(dice)
        theirs, ours = observe(read(text), dspy), observe(read(text), engine)
        if ours.error is not None and theirs.error is None:
            # Refused where dspy reads on: only for what it would have dropped in silence.
            if not any(part in str(ours.error) for part in ("duplicates", "no meaning", "a default", "is not a type")):
                different[text] = [f"refused: {ours.error}", f"theirs: {theirs.value}"]
        elif theirs.error is None and (found := differences(theirs, ours)):
            different[text] = found
        elif theirs.error is not None and ours.error is None and not _may_be_read(theirs.error):
            different[text] = [f"read: {ours.value}", f"theirs: {theirs.error!r}"]
    assert different == {}


def _may_be_read(error: BaseException) -> bool:
    """dspy's refusals of what is a type all the same. (NoneType it knows only when the caller has given no other type.)"""
    return type(error).__name__ == "PydanticSchemaGenerationError" or "NoneType" in str(error)
