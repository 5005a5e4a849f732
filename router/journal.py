"""Comparisons on disk: one SQLite file, written in batches beside the event loop, read as a report.

    report = shadow_report("shadow.sqlite", "qa")
    print(report)

What is stored is what a ``Comparison`` holds: no inputs, no answers. Several processes may write to one file.

Events:

    router.journal.failed    path, error, waiting     a journal (of comparisons or of flags) cannot be written; tried again
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import final

import anyio
import anyio.to_thread

from ..runtime import Actor, Reason
from .errors import RouterError
from .shadow import Comparison

_SCHEMA = """
CREATE TABLE IF NOT EXISTS comparisons (
    program TEXT NOT NULL, served TEXT NOT NULL, at REAL NOT NULL, served_s REAL NOT NULL, shadow_s REAL NOT NULL,
    served_error TEXT, shadow_error TEXT, score REAL, fields TEXT NOT NULL, metric_error TEXT
);
CREATE INDEX IF NOT EXISTS comparisons_by_program ON comparisons (program, at);
"""
_COLUMNS = "program, served, at, served_s, shadow_s, served_error, shadow_error, score, fields, metric_error"


class JournalUnreadable(RouterError):
    """The file is no journal of comparisons, or cannot be opened."""

    def __init__(self, path: Path, why: object) -> None:
        super().__init__(f"{path} cannot be used as a journal of comparisons ({why}): name another file, or remove it")
        self.path = path


@final
class Journal(Actor):
    """Writes comparisons. ``init`` raises JournalUnreadable for a file that is none.

    What could not be written (disk full) is kept, up to ``KEPT``, tried again with the next, and an event.
    """

    trap_exit = True  # so that `terminate` writes the rest
    KEPT = 10_000

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._buffer: list[Comparison] = []
        self._written = 0
        self._lost = 0

    async def init(self) -> None:
        """Open the file, or make it."""
        self._file = anyio.Lock()
        try:
            await anyio.to_thread.run_sync(_write, self._path, ())
        except (sqlite3.Error, OSError) as error:
            raise JournalUnreadable(self._path, error) from error

    def add(self, comparison: Comparison) -> None:
        """Store one, soon."""
        if len(self._buffer) >= self.KEPT:
            self._lost += 1
            return
        self._buffer.append(comparison)
        if len(self._buffer) == 1:
            self.task(self._write_all)

    async def _write_all(self) -> None:
        async with self._file:
            while self._buffer:
                batch, self._buffer = self._buffer, []
                try:
                    with anyio.CancelScope(shield=True):  # half a batch would be written twice
                        await anyio.to_thread.run_sync(_write, self._path, batch)
                except (sqlite3.Error, OSError) as error:
                    self._buffer = [*batch, *self._buffer][: self.KEPT]
                    self.rt.events.emit(
                        "router.journal.failed",
                        path=str(self._path),
                        error=f"{type(error).__name__}: {error}",
                        waiting=len(self._buffer),
                    )
                    return
                self._written += len(batch)

    async def written(self) -> int:
        """Write what waits; returns how many comparisons this incarnation has written."""
        await self._write_all()
        return self._written

    async def terminate(self, reason: Reason) -> None:
        """Write the rest."""
        await self._write_all()

    def statistics(self) -> Mapping[str, int]:
        """Counts of this incarnation."""
        return {"written": self._written, "waiting": len(self._buffer), "lost": self._lost}


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal's file so that several may write to it. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=10)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _write(path: Path, batch: Sequence[Comparison]) -> None:
    with closing(connect(path)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany(
            f"INSERT INTO comparisons ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    c.program,
                    c.served,
                    c.at,
                    c.served_s,
                    c.shadow_s,
                    c.served_error,
                    c.shadow_error,
                    c.score,
                    json.dumps(dict(c.fields)),
                    c.metric_error,
                )
                for c in batch
            ],
        )


@final
@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What the comparisons of one program say. Shares and scores are from 0 to 1, latencies medians in seconds."""

    program: str
    compared: int
    score: float | None
    """Mean over the requests that both engines answered; None if there was none."""
    identical: int
    """Requests with a score of 1."""
    fields: Mapping[str, float]
    """Mean score by field."""
    served_errors: Mapping[str, int]
    shadow_errors: Mapping[str, int]
    served_p50_s: float | None
    shadow_p50_s: float | None
    metric_errors: int

    def __str__(self) -> str:
        lines = [f"{self.program}: {self.compared} requests compared"]
        if self.score is not None:
            lines.append(f"  parity        {self.score:.3f} mean, {self.identical} identical")
            lines += [f"    {name:<12}{score:.3f}" for name, score in self.fields.items()]
        if self.served_p50_s is not None and self.shadow_p50_s is not None:
            lines.append(f"  latency p50   served {self.served_p50_s:.3f} s, shadow {self.shadow_p50_s:.3f} s")
        for title, errors in (("served", self.served_errors), ("shadow", self.shadow_errors)):
            if errors:
                lines.append(f"  {title} errors " + ", ".join(f"{name} x{count}" for name, count in errors.items()))
        if self.metric_errors:
            lines.append(f"  metric failed {self.metric_errors} times")
        return "\n".join(lines)


def shadow_report(path: str | os.PathLike[str], program: str, *, since: float = 0.0) -> ShadowReport:
    """Read the journal. ``since``: seconds since the epoch. Blocks while it reads.

    Raises JournalUnreadable.
    """
    file = Path(path)
    if not file.is_file():
        raise JournalUnreadable(file, "no such file")
    try:
        with closing(connect(file)) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM comparisons WHERE program = ? AND at >= ? ORDER BY at", (program, since)
            ).fetchall()
    except sqlite3.Error as error:
        raise JournalUnreadable(file, error) from error
    found = [Comparison(*row[:8], fields=json.loads(row[8]), metric_error=row[9]) for row in rows]
    return report_of(program, found)


def report_of(program: str, comparisons: Sequence[Comparison]) -> ShadowReport:
    """Sum up comparisons of one program."""
    both = [c for c in comparisons if c.served_error is None and c.shadow_error is None and c.score is not None]
    by_field: dict[str, list[float]] = {}
    for comparison in both:
        for name, score in comparison.fields.items():
            by_field.setdefault(name, []).append(score)
    return ShadowReport(
        program=program,
        compared=len(comparisons),
        score=sum(c.score or 0.0 for c in both) / len(both) if both else None,
        identical=sum(c.score == 1 for c in both),
        fields={name: sum(scores) / len(scores) for name, scores in by_field.items()},
        served_errors=_tally(c.served_error for c in comparisons),
        shadow_errors=_tally(c.shadow_error for c in comparisons),
        served_p50_s=median(c.served_s for c in comparisons) if comparisons else None,
        shadow_p50_s=median(c.shadow_s for c in comparisons) if comparisons else None,
        metric_errors=sum(c.metric_error is not None for c in comparisons),
    )


def _tally(errors: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(error for error in errors if error is not None))
