"""What an expression may stand for, as far as reading tells."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from typing import Final, final

from .scopes import ClassInfo, FunctionInfo, ModuleInfo

__all__ = [
    "OTHER",
    "Class",
    "Function",
    "Made",
    "Module",
    "Object",
    "Other",
    "Ref",
    "Unclear",
    "Value",
    "dotted",
    "is_standard",
]


@final
@dataclass(frozen=True, slots=True)
class Ref:
    """A name of dspy's, by its path below it; `()` is the package."""

    path: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Made:
    """What a call of dspy's name gives."""

    path: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Module:
    """A module of the project."""

    info: ModuleInfo


@final
@dataclass(frozen=True, slots=True)
class Class:
    """A class of the project."""

    info: ClassInfo


@final
@dataclass(frozen=True, slots=True)
class Object:
    """An object of such a class."""

    info: ClassInfo


@final
@dataclass(frozen=True, slots=True)
class Function:
    """A function of the project."""

    info: FunctionInfo


@final
@dataclass(frozen=True, slots=True)
class Other:
    """Certainly not dspy's: a constant, a builtin, another package's. `name` where it is imported."""

    name: str = ""


@final
@dataclass(frozen=True, slots=True)
class Unclear:
    """Could be anything. `what`: "parameter", "part", "name", "result", "module", "attribute"."""

    what: str
    name: str = ""


Value = Ref | Made | Module | Class | Object | Function | Other | Unclear
OTHER: Final = Other()


def dotted(node: ast.expr) -> str:
    """A name with its attributes as it is written: "a.b.c"; "" for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def is_standard(module: str) -> bool:
    """Whether a module is of Python's own library."""
    return module.partition(".")[0] in sys.stdlib_module_names
