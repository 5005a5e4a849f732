"""Which features a program's source uses: found by reading it. Nothing of it is imported or run.

    used_in(source, "qa")       # the function or class `qa` of the source, and what of the same file it uses

What counts is what the source calls dspy's: names imported from `dspy` or `dspex.engine`, attributes of the module under
whatever name it was imported, and of the argument of a factory `def qa(dspy): ...`. What a program reaches in other ways
(getattr, modules of yours that it imports) is not seen.
"""

from __future__ import annotations

import ast
import importlib.machinery
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from .feature import Feature, has
from .features import FEATURES, find_feature

_ROOTS: Final = ("dspex.engine", "dspy")
_TYPE: Final = re.compile(r":\s*([^,>]+)")
_WORD: Final = re.compile(r"[A-Za-z_][\w.]*")
_TYPES: Final = frozenset(
    name.rpartition(".")[2]
    for record in FEATURES.values()
    if record.kind in ("types", "tools")
    for name in record.names
)


def source_of(module: str) -> Path | None:
    """The file of a module, found without importing it or the packages above it; None if there is none."""
    where: list[str] | None = None
    found: importlib.machinery.ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        found = importlib.machinery.PathFinder.find_spec(name, where if where is not None else sys.path)
        if found is None:
            return None
        where = list(found.submodule_search_locations or ())
    return Path(found.origin) if found is not None and found.origin and found.origin.endswith(".py") else None


@final
@dataclass(frozen=True, slots=True)
class SourceUses:
    """What a source uses: features, each with its first line; and names under ``dspy.`` that no version 3.4 has."""

    features: tuple[tuple[Feature, str], ...]
    unknown: tuple[tuple[str, int], ...]


def used_in(source: str, target: str | None = None, *, known: Mapping[str, str] | None = None) -> SourceUses:
    """The features that the source uses. ``target``: a name defined at its top; None: all of it. ``known``: what names
    mean that the source does not define, as in ``{"dspy": ""}``.

    The only argument of a function that is the target, or that is called ``dspy``, is taken for dspy, or what stands for it.

    Raises SyntaxError, and LookupError if the source defines no such name.
    """
    tree = ast.parse(source)
    names = {**(known or {}), **imported(tree)}
    nodes: list[ast.AST] = [tree] if target is None else list(_reachable(tree, target))
    for node in nodes:
        for function in node.body if isinstance(node, ast.Module) else [node]:
            if isinstance(function, ast.FunctionDef) and len(function.args.args) == 1:
                only = function.args.args[0].arg
                if only == "dspy" or function.name == target:
                    names[only] = ""
    found: dict[str, tuple[Feature, str]] = {}
    unknown: dict[str, tuple[str, int]] = {}
    for node in nodes:
        for name, line in _uses(node, names):
            record = find_feature(f"dspy.{name}")
            if record is not None:
                found.setdefault(record.id, (record, f"line {line}"))
            elif "." not in name and not name.startswith("_") and not has(name):
                unknown.setdefault(name, (name, line))
    return SourceUses(tuple(found.values()), tuple(unknown.values()))


def imported(tree: ast.AST) -> dict[str, str]:
    """What local names mean: ``{"dspy": "", "GEPA": "teleprompt.GEPA"}``, wherever they are imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                below = _below(alias.name)
                if below is not None and alias.asname is not None:
                    names[alias.asname] = below
                elif below is not None and alias.name.startswith("dspy"):
                    names["dspy"] = ""
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                below = _below(f"{node.module}.{alias.name}")
                if below is not None:
                    names[alias.asname or alias.name] = below
    return names


def _below(path: str) -> str | None:
    for root in _ROOTS:
        if path == root or path.startswith(f"{root}."):
            return path[len(root) + 1 :]
    return None


def _reachable(tree: ast.Module, target: str) -> Iterator[ast.AST]:
    """The top-level statement that defines the target, and those of the same file that it uses, in any order."""
    defined: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for name in _defines(statement):
            defined.setdefault(name, []).append(statement)
    if target not in defined:
        raise LookupError(f"the source defines no {target!r}")
    waiting, seen = [target], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for statement in defined.get(name, ()):
            yield statement
            waiting += [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]


def _defines(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _uses(tree: ast.AST, names: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and names.get(node.id):
            yield names[node.id], node.lineno
        elif isinstance(node, ast.Attribute) and (name := _dotted(node, names)):
            yield name, node.lineno
            continue  # `dspy.teleprompt.COPRO` is one use, of COPRO
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring, which may speak of a signature
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "->" in node.value:
            yield "Signature", node.lineno
            for said in _TYPE.findall(node.value):
                for word in _WORD.findall(said):
                    if word.rpartition(".")[2] in _TYPES:
                        yield word.rpartition(".")[2], node.lineno
        waiting += reversed(list(ast.iter_child_nodes(node)))


def _dotted(node: ast.expr, names: Mapping[str, str]) -> str | None:
    """``dspy.teleprompt.COPRO`` as "teleprompt.COPRO"; None for an attribute of anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, names)
        return None if base is None else f"{base}.{node.attr}".lstrip(".")
    return None
