"""What a failed commit leaves in the log of the archive: nothing."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest

from tests.audit_log import CHAT, DAY, SECOND, Archive, check, message, read_only
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import Ledger, LedgerError
from vrxmpp.audit.policy import Policy


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
