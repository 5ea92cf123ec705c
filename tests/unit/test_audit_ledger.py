"""The log of the archive: its records, its tree, its days, and what is kept beside it (docs/audit-format.md)."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.audit_log import CHAT, DAY, HOUR, NOON, ROOT, SECOND, TODAY, TOMORROW, Archive, check, message
from vrxmpp.audit.database import Database
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import NONE, PUBLIC, Type
from vrxmpp.audit.ledger import Ledger, LedgerError, Witnessed
from vrxmpp.audit.policy import Policy, Retention
from vrxmpp.audit.seal import SealError, commit, open_payload
from vrxmpp.audit.tree import Frontier, leaf_hash, root_of, verify_consistency, verify_inclusion


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

    def fail(before: date, since: date) -> None:
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


# Opening


def test_each_commit_is_synced_and_what_is_overwritten_is_gone(ledger: Ledger) -> None:
    database = ledger._database
    settings = {name: database.value(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "secure_delete")}
    assert settings == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


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
