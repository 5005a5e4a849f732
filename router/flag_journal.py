"""The audit trail on disk: who changed which flag when, in the same SQLite file as the comparisons, readable after a restart.

    for change in flag_history("shadow.sqlite"):
        print(change)                            # 2026-05-01T09:30:00+00:00  ops  native_percent={'qa': 10}

Every source is in it by its name: "code" or whoever ``set`` was told, "environment", "file flags.toml",
"OpenFeature <domain>", "automatic rollback: <why>"; and "start", with the flags that a store began with.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import anyio
import anyio.to_thread

from ..runtime import Actor, Reason
from .flags import FlagChange, FlagStore
from .journal import JournalUnreadable, connect

_SCHEMA = """
CREATE TABLE IF NOT EXISTS flag_changes (
    store TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, who TEXT NOT NULL, before TEXT NOT NULL,
    changes TEXT NOT NULL, PRIMARY KEY (store, number)
);
"""
_Row = tuple[str, int, float, str, str, str]


@final
class FlagJournal(Actor):
    """Writes each change of a store, once, however often it is restarted. ``init`` raises JournalUnreadable for a file that
    is none.

    What could not be written (disk full) is tried again with the next change and at the end, and is an event
    (see ``journal``).
    """

    trap_exit = True  # so that `terminate` writes the rest

    def __init__(self, path: str | os.PathLike[str], flags: FlagStore) -> None:
        self._path = Path(path)
        self._flags = flags
        self._written = -1

    async def init(self) -> None:
        """Write what has happened already, and hear of what comes."""
        self._file = anyio.Lock()
        try:
            await self._write_new()
        except (sqlite3.Error, OSError) as error:
            raise JournalUnreadable(self._path, error) from error
        me = self.ref
        unsubscribe = self._flags.subscribe(lambda _: me.cast(FlagJournal.changed) if me.alive else unsubscribe())

    def changed(self) -> None:
        """Write what is new, soon."""
        self.task(self._try)

    async def _write_new(self) -> None:
        async with self._file:
            rows = [row for row in _rows(self._flags) if row[1] > self._written]
            if rows:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(_write, self._path, rows)
                self._written = rows[-1][1]

    async def _try(self) -> None:
        try:
            await self._write_new()
        except (sqlite3.Error, OSError) as error:
            waiting = self._flags.changed_times - self._written
            self.rt.events.emit(
                "router.journal.failed",
                path=str(self._path),
                error=f"{type(error).__name__}: {error}",
                waiting=waiting,
            )

    async def written(self) -> int:
        """Write what waits; returns the number of the last change written: 0 is the store's beginning."""
        await self._try()
        return self._written

    async def terminate(self, reason: Reason) -> None:
        """Write the rest."""
        await self._try()

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        return f"{self._written} changes"


def _rows(flags: FlagStore) -> list[_Row]:
    first: _Row = (flags.id, 0, flags.made_at, "start", "{}", json.dumps(flags.initial.to_dict()))
    return [first, *(_row(flags.id, change) for change in flags.history)]


def _row(store: str, change: FlagChange) -> _Row:
    before, after = change.before.to_dict(), change.after.to_dict()
    names = list(change.changes)
    return (
        store,
        change.number,
        change.at,
        change.by,
        json.dumps({name: before[name] for name in names}),
        json.dumps({name: after[name] for name in names}),
    )


def _write(path: Path, rows: Sequence[_Row]) -> None:
    with closing(connect(path)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT OR IGNORE INTO flag_changes VALUES (?, ?, ?, ?, ?, ?)", rows)


@final
@dataclass(frozen=True, slots=True)
class RecordedChange:
    """One line of the audit trail as it was written: flags by their names, as JSON has them."""

    at: float
    """In seconds since the epoch."""
    by: str
    changes: Mapping[str, Any]
    """The flags that changed, with their new values; for "start", all of them."""
    before: Mapping[str, Any]
    """The values they had."""

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")
        return f"{when}  {self.by}  " + ", ".join(f"{name}={value!r}" for name, value in self.changes.items())


def flag_history(path: str | os.PathLike[str], *, since: float = 0.0) -> tuple[RecordedChange, ...]:
    """Read the audit trail, oldest first. ``since``: seconds since the epoch. Blocks while it reads.

    Raises JournalUnreadable.
    """
    file = Path(path)
    if not file.is_file():
        raise JournalUnreadable(file, "no such file")
    try:
        with closing(connect(file)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'flag_changes'").fetchone():
                return ()  # of comparisons alone
            rows = connection.execute(
                "SELECT at, who, changes, before FROM flag_changes WHERE at >= ? ORDER BY at, rowid", (since,)
            ).fetchall()
    except sqlite3.Error as error:
        raise JournalUnreadable(file, error) from error
    return tuple(RecordedChange(at, who, json.loads(changes), json.loads(before)) for at, who, changes, before in rows)
