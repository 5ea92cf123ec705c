"""An archive's log on the disk with clocks of its own, and all that its format promises of it, for tests."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from vrxmpp.audit.days import day_of
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import DayKeys, KeyStore
from vrxmpp.audit.leaf import NONE, PUBLIC, Leaf, Type
from vrxmpp.audit.ledger import Ledger
from vrxmpp.audit.policy import Policy
from vrxmpp.audit.seal import SALT_BYTES, open_payload
from vrxmpp.audit.tree import leaf_hash, root_of

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOON = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()) * SECOND
TODAY = date(2026, 11, 24)
TOMORROW = date(2026, 11, 25)
ROOT = bytes(range(32))
OFFICER = Identity.generate()
CHAT = "alice@a.example bob@b.example"


def message(text: str, conversation: str = CHAT, class_name: str = "staff") -> Entry:
    return Entry(Type.MESSAGE, class_name, conversation, text.encode())


@dataclass
class Archive:
    """An archive on the disk, and its clocks."""

    state: Path
    wall: int = NOON
    passed: int = 5 * SECOND
    alarms: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = KeyStore(self.state / "keys")
        self.audit = self.state / "audit"
        policy = Policy().add_officer("recovery", OFFICER.public, 0)
        Ledger.create(self.audit, ROOT, "a.example/audit", policy)

    def open(self) -> Ledger:
        ledger = Ledger.open(self.audit, self.keys, ROOT, now=lambda: self.wall, monotonic=lambda: self.passed)
        ledger.alarm = self.alarms.append
        return ledger

    def advance(self, micros: int) -> None:
        self.wall += micros
        self.passed += micros

    def rows(self, question: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.audit / "ledger.sqlite")) as connection:
            return connection.execute(question, values).fetchall()

    def leaves(self) -> list[Leaf]:
        return [Leaf.unpack(leaf) for (leaf,) in self.rows("SELECT leaf FROM records ORDER BY idx")]

    def facts(self, index: int) -> Any:
        ((payload,),) = self.rows("SELECT payload FROM records WHERE idx = ?", index)
        return json.loads(payload[SALT_BYTES:])

    def day_keys(self, class_name: str, day: date) -> DayKeys:
        return self.keys.open_as_officer(class_name, day, "recovery", OFFICER)

    def envelope(self, index: int) -> bytes:
        """Open a record as an officer."""
        leaf = self.leaves()[index]
        ((payload,),) = self.rows("SELECT payload FROM records WHERE idx = ?", index)
        keys = self.day_keys(*self.keys.key_ids()[leaf.key_id])
        return open_payload(keys.conversation_key(leaf.conversation), index, leaf.type, payload)[SALT_BYTES:]

    def files(self) -> bytes:
        """Return all that is on the disk, but for the keys."""
        return b"".join(path.read_bytes() for path in self.audit.iterdir() if path.is_file())


def check(archive: Archive, root: bytes) -> None:
    """Check the whole log, as its format promises it."""
    leaves = archive.leaves()
    assert [leaf.number for leaf in leaves] == list(range(len(leaves)))
    assert all(before.time <= after.time for before, after in pairwise(leaves))
    threads: dict[tuple[bytes, bytes], list[int]] = {}
    for leaf in leaves:
        places = threads.setdefault((leaf.key_id, leaf.conversation), [])
        expected = (0, NONE) if leaf.key_id == PUBLIC or not places else (len(places), places[-1])
        assert (leaf.counter, leaf.previous) == expected
        places.append(leaf.number)
    closes = [(leaf.number, archive.facts(leaf.number)) for leaf in leaves if leaf.type == Type.CLOSE]
    turns = [after.number for before, after in pairwise(leaves) if day_of(before.time) != day_of(after.time)]
    assert [number for number, _ in closes] == turns  # a day's close is the first record of the next
    hashes = [leaf_hash(leaf.pack()) for leaf in leaves]
    for number, facts in closes:
        own = [leaf for leaf in leaves if day_of(leaf.time).isoformat() == facts["day"]]
        assert (facts["first"], facts["last"]) == (own[0].number, number - 1)
        assert facts["conversations"] == len({leaf.conversation for leaf in own} - {PUBLIC})
        assert facts["root"] == root_of(hashes[:number]).hex()
    for index, payload in archive.rows("SELECT idx, payload FROM records WHERE payload IS NOT NULL"):
        assert (hashlib.sha256(payload).digest(), len(payload)) == (leaves[index].digest, leaves[index].length)
    for level, position, hash in archive.rows("SELECT * FROM nodes"):
        assert level % 8 == 0
        assert hash == root_of(hashes[position << level : (position + 1) << level])
    assert len(archive.rows("SELECT * FROM nodes")) == sum(len(hashes) >> level for level in range(8, 64, 8))
    assert root == root_of(hashes)


@contextmanager
def read_only(archive: Archive, ledger: Ledger) -> Iterator[None]:
    ledger._database.value("PRAGMA query_only = ON")
    yield
    ledger._database.value("PRAGMA query_only = OFF")
