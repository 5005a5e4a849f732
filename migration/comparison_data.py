"""What both engines are asked: rows of inputs, with the outputs that are expected where somebody knows them.

A row is a mapping of names to values, {"question": "...", "answer": "..."}: what the program takes are inputs, the rest is
expected. Where that is not clear, the inputs are named, or rows say it themselves: {"inputs": {...}, "expected": {...}}.
Examples of dspy's or of the engine's do, by `with_inputs`. Files are JSON (a list), JSON lines, CSV or TSV; a cell of a
table is text, unless the program's signature says another type: then it is read as JSON where it is JSON.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast, final

from .compared_program import ComparedProgram
from .errors import BadData

_SHOWN: Final = 5
_NESTED: Final = frozenset({"inputs", "expected"})


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One question."""

    number: int
    """From 1, in the order of the data."""
    inputs: Mapping[str, Any] = field(repr=False)
    expected: Mapping[str, Any] = field(repr=False)
    """Empty: nobody knows."""


def read_rows(
    path: str | os.PathLike[str],
    program: ComparedProgram,
    *,
    inputs: Sequence[str] | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The rows of a file. Raises BadData for a file that is none, holds none, or holds rows that the program cannot take."""
    file = Path(path)
    where = str(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadData(where, (f"it cannot be read ({error.strerror or error})",)) from error
    except UnicodeDecodeError as error:
        raise BadData(where, ("it is no UTF-8 text; data are .json, .jsonl, .csv or .tsv",)) from error
    suffix = file.suffix.lower()
    table = suffix in (".csv", ".tsv")
    if suffix == ".json":
        listed = _json(where, text)
    elif suffix in (".jsonl", ".ndjson"):
        listed = _json_lines(where, text)
    elif table:
        listed = _table(where, text, "," if suffix == ".csv" else "\t")
    else:
        raise BadData(where, (f"{suffix or 'no ending'} is none of .json, .jsonl, .csv, .tsv",))
    if table:
        listed = [{name: _cell(name, cell, program) for name, cell in row.items()} for row in listed]
    return rows_of(listed, program, inputs=inputs, limit=limit, where=where)


def rows_of(
    data: Iterable[object],
    program: ComparedProgram,
    *,
    inputs: Sequence[str] | None = None,
    limit: int | None = None,
    where: str = "data",
) -> list[Row]:
    """Rows of mappings or examples. Raises BadData."""
    listed = list(data)[:limit]
    if not listed:
        raise BadData(where, ("it holds no rows: give at least one, with the program's inputs",))
    problems: list[str] = []
    rows: list[Row] = []
    for number, item in enumerate(listed, 1):
        try:
            rows.append(_row(number, item, program, inputs))
        except ValueError as error:
            problems.append(f"row {number} {error}")
    if problems:
        raise BadData(where, tuple(problems[:_SHOWN]), more=max(0, len(problems) - _SHOWN))
    return rows


def _row(number: int, item: object, program: ComparedProgram, inputs: Sequence[str] | None) -> Row:
    asked, expected = _split(item, program, inputs)
    missing = [name for name in program.needed if name not in asked]
    if missing:
        has = ", ".join(map(str, asked)) or "no inputs"
        raise ValueError(
            f"lacks {', '.join(missing)} (it has {has}); name the columns that are inputs with inputs=, or --inputs"
        )
    unknown = [] if program.inputs is None else [name for name in asked if name not in program.inputs]
    if unknown:
        raise ValueError(f"has inputs that the program does not take: {', '.join(unknown)}")
    if not asked:
        raise ValueError("has no inputs")
    return Row(number, asked, expected)


def _split(
    item: object, program: ComparedProgram, inputs: Sequence[str] | None
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    given: Any = item
    if getattr(given, "_input_keys", None) is not None and callable(getattr(given, "labels", None)):  # an Example
        return dict(given.inputs().items()), dict(given.labels().items())
    if not isinstance(item, Mapping):
        if callable(getattr(given, "items", None)) and callable(getattr(given, "labels", None)):
            item = dict(given.items())
        else:
            raise ValueError(f"is a {type(item).__name__}, not an object with names")
    row = {str(name): value for name, value in cast("Mapping[object, Any]", item).items()}
    if "inputs" in row and row.keys() <= _NESTED and isinstance(row["inputs"], Mapping):
        expected: Any = row.get("expected") or {}
        if not isinstance(expected, Mapping):
            raise ValueError("has an `expected` that is no object with names")
        return dict(cast("Mapping[str, Any]", row["inputs"])), dict(cast("Mapping[str, Any]", expected))
    if inputs is not None:
        missing = [name for name in inputs if name not in row]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}, named as inputs (it has {', '.join(row)})")
        names = set(inputs)
    elif program.inputs is not None:
        names = set(program.inputs)
    else:
        names = set(row) - set(program.outputs or ())
    asked = {name: value for name, value in row.items() if name in names}
    outputs = program.outputs
    expected = {
        name: value for name, value in row.items() if name not in names and (outputs is None or name in outputs)
    }
    return asked, expected


def _json(where: str, text: str) -> list[Any]:
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadData(where, (f"it is no JSON ({error}); for one object a line, call it .jsonl",)) from error
    if not isinstance(said, list):
        raise BadData(where, ("it holds a list of objects, one for each row",))
    return cast("list[Any]", said)


def _json_lines(where: str, text: str) -> list[Any]:
    rows: list[Any] = []
    problems: list[str] = []
    # Not splitlines: it also breaks at separators that may stand inside of JSON text.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number} is no JSON ({error})")
    if problems:
        raise BadData(where, tuple(problems[:_SHOWN]), more=max(0, len(problems) - _SHOWN))
    return rows


def _table(where: str, text: str, separator: str) -> list[Any]:
    try:
        return list(_cells(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)))
    except (csv.Error, ValueError) as error:
        raise BadData(where, (f"it is no table: {error}",)) from error


def _cells(reader: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} has not as many cells as the first line has names")
        yield row


def _cell(name: str, text: str, program: ComparedProgram) -> Any:
    if program.types.get(name, str) is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
