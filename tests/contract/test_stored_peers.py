"""Other servers that have shown a valid certificate: remembered across restarts, within bounds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.base import PGDialect

from vrxmpp.store import engine, open_peers, peers
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import Peers
from vrxmpp.store.statement import Statement

if TYPE_CHECKING:
    from conftest import Storage

NOW = datetime(2024, 2, 29, 12, 30, 15, 250_001, UTC)
YEAR = timedelta(days=365)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def known(storage: Storage) -> Peers:
    return open_peers(storage.database)


def test_nobody_is_known_at_first(storage: Storage, known: Peers) -> None:
    assert storage.wait(known.certified()) == {}


def test_the_last_time_counts(storage: Storage, known: Peers) -> None:
    storage.wait(known.note("bücher.example", NOW))
    storage.wait(known.note("museum.example", NOW))
    storage.wait(known.note("bücher.example", NOW + YEAR))
    assert storage.wait(known.certified()) == {"bücher.example": NOW + YEAR, "museum.example": NOW}


def test_it_is_known_when_a_peer_was_seen_first(threaded: Storage) -> None:
    for at in (NOW, NOW + YEAR):
        threaded.wait(open_peers(threaded.database).note("museum.example", at))
    with closing(sqlite3.connect(threaded.path)) as other:
        rows = other.execute("SELECT domain, last_seen - first_seen FROM certified_peers").fetchall()
    assert rows == [("museum.example", YEAR // MICROSECOND)]


def test_a_restart_forgets_nobody(threaded: Storage) -> None:
    threaded.wait(open_peers(threaded.database).note("museum.example", NOW))
    again = threaded.open_beside()
    assert again.wait(open_peers(again.database).certified()) == {"museum.example": NOW}
    again.wait(again.database.close())


def test_whoever_was_not_seen_for_a_year_is_forgotten(storage: Storage, known: Peers) -> None:
    storage.wait(known.note("gone.example", NOW))
    storage.wait(known.note("kept.example", NOW + MICROSECOND))
    storage.wait(known.note("back.example", NOW))
    later = NOW + YEAR + MICROSECOND
    storage.wait(known.note("back.example", later))
    assert storage.wait(known.certified()) == {"kept.example": NOW + MICROSECOND, "back.example": later}


def test_newcomers_push_nobody_out(storage: Storage, known: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_KEPT", 3)
    for number in range(5):
        storage.wait(known.note(f"{number}.example", NOW + timedelta(days=number)))
    assert sorted(storage.wait(known.certified())) == ["0.example", "1.example", "2.example"]
    storage.wait(known.note("0.example", NOW + YEAR))
    storage.wait(known.note("new.example", NOW + YEAR + timedelta(days=2)))  # by now one of them is forgotten
    assert sorted(storage.wait(known.certified())) == ["0.example", "2.example", "new.example"]


def test_a_database_from_before_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_before(connection: Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "vrxmpp.store:migrations")
        command.upgrade(config, "0001")

    path = tmp_path / "vrxmpp.db"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_run_migrations", stop_before)
        engine.open_engine(f"sqlite:///{path}").dispose()
    with closing(sqlite3.connect(path)) as other:
        assert "certified_peers" not in {name for (name,) in other.execute("SELECT name FROM sqlite_master")}
        other.execute("PRAGMA foreign_keys = ON")
        keys = [b"salt", 4096, b"stored", b"server"] * 2
        other.execute(f"INSERT INTO accounts VALUES (1, 'a.example', 'romeo', 0, 1, NULL, NULL, {'?, ' * 8} 0)", keys)
        other.commit()
    database = Database.open(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT local FROM accounts").fetchall() == [("romeo",)]
        assert other.execute("SELECT count(*) FROM certified_peers").fetchall() == [(0,)]
    with pytest.raises(StopIteration):
        database.close().send(None)


def test_every_statement_can_be_said_to_postgresql() -> None:
    statements = [each for each in vars(peers).values() if isinstance(each, Statement)]
    assert statements
    for statement in statements:
        assert str(statement._clause.compile(dialect=PGDialect()))  # type: ignore[no-untyped-call]
