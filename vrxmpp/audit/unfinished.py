"""What is recorded and not yet done: keys to destroy, payloads to drop (docs/audit-format.md, The database)."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator
from datetime import date
from typing import Any, NamedTuple

from vrxmpp.audit.database import Database, LedgerError
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.seal import SealError

Span = tuple[int, int]
"""The first and the last of some records."""

_WIDTH = 64  # records whose payloads are dropped with one statement
_LEAVING = "leaving"  # in the table of state: the officers who are removed, and may still have keys


class Unfinished:
    """The work that the log has recorded. All of it can be done twice. Raises LedgerError.

    Keys are destroyed at once. What may be much is done in steps, so that whoever else wants something of the log need
    not wait: dropping payloads, which nothing opens any more, and taking all days from an officer who was removed.
    """

    def __init__(self, database: Database, keys: KeyStore) -> None:
        self._database, self._keys = database, keys
        self._settled = -1  # up to this record, no erasure has keys to destroy
        self._begun: _Begun | None = None
        self._withdrawal: _Withdrawal | None = None

    def settle(self) -> None:
        """Destroy the keys of each erasure that is recorded."""
        question = "SELECT record, work FROM todo WHERE record > ? ORDER BY record"
        for record, text in list(self._database.rows(question, self._settled)):
            work = _Work.read(record, text)
            if work.keys is not None:
                self._replace_keys(record, *work.keys)
                with self._database.transaction() as connection:
                    left = work._replace(keys=None).text()
                    connection.execute("UPDATE todo SET work = ? WHERE record = ?", (left, record))
            self._settled = record

    def leaving(self) -> frozenset[str]:
        """Return the officers who are removed, and may still have keys."""
        names = self._database.value("SELECT value FROM state WHERE name = ?", _LEAVING)
        return frozenset(json.loads(names or "[]"))

    def step(self) -> bool:
        """Do some of what is left, for a few hundredths of a second; return whether there is more."""
        self.settle()
        names = self.leaving()
        if names:
            self._withdraw(names)
            return True
        return self._drop()

    def _drop(self) -> bool:
        begun, self._begun = self._begun or self._begin(), None  # after a failure it begins anew
        if begun is None:
            return False
        if self._database.drop_payloads(begun.spans, begun.key_id):
            self._begun = begun
            return True
        is_last = self._database.value("SELECT COUNT(*) FROM todo") == 1
        if is_last:
            self._database.clean()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM todo WHERE record = ?", (begun.record,))
        return not is_last

    def _begin(self) -> _Begun | None:
        for record, text in self._database.rows("SELECT record, work FROM todo ORDER BY record LIMIT 1"):
            work = _Work.read(record, text)
            return _Begun(record, bytes.fromhex(work.key_id), _narrow(work.removed))
        return None

    def _replace_keys(self, record: int, class_name: str, day: date, content: bytes | None) -> None:
        try:
            if content is None:
                self._keys.destroy(class_name, day)
            else:
                self._keys.replace(class_name, day, content)
        except SealError as error:
            raise LedgerError(f"record {record} is of an erasure that could not be finished: {error}") from None

    def _withdraw(self, names: frozenset[str]) -> None:
        begun, self._withdrawal = self._withdrawal, None  # after a failure it begins anew
        try:
            if begun is None or begun.names != names:
                begun = _Withdrawal(names, iter(self._keys.list()))
            if self._keys.withdraw(names, begun.days):
                self._withdrawal = begun
                return
        except SealError as error:
            who = " and ".join(sorted(names))
            raise LedgerError(f"{who} was removed, and could not be taken from all keys: {error}") from None
        with self._database.transaction() as connection:
            note_leaving(connection, frozenset())


def note_erasure(
    connection: sqlite3.Connection, record: int, keys: tuple[str, date, bytes | None], key_id: str, removed: list[Span]
) -> None:
    """Have an erasure done that is recorded with this transaction: these keys, and what they have sealed of these."""
    connection.execute("INSERT INTO todo VALUES (?, ?)", (record, _Work(keys, key_id, removed).text()))


def note_leaving(connection: sqlite3.Connection, names: Collection[str]) -> None:
    """Have all days taken from these officers, who are removed with this transaction, or were, and from no others."""
    connection.execute("DELETE FROM state WHERE name = ?", (_LEAVING,))
    if names:
        connection.execute("INSERT INTO state VALUES (?, ?)", (_LEAVING, json.dumps(sorted(names)).encode()))


class _Withdrawal(NamedTuple):
    """Officers who are being taken from all days, and which of these are left."""

    names: frozenset[str]
    days: Iterator[tuple[str, date]]


class _Begun(NamedTuple):
    """An erasure whose payloads are being dropped, and which are left."""

    record: int
    key_id: bytes
    spans: Iterator[Span]


class _Work(NamedTuple):
    """What an erasure has to do."""

    keys: tuple[str, date, bytes | None] | None  # class, day, and the new file, or none; None: this is done
    key_id: str
    removed: list[Span]

    def text(self) -> str:
        """Return what is stored."""
        work: dict[str, Any] = {"key_id": self.key_id, "removed": self.removed}
        if self.keys is not None:
            class_name, day, content = self.keys
            text = None if content is None else b64encode(content).decode()
            work |= {"class": class_name, "day": day.isoformat(), "content": text}
        return json.dumps(work)

    @classmethod
    def read(cls, record: int, text: str) -> _Work:
        """Read what was stored."""
        try:
            work = json.loads(text)
            keys = None
            if "class" in work:
                content = None if work["content"] is None else b64decode(work["content"])
                keys = work["class"], date.fromisoformat(work["day"]), content
            return cls(keys, work["key_id"], work["removed"])
        except (KeyError, TypeError, ValueError):
            what = f"what is left to do of record {record} cannot be read"
            raise LedgerError(f"the archive is damaged: {what}") from None


def _narrow(removed: list[Span]) -> Iterator[Span]:
    for first, last in removed:
        for start in range(first, last + 1, _WIDTH):
            yield start, min(start + _WIDTH - 1, last)
