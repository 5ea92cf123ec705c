"""How far the conversations of a day have got: the latest in memory, the rest in a table (docs/audit-format.md)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from vrxmpp.audit.database import Database
from vrxmpp.audit.leaf import NONE

MOST = 250_000  # conversation-days in memory, of 200 bytes each

_SLICE = 1_000  # of which are written with one commit: more than a batch can bring
_TABLE = (
    "CREATE TABLE IF NOT EXISTS positions (conversation BLOB PRIMARY KEY, counter INTEGER, last INTEGER) WITHOUT ROWID"
)
_START = 0, NONE

Position = tuple[int, int]
"""How far a conversation-day has got: the counter of its next record, and the index of its last."""


class Positions:
    """Of the conversation-days of one day. ``LedgerError`` where the table cannot be read or written.

    When half of what may be in memory has moved, it becomes the older half, and is written to the table, a slice with
    each commit; the half that was the older before it is forgotten. So the table has all that was before a certain
    record, which is noted beside it, and a day is resumed from there.
    """

    def __init__(self, database: Database, first: int) -> None:
        self.first = first  # index of the first record of the day
        self.count = 0  # conversation-days there are
        self.until = 0  # index of the first record of which the table knows nothing
        self.recent: dict[bytes, Position] = {}
        self._older: dict[bytes, Position] = {}
        self._leaving: list[bytes] = []  # those of the older that are not in the table yet
        self._after_older = (0, 0)  # index and count when the last of them had moved
        self._database = database

    @classmethod
    def resume(cls, database: Database, first: int) -> Positions:
        """Return those of a day that the table knows; the records from ``until`` on are to be added."""
        found = cls(database, first)
        mark = database.value("SELECT value FROM state WHERE name = 'spilled'")
        if mark is not None:
            found.first, found.until, found.count = json.loads(mark)
        return found

    def find(self, id: bytes) -> Position:
        """Return how far a conversation-day has got that is not among the recent ones."""
        older = self._older.get(id)
        if older or not self.until:
            return older or _START
        rows = self._database.rows("SELECT counter, last FROM positions WHERE conversation = ?", id)
        return next(rows, _START)

    def write(self, connection: sqlite3.Connection) -> None:
        """Have a slice in the table with this transaction."""
        if not self._leaving:
            return
        # In order: neighbours share a page, and each page that is touched is written.
        ids = self._leaving[-_SLICE:]
        connection.execute(_TABLE)
        connection.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", [(id, *self._older[id]) for id in ids]
        )
        if len(ids) == len(self._leaving):
            mark = json.dumps([self.first, *self._after_older]).encode()
            connection.execute("INSERT OR REPLACE INTO state VALUES ('spilled', ?)", (mark,))

    def add(self, moved: Mapping[bytes, Position], begun: int, size: int) -> None:
        """Go on: a transaction with ``write`` is on the disk, and the log has this size.

        ``begun`` of those that have moved are new.
        """
        self.recent.update(moved)
        self.count += begun
        if self._leaving:
            del self._leaving[-_SLICE:]
            if not self._leaving:
                self.until, _ = self._after_older
        elif len(self.recent) >= MOST // 2:
            self._older, self.recent = self.recent, {}
            self._leaving = sorted(self._older)
            self._after_older = size, self.count


def drop(connection: sqlite3.Connection) -> None:
    """Have the table emptied with this transaction: the day is over."""
    # Not page by page: of millions that takes a second, and the ids are in the leaves as well.
    connection.execute("PRAGMA secure_delete = OFF")
    try:
        connection.execute("DROP TABLE IF EXISTS positions")
    finally:
        connection.execute("PRAGMA secure_delete = ON")
    connection.execute("DELETE FROM state WHERE name = 'spilled'")
