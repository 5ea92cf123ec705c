"""The file of the log: SQLite in WAL mode, each commit on the disk, one process that writes (docs/audit-format.md)."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from vrxmpp.audit.files import make_directory
from vrxmpp.audit.leaf import KEY_ID_COLUMN, TYPE_COLUMN, Type, literals
from vrxmpp.audit.tree import STORED, leaf_hash, root_of

FILE = "ledger.sqlite"
VERSION = 1

_PATIENCE = 0.5  # seconds for which another process may keep the file locked
_CHECKPOINT = 500  # pages of the write-ahead log, until they are moved into the file
_CLEANING = 0.05  # for which one may keep old pages in use that are to be overwritten
_SLICE = 0.01  # seconds for which payloads are dropped, before others have their turn

_IS_POLICY = f"{TYPE_COLUMN} = {literals([bytes([Type.POLICY])])}"
_SCHEMA = (
    "CREATE TABLE records (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL, payload BLOB)",
    "CREATE TABLE nodes (level INTEGER, position INTEGER, hash BLOB, PRIMARY KEY (level, position)) WITHOUT ROWID",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL)",
    "CREATE TABLE witnessed (sink TEXT PRIMARY KEY, size INTEGER, at INTEGER, note TEXT)",
    "CREATE TABLE runs (run BLOB PRIMARY KEY, committed INTEGER NOT NULL)",
    "CREATE TABLE state (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
    "CREATE TABLE todo (record INTEGER PRIMARY KEY, work TEXT NOT NULL)",
    f"CREATE INDEX policies ON records (idx) WHERE {_IS_POLICY}",
    f"PRAGMA user_version = {VERSION}",
)


class LedgerError(Exception):
    """The archive cannot be opened, read or written: one line says why."""


class Database:
    """The tables of the log. Whatever SQLite refuses is a LedgerError, and leaves everything as it was."""

    def __init__(self, directory: Path) -> None:
        """Open the log for writing. LedgerError if there is none, or another process has it."""
        self._path = directory / FILE
        if not self._path.exists():
            raise LedgerError(f"there is no archive in {directory}")
        self._lock: int | None = _lock(directory)  # None: closed
        self._connection: sqlite3.Connection | None = None
        try:
            if self.value("PRAGMA user_version") != VERSION:
                raise LedgerError(f"{self._path} is no archive that this program knows")
        except LedgerError:
            self.close()
            raise

    @classmethod
    def create(cls, directory: Path, state: dict[str, bytes]) -> None:
        """Make an empty log with this state. LedgerError if there is one, or it cannot be made."""
        try:
            make_directory(directory)
            os.close(os.open(directory / FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            lock = _lock(directory)
        except OSError as error:
            raise LedgerError(f"{error.filename}: {error.strerror}") from None
        try:
            with closing(_connect(directory / FILE)) as connection:
                if connection.execute("PRAGMA user_version").fetchone()[0]:
                    raise LedgerError(f"there is an archive in {directory} already")
                for statement in ("BEGIN", *_SCHEMA):
                    connection.execute(statement)
                connection.executemany("INSERT INTO state VALUES (?, ?)", state.items())
                connection.execute("COMMIT")
            os.fsync(lock)
        except sqlite3.Error as error:
            raise LedgerError(f"{directory / FILE}: {error}") from None
        finally:
            os.close(lock)

    def close(self) -> None:
        """Let others have the file."""
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do something as a whole, and have it on the disk; or change nothing, and raise LedgerError."""
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                raise LedgerError(f"the archive cannot be written: {error}") from None
            raise

    def rows(self, question: str, *values: Any) -> Iterator[Any]:
        """Yield what a SELECT finds."""
        try:
            yield from self._connected().execute(question, values)
        except sqlite3.Error as error:
            raise LedgerError(f"the archive cannot be read: {error}") from None

    def value(self, question: str, *values: Any) -> Any:
        """Return the first column of the first row, or None."""
        return next((row[0] for row in self.rows(question, *values)), None)

    def state(self, name: str) -> bytes:
        """Return something of the state."""
        found: bytes | None = self.value("SELECT value FROM state WHERE name = ?", name)
        if found is None:
            raise LedgerError(f"the archive is damaged: it has no {name}")
        return found

    def newest_policy(self) -> tuple[bytes, bytes | None] | None:
        """Return leaf and payload of the newest record of type 18; None if there is none. It looks at no other."""
        question = f"SELECT leaf, CAST(payload AS BLOB) FROM records INDEXED BY policies WHERE {_IS_POLICY}"
        return next(self.rows(f"{question} ORDER BY idx DESC LIMIT 1"), None)

    def subtree(self, level: int, position: int) -> bytes:
        """Return the hash of a complete subtree: a ``tree.Lookup``, of which no call reads more than 256 rows."""
        above = level % STORED
        base = level - above
        first, last = position << above, (position + 1 << above) - 1
        if base:
            question = "SELECT hash FROM nodes WHERE level = ? AND position BETWEEN ? AND ? ORDER BY position"
            hashes = [row[0] for row in self.rows(question, base, first, last)]
        else:
            question = "SELECT leaf FROM records WHERE idx BETWEEN ? AND ? ORDER BY idx"
            hashes = [leaf_hash(row[0]) for row in self.rows(question, first, last)]
        if len(hashes) != 1 << above:
            raise LedgerError(f"the archive is damaged: of the records from {position << level} on, some are missing")
        return root_of(hashes)

    def drop_payloads(self, spans: Iterator[tuple[int, int]], key_id: bytes) -> bool:
        """Drop what a key has sealed of the next of these records, first and last; return whether some may be left."""
        dropping = "UPDATE records SET payload = NULL WHERE idx BETWEEN ? AND ? AND payload IS NOT NULL"
        until = time.monotonic() + _SLICE
        with self.transaction() as connection:
            for first, last in spans:
                connection.execute(f"{dropping} AND {KEY_ID_COLUMN} = ?", (first, last, key_id))
                if time.monotonic() >= until:
                    return True
        return False

    def clean(self) -> None:
        """Empty the write-ahead log, which still has what was overwritten; later, if somebody is reading."""
        self.value(f"PRAGMA busy_timeout = {int(_CLEANING * 1000)}")
        self.value("PRAGMA wal_checkpoint(TRUNCATE)")
        self.value(f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}")

    def _connected(self) -> sqlite3.Connection:
        if self._lock is None:
            raise LedgerError("the archive is closed")
        if self._connection is None:
            self._connection = _connect(self._path)
        return self._connection

    def _roll_back(self) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()  # a new connection sees what is on the disk, and nothing else

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_PATIENCE, isolation_level=None
    )
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        f"wal_autocheckpoint = {_CHECKPOINT}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _lock(directory: Path) -> int:
    """Return a descriptor that keeps other writers away while it is open."""
    # Not of the file itself: closing any descriptor of that would take SQLite's own locks away.
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise LedgerError(f"another process has the archive in {directory} open for writing") from None
    return lock
