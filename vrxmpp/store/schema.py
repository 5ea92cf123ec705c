"""The tables, and what is in them.

One file, ``vrxmpp.sqlite`` by default, holds every domain of the process; beside it SQLite keeps ``-wal`` (the newest
commits) and ``-shm`` while the database is open::

    accounts ─┬─ id            never given out twice, so that a late write cannot reach an account's successor
              ├─ domain, local prepared; unique together
              ├─ created, enabled, last_activity_at, last_activity_status
              ├─ sha1_*, sha256_*  salt, iterations, stored_key, server_key (RFC 5802 §3)
              └─ roster_version    counts the writes to the roster (RFC 6121 §2.6)
       │ account
       ├─< roster_items        jid · name, groups (a JSON list), subscription, asked, approved, request, listed
       ├─< blocked             jid
       ├─< offline_messages    number, in the order they came · stamp, stanza
       ├─- vcards              vcard
       └─< private_xml         name of the element · xml

    certified_peers             domain of another server · first_seen, last_seen: with a valid certificate

Removing an account removes all that hangs on it. Times are whole microseconds since 1970, UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0002"  # of the newest migration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(at: datetime) -> int:
    """Return how a timezone-aware time is stored."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the time that was stored, UTC."""
    return _EPOCH + microseconds * _MICROSECOND


def _number() -> Column[int]:
    # SQLite numbers rows by itself only where the type is exactly INTEGER, which has 64 bits there.
    return Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _account(**options: Any) -> Column[int]:
    return Column("account", Integer, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, **options)


metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("domain", Text, nullable=False),
    Column("local", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("last_activity_at", BigInteger),
    Column("last_activity_status", Text),
    Column("sha1_salt", LargeBinary, nullable=False),
    Column("sha1_iterations", Integer, nullable=False),
    Column("sha1_stored_key", LargeBinary, nullable=False),
    Column("sha1_server_key", LargeBinary, nullable=False),
    Column("sha256_salt", LargeBinary, nullable=False),
    Column("sha256_iterations", Integer, nullable=False),
    Column("sha256_stored_key", LargeBinary, nullable=False),
    Column("sha256_server_key", LargeBinary, nullable=False),
    Column("roster_version", BigInteger, nullable=False),
    UniqueConstraint("domain", "local", name="accounts_address"),
    sqlite_autoincrement=True,
)

roster_items = Table(
    "roster_items",
    metadata,
    _account(primary_key=True),
    Column("jid", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("groups", Text, nullable=False),
    Column("subscription", String(4), nullable=False),
    Column("asked", Boolean, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("request", LargeBinary),
    Column("listed", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

blocked = Table(
    "blocked",
    metadata,
    _account(primary_key=True),
    Column("jid", Text, primary_key=True),
    sqlite_with_rowid=False,
)

offline_messages = Table(
    "offline_messages",
    metadata,
    _number(),
    _account(),
    Column("stamp", BigInteger, nullable=False),
    Column("stanza", LargeBinary, nullable=False),
    Index("offline_messages_by_account", "account", "number"),
    sqlite_autoincrement=True,
)

vcards = Table(
    "vcards",
    metadata,
    _account(primary_key=True, autoincrement=False),
    Column("vcard", LargeBinary, nullable=False),
)

private_xml = Table(
    "private_xml",
    metadata,
    _account(primary_key=True),
    Column("name", Text, primary_key=True),
    Column("xml", LargeBinary, nullable=False),
)

certified_peers = Table(
    "certified_peers",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Index("certified_peers_by_last_seen", "last_seen"),
    sqlite_with_rowid=False,
)
