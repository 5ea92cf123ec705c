"""How a database is opened: its file, its tables and their upgrade."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.base import PGDialect

from vrxmpp.store import accounts, blocklists, engine, offline, private, rosters, vcards
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import StorageError
from vrxmpp.store.schema import REVISION, metadata
from vrxmpp.store.statement import Statement

if TYPE_CHECKING:
    from conftest import Storage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a database file may be made."""
    return tmp_path / "vrxmpp.db"


@pytest.fixture
def _open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def refusal(url: str) -> str:
    """Return the one line with which a database is not opened."""
    with pytest.raises(StorageError) as raised:
        Database.open(url)
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    return line


def test_an_empty_database_gets_the_tables_of_the_schema(threaded: Storage) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))

    assert threaded.wait(threaded.database.read(differences)) == []


def test_the_schema_names_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "vrxmpp.store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_an_upgraded_database_is_opened_without_alembic(threaded: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(connection: Connection) -> None:
        raise AssertionError("upgraded again")

    monkeypatch.setattr(engine, "_run_migrations", refuse)
    threaded.add_account("romeo")
    again = threaded.open_beside()
    assert again.wait(again.stores.accounts.wake("romeo"))
    again.wait(again.database.close())


def test_a_newer_database_is_refused(threaded: Storage) -> None:
    with closing(sqlite3.connect(threaded.path)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    assert refusal(f"sqlite:///{threaded.path}") == (
        f"the database was written by a newer vrxmpp (tables 9999, this one knows {REVISION})"
    )


def test_a_failed_upgrade_leaves_nothing_behind(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE private_xml (mine)")
    refusal(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("private_xml",)]


@pytest.mark.usefixtures("_open_to_all")
def test_only_the_owner_can_read_the_files(threaded: Storage) -> None:
    threaded.add_account("romeo")
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in Path(threaded.path).parent.iterdir()}
    assert modes == {"vrxmpp.db": 0o600, "vrxmpp.db-wal": 0o600, "vrxmpp.db-shm": 0o600}


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "vrxmpp.db"
    assert refusal(f"sqlite:///{path}") == f"{path}: No such file or directory"


def test_another_kind_of_file_is_refused(path: Path) -> None:
    path.write_bytes(b"Two households, both alike in dignity, in fair Verona " * 100)
    assert refusal(f"sqlite:///{path}") == "the file is not a database (SQLITE_NOTADB)"


@pytest.mark.parametrize("url", ["postgresql://romeo:secret@db.example/x", "romeo:secret", ""])
def test_another_kind_of_database_is_refused(url: str) -> None:
    assert "secret" not in refusal(url)


def test_every_statement_can_be_said_to_postgresql() -> None:
    stores = (accounts, blocklists, offline, private, rosters, vcards)
    statements = [each for store in stores for each in vars(store).values() if isinstance(each, Statement)]
    assert len(statements) > 20
    for statement in statements:
        assert str(statement._clause.compile(dialect=PGDialect()))  # type: ignore[no-untyped-call]
