"""The records as they lie on the disk, for reading only, beside whoever writes them (docs/audit-format.md)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from vrxmpp.audit.database import FILE
from vrxmpp.audit.leaf import CONVERSATION_COLUMN, KEY_ID_COLUMN, TYPE_COLUMN, Leaf, literals
from vrxmpp.audit.tree import STORED, inclusion_proof, leaf_hash, root_at, root_of

DAY = 86_400_000_000  # microseconds

_EPOCH = date(1970, 1, 1)
_LARGEST = 2**63 - 1  # integer of SQLite

_SLICE = 4096  # records read at a time: no transaction stays open while somebody looks at what was found
_BLOCK = 1 << STORED
_BLOCKS = 256  # of which the hashes are at hand
_PATIENCE = 10  # seconds for which the file may be locked

Row = tuple[int, bytes, bytes | None]
"""Index, leaf, payload."""


class RecordsError(Exception):
    """The archive cannot be read: one line says why."""


def midnight(time: int) -> int:
    """Return when the day of a time began; both in microseconds since 1970, UTC."""
    return time - time % DAY


class Records:
    """The tables of the log. Raises RecordsError."""

    def __init__(self, audit: Path) -> None:
        path = audit / FILE
        try:
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None
            )
        except sqlite3.Error as error:
            raise RecordsError(f"{path}: {error}") from None
        self._path = path
        self._block = lru_cache(_BLOCKS)(self._read_block)
        self._node = lru_cache(_BLOCKS * _BLOCK)(self._read_node)

    def close(self) -> None:
        """Read no more."""
        self._connection.close()

    @property
    def size(self) -> int:
        """How many records there are."""
        size: int = self._value("SELECT COALESCE(MAX(idx) + 1, 0) FROM records")
        return size

    @property
    def origin(self) -> str:
        """The name of the log."""
        return str(self._value("SELECT value FROM state WHERE name = 'origin'"), "utf-8")

    def leaf(self, index: int) -> Leaf:
        """Return a leaf. RecordsError if there is none."""
        return Leaf.unpack(self.row(index)[1])

    def row(self, index: int) -> Row:
        """Return a record. RecordsError if there is none."""
        rows = self._rows("SELECT idx, leaf, payload FROM records WHERE idx = ?", min(index, _LARGEST))
        row: Row | None = next(rows, None)
        if row is None:
            raise RecordsError(f"there is no record {index}")
        return row

    def place(self, time: int) -> int:
        """Return the index of the first record that is not before a time; the size if there is none."""
        low, high = 0, self.size
        while low < high:
            middle = (low + high) // 2
            if self.leaf(middle).time < time:
                low = middle + 1
            else:
                high = middle
        return low

    def scan(
        self,
        first: int,
        end: int,
        *,
        types: Collection[int] = (),
        key_id: bytes = b"",
        conversations: Collection[bytes] | None = None,
    ) -> Iterator[Row]:
        """Yield the records from ``first`` to before ``end`` in order: of these types, key, conversation-days."""
        wanted = ["idx >= ?", "idx < ?"]
        if types:
            wanted.append(f"{TYPE_COLUMN} IN ({literals(bytes([type]) for type in types)})")
        if key_id:
            wanted.append(f"{KEY_ID_COLUMN} = {literals([key_id])}")
        if conversations is not None:
            wanted.append(f"{CONVERSATION_COLUMN} IN ({literals(conversations)})")
        yield from self._slices(f"SELECT idx, leaf, payload FROM records WHERE {' AND '.join(wanted)}", first, end)

    def readable(self, first: int, end: int, key_id: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield index and conversation-day id of the records of this key that still have a payload."""
        wanted = f"idx >= ? AND idx < ? AND payload IS NOT NULL AND {KEY_ID_COLUMN} = {literals([key_id])}"
        yield from self._slices(f"SELECT idx, {CONVERSATION_COLUMN} FROM records WHERE {wanted}", first, end)

    def count(self, first: int, end: int, types: Collection[int]) -> int:
        """Return how many records from ``first`` to before ``end`` are of these types."""
        wanted = f"{TYPE_COLUMN} IN ({literals(bytes([type]) for type in types)})"
        found: int = self._value(f"SELECT COUNT(*) FROM records WHERE idx >= ? AND idx < ? AND {wanted}", first, end)
        return found

    def _slices(self, question: str, first: int, end: int) -> Iterator[Any]:
        for start in range(first, end, _SLICE):
            yield from self._rows(f"{question} ORDER BY idx", start, min(start + _SLICE, end))

    def day(self, day: date) -> tuple[int, int]:
        """Return the indices of a day (UTC): the first, and that after the last."""
        start = (day - _EPOCH).days * DAY
        return self.place(start), self.place(start + DAY)

    def root(self, size: int) -> bytes:
        """Return the root of the tree when it had this size."""
        return root_at(size, self._subtree)

    def proof(self, index: int, size: int) -> list[bytes]:
        """Return the inclusion proof of a record in the tree of this size. ValueError if it has none."""
        return inclusion_proof(index, size, self._subtree)

    def newest_note(self) -> tuple[int, str] | None:
        """Return the newest signed note, and the size it is about."""
        return next(self._rows("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1"), None)

    def cosigned(self) -> list[str]:
        """Return the notes that outside sinks have last taken."""
        return [note for (note,) in self._rows("SELECT note FROM witnessed WHERE note != '' ORDER BY sink")]

    def todo(self) -> list[int]:
        """Return the records of erasures that are not yet done."""
        return [record for (record,) in self._rows("SELECT record FROM todo ORDER BY record")]

    def _subtree(self, level: int, position: int) -> bytes:
        """Return the hash of a complete subtree: a ``tree.Lookup``."""
        if level < STORED:
            block, first = divmod(position << level, _BLOCK)
            return root_of(self._block(block)[first : first + (1 << level)])
        above = level % STORED
        first = position << above
        return root_of(self._node(level - above, each) for each in range(first, first + (1 << above)))

    def _read_block(self, number: int) -> list[bytes]:
        first = number * _BLOCK
        question = "SELECT leaf FROM records WHERE idx >= ? AND idx < ? ORDER BY idx"
        return [leaf_hash(leaf) for (leaf,) in self._rows(question, first, first + _BLOCK)]

    def _read_node(self, level: int, position: int) -> bytes:
        hash = self._value("SELECT hash FROM nodes WHERE level = ? AND position = ?", level, position)
        if hash is None:
            raise RecordsError(f"the archive is damaged: node {position} of level {level} is missing")
        return bytes(hash)

    def _value(self, question: str, *values: Any) -> Any:
        return next((row[0] for row in self._rows(question, *values)), None)

    def _rows(self, question: str, *values: Any) -> Iterator[Any]:
        try:
            yield from self._connection.execute(question, values)
        except sqlite3.Error as error:
            raise RecordsError(f"{self._path} cannot be read: {error}") from None
