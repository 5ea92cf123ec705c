"""The log of the archive: what it says of itself, what survives a crash, and what a failed commit leaves: nothing."""

from __future__ import annotations

import hashlib
import json
import resource
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vrxmpp.audit.database import Database
from vrxmpp.audit.days import day_of
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import DayKeys, KeyStore
from vrxmpp.audit.leaf import NONE, PUBLIC, Leaf, Type
from vrxmpp.audit.ledger import Ledger, LedgerError, Witnessed
from vrxmpp.audit.policy import Policy, Retention
from vrxmpp.audit.seal import SALT_BYTES, SealError, commit, open_payload, reseal
from vrxmpp.audit.tree import Frontier, leaf_hash, root_of, verify_consistency, verify_inclusion

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


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def ledger(archive: Archive) -> Iterator[Ledger]:
    with closing(archive.open()) as ledger:
        yield ledger


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


def test_a_record_is_what_the_format_says(archive: Archive, ledger: Ledger) -> None:
    archive.advance(7)
    assert ledger.append([message("one"), message("two", "room@a.example"), message("three")]) == 0
    archive.advance(9)
    public = Entry(Type.WITNESS, "", "", b"{}\n")
    assert ledger.append([public, message("four"), message("five", CHAT, "patron")]) == 3
    assert ledger.size == 6
    check(archive, ledger.root())

    leaves = archive.leaves()
    assert [leaf.time - NOON for leaf in leaves] == [7, 7, 7, 16, 16, 16]
    assert [(leaf.counter, leaf.previous) for leaf in leaves] == [
        (0, NONE), (0, NONE), (1, 0), (0, NONE), (2, 2), (0, NONE),
    ]  # fmt: skip
    keys = archive.day_keys("staff", TODAY)
    assert [leaf.key_id for leaf in leaves[:3]] == [keys.key_id] * 3
    assert leaves[0].conversation == keys.conversation_id(CHAT)
    assert leaves[5].conversation == archive.day_keys("patron", TODAY).conversation_id(CHAT) != leaves[0].conversation
    assert (leaves[3].key_id, leaves[3].conversation) == (PUBLIC, PUBLIC)
    assert [archive.envelope(index) for index in (0, 1, 2, 4, 5)] == [b"one", b"two", b"three", b"four", b"five"]
    ((payload,),) = archive.rows("SELECT payload FROM records WHERE idx = 4")
    plaintext = open_payload(keys.conversation_key(leaves[4].conversation), 4, Type.MESSAGE, payload)
    assert leaves[4].commitment == commit(plaintext)
    assert archive.facts(3) == {}


def test_nothing_said_and_nobody_named_can_be_read_from_the_disk(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("the secret of the house")])
    on_disk = archive.files()
    assert b"secret" not in on_disk
    assert b"alice" not in on_disk
    files = [path for path in archive.audit.iterdir() if path.name.startswith("ledger")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(archive.audit.stat().st_mode) == 0o700


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 120), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.integers(0, 30 * HOUR), st.just(0)),
    st.tuples(st.just("jump"), st.integers(-2 * DAY, 2 * DAY), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=12))
def test_whatever_happens_the_log_is_whole(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    archive = Archive(tmp_path_factory.mktemp("archive"))
    ledger = archive.open()
    for step, amount, kind in steps:
        if step == "append":
            names = [f"room{(kind + index) % 7}@a.example" for index in range(amount)]
            first = ledger.append([message("x", name, ("staff", "patron")[kind % 2]) for name in names])
            assert first + amount == ledger.size
        elif step == "wait":
            archive.advance(amount)
        elif step == "jump":
            archive.wall += amount
        else:
            ledger.close()
            ledger = archive.open()
    check(archive, ledger.root())
    ledger.close()


# The tree


def test_roots_and_proofs_of_every_age_hold_after_a_restart(archive: Archive, ledger: Ledger) -> None:
    roots = {}
    for size in (1, 2, 255, 256, 257, 511, 700):
        ledger.append([message("x")] * (size - ledger.size))
        roots[size] = ledger.root()
    ledger.close()
    with closing(archive.open()) as again:
        hashes = [leaf_hash(leaf.pack()) for leaf in archive.leaves()]
        assert {size: again.root(size) for size in roots} == roots
        for old, new in pairwise(sorted(roots)):
            assert verify_consistency(old, new, again.consistency_proof(old, new), roots[old], roots[new])
        for index in (0, 254, 255, 256, 511, 699):
            assert verify_inclusion(hashes[index], index, 700, again.inclusion_proof(index, 700), roots[700])
        for impossible in (
            lambda: again.root(701),
            lambda: again.consistency_proof(5, 701),
            lambda: again.consistency_proof(6, 5),
            lambda: again.inclusion_proof(5, 5),
            lambda: again.inclusion_proof(5, 701),
        ):
            with pytest.raises(LedgerError):
                impossible()


def test_subtrees_of_all_heights_are_found_through_those_that_are_kept(archive: Archive) -> None:
    leaves = [index.to_bytes(4) for index in range(66_000)]
    hashes = list(map(leaf_hash, leaves))
    with closing(Database(archive.audit)) as database:
        with database.transaction() as connection:
            connection.executemany("INSERT INTO records VALUES (?, ?, NULL)", enumerate(leaves))
            connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", Frontier().append(hashes))
        for level in range(17):
            last = (len(leaves) >> level) - 1
            assert database.subtree(level, last) == root_of(hashes[last << level : (last + 1) << level])
        assert Frontier.of(len(leaves), database.subtree).root() == root_of(hashes)


def test_neither_opening_nor_appending_needs_what_is_old(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("old")] * 600)
    archive.advance(DAY)
    ledger.append([message("new")] * 3)
    hashes = [leaf_hash(leaf.pack()) for leaf in archive.leaves()]
    ledger.close()
    with closing(sqlite3.connect(archive.audit / "ledger.sqlite")) as connection, connection:
        connection.execute("DELETE FROM records WHERE idx < 512")  # all that complete subtrees stand for
    with closing(archive.open()) as again:
        again.append([message("newer")] * 300)
        hashes += [leaf_hash(leaf) for (leaf,) in archive.rows("SELECT leaf FROM records WHERE idx >= ?", len(hashes))]
        assert again.root() == root_of(hashes)
        with pytest.raises(LedgerError, match="damaged"):
            again.inclusion_proof(3, 600)


# Time


@pytest.mark.parametrize("jump", [2 * SECOND + 1, -2 * SECOND - 1, 40 * 60 * SECOND, -40 * 60 * SECOND])
def test_a_clock_that_jumps_is_recorded_before_anything_else(archive: Archive, ledger: Ledger, jump: int) -> None:
    ledger.append([message("before")])
    archive.advance(10 * SECOND)
    archive.wall += jump
    assert ledger.append([message("after")]) == 2
    assert archive.leaves()[1].type == Type.CLOCK
    assert archive.facts(1) == {"step": jump}
    assert len(archive.alarms) == 1
    archive.advance(HOUR)
    assert ledger.append([message("later")]) == 3  # once is enough
    check(archive, ledger.root())


@pytest.mark.parametrize("jump", [2 * SECOND, -2 * SECOND])
def test_a_clock_that_is_set_a_little_is_nothing(archive: Archive, ledger: Ledger, jump: int) -> None:
    ledger.append([message("before")])
    archive.wall += jump
    assert ledger.append([message("after")]) == 1
    assert ledger.append(()) == 2
    assert archive.alarms == []


def test_time_stands_still_while_the_clock_is_behind_and_a_restart_sees_it(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("before")])
    ledger.close()
    archive.wall -= HOUR
    with closing(archive.open()) as again:
        assert again.append([message("after")]) == 2
        archive.advance(HOUR // 2)
        again.append([message("still behind")])
        archive.advance(HOUR)
        again.append([message("ahead")])
    assert archive.facts(1) == {"step": -HOUR}
    assert [leaf.time - NOON for leaf in archive.leaves()] == [0, 0, 0, 0, HOUR // 2]


# Days


def test_a_day_ends_with_a_record_and_its_keys_leave_the_root_key(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("one"), message("two", "room@a.example")])
    root = ledger.root()
    archive.advance(12 * HOUR)
    assert ledger.append([message("three")]) == 3
    assert archive.facts(2) == {
        "day": "2026-11-24", "first": 0, "last": 1, "conversations": 2, "root": root.hex(),
    }  # fmt: skip
    with pytest.raises(SealError):
        archive.keys.open_as_root("staff", TODAY, ROOT)
    assert archive.keys.open_as_root("staff", TOMORROW, ROOT) is not None
    assert [archive.envelope(index) for index in (0, 3)] == [b"one", b"three"]
    leaf = archive.leaves()[3]
    assert (leaf.counter, leaf.previous) == (0, NONE)
    check(archive, ledger.root())


def test_a_day_ends_although_nothing_is_said(archive: Archive, ledger: Ledger) -> None:
    assert ledger.append(()) == 0
    ledger.append([message("one")])
    archive.advance(DAY)
    assert ledger.append(()) == 2
    assert ledger.append(()) == 2
    assert [leaf.type for leaf in archive.leaves()] == [Type.MESSAGE, Type.CLOSE]
    with pytest.raises(SealError):
        archive.keys.open_as_root("staff", TODAY, ROOT)


def test_days_on_which_the_server_was_down_leave_no_record(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("one")])
    ledger.close()
    archive.advance(5 * DAY)
    with closing(archive.open()) as again:
        again.append([message("two")])
        check(archive, again.root())
    assert [leaf.type for leaf in archive.leaves()] == [Type.MESSAGE, Type.CLOSE, Type.MESSAGE]
    assert archive.facts(1)["day"] == "2026-11-24"
    assert archive.keys.list() == [("staff", TODAY), ("staff", date(2026, 11, 29))]


def test_a_day_whose_keys_could_not_be_closed_is_closed_later(
    archive: Archive, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append([message("one")])
    archive.advance(DAY)

    def fail(before: date) -> None:
        raise SealError("no space left for keys")

    with monkeypatch.context() as broken:
        broken.setattr(archive.keys, "close", fail)
        assert ledger.append([message("two")]) == 2  # it was committed, so it must be said
        assert archive.alarms == ["no space left for keys"]
        with pytest.raises(LedgerError, match="no space left for keys"):
            ledger.append([message("three")])
        assert ledger.size == 3
    assert archive.keys.open_as_root("staff", TODAY, ROOT) is not None
    ledger.close()
    with closing(archive.open()) as again:  # it has crashed before the keys were closed
        assert again.append([message("three")]) == 3
    with pytest.raises(SealError):
        archive.keys.open_as_root("staff", TODAY, ROOT)


# Failure


@contextmanager
def full_disk(archive: Archive, ledger: Ledger) -> Iterator[None]:
    size = (archive.audit / "ledger.sqlite-wal").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 6_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def locked_file(archive: Archive, ledger: Ledger) -> Iterator[None]:
    with closing(sqlite3.connect(archive.audit / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def read_only(archive: Archive, ledger: Ledger) -> Iterator[None]:
    ledger._database.value("PRAGMA query_only = ON")
    yield
    ledger._database.value("PRAGMA query_only = OFF")


@contextmanager
def no_keys(archive: Archive, ledger: Ledger) -> Iterator[None]:
    days = archive.state / "keys" / "days"
    days.rename(archive.state / "elsewhere")
    days.write_text("no directory")
    yield
    days.unlink()
    (archive.state / "elsewhere").rename(days)


Failure = Callable[[Archive, Ledger], AbstractContextManager[None]]


@pytest.mark.parametrize("failure", [full_disk, locked_file, read_only, no_keys])
def test_a_failed_commit_changes_nothing_and_the_next_one_works(
    archive: Archive, ledger: Ledger, failure: Failure
) -> None:
    ledger.append([message("before")] * 254, run=b"run", last=254)
    archive.advance(DAY)  # so that a close record and new keys are due as well
    root, leaves = ledger.root(), archive.leaves()
    with failure(archive, ledger):
        for _ in range(2):
            with pytest.raises(LedgerError):
                ledger.append([message("lost" * 5_000)] * 4, run=b"run", last=258)
        with pytest.raises(LedgerError):
            ledger.change_policy(Policy(), [Entry(Type.CONFIG, "audit", "audit", b"{}\n")])
        assert (ledger.size, ledger.root(), set(ledger.policy.officers)) == (254, root, {"recovery"})
    assert archive.leaves() == leaves
    assert ledger.committed(b"run") == 254
    archive.wall += 3 * SECOND
    assert ledger.append([message("after")] * 4, run=b"run", last=258) == 256
    assert [leaf.type for leaf in archive.leaves()[254:256]] == [Type.CLOSE, Type.CLOCK]
    check(archive, ledger.root())
    ledger.close()
    with closing(archive.open()) as again:
        assert (again.size, again.committed(b"run")) == (260, 258)
        again.append([message("again")])
        check(archive, again.root())


def test_an_error_after_the_records_takes_them_away_again(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("before")])
    with closing(sqlite3.connect(archive.audit / "ledger.sqlite")) as other, other:
        other.execute("CREATE TRIGGER refuse BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'refused'); END")
    with pytest.raises(LedgerError, match="refused"):
        ledger.append([message("lost")], run=b"run", last=1)
    assert len(archive.leaves()) == ledger.size == 1
    assert ledger.append([message("after")]) == 1
    check(archive, ledger.root())


@pytest.mark.parametrize(
    "entry",
    [
        Entry(99, "staff", CHAT, b""),
        Entry(0, "staff", CHAT, b""),
        Entry(Type.MESSAGE, "", CHAT, b""),
        Entry(Type.MESSAGE, "Staff", CHAT, b""),
        Entry(Type.MESSAGE, "../staff", CHAT, b""),
        Entry(Type.MESSAGE, "s" * 33, CHAT, b""),
        Entry(Type.CLOSE, "staff", CHAT, b""),
        Entry(Type.ACCESS, "staff", CHAT, b""),
    ],
)
def test_what_has_no_class_or_type_is_refused_with_all_that_came_with_it(
    archive: Archive, ledger: Ledger, entry: Entry
) -> None:
    with pytest.raises(LedgerError):
        ledger.append([message("fine"), entry])
    assert (ledger.size, archive.keys.list()) == (0, [])


def test_the_last_entry_of_each_run_is_known(archive: Archive, ledger: Ledger) -> None:
    assert ledger.committed(b"one") == 0
    ledger.append([message("x")], run=b"one", last=7)
    ledger.append([message("x")], run=b"two", last=1)
    ledger.append([message("x")] * 2, run=b"one", last=9)
    ledger.append([message("x")])
    ledger.close()
    with closing(archive.open()) as again:
        assert (again.committed(b"one"), again.committed(b"two"), again.committed(b"three")) == (9, 1, 0)


# Opening


def test_only_one_process_has_the_log_open_for_writing(archive: Archive, ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="another process"):
        archive.open()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append([message("too late")])
    archive.open().close()


def test_what_cannot_be_opened_says_why(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no archive"):
        Ledger.open(tmp_path / "elsewhere", archive.keys, ROOT)
    with pytest.raises(LedgerError, match="root key"):
        Ledger.open(archive.audit, archive.keys, bytes(32))
    with pytest.raises(LedgerError, match="already"):
        Ledger.create(archive.audit, ROOT, "b.example/audit", Policy())
    with closing(archive.open()) as ledger:  # and whoever failed has let go of it
        assert ledger.origin == "a.example/audit"
    (archive.audit / "ledger.sqlite").write_bytes(b"rubbish" * 1000)
    with pytest.raises(LedgerError, match="not a database"):
        archive.open()


def test_a_log_that_a_crash_kept_from_being_made_is_made(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").touch()
    Ledger.create(tmp_path, ROOT, "a.example/audit", Policy())
    Ledger.open(tmp_path, KeyStore(tmp_path / "keys"), ROOT).close()


# Policy, checkpoints and witnesses


def test_the_policy_changes_with_its_record(archive: Archive, ledger: Ledger) -> None:
    policy = ledger.policy.change_retention("staff", Retention(days=30))
    assert ledger.change_policy(policy, [Entry(Type.CONFIG, "audit", "audit", b"{}\n")]) == 0
    ledger.close()
    assert b"recovery" not in archive.files()
    with closing(archive.open()) as again:
        assert again.policy == policy
    refused = replace(policy, retention={})
    with closing(archive.open()) as again:
        with pytest.raises(LedgerError):
            again.change_policy(refused, [Entry(Type.CONFIG, "staff", "audit", b"")])
        assert again.policy == policy


def test_of_the_notes_of_an_hour_the_last_is_kept(archive: Archive, ledger: Ledger) -> None:
    assert ledger.newest_note() is None
    for minutes in (0, 10, 59, 60, 61, 200):
        archive.wall = NOON + minutes * 60 * SECOND
        archive.passed = archive.wall
        ledger.append([message("x")])
        ledger.keep_note(ledger.size, f"after {minutes}")
    assert ledger.newest_note() == (ledger.size, "after 200")
    assert [note for (note,) in archive.rows("SELECT note FROM checkpoints ORDER BY size")] == [
        "after 59",
        "after 61",
        "after 200",
    ]
    ledger.keep_note(ledger.size, "signed anew")
    assert ledger.newest_note() == (ledger.size, "signed anew")
    with pytest.raises(LedgerError):
        ledger.keep_note(ledger.size + 1, "from the future")


def test_what_each_sink_has_last_taken_is_kept(archive: Archive, ledger: Ledger) -> None:
    ledger.keep_witness("b.example", 1, NOON, "one")
    ledger.keep_witness("directory", 2, NOON, "two")
    ledger.keep_witness("b.example", 3, NOON + 1, "three")
    ledger.close()
    with closing(archive.open()) as again:
        assert again.witnessed() == [
            Witnessed("b.example", 3, NOON + 1, "three"),
            Witnessed("directory", 2, NOON, "two"),
        ]


def test_records_are_counted_by_type(ledger: Ledger) -> None:
    ledger.append([message("x"), Entry(Type.OUTCOME, "staff", CHAT, b""), Entry(Type.EDIT, "staff", CHAT, b"")])
    ledger.append([message("x")])
    assert ledger.count((Type.MESSAGE, Type.EDIT), 0) == 3
    assert ledger.count((Type.MESSAGE, Type.EDIT), 1) == 2


# Erasure

ROOM = "room@a.example"


class CrashError(Exception):
    pass


def erasable(archive: Archive, ledger: Ledger) -> DayKeys:
    """A day that is over: records 0, 2 and 4 of a chat, 1 and 3 of a room, 5 of another class."""
    names = [CHAT, ROOM, CHAT, ROOM, CHAT]
    ledger.append([message(f"text {index}", name) for index, name in enumerate(names)])
    ledger.append([message("of a patron", CHAT, "patron")])
    archive.advance(DAY)
    ledger.append([message("today")])
    return archive.day_keys("staff", TODAY)


def without_the_chat(archive: Archive, keys: DayKeys) -> bytes:
    """The file of keys that no longer opens the chat."""
    room = keys.conversation_id(ROOM)
    left = replace(keys, day_key=None, conversations={room: keys.conversation_key(room)})
    return archive.keys.rewrite(left, {"recovery": OFFICER.public})


def facts(keys: DayKeys, removed: Sequence[list[int]], kind: str = "conversation") -> dict[str, Any]:
    return {"kind": kind, "access": 6, "key_id": keys.key_id.hex(), "removed": removed}


def payloads(archive: Archive) -> list[bytes | None]:
    return [payload for (payload,) in archive.rows("SELECT payload FROM records ORDER BY idx")]


def test_a_conversation_is_erased_and_everything_else_stays(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    before = payloads(archive)
    removed = [[0, 0], [2, 2], [4, 4]]
    place = ledger.erase(facts(keys, removed), {}, "staff", TODAY, without_the_chat(archive, keys))
    assert archive.leaves()[place].type == Type.ERASE
    assert archive.facts(place) == {**facts(keys, removed), "resealed": {}}
    assert [payload is None for payload in payloads(archive)[:6]] == [True, False, True, False, True, False]
    assert [archive.envelope(index) for index in (1, 3, 5)] == [b"text 1", b"text 3", b"of a patron"]
    with pytest.raises(SealError):
        archive.day_keys("staff", TODAY).conversation_key(keys.conversation_id(CHAT))
    on_disk = archive.files()
    assert [before[index] in on_disk for index in range(5)] == [False, True, False, True, False]  # type: ignore[operator]
    assert archive.rows("SELECT * FROM todo") == []
    check(archive, ledger.root())


def test_a_day_expires(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    ledger.erase(facts(keys, [[0, 4]], "expiry"), {}, "staff", TODAY, None)
    assert payloads(archive)[:5] == [None] * 5
    assert ("staff", TODAY) not in archive.keys.list()
    assert archive.envelope(5) == b"of a patron"
    check(archive, ledger.root())


def test_a_message_is_erased_and_the_rest_is_resealed(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    before = payloads(archive)
    chat, room, fresh = keys.conversation_id(CHAT), keys.conversation_id(ROOM), bytes(32)
    new = {}
    for index in (0, 4):
        plaintext = open_payload(keys.conversation_key(chat), index, Type.MESSAGE, before[index] or b"")
        new[index] = reseal(fresh, index, Type.MESSAGE, plaintext)
    left = replace(keys, day_key=None, conversations={room: keys.conversation_key(room), chat: fresh})
    content = archive.keys.rewrite(left, {"recovery": OFFICER.public})
    place = ledger.erase(facts(keys, [[2, 2]], "message"), new, "staff", TODAY, content)
    hashes = {str(index): hashlib.sha256(payload).hexdigest() for index, payload in new.items()}
    assert archive.facts(place)["resealed"] == hashes
    assert [archive.envelope(index) for index in (0, 1, 3, 4)] == [b"text 0", b"text 1", b"text 3", b"text 4"]
    assert payloads(archive)[2] is None
    on_disk = archive.files()
    assert not any(before[index] in on_disk for index in (0, 2, 4))  # type: ignore[operator]


@pytest.mark.parametrize(
    "step", ["keys.replace", "database.drop_payloads", "database.clean", "the last of all transactions"]
)
def test_an_erasure_that_was_interrupted_is_finished(
    archive: Archive, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    keys = erasable(archive, ledger)
    content = without_the_chat(archive, keys)

    def crash(*_: object) -> None:
        raise CrashError

    owner, _, name = step.partition(".")
    with monkeypatch.context() as crashing:
        if owner == "keys":
            crashing.setattr(archive.keys, name, crash)
        elif owner == "database":
            crashing.setattr(ledger._database, name, crash)
        else:  # the payloads are dropped, but that is not yet noted
            drop = ledger._database.drop_payloads
            crashing.setattr(ledger._database, "drop_payloads", lambda ranges: crash(drop(ranges)))
        with pytest.raises(CrashError):
            ledger.erase(facts(keys, [[0, 0], [2, 2], [4, 4]]), {}, "staff", TODAY, content)
    assert archive.leaves()[-1].type == Type.ERASE
    ledger.close()
    with closing(archive.open()) as again:
        assert again.append([message("goes on")]) == 9
        check(archive, again.root())
    assert [payload is None for payload in payloads(archive)[:6]] == [True, False, True, False, True, False]
    assert [archive.envelope(index) for index in (1, 3)] == [b"text 1", b"text 3"]
    with pytest.raises(SealError):
        archive.day_keys("staff", TODAY).conversation_key(keys.conversation_id(CHAT))
    assert archive.rows("SELECT * FROM todo") == []


def test_an_erasure_that_is_not_recorded_does_not_happen(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    before = payloads(archive)
    with read_only(archive, ledger), pytest.raises(LedgerError):
        ledger.erase(facts(keys, [[0, 4]]), {3: b"new"}, "staff", TODAY, None)
    assert payloads(archive) == before
    assert archive.envelope(0) == b"text 0"


@pytest.mark.parametrize(
    ("removed", "resealed"),
    [([[0, 5]], []), ([[4, 6]], []), ([[0, 99]], []), ([[3, 2]], []), ([], [5]), ([], [99])],
)
def test_only_what_the_destroyed_keys_open_is_erased(
    archive: Archive, ledger: Ledger, removed: list[list[int]], resealed: list[int]
) -> None:
    keys = erasable(archive, ledger)
    with pytest.raises(LedgerError, match="not all of the class and day"):
        ledger.erase(facts(keys, removed), dict.fromkeys(resealed, b"new"), "staff", TODAY, None)
    assert ledger.size == 8
    assert archive.envelope(0) == b"text 0"


def test_nothing_is_erased_of_a_day_that_is_not_over(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("today")])
    keys = archive.day_keys("staff", TODAY)
    with pytest.raises(LedgerError, match="not closed"):
        ledger.erase(facts(keys, [[0, 0]]), {}, "staff", TODAY, None)
    archive.advance(DAY)
    ledger.erase(facts(keys, [[0, 0]]), {}, "staff", TODAY, None)  # but as soon as it is
    assert [leaf.type for leaf in archive.leaves()] == [Type.MESSAGE, Type.CLOSE, Type.ERASE]
    assert payloads(archive)[0] is None
