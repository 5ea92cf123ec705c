"""Who writes to more addresses than anybody has does not fill the memory of the archive (docs/audit-format.md)."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import pytest

from tests.audit_log import DAY, Archive, check, message, read_only
from vrxmpp.audit import positions
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.ledger import Ledger, LedgerError

MOST = 40


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "MOST", MOST)
    monkeypatch.setattr(positions, "_SLICE", 10)


def invented(*numbers: int) -> list[Entry]:
    return [message("x", f"nobody{number}@a.example") for number in numbers]


def in_memory(ledger: Ledger) -> int:
    assert ledger._day is not None
    return len(ledger._day.positions.recent) + len(ledger._day.positions._older)


def spilled(archive: Archive) -> int:
    if not archive.rows("SELECT 1 FROM sqlite_master WHERE name = 'positions'"):
        return 0
    ((count,),) = archive.rows("SELECT COUNT(*) FROM positions")
    assert isinstance(count, int)
    return count


def test_what_does_not_fit_into_memory_is_found_in_the_table(archive: Archive, ledger: Ledger) -> None:
    for number in range(0, 300, 5):
        ledger.append(invented(*range(number, number + 5)))
        assert in_memory(ledger) <= MOST
    assert spilled(archive) >= 300 - MOST
    ledger.append(invented(0, 299, 150, 0, 1000))
    assert [leaf.counter for leaf in archive.leaves()[300:]] == [1, 1, 1, 2, 0]
    assert archive.leaves()[300].previous == 0
    archive.advance(DAY)
    ledger.append(())
    assert archive.facts(305)["conversations"] == 301
    check(archive, ledger.root())


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_every_conversation_goes_on_where_it_was(archive: Archive, seed: int) -> None:
    chance = random.Random(seed)
    ledger = archive.open()
    for _ in range(150):
        match chance.randrange(30):
            case 0:
                archive.advance(DAY // 2)
            case 1 | 2:
                ledger.close()
                ledger = archive.open()
                assert ledger._day is None or in_memory(ledger) <= MOST + 10
            case 3:
                with read_only(archive, ledger), pytest.raises(LedgerError):
                    ledger.append(invented(1, 2, 3))
            case _:
                ledger.append(invented(*(chance.randrange(200) for _ in range(chance.randrange(10)))))
    archive.advance(DAY)
    ledger.append(())
    check(archive, ledger.root())
    ledger.close()


def test_when_the_day_is_over_nothing_of_it_is_left(archive: Archive, ledger: Ledger) -> None:
    for number in range(100):
        ledger.append(invented(number))
    assert spilled(archive) > 0
    archive.advance(DAY)
    with read_only(archive, ledger), pytest.raises(LedgerError):
        ledger.append(())
    ledger.append(invented(100))  # the day before goes on until its end is on the disk
    assert archive.facts(100)["conversations"] == 100
    assert spilled(archive) == 0
    assert archive.rows("SELECT value FROM state WHERE name = 'spilled'") == []
    assert ledger._database.value("PRAGMA secure_delete") == 1
    ledger.append(invented(5))
    assert archive.leaves()[102].counter == 0
    check(archive, ledger.root())


def test_opening_reads_nothing_that_is_in_the_table(archive: Archive, ledger: Ledger) -> None:
    for number in range(600):
        ledger.append(invented(number))
    ledger.close()
    with closing(sqlite3.connect(archive.audit / "ledger.sqlite")) as connection, connection:
        connection.execute("DELETE FROM records WHERE idx < 512")
    with closing(archive.open()) as again:
        assert again.append(invented(0, 599, 600)) == 600
        leaves = [leaf for leaf in archive.leaves() if leaf.number >= 600]
        assert [(leaf.counter, leaf.previous) for leaf in leaves[:2]] == [(1, 0), (1, 599)]
        assert leaves[2].counter == 0
        archive.advance(DAY)
        again.append(())
        assert archive.facts(603).items() >= {"first": 0, "last": 602, "conversations": 601}.items()


def test_the_table_is_not_asked_while_there_is_none(archive: Archive, ledger: Ledger) -> None:
    asked: list[str] = []
    ledger.append(invented(0))
    ledger._database._connected().set_trace_callback(asked.append)
    for number in range(MOST // 2 - 1):
        ledger.append(invented(0, number))
    assert not any("positions" in question for question in asked)
    for number in range(100, 100 + MOST):
        ledger.append(invented(number))
    assert any("INTO positions" in question for question in asked)
