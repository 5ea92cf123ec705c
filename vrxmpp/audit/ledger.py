"""The log itself: what is appended is sealed, hashed into the tree and on the disk, or it is not there at all."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from vrxmpp.audit.database import Database, LedgerError
from vrxmpp.audit.days import Batch, Clock, Day, Reading, check_entries, day_of
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.keys import DayKeys, KeyStore
from vrxmpp.audit.leaf import KEY_ID_COLUMN, Leaf, Type
from vrxmpp.audit.lines import json_line
from vrxmpp.audit.policy import Json, Policy, PolicyError
from vrxmpp.audit.positions import Positions, drop
from vrxmpp.audit.seal import SALT_BYTES, SealError
from vrxmpp.audit.sealed_policy import hash_policy, open_policy, seal_policy
from vrxmpp.audit.tree import Frontier, consistency_proof, inclusion_proof, root_at
from vrxmpp.audit.unfinished import Span, Unfinished, note_erasure, note_leaving

__all__ = ["Ledger", "LedgerError", "Witnessed"]

_HOUR = 3_600_000_000


class Witnessed(NamedTuple):
    """What an outside sink has last taken."""

    sink: str
    size: int
    at: int  # microseconds since 1970, UTC
    note: str


class _Next(NamedTuple):
    """What the log becomes with the next commit."""

    reading: Reading
    day: Day
    batch: Batch
    first: int  # place of the first entry that was asked for


def _wall() -> int:
    return time.time_ns() // 1000


def _passed() -> int:
    return time.monotonic_ns() // 1000


class Ledger:
    """The log, open for writing in this one process.

    Everything here raises LedgerError, and then nothing has changed, in the log or in here; but what is recorded of
    keys that are to go stays so, and is tried again before any more go.
    """

    def __init__(
        self, database: Database, keys: KeyStore, root: bytes, now: Callable[[], int], monotonic: Callable[[], int]
    ) -> None:
        self._database, self._keys, self._root_key = database, keys, root
        self.origin = database.state("origin").decode()
        self.policy = self._read_policy()
        last = next(self._newest_leaves(), None)
        self._frontier = Frontier.of(0 if last is None else last.number + 1, database.subtree)
        self._clock = Clock(now, monotonic, 0 if last is None else last.time)
        self._day = Day.resume(self._newest_leaves(), database, self._day_keys)
        self._open_since: date | None = None  # the root key opens no day before this
        self.alarm: Callable[[str], None] = lambda text: None  # is told, in one line, what somebody should look at
        self._unfinished = Unfinished(database, keys)
        self._unfinished.settle()

    @classmethod
    def create(cls, directory: Path, root: bytes, origin: str, policy: Policy) -> None:
        """Make an empty log; its policy is recorded with the first change. LedgerError if there is one."""
        Database.create(directory, {"origin": origin.encode(), **seal_policy(policy, root)})

    @classmethod
    def open(
        cls,
        directory: Path,
        keys: KeyStore,
        root: bytes,
        *,
        now: Callable[[], int] = _wall,
        monotonic: Callable[[], int] = _passed,
    ) -> Ledger:
        """Open the log of a directory; of what a crash has interrupted, destroy the keys: ``step`` does the rest.

        ``now`` is microseconds since 1970 (UTC), ``monotonic`` microseconds since whenever.
        """
        database = Database(directory)
        try:
            return cls(database, keys, root, now, monotonic)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Let another process have it."""
        self._database.close()

    @property
    def size(self) -> int:
        """How many records there are."""
        return self._frontier.size

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree, now or when it had another size."""
        if size is None or size == self.size:
            return self._frontier.root()
        self._check_size(size)
        return root_at(size, self._database.subtree)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the tree of size ``new`` grew out of that of size ``old``."""
        self._check_size(new)
        return _possible(consistency_proof, old, new, self._database.subtree)

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Return the proof that a record is in the tree of this size."""
        self._check_size(size)
        return _possible(inclusion_proof, index, size, self._database.subtree)

    # Writing

    def append(self, entries: Sequence[Entry], *, run: bytes = b"", last: int = 0) -> int:
        """Record entries, in one commit; return the place of the first. They are on the disk when this returns.

        ``last`` is the number of the last of them in this run of the server. Without entries, only what is due is
        recorded: that a day is over, or that the clock has jumped.
        """

        def note_run(connection: sqlite3.Connection, _: int) -> None:
            if run:
                connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (run, last))

        return self._commit(entries, note_run)

    def committed(self, run: bytes) -> int:
        """Return the number of the last entry of a run that is in the log, or 0."""
        return self._database.value("SELECT committed FROM runs WHERE run = ?", run) or 0

    def change_policy(self, policy: Policy, entries: Sequence[Entry]) -> int:
        """Change the policy and record it, both or neither; return the place of the first record.

        Behind the entries, the hash of what is stored is recorded: an older policy in its place is noticed. ``step``
        takes all days from an officer who is one no more.
        """
        sealed = seal_policy(policy, self._root_key)
        leaving = (self._unfinished.leaving() | self.policy.public_keys().keys()) - policy.public_keys().keys()

        def store(connection: sqlite3.Connection, _: int) -> None:
            connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", sealed.items())
            note_leaving(connection, leaving)

        first = self._commit(entries, store, (_public(Type.POLICY, {"policy": hash_policy(sealed)}),))
        self.policy = policy
        return first

    def _commit(
        self, entries: Sequence[Entry], also: Callable[[sqlite3.Connection, int], None], own: Sequence[Entry] = ()
    ) -> int:
        """Record entries, and behind them the log's own; ``also`` does more in that transaction."""
        try:
            check_entries(entries)
            self._close_days()
            after = self._prepare((*entries, *own))
        except (SealError, PolicyError, ValueError) as error:
            raise LedgerError(str(error)) from None
        frontier = self._frontier.copy()
        nodes = frontier.append(after.batch.hashes)
        with self._database.transaction() as connection:
            connection.executemany("INSERT INTO records VALUES (?, ?, ?)", after.batch.rows)
            connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
            if after.day is not self._day:
                drop(connection)
            after.day.positions.write(connection)
            also(connection, after.first)
        self._frontier = frontier
        self._adopt(after)
        return after.first

    def _prepare(self, entries: Sequence[Entry]) -> _Next:
        """Seal the entries, and what must be recorded before them."""
        reading = self._clock.read()
        today, day, due = day_of(reading.time), self._day, []
        if day is not None and day.date != today:
            due.append(_public(Type.CLOSE, self._summary(day)))
        if day is None or day.date != today:
            day = Day(today, Positions(self._database, self.size), self._day_keys)
        if reading.step:
            due.append(_public(Type.CLOCK, {"step": reading.step}))
        batch = day.seal([*due, *entries], self.size, reading.time)
        return _Next(reading, day, batch, self.size + len(due))

    def _adopt(self, after: _Next) -> None:
        after.day.positions.add(after.batch.moved, after.batch.begun, self.size)
        self._day = after.day
        self._clock.keep(after.reading)
        if after.reading.alarm:
            self.alarm(after.reading.alarm)
        try:
            self._close_days()
        except SealError as error:  # what was committed stays so; this is tried again before the next commit
            self.alarm(str(error))

    def _summary(self, day: Day) -> Json:
        return {
            "day": day.date.isoformat(),
            "first": day.positions.first,
            "last": self.size - 1,
            "conversations": day.positions.count,
            "root": self.root().hex(),
        }

    def _close_days(self) -> None:
        """Take the days that are over from the root key."""
        if self._day is not None and self._day.date != self._open_since:
            self._keys.close(self._day.date, self._open_since or date.min)
            self._open_since = self._day.date

    def _day_keys(self, class_name: str, day: date) -> DayKeys:
        found = self._keys.open_as_root(class_name, day, self._root_key)
        return found or self._keys.make(class_name, day, self._root_key, self.policy.public_keys())

    def _newest_leaves(self) -> Iterator[Leaf]:
        return self._leaves("SELECT leaf FROM records ORDER BY idx DESC")

    def _leaves(self, question: str, *values: int) -> Iterator[Leaf]:
        for (leaf,) in self._database.rows(question, *values):
            try:
                yield Leaf.unpack(leaf)
            except ValueError as error:
                raise LedgerError(f"the archive is damaged: {error}") from None

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise LedgerError(f"the log has {self.size} records, and never had {size}")

    def _read_policy(self) -> Policy:
        state = dict(self._database.rows("SELECT name, CAST(value AS BLOB) FROM state"))
        try:
            self._check_policy(hash_policy(state))
            return open_policy(state, self._root_key)
        except (SealError, PolicyError) as error:
            raise LedgerError(f"the policy of the archive cannot be read, is this its root key? {error}") from None
        except (KeyError, ValueError):
            raise LedgerError("the archive is damaged: its policy, or the record of it, cannot be read") from None

    def _check_policy(self, stored: str) -> None:
        """Refuse a policy that is not the one recorded last; nothing is known of one that was never changed."""
        newest = self._database.newest_policy()
        if newest is None:
            return
        leaf, payload = Leaf.unpack(newest[0]), newest[1] or b""
        named = _public(Type.POLICY, {"policy": stored}).envelope
        if hashlib.sha256(payload).digest() != leaf.digest or payload[SALT_BYTES:] != named:
            what = f"the policy is not the one that record {leaf.number} names"
            raise LedgerError(f"{what}: an older one was put in its place, or one of them is damaged")

    # Checkpoints

    def keep_note(self, size: int, note: str) -> None:
        """Keep a signed note on the log when it had this size; of those of an hour, only the last stays."""
        self._check_size(size)
        newest = self.newest_note()
        with self._database.transaction() as connection:
            if newest and self._hour(newest[0]) == self._hour(size):
                connection.execute("DELETE FROM checkpoints WHERE size = ?", (newest[0],))
            connection.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (size, note))

    def newest_note(self) -> tuple[int, str] | None:
        """Return the newest signed note, and the size it is about."""
        return next(self._database.rows("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1"), None)

    def keep_witness(self, sink: str, size: int, at: int, note: str) -> None:
        """Remember what an outside sink has taken, and when."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO witnessed VALUES (?, ?, ?, ?)", (sink, size, at, note))

    def witnessed(self) -> list[Witnessed]:
        """Return what each outside sink has last taken."""
        found = self._database.rows("SELECT sink, size, at, note FROM witnessed ORDER BY sink")
        return [Witnessed._make(row) for row in found]

    def _hour(self, size: int) -> int:
        """Return in which hour the log reached a size."""
        leaf = next(self._leaves("SELECT leaf FROM records WHERE idx = ?", size - 1), None)
        return leaf.time // _HOUR if leaf else 0

    # Erasure

    def erase(
        self, facts: Json, payloads: Mapping[int, bytes], class_name: str, day: date, content: bytes | None
    ) -> int:
        """Record an erasure, and destroy the keys; ``step`` does the rest. Return the place of the record.

        ``facts`` are those of the record, but ``resealed``, which comes of ``payloads``: the new ones, by index.
        ``content`` is the new file of that class and day, and None destroys it.
        """
        self._unfinished.settle()
        self.append(())
        if self._day is None or day >= self._day.date:
            raise LedgerError(f"{day} is not closed yet: nothing of it can be erased")
        removed: list[Span] = [(first, last) for first, last in facts["removed"]]
        for first, last in removed:
            if not 0 <= first <= last < self.size:
                raise LedgerError(f"there are no records {first} to {last}")
        self._check_key_id(class_name, day, facts["key_id"])
        hashes = {str(index): hashlib.sha256(payload).hexdigest() for index, payload in payloads.items()}

        def begin(connection: sqlite3.Connection, record: int) -> None:
            _replace_payloads(connection, payloads, bytes.fromhex(facts["key_id"]))
            note_erasure(connection, record, (class_name, day, content), facts["key_id"], removed)

        place = self._commit([_public(Type.ERASE, {**facts, "resealed": hashes})], begin)
        self._unfinished.settle()
        return place

    def step(self) -> bool:
        """Do some of what is recorded and not yet done; return whether there is more.

        It takes a few hundredths of a second. What is left of an erasure opens to nobody any more.
        """
        return self._unfinished.step()

    def _check_key_id(self, class_name: str, day: date, key_id: str) -> None:
        """Refuse to drop what other keys open than those that are destroyed."""
        try:
            known = self._keys.key_id(class_name, day)
        except SealError as error:
            raise LedgerError(str(error)) from None
        if known.hex() != key_id:
            raise LedgerError(f"these are not the keys of {class_name} {day}")


def _replace_payloads(connection: sqlite3.Connection, payloads: Mapping[int, bytes], key_id: bytes) -> None:
    """Put payloads in the place of what the same key has sealed."""
    replacing = f"UPDATE records SET payload = ? WHERE idx = ? AND payload IS NOT NULL AND {KEY_ID_COLUMN} = ?"
    rows = [(new, index, key_id) for index, new in payloads.items()]
    if connection.executemany(replacing, rows).rowcount != len(rows) and rows:
        raise LedgerError("what is to be sealed anew is not all of the class and day of which something is erased")


def _public(type: Type, facts: Json) -> Entry:
    return Entry(type, "", "", json_line(facts))


def _possible(proof: Callable[..., list[bytes]], *values: Any) -> list[bytes]:
    try:
        return proof(*values)
    except ValueError as error:
        raise LedgerError(str(error)) from None
