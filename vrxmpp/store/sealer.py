"""Seals the words that wait in the database: AES-256-GCM (NIST SP 800-38D) under a storage key.

A sealed value is ``version (1) ‖ nonce (12) ‖ ciphertext and tag``; a stanza that was written plain begins with ``<``.
"""

from __future__ import annotations

import sqlite3
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, bindparam, delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from vrxmpp.store.engine import open_engine, outward, writing
from vrxmpp.store.interfaces import Sealer, StorageError
from vrxmpp.store.schema import offline_messages
from vrxmpp.store.statement import Statement

_VERSION = b"\x01"
_NONCE_BYTES = 12
_CONTEXT = b"vrxmpp waiting stanza"
_TOGETHER = 500  # rows sealed in one transaction

_PLAIN_ROWS = Statement(
    select(offline_messages.c.number, offline_messages.c.stanza)
    .where(
        offline_messages.c.number > bindparam("after"),
        func.substr(offline_messages.c.stanza, 1, 1) == b"<",
    )
    .order_by(offline_messages.c.number)
    .limit(_TOGETHER)
)
_SEAL_ROW = Statement(
    update(offline_messages).where(offline_messages.c.number == bindparam("of")).values(stanza=bindparam("sealed"))
)
_FORGET_SEALED = Statement(delete(offline_messages).where(func.substr(offline_messages.c.stanza, 1, 1) != b"<"))


class StorageSealer:
    """Seals under a storage key; until that has come nothing can be sealed or opened (``StorageError``)."""

    def __init__(self, key: bytes | None = None) -> None:
        self._cipher = None if key is None else AESGCM(key)

    def unlock(self, key: bytes) -> None:
        """Take the storage key: 32 bytes."""
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes) -> bytes:
        """Return what may be stored."""
        nonce = urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._unlocked().encrypt(nonce, plain, _CONTEXT)

    def open(self, stored: bytes) -> bytes:
        """Return what was stored, sealed or plain; StorageError if it was sealed under another key, or is damaged."""
        if stored.startswith(b"<"):
            return stored
        nonce, ciphertext = stored[1 : 1 + _NONCE_BYTES], stored[1 + _NONCE_BYTES :]
        try:
            if stored.startswith(_VERSION):
                return self._unlocked().decrypt(nonce, ciphertext, _CONTEXT)
        except (InvalidTag, ValueError):
            pass
        raise StorageError("what waits in the database was sealed under another storage key, or is damaged")

    def _unlocked(self) -> AESGCM:
        if self._cipher is None:
            raise StorageError("the storage key has not come yet")
        return self._cipher


class Unsealed:
    """Stores words as they are."""

    def seal(self, plain: bytes) -> bytes:
        """Return what may be stored."""
        return plain

    def open(self, stored: bytes) -> bytes:
        """Return what was stored; StorageError if it is sealed."""
        if stored.startswith(_VERSION):
            raise StorageError("what waits in the database is sealed, and there is no storage key")
        return stored


def seal_waiting(url: str, sealer: Sealer) -> int:
    """Seal all that waits unsealed in a database and return how many rows that were; raise ``StorageError``.

    Nothing of it is left in the file, nor of what was deleted before. It blocks, and may run beside a server that has
    the database open.
    """
    engine = open_engine(url)
    try:
        return _seal_rows(engine, sealer)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise outward(error) from None
    finally:
        engine.dispose()


def forget_sealed(url: str) -> int:
    """Delete all that waits sealed in a database, whose storage key is lost, and return how many rows that were.

    Raises ``StorageError``. What waits unsealed stays.
    """
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            writing(connection)
            with connection.begin():
                return _FORGET_SEALED.run(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise outward(error) from None
    finally:
        engine.dispose()


def _seal_rows(engine: Engine, sealer: Sealer) -> int:
    count = 0
    last = 0
    with engine.connect() as connection:
        writing(connection)
        while last >= 0:
            with connection.begin():
                last, done = _seal_some(connection, sealer, last)
            count += done
        cursor = connection.connection.cursor()
        if cursor.execute("PRAGMA user_version").fetchall() == [(0,)]:
            cursor.execute("VACUUM")  # once: its pages may hold what was deleted before SQLite was told to overwrite
            cursor.execute("PRAGMA user_version = 1")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the plain words have left the tables, but not yet the log
    return count


def _seal_some(connection: Connection, sealer: Sealer, after: int) -> tuple[int, int]:
    """Seal rows behind a number; return the last one's, or -1 if there are no more, and how many these were."""
    rows = _PLAIN_ROWS.rows(connection, after=after)
    _SEAL_ROW.run_each(connection, [{"of": number, "sealed": sealer.seal(stanza)} for number, stanza in rows])
    return (rows[-1][0] if rows else -1), len(rows)
