"""The journal of a job: one SQLite file that holds every finished LM call, so that a killed job never repeats one.

A call is finished when its answer is on the disk (write-ahead log, synchronous FULL): only then does the program get it. So
kill -9 and a power failure lose at most calls that were in hand. Answers that come together are written together.

The file names what job it is of (`identity.py`). Another job, another version, a damaged file, a second process: each is a
typed error, and the file is left as it is. It holds answers, counts and trials; no request, no key, no header.

    JournalError
    ├── JournalMismatch      it is of another job: `.differences` says how
    ├── JournalBusy          another process, or another job of this one, has it open
    └── JournalUnreadable    it is damaged, is something else, or cannot be opened or written
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import anyio
import anyio.to_thread

from ...failure import EngineError
from .budget import Spent
from .identity import differences
from .progress import TrialRecord

__all__ = [
    "Journal",
    "JournalBusy",
    "JournalError",
    "JournalMismatch",
    "JournalReport",
    "JournalUnreadable",
    "journal_report",
]

FORMAT: Final = 1
_APPLICATION: Final = 0x64735A4A  # "dsZJ": what SQLite's own header calls the owner of the file
_PATIENCE: Final = 0.2
"""Seconds to wait for who only looks into a file. Who works on it keeps it to the end."""
_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE calls (
    key BLOB PRIMARY KEY, answer TEXT NOT NULL, requests INTEGER NOT NULL, tokens INTEGER, cost REAL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE trials (number INTEGER PRIMARY KEY, record TEXT NOT NULL, state TEXT);
"""


class JournalError(EngineError):
    """Something is wrong with a journal. `path` is its file."""

    default_code = "journal"

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class JournalMismatch(JournalError):
    """The journal is of another job. `differences` says in which parts, a line each. The file is untouched."""

    default_code = "journal_mismatch"

    def __init__(self, path: Path, found: Sequence[str]) -> None:
        lines = "".join(f"\n  {line}" for line in found)
        super().__init__(
            f"{path} is the journal of another job, and this one cannot go on from it:{lines}\n"
            "Start the job as it was, or name another file.",
            path,
        )
        self.differences = tuple(found)


class JournalBusy(JournalError):
    """Somebody else has the journal open."""

    default_code = "journal_busy"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is in use by another job: wait until it has ended, or name another file.", path)


class JournalUnreadable(JournalError):
    """The file is damaged, is something else, or cannot be opened or written."""

    default_code = "journal_unreadable"

    def __init__(self, path: Path, why: object, *, remedy: str = "name another file") -> None:
        super().__init__(f"{path} cannot be used as the journal of a job ({why}): {remedy}.", path)


@dataclass(frozen=True, slots=True)
class KeptCall:
    """One finished call, to be written."""

    key: bytes
    answer: str
    requests: int
    tokens: int | None
    cost: float | None
    at: float
    """Seconds of the job's time, all runs together."""


def call_key(place: str, request: str, occurrence: int) -> bytes:
    """What a call is filed under: where it was made, what was asked, and how often that was asked there before."""
    return sha256(f"{place}\n{request}\n{occurrence}".encode()).digest()


class Journal:
    """An open journal. For one event loop; `aclose` it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, keys: set[bytes], spent: Spent) -> None:
        self.path = path
        self.spent: Final = spent
        """In earlier runs."""
        self._connection = connection
        self._keys = keys
        self._file = anyio.Lock()
        self._thread = anyio.CapacityLimiter(1)
        self._calls: list[KeptCall] = []
        self._trials: list[tuple[TrialRecord, str | None]] = []
        self._failed: JournalUnreadable | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: str | os.PathLike[str], identity: Mapping[str, object]) -> Self:
        """Open the journal of the job that `identity` describes, or begin one.

        Raises JournalMismatch, JournalBusy, JournalUnreadable. Nothing is written in any of these cases. Cancelled: it
        is closed again.
        """
        file = Path(path)
        with anyio.CancelScope(shield=True):  # a file that is opened must not be lost
            return cls(file, *await anyio.to_thread.run_sync(_open, file, identity))
        raise AssertionError("a shielded block is not cancelled")

    def has(self, key: bytes) -> bool:
        """Whether this call is finished."""
        return key in self._keys

    @property
    def calls(self) -> int:
        """How many are finished."""
        return len(self._keys)

    async def answer(self, key: bytes) -> str:
        """The answer of a finished call. Raises JournalUnreadable."""
        async with self._file:
            return await self._run(partial(_answer, self._connection, key))

    async def keep(self, call: KeptCall) -> None:
        """Return when the call is on the disk, with all that came meanwhile. Not interrupted by cancellation.

        Raises JournalUnreadable: it could not be written, nor can anything after it.
        """
        self._calls.append(call)
        await self.write()
        self._keys.add(call.key)

    def trial(self, record: TrialRecord, state: str | None = None) -> None:
        """Note how a trial stands; written with the next call. `state`: its program's, as JSON."""
        self._trials.append((record, state))

    async def write(self) -> None:
        """Write what waits. Raises JournalUnreadable."""
        with anyio.CancelScope(shield=True):
            async with self._file:
                if self._failed is not None:
                    raise self._failed
                if not self._calls and not self._trials:
                    return
                calls, self._calls = self._calls, []
                trials, self._trials = self._trials, []
                try:
                    await self._run(partial(_write, self._connection, calls, trials))
                except JournalUnreadable as error:
                    self._failed = error
                    raise

    async def aclose(self) -> None:
        """Write what waits and close the file. What cannot be written any more is not raised here."""
        if self._closed:
            return
        self._closed = True
        with anyio.CancelScope(shield=True):
            try:
                await self.write()
            except JournalUnreadable:
                pass  # raised already at the call that met it
            finally:
                async with self._file:
                    await anyio.to_thread.run_sync(self._connection.close, limiter=self._thread)

    async def _run(self, work: Any) -> Any:
        # Shielded: cancelling does not stop a thread, and the lock must not be given away while one works.
        try:
            with anyio.CancelScope(shield=True):
                return await anyio.to_thread.run_sync(work, limiter=self._thread)
        except sqlite3.Error as error:
            remedy = "when the disk is as it should be (is there room?), the same job goes on from what is written"
            raise JournalUnreadable(self.path, error, remedy=remedy) from error


def _write(
    connection: sqlite3.Connection, calls: Sequence[KeptCall], trials: Sequence[tuple[TrialRecord, str | None]]
) -> None:
    connection.execute("BEGIN")
    try:
        connection.executemany(
            "INSERT OR IGNORE INTO calls (key, answer, requests, tokens, cost, at) VALUES (?, ?, ?, ?, ?, ?)",
            [(call.key, call.answer, call.requests, call.tokens, call.cost, call.at) for call in calls],
        )
        connection.executemany(
            "INSERT INTO trials (number, record, state) VALUES (?, ?, ?) ON CONFLICT (number) DO UPDATE SET "
            "record = excluded.record, state = coalesce(excluded.state, state)",
            [(record.number, json.dumps(asdict(record)), state) for record, state in trials],
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _answer(connection: sqlite3.Connection, key: bytes) -> str:
    row = connection.execute("SELECT answer FROM calls WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise sqlite3.DatabaseError("a call that was there is gone")
    return row[0]


def _open(path: Path, identity: Mapping[str, object]) -> tuple[sqlite3.Connection, set[bytes], Spent]:
    if path.exists() and path.stat().st_size > 0:
        _check(path, identity)  # read only, so that a file of somebody else's is not even begun to be changed
    connection = _connected(path)
    try:
        # Held until it is closed, whatever way this process ends.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN EXCLUSIVE")
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            _begin(connection, identity)
        connection.execute("COMMIT")
        _same(path, _identity(connection, path), identity)  # it may have been begun meanwhile
        keys = {row[0] for row in connection.execute("SELECT key FROM calls")}
        return connection, keys, _spent(connection)
    except sqlite3.Error as error:
        connection.close()
        raise _refusal(path, error) from error
    except BaseException:
        connection.close()
        raise


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise JournalUnreadable(path, error) from error


def _begin(connection: sqlite3.Connection, identity: Mapping[str, object]) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
    connection.execute("INSERT INTO meta VALUES ('identity', ?)", (json.dumps(dict(identity)),))


def _check(path: Path, identity: Mapping[str, object]) -> None:
    with closing(_reading(path)) as connection:
        try:
            kept = _identity(connection, path)
            damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise _refusal(path, error) from error
        if damage != "ok":
            raise JournalUnreadable(path, f"it is damaged: {damage}")
    _same(path, kept, identity)


def _reading(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            f"file:{quote(os.fspath(path.absolute()))}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None
        )
    except sqlite3.Error as error:
        raise JournalUnreadable(path, error) from error


def _identity(connection: sqlite3.Connection, path: Path) -> dict[str, object]:
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise JournalUnreadable(path, "it is a database of something else")
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if meta.get("format") != str(FORMAT):
        raise JournalMismatch(path, [f"format of the journal: was {meta.get('format')}, is {FORMAT}"])
    try:
        return dict(json.loads(meta["identity"]))
    except (KeyError, ValueError, TypeError) as error:
        raise JournalUnreadable(path, f"it does not say what job it is of: {error!r}") from error


def _same(path: Path, kept: Mapping[str, object], identity: Mapping[str, object]) -> None:
    found = differences(kept, json.loads(json.dumps(dict(identity))))
    if found:
        raise JournalMismatch(path, found)


def _spent(connection: sqlite3.Connection) -> Spent:
    calls, tokens, cost, seconds = connection.execute(
        "SELECT coalesce(sum(requests), 0), coalesce(sum(tokens), 0), coalesce(sum(cost), 0.0), coalesce(max(at), 0.0) "
        "FROM calls"
    ).fetchone()
    return Spent(calls, tokens, cost, seconds)


def _refusal(path: Path, error: sqlite3.Error) -> JournalError:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return JournalBusy(path)
    return JournalUnreadable(path, error)


@dataclass(frozen=True, slots=True)
class JournalReport:
    """What a journal holds, for who looks at it while no job has it open."""

    path: Path
    identity: Mapping[str, object]
    spent: Spent
    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    state: Mapping[str, Any] | None
    """The best program's, as `program.dump_state()` gives it and `program.load_state` takes it."""


def journal_report(path: str | os.PathLike[str]) -> JournalReport:
    """Read a journal. Blocks while it reads; changes nothing.

    Raises JournalBusy while a job has it open, JournalUnreadable, JournalMismatch for another format.
    """
    file = Path(path)
    if not file.is_file():
        raise JournalUnreadable(file, "there is no such file")
    with closing(_reading(file)) as connection:
        try:
            identity = _identity(connection, file)
            spent = _spent(connection)
            rows = connection.execute("SELECT record, state FROM trials ORDER BY number").fetchall()
        except sqlite3.Error as error:
            raise _refusal(file, error) from error
    trials: list[TrialRecord] = []
    best: TrialRecord | None = None
    state: str | None = None
    for text, kept in rows:
        record = TrialRecord(**json.loads(text))
        trials.append(record)
        if record.counts_more_than(best):
            best, state = record, kept
    return JournalReport(file, identity, spent, tuple(trials), best, None if state is None else json.loads(state))
