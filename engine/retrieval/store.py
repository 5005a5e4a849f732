"""The file of a `PassageIndex`: one SQLite database in WAL mode, which several indexes and processes may share.

What `add` has returned is on the disk (`synchronous=FULL`). Who else has the file open sees the change at its next look
(`PRAGMA data_version`, 2 us): new rows are read by their numbers; after a removal everything is read again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .errors import IndexMismatch, IndexUnreadable

__all__ = ["Changes", "Row", "Store"]

_APPLICATION = 0x64737078  # "dspx"
_BUSY = 10.0  # seconds to wait for another process that is writing
_SCHEMA = """
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT UNIQUE,
    passage TEXT NOT NULL,
    metadata TEXT NOT NULL,
    vector BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A passage as it is kept. `vector`: float32, little endian."""

    id: int
    key: str | None
    passage: str
    metadata: Mapping[str, Any]
    vector: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new since the last look. `whole`: these rows are all there are; what was known before is to be dropped."""

    rows: Sequence[Row]
    whole: bool


class Store:
    """Not for several threads at a time. Raises IndexUnreadable where SQLite refuses."""

    def __init__(self, path: str, *, embedder: str | None) -> None:
        """Open or create the file. None of it is changed if it is not ours, or made with another embedder."""
        self.path = path
        self._last = 0
        self._version = -1
        self._removals = -1
        fresh = path == ":memory:" or not Path(path).exists() or Path(path).stat().st_size == 0
        try:
            self._db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            if not fresh and application != _APPLICATION:
                # Another process may be between creating the file and naming it.
                self._db.close()
                raise IndexUnreadable(f"{path} is a database of something else. Name another file for the index.")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            with self._transaction():
                self._db.execute(f"PRAGMA application_id={_APPLICATION}")
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._fact("removals", "0")
                if embedder is not None:
                    self._same("embedder", embedder, "The index was made with the embedder {kept}, not {given}")
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __del__(self) -> None:
        # An actor that was killed could not.
        if hasattr(self, "_db"):
            self._db.close()

    def add(self, rows: Sequence[tuple[str | None, str, Mapping[str, Any], bytes]], dimension: int) -> list[int]:
        """Store passages (key, text, metadata, vector), all or none; returns their numbers. What has the key goes."""
        numbers: list[int] = []
        try:
            with self._transaction():
                self._same("dimension", str(dimension), "The index holds vectors of {kept} numbers, not {given}")
                keys = [(key,) for key, *_ in rows if key is not None]
                gone = sum(self._db.execute("DELETE FROM passages WHERE key = ?", key).rowcount for key in keys)
                if gone:
                    self._removed()
                for key, passage, metadata, vector in rows:
                    done = self._db.execute(
                        "INSERT INTO passages (key, passage, metadata, vector) VALUES (?, ?, ?, ?)",
                        (key, passage, json.dumps(metadata), vector),
                    )
                    numbers.append(cast("int", done.lastrowid))
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        return numbers

    def remove(self, ids: Sequence[int], keys: Sequence[str]) -> int:
        """Remove passages by number and by key; those that are not there are passed over. Returns how many went."""
        try:
            with self._transaction():
                gone = sum(self._db.execute("DELETE FROM passages WHERE id = ?", (each,)).rowcount for each in ids)
                gone += sum(self._db.execute("DELETE FROM passages WHERE key = ?", (each,)).rowcount for each in keys)
                if gone:
                    self._removed()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        return gone

    def changes(self) -> Changes | None:
        """What this or another connection changed since the last look; None if nothing."""
        try:
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return None
            self._db.execute("BEGIN")
            try:
                removals = int(self._db.execute("SELECT value FROM facts WHERE name = 'removals'").fetchone()[0])
                whole = removals != self._removals
                found = self._db.execute(
                    "SELECT id, key, passage, metadata, vector FROM passages WHERE id > ? ORDER BY id",
                    (0 if whole else self._last,),
                ).fetchall()
            finally:
                self._db.execute("COMMIT")
            rows = [Row(id, key, passage, json.loads(metadata), vector) for id, key, passage, metadata, vector in found]
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise self._unreadable(error) from error
        self._version, self._removals = version, removals
        self._last = max(self._last, rows[-1].id if rows else 0)
        return Changes(rows, whole) if rows or whole else None

    def look_again(self) -> None:
        """Let the next `changes` see what this connection itself has changed, too."""
        self._version = -1

    def _removed(self) -> None:
        self._db.execute("UPDATE facts SET value = CAST(value AS INTEGER) + 1 WHERE name = 'removals'")

    def _fact(self, name: str, value: str) -> str:
        self._db.execute("INSERT OR IGNORE INTO facts (name, value) VALUES (?, ?)", (name, value))
        return self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()[0]

    def _same(self, name: str, given: str, message: str) -> None:
        kept = self._fact(name, given)
        if kept != given:
            raise IndexMismatch(
                f"{message.format(kept=kept, given=given)} ({self.path}). Use the one it was made with, or embed the "
                "passages into a new file."
            )

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)

    def _unreadable(self, error: Exception) -> IndexUnreadable:
        return IndexUnreadable(f"The index in {self.path} cannot be used: {error}. The file is left as it is.")


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
