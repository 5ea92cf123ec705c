"""The log itself: what is appended is sealed, hashed into the tree and on the disk, or it is not there at all."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from vrxmpp.audit.database import Database, LedgerError
from vrxmpp.audit.days import Batch, Clock, Day, Reading, check_entries, day_of
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.keys import DayKeys, KeyStore
from vrxmpp.audit.leaf import Leaf, Type
from vrxmpp.audit.policy import Json, Policy, PolicyError
from vrxmpp.audit.positions import Positions, drop
from vrxmpp.audit.seal import SALT_BYTES, SealError
from vrxmpp.audit.sealed_policy import hash_policy, open_policy, seal_policy
from vrxmpp.audit.tree import Frontier, consistency_proof, inclusion_proof, root_at

__all__ = ["Ledger", "LedgerError", "Witnessed"]

_HOUR = 3_600_000_000
_KEY_ID = 50  # where in a leaf the key id begins, counted from 1


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

    Everything here raises LedgerError, and then nothing has changed, in the log or in here.
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
        self.finish_erasures()

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
        """Open the log of a directory, and finish what a crash has interrupted.

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

    def count(self, types: Collection[int], since: int) -> int:
        """Return how many records of these types there are, from index ``since`` on."""
        kinds = ",".join(f"x'{type:02x}'" for type in types)
        question = f"SELECT COUNT(*) FROM records WHERE idx >= ? AND substr(leaf, 5, 1) IN ({kinds})"
        found: int = self._database.value(question, since)
        return found

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

        Behind the entries, the hash of what is stored is recorded: an older policy in its place is noticed.
        """
        sealed = seal_policy(policy, self._root_key)

        def store(connection: sqlite3.Connection, _: int) -> None:
            connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", sealed.items())

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
            self._keys.close(self._day.date)
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
        """Record an erasure, then do it: the keys first. Return the place of the record.

        ``facts`` are those of the record, but ``resealed``, which comes of ``payloads``: the new ones, by index.
        ``content`` is the new file of that class and day, and None destroys it. What is interrupted is done when the
        log is opened again.
        """
        self.append(())
        if self._day is None or day >= self._day.date:
            raise LedgerError(f"{day} is not closed yet: nothing of it can be erased")
        removed: list[tuple[int, int]] = [(first, last) for first, last in facts["removed"]]
        for first, last in (*removed, *((index, index) for index in payloads)):
            self._check_erasable(first, last, bytes.fromhex(facts["key_id"]))
        hashes = {str(index): hashlib.sha256(payload).hexdigest() for index, payload in payloads.items()}
        text = content and b64encode(content).decode()
        work = {"class": class_name, "day": day.isoformat(), "content": text, "removed": removed}

        def begin(connection: sqlite3.Connection, record: int) -> None:
            connection.executemany(
                "UPDATE records SET payload = ? WHERE idx = ?", [(new, index) for index, new in payloads.items()]
            )
            connection.execute("INSERT INTO todo VALUES (?, ?)", (record, json.dumps(work)))

        place = self._commit([_public(Type.ERASE, {**facts, "resealed": hashes})], begin)
        self.finish_erasures()
        return place

    def finish_erasures(self) -> None:
        """Do what was recorded and is not yet done; each step can be done twice."""
        for record, text in list(self._database.rows("SELECT record, work FROM todo ORDER BY record")):
            work = json.loads(text)
            of = work["class"], date.fromisoformat(work["day"])
            try:
                if work["content"] is None:
                    self._keys.destroy(*of)
                else:
                    self._keys.replace(*of, b64decode(work["content"]))
            except SealError as error:
                raise LedgerError(f"record {record} is of an erasure that could not be finished: {error}") from None
            self._database.drop_payloads(work["removed"])
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM todo WHERE record = ?", (record,))
            self._database.clean()

    def _check_erasable(self, first: int, last: int, key_id: bytes) -> None:
        """Refuse to erase what is not of the day whose keys are destroyed."""
        question = f"SELECT COUNT(*) FROM records WHERE idx BETWEEN ? AND ? AND substr(leaf, {_KEY_ID}, 16) = ?"
        if first > last or self._database.value(question, first, last, key_id) != last - first + 1:
            raise LedgerError(f"records {first} to {last} are not all of the class and day that is erased")


def _public(type: Type, facts: Json) -> Entry:
    return Entry(type, "", "", json.dumps(facts, separators=(",", ":")).encode() + b"\n")


def _possible(proof: Callable[..., list[bytes]], *values: Any) -> list[bytes]:
    try:
        return proof(*values)
    except ValueError as error:
        raise LedgerError(str(error)) from None
