"""Notebooks as Python: the code cells in order, each with its place, magics taken out."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any, Final, cast, final

from .sources import SourceError

__all__ = ["Cell", "cells_of", "parse_cells"]

_MAGIC: Final = re.compile(r"^(\s*)(%|!|\?)|^\s*[\w.]+\?{1,2}\s*$")
_ASSIGNED_MAGIC: Final = re.compile(r"^(\s*[\w, ]+=\s*)[%!].*$")
_FOREIGN: Final = frozenset(
    {
        "bash",
        "sh",
        "html",
        "javascript",
        "js",
        "latex",
        "markdown",
        "perl",
        "ruby",
        "script",
        "svg",
        "writefile",
        "sql",
        "R",
        "cmd",
    }
)


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One code cell."""

    number: int
    """From 1, over the cells of every kind."""
    text: str


def cells_of(text: str) -> list[Cell]:
    """The code cells. Raises SourceError for what is no notebook."""
    try:
        held: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"it is no notebook: its JSON is broken ({error})") from error
    if not isinstance(held, dict):
        raise SourceError("it is no notebook: there is no object in it")
    notebook = cast("dict[str, Any]", held)
    cells: Any = notebook.get("cells")
    if cells is None:  # version 3 of the format
        sheets: Any = notebook.get("worksheets")
        first: Any = cast("list[Any]", sheets)[0] if isinstance(sheets, list) and sheets else None
        cells = cast("dict[str, Any]", first).get("cells") if isinstance(first, dict) else None
    if not isinstance(cells, list):
        raise SourceError("it is no notebook: it has no list of cells")
    found: list[Cell] = []
    for number, cell in enumerate(cast("list[Any]", cells), 1):
        if not isinstance(cell, dict):
            continue
        one = cast("dict[str, Any]", cell)
        if one.get("cell_type") != "code":
            continue
        source: Any = one.get("source", one.get("input", ""))
        lines = cast("list[object]", source) if isinstance(source, list) else [source]
        found.append(Cell(number, "".join(line for line in lines if isinstance(line, str))))
    return found


def without_magics(text: str) -> str:
    """A cell whose magics and shell lines do nothing; every line stays where it is."""
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("%%"):
        name = first.lstrip()[2:].split(" ", 1)[0].strip()
        if name in _FOREIGN or name.startswith(("script", "bash")):
            return "\n" * (len(lines) - 1)
        lines[lines.index(first)] = "pass"
    made: list[str] = []
    going_on = False
    for line in lines:
        if going_on:
            going_on = line.rstrip().endswith("\\")
            made.append("")
            continue
        magic = _MAGIC.match(line)
        assigned = _ASSIGNED_MAGIC.match(line)
        if magic:
            going_on = line.rstrip().endswith("\\")
            made.append(f"{magic.group(1) or ''}pass")
        elif assigned:
            made.append(f"{assigned.group(1)}None")
        else:
            made.append(line)
    return "\n".join(made)


def parse_cells(cells: list[Cell]) -> tuple[ast.Module, list[tuple[int, int]], list[tuple[int, SyntaxError]]]:
    """All cells as one module.

    Returns:
        The tree; for each cell the line of the tree before its first and its number; the cells that are not Python.
    """
    body: list[ast.stmt] = []
    starts: list[tuple[int, int]] = []
    broken: list[tuple[int, SyntaxError]] = []
    line = 0
    for cell in cells:
        text = cell.text if _parses(cell.text) else without_magics(cell.text)
        starts.append((line, cell.number))
        try:
            tree = compile(
                text, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
            )
        except SyntaxError as error:
            broken.append((cell.number, error))
        except ValueError as error:  # null bytes
            broken.append((cell.number, SyntaxError(str(error))))
        else:
            ast.increment_lineno(tree, line)
            body += cast("ast.Module", tree).body
        line += text.count("\n") + 1
    return ast.Module(body=body, type_ignores=[]), starts, broken


def _parses(text: str) -> bool:
    try:
        compile(text, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True
