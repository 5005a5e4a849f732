"""Which features a program in memory uses: found by walking it, ours or the real dspy's, without importing dspy.

A module is recognised by the nearest of its classes that dspy or the engine defines; its predictors say their signatures,
the types of their fields, their models. Whatever looks like neither is passed over.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from .feature import Feature
from .features import FEATURES, find_feature

Found = tuple[Feature, str]
"""A feature, and where in the program it is used."""

_HOMES: Final = ("dspy.", "dspex.engine.")
_DEPTH: Final = 8  # of annotations, and of lists in lists: a program's own are two or three


def home_of(kind: type) -> str | None:
    """ "dspy" or "dspex.engine", if the class or one it derives from is defined there."""
    for each in kind.__mro__:
        module = f"{each.__module__}."
        if module.startswith(_HOMES):
            return "dspy" if module.startswith("dspy.") else "dspex.engine"
    return None


def class_feature(kind: type) -> Feature | None:
    """The record of the nearest class that dspy or the engine defines and the registry knows."""
    for each in kind.__mro__:
        if f"{each.__module__}.".startswith(_HOMES):
            found = find_feature(each.__name__)
            if found is not None and any(name.rpartition(".")[2] == each.__name__ for name in found.names):
                return found
    return None


def is_module(value: object) -> bool:
    """True for a program of dspy's kind: it lists its predictors and can be called."""
    return not isinstance(value, type) and callable(value) and callable(getattr(value, "named_predictors", None))


def used_by(module: object) -> Iterator[Found]:
    """Every feature that a live module uses, with the path of the part that uses it; a feature may come more than once."""
    for path, part in _parts(module, "self", set()):
        kind = class_feature(type(part))
        if kind is not None:
            yield kind, path
        yield from _of_part(path, part)


def _parts(value: object, path: str, seen: set[int], depth: int = 0) -> Iterator[tuple[str, object]]:
    if id(value) in seen or depth > _DEPTH:
        return
    seen.add(id(value))
    if isinstance(value, list | tuple):
        for index, item in enumerate(cast("Sequence[object]", value)):
            yield from _parts(item, f"{path}[{index}]", seen, depth + 1)
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            yield from _parts(item, f"{path}[{key!r}]", seen, depth + 1)
    elif isinstance(value, type) or home_of(type(value)) is None:
        return
    else:
        yield path, value
        if is_module(value):
            for name, item in vars(value).items():
                if name not in ("history", "callbacks", "demos", "signature", "lm"):
                    yield from _parts(item, name if path == "self" else f"{path}.{name}", seen, depth + 1)


def _of_part(path: str, part: object) -> Iterator[Found]:
    lm: object = getattr(part, "lm", None)
    if lm is not None and home_of(type(lm)) is not None:
        own = class_feature(type(lm))
        if own is not None:
            yield own, f"{path}.lm"
    if getattr(part, "callbacks", None):
        yield FEATURES["callbacks"], path
    signature = getattr(part, "signature", None)
    if isinstance(signature, type):
        yield from signature_features(signature, path)


def signature_features(signature: type, path: str) -> Iterator[Found]:
    """A signature, and the types of its fields."""
    yield FEATURES["signatures"], path
    fields: object = getattr(signature, "fields", None)
    if not isinstance(fields, Mapping):
        return
    for name, info in cast("Mapping[str, Any]", fields).items():
        for kind in _classes(getattr(info, "annotation", None)):
            found = class_feature(kind)
            if found is not None:
                yield found, f"{path}: {name}"


def _classes(annotation: Any, depth: int = 0) -> Iterator[type]:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    elif depth < _DEPTH:
        for inside in (typing.get_origin(annotation), *typing.get_args(annotation)):
            if inside is not None and inside is not annotation:
                yield from _classes(inside, depth + 1)
