"""The disk level: one SQLite file in WAL mode, shared safely by threads and processes.

Opened at the first use, so that a process without a writable home starts all the same. It never fails a call: when the
file cannot be opened, read or written (no permission, full, corrupt, locked for too long), one warning says so, and the
level answers as if it were empty. A locked file is tried again at the next call; a broken one is left alone until the
process ends, for its owner to look at.

When the stored bytes pass the limit, the entries stored longest ago go first.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..logs import engine_logger

__all__ = ["FILE_NAME", "DiskStatistics", "DiskStore"]

logger = engine_logger("dspex.engine.caching.disk", dspy="dspy.clients")

FILE_NAME = "dspex-cache-v1.sqlite3"
_BUSY = 2.0  # seconds to wait for another process that is writing; a call must not wait longer for its cache
_TRIM_EVERY = 64  # writes between two looks at the size, which reads a sum
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL,
    size INTEGER NOT NULL,
    stored REAL NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class DiskStatistics:
    """Counts since the store was made."""

    hits: int
    misses: int
    writes: int
    failures: int
    """Reads and writes that the file refused."""
    usable: bool


class DiskStore:
    """Texts by key in a SQLite file. Safe to call from any thread; after a fork the child opens its own connection."""

    def __init__(self, directory: str | None, *, size_limit: int | None) -> None:
        """Describe the store. Nothing is opened or created yet.

        Args:
            directory: where the file is, made when missing; None means the current directory.
            size_limit: bytes of values to keep, None for no limit.
        """
        self.path = os.path.join(directory or ".", FILE_NAME)
        self.size_limit = size_limit
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._broken = False
        self._warned = False
        self._hits = 0
        self._misses = 0
        self._writes = 0
        self._failures = 0

    def __del__(self) -> None:
        # A cache that is dropped, or replaced by `configure_cache`, takes its open file along.
        if getattr(self, "_connection", None) is not None:
            self.close()

    def get(self, key: str) -> str | None:
        """The text under `key`, or None."""
        with self._lock:
            connection = self._open()
            if connection is None:
                return None
            try:
                row = connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error as error:
                self._refused(error)
                return None
            if row is None or not isinstance(row[0], str):
                self._misses += 1
                return None
            self._hits += 1
            return row[0]

    def put(self, entries: Sequence[tuple[str, str]]) -> None:
        """Store texts, all in one transaction."""
        with self._lock:
            connection = self._open()
            if connection is None:
                return
            now = time.time()
            rows = [(key, text, len(text.encode("utf-8", "surrogatepass")), now) for key, text in entries]
            try:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(
                        "INSERT OR REPLACE INTO entries (key, value, size, stored) VALUES (?, ?, ?, ?)", rows
                    )
                before, self._writes = self._writes, self._writes + len(rows)
                if self.size_limit is not None and before // _TRIM_EVERY != self._writes // _TRIM_EVERY:
                    self._trim(connection, self.size_limit)
            except (sqlite3.Error, UnicodeError) as error:
                self._refused(error)

    def delete(self, key: str) -> None:
        """Forget `key`, if it is there."""
        with self._lock:
            connection = self._open()
            if connection is not None:
                try:
                    with connection:
                        connection.execute("DELETE FROM entries WHERE key = ?", (key,))
                except sqlite3.Error as error:
                    self._refused(error)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            connection = self._open()
            if connection is not None:
                try:
                    with connection:
                        connection.execute("DELETE FROM entries")
                except sqlite3.Error as error:
                    self._refused(error)

    def __contains__(self, key: str) -> bool:
        with self._lock:
            connection = self._open()
            if connection is None:
                return False
            try:
                return connection.execute("SELECT 1 FROM entries WHERE key = ?", (key,)).fetchone() is not None
            except sqlite3.Error as error:
                self._refused(error)
                return False

    def __len__(self) -> int:
        with self._lock:
            connection = self._open()
            if connection is None:
                return 0
            try:
                return int(connection.execute("SELECT COUNT(*) FROM entries").fetchone()[0])
            except sqlite3.Error as error:
                self._refused(error)
                return 0

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._pid == os.getpid():
                with suppress(sqlite3.Error):
                    connection.close()

    def statistics(self) -> DiskStatistics:
        """Counts since the store was made."""
        return DiskStatistics(self._hits, self._misses, self._writes, self._failures, not self._broken)

    def _open(self) -> sqlite3.Connection | None:
        if self._broken:
            return None
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        # A connection made before a fork is the parent's: using or closing it here could corrupt the file.
        self._connection, self._pid = None, os.getpid()
        deadline = time.monotonic() + _BUSY
        while True:
            try:
                self._connection = self._connected()
                return self._connection
            except (sqlite3.Error, OSError, ValueError) as error:
                # SQLite does not wait by itself for another process that is making the same file.
                if not _is_locked(error) or time.monotonic() > deadline:
                    self._refused(error)
                    return None
                time.sleep(0.01)

    def _connected(self) -> sqlite3.Connection:
        os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
        # Created by us, so that prompts are not readable by others whatever the umask.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        return connection

    def _trim(self, connection: sqlite3.Connection, limit: int) -> None:
        total = int(connection.execute("SELECT COALESCE(SUM(size), 0) FROM entries").fetchone()[0])
        if total <= limit:
            return
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            doomed: list[tuple[int]] = []
            for row_id, size in connection.execute("SELECT id, size FROM entries ORDER BY id"):
                if total <= limit:
                    break
                doomed.append((row_id,))
                total -= size
            connection.executemany("DELETE FROM entries WHERE id = ?", doomed)

    def _refused(self, error: Exception) -> None:
        self._failures += 1
        locked = _is_locked(error)
        if not locked:
            self._broken = True
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
        if not self._warned:
            self._warned = True
            logger.warning(
                "The disk cache at %s cannot be used (%s: %s); %s. Answers are cached in memory meanwhile.",
                self.path,
                type(error).__name__,
                error,
                "another process holds it, and it is tried again" if locked else "it is left alone from now on",
            )


def _is_locked(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, sqlite3.OperationalError) and ("locked" in text or "busy" in text)
