"""What an evaluation found: the score, each example with its prediction and score, and how to show or store them."""

from __future__ import annotations

import csv
import html
import importlib.util
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..example import Example, Prediction

__all__ = ["EvaluationResult", "Scored", "metric_name", "rows_of", "show", "write_csv", "write_json"]

Scored = tuple[Any, Any, Any]
"""(example, prediction, score)."""

_CELL_WORDS = 25


class EvaluationResult(Prediction):
    """The result of `Evaluate`.

    Attributes:
        score: the average score in percent, two decimals.
        results: `(example, prediction, score)` in the order of the examples.
    """

    def __init__(self, score: float, results: Sequence[Scored]) -> None:
        super().__init__(score=score, results=results)
        self._failures: list[tuple[Any, Exception]] = []

    @property
    def failures(self) -> list[tuple[Any, Exception]]:
        """The examples that raised, with what they raised; they count with the failure score."""
        return self._failures

    def __repr__(self) -> str:
        return f"EvaluationResult(score={self.score}, results=<list of {len(self.results)} results>)"


def metric_name(metric: object) -> str:
    """What the column of scores is called."""
    return metric.__name__ if isinstance(metric, types.FunctionType) else type(metric).__name__


def rows_of(results: Sequence[Scored], name: str) -> list[dict[str, Any]]:
    """One dict for each example: its fields, the prediction's, the score. A field that both have is split in two."""
    rows: list[dict[str, Any]] = []
    for example, prediction, score in results:
        if callable(getattr(prediction, "items", None)):
            rows.append({**_merged(_plain(example), _plain(prediction)), name: score})
        else:
            rows.append({**_plain(example), "prediction": prediction, name: score})
    return rows


def _plain(record: Any) -> Mapping[str, Any]:
    return record.toDict() if isinstance(record, Example) else record


def _merged(example: Mapping[str, Any], prediction: Mapping[str, Any]) -> dict[str, Any]:
    mine = {(f"example_{name}" if name in prediction else name): value for name, value in example.items()}
    theirs = {(f"pred_{name}" if name in example else name): value for name, value in prediction.items()}
    return {**mine, **theirs}


def write_csv(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A column for every field that any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A list of objects. Raises TypeError for what JSON does not have; then nothing is written."""
    text = json.dumps(rows)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def show(rows: Sequence[Mapping[str, Any]], name: str, limit: bool | int) -> None:
    """Print a table, or display it in a notebook. A number shows only so many rows."""
    shown = rows if isinstance(limit, bool) else rows[:limit]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(row.get(column, ""), scored=column == name) for column in columns] for row in shown]
    left = len(rows) - len(shown)
    if _in_notebook():
        _display(columns, cells, left)
        return
    widths = [max(len(column), *(len(row[i]) for row in cells), 0) for i, column in enumerate(columns)]
    for line in (columns, *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if left > 0:
        print(f"... {left} more rows not displayed ...")


def _cell(value: object, *, scored: bool) -> str:
    if scored:
        return "" if value is None else f"✔️ [{value:.3f}]" if isinstance(value, float) else f"✔️ [{value}]"
    words = str(value).split()
    return " ".join(words[:_CELL_WORDS]) + ("..." if len(words) > _CELL_WORDS else "")


def _in_notebook() -> bool:
    if importlib.util.find_spec("IPython") is None:
        return False
    import IPython  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

    shell: Any = cast("Any", IPython).get_ipython()
    return "IPKernelApp" in getattr(shell, "config", {})


def _display(columns: Sequence[str], cells: Sequence[Sequence[str]], left: int) -> None:
    from IPython.display import HTML, display  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

    def line(tag: str, texts: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts) + "</tr>"

    table = line("th", columns) + "".join(line("td", row) for row in cells)
    more = f"<p>... {left} more rows not displayed ...</p>" if left > 0 else ""
    display(HTML(f"<table>{table}</table>{more}"))
