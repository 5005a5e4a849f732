"""What a job is, so that a journal is not taken for another's: by part, in words that a person can compare.

Numbers are kept as they are, everything else as a digest. Nothing whose name speaks of a secret is looked at, nor the
addresses and credentials of models: a journal goes on with another key and at another address.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from pydantic_core import to_json

from ...example import Example
from ...lm import BaseLM
from ...saved_state import serializable
from ..teleprompter import made_with

__all__ = ["differences", "identity_of", "seed_of"]

Identity = Mapping[str, object]

_SECRET = re.compile(r"api_?key|secret|password|credential|(^|_)auth|(^|_)token$", re.IGNORECASE)
_ADDRESS = frozenset({"api_base", "base_url", "headers", "extra_headers", "timeout", "num_retries", "cache"})


def identity_of(optimizer: Any, student: Any, arguments: Mapping[str, Any], lm: Any) -> dict[str, object]:
    """The parts of a job: dspex's version, the optimizer and its parameters, the program, the data, the model."""
    parts: dict[str, object] = {"dspex version": _version(), "optimizer": _class_of(optimizer)}
    for name, value in made_with(optimizer).items():
        if not _SECRET.search(name):
            parts[f"optimizer parameter {name!r}"] = _kept(value)
    parts["program class"] = _class_of(student)
    parts["program"] = _kept(student)
    for name, value in sorted(arguments.items()):
        if _SECRET.search(name) or value is None:
            continue
        if isinstance(value, Sequence) and not isinstance(value, str):
            parts[f"number of items in {name!r}"] = len(cast("Sequence[object]", value))
        parts[f"argument {name!r}"] = _kept(value)
    parts["lm"] = _kept(lm)
    return parts


def seed_of(identity: Identity) -> int:
    """A seed that is the job's own, the same in every run of it."""
    return int.from_bytes(sha256(to_json(dict(identity))).digest()[:4], "big")


def differences(kept: Identity, here: Identity) -> list[str]:
    """What differs, a line each."""
    found: list[str] = []
    for name in dict.fromkeys([*kept, *here]):
        before, now = kept.get(name), here.get(name)
        if before == now:
            continue
        if name not in kept or name not in here:
            found.append(f"{name}: {'is new' if name not in kept else 'is gone'}")
        elif _is_digest(before) or _is_digest(now):
            found.append(f"{name}: is another")
        else:
            found.append(f"{name}: was {before}, is {now}")
    return found


def _version() -> str:
    try:
        return version("dspex")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and value.startswith("sha256:")


def _class_of(value: object) -> str:
    return _name(type(value))


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _kept(value: Any) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, type):
        return _name(value)
    return "sha256:" + sha256(to_json(_plain(value), inf_nan_mode="constants", fallback=_fallback)).hexdigest()


def _plain(value: Any) -> object:
    """Data that is the same in every process for what is the same."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, BaseLM):
        options = {name: _plain(each) for name, each in value.kwargs.items() if not _leaves_out(name)}
        return [_class_of(value), value.model, value.model_type, sorted(options.items())]
    if isinstance(value, Example):
        inputs = sorted(value.inputs().keys()) if _names_inputs(value) else None
        return [inputs, _plain(value.toDict())]
    if hasattr(value, "dump_state"):
        return [_class_of(value), _plain(value.dump_state())]
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return sorted(([str(key), _plain(each)] for key, each in items if not _leaves_out(str(key))), key=str)
    if isinstance(value, set | frozenset):
        return sorted((_plain(each) for each in cast("set[object]", value)), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(each) for each in cast("Sequence[object]", value)]
    if callable(value):
        return _code(value)
    return serializable(value)


def _leaves_out(name: str) -> bool:
    return name in _ADDRESS or bool(_SECRET.search(name))


def _names_inputs(example: Example) -> bool:
    try:
        example.inputs()
    except ValueError:
        return False
    return True


def _code(function: Callable[..., object]) -> list[str]:
    target: Any = getattr(function, "func", function)  # of a partial
    name = getattr(target, "__qualname__", type(target).__qualname__)
    try:
        code = target if hasattr(target, "__qualname__") else target.__class__
        return [name, inspect.getsource(code)]
    except (OSError, TypeError):
        return [name]


def _fallback(value: Any) -> str:
    return _class_of(value)  # its text may hold its address in memory
