"""A program as text, for a model that is to improve it: its signatures and the source of its modules.

What is shown, and in what order, is what dspy 3.4 shows. A module whose source is nowhere to be read (made in an
interactive session, by `exec`, or from a file that is gone) is described by its class, its docstring and its predictors;
dspy gives up the program awareness of the whole proposal there.
"""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any, cast

from ...base_module import Parameter
from ...module import Module

__all__ = ["get_dspy_source_code"]

_UNSHOWN = frozenset({"Predict", "ChainOfThought"})
"""Modules of which the signature says everything."""


def get_dspy_source_code(module: Any) -> str:
    """The signatures of the module's predictors and the source of its modules, then its own source.

    Only attributes of the module and items of its lists and tuples are looked at. Of several signatures of one name (all
    that were made from strings have the same) only the first is shown, as in dspy.
    """
    header: list[str] = []
    seen: set[Any] = set()
    for item in _items(module):
        if isinstance(item, Parameter):
            signature = getattr(item, "signature", None)
            key = f"{getattr(signature, '__name__', '')}_sig"
            if signature is not None and key not in seen:
                header.append(_signature_text(signature))
                seen.add(key)
        if isinstance(item, Module):
            code = get_dspy_source_code(item).strip()
            if code not in seen:
                header.append(code)
                seen.add(code)
        seen.add(item)
    cls: type[Any] = module.__class__
    own = "" if cls.__name__ in _UNSHOWN else _class_source(module, cls)
    return "\n\n".join(header) + "\n\n" + own


def _items(module: Any) -> Iterator[Any]:
    """The values of the attributes, or what they hold, as far as it can be told apart from each other."""
    for value in list(cast("dict[str, Any]", vars(module)).values()):
        for item in _held(value):
            try:
                hash(item)
            except TypeError:
                continue
            yield item


def _held(value: Any) -> Iterable[Any]:
    # Not what is used up by looking at it.
    many = isinstance(value, Iterable) and not isinstance(value, type | Iterator)
    return cast("Iterable[Any]", value if many else (value,))


def _signature_text(signature: Any) -> str:
    try:
        return inspect.getsource(signature)
    except (TypeError, OSError):
        return str(signature)


def _class_source(module: Any, cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (TypeError, OSError):
        return _source_by_methods(cls) or _description(module, cls)


def _source_by_methods(cls: type) -> str | None:
    """The source of a class of an interactive session, whose methods know the cell that they were written in."""
    for member in vars(cls).values():
        function = getattr(member, "function", member)  # a module's `forward` is wrapped
        if not isinstance(function, FunctionType):
            continue
        text = "".join(linecache.getlines(function.__code__.co_filename))
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                return f"{ast.get_source_segment(text, node, padded=True)}\n"
    return None


def _description(module: Any, cls: type) -> str:
    bases = ", ".join(base.__name__ for base in cls.__bases__)
    lines = [f"class {cls.__name__}({bases}):"]
    if cls.__doc__:
        lines.append(f"    {inspect.cleandoc(cls.__doc__)!r}")
    lines += [
        f"    {name}: {type(predictor).__name__}({predictor.signature.signature})"
        for name, predictor in module.named_predictors()
    ]
    return "\n".join([*lines, "    # The source of this class is not available."]) + "\n"
