"""Opens the database: its file, SQLite's settings, the upgrade of its tables."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from vrxmpp.store.interfaces import StorageError
from vrxmpp.store.schema import REVISION

_BUSY_MILLISECONDS = 5_000  # how long to wait for another process that writes, such as ``vrxmpp user import``

_SETTINGS = (
    f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit is on the disk before it is reported
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # what is deleted leaves the file
)

_REASONS = {
    "SQLITE_BUSY": "the database is locked by another process",
    "SQLITE_CANTOPEN": "the database file cannot be opened",
    "SQLITE_CONSTRAINT": "the tables do not allow it, or the account is gone",
    "SQLITE_CORRUPT": "the database file is damaged",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk cannot be read or written",
    "SQLITE_LOCKED": "the database is locked",
    "SQLITE_NOTADB": "the file is not a database",
    "SQLITE_READONLY": "the database cannot be written",
}


def open_engine(url: str) -> Engine:
    """Return an engine for ``url``, whose tables are up to date; raise ``StorageError`` where that cannot be.

    ``sqlite:///relative`` and ``sqlite:////absolute`` name a file, made with mode 0600 where there is none;
    ``sqlite://`` is a database in memory, one connection that all share.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        raise StorageError("the database URL cannot be read") from None
    if parts.drivername != "sqlite":
        raise StorageError("only SQLite databases are known")
    if parts.database:
        _make_file(parts.database)
    engine = create_engine(
        parts,
        poolclass=NullPool if parts.database else StaticPool,
        connect_args={"check_same_thread": False},  # opened in one thread, then used in one other
        paramstyle="named",
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    try:
        _upgrade(engine)
    except Exception as error:
        engine.dispose()
        raise outward(error) from None
    return engine


def outward(error: Exception) -> Exception:
    """Put an error of the database or its driver into one line, without a word of what was being stored."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        name: str = getattr(cause, "sqlite_errorname", type(cause).__name__)
        family = "_".join(name.split("_")[:2])
        return StorageError(f"{_REASONS.get(family, 'the database refused')} ({name})")
    if isinstance(cause, SQLAlchemyError):
        return StorageError(f"the database refused ({type(cause).__name__})")
    return error


def _make_file(path: str) -> None:
    # SQLite gives the files beside it the same mode.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


def _set_up(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # the driver would begin transactions late, and not for savepoints
    for setting in _SETTINGS:
        connection.execute(setting)


def _begin(connection: Connection) -> None:
    connection.connection.cursor().execute(connection.get_execution_options().get("begin", "BEGIN"))


def writing(connection: Connection) -> Connection:
    """Let the connection's transactions take the write lock at once: one that asks late may be refused."""
    return connection.execution_options(begin="BEGIN IMMEDIATE")


def _upgrade(engine: Engine) -> None:
    with engine.connect() as connection:
        with connection.begin():
            revision = _revision(connection)
        if revision == REVISION:
            return
        if revision > REVISION:
            raise StorageError(
                f"the database was written by a newer vrxmpp (tables {revision}, this one knows {REVISION})"
            )
        with writing(connection).begin():
            _run_migrations(connection)


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.scalar(text("SELECT version_num FROM alembic_version")) or ""


def _run_migrations(connection: Connection) -> None:
    # Imported only here: it takes longer than all that most commands do.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "vrxmpp.store:migrations")
    command.upgrade(config, "head")
