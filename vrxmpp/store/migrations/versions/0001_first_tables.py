"""The first tables: accounts, rosters, blocklists, offline messages, vCards and private XML."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_accounts()
    op.create_table(
        "roster_items",
        _account(primary_key=True),
        sa.Column("jid", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        sa.Column("subscription", sa.String(4), nullable=False),
        sa.Column("asked", sa.Boolean, nullable=False),
        sa.Column("approved", sa.Boolean, nullable=False),
        sa.Column("request", sa.LargeBinary),
        sa.Column("listed", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blocked", _account(primary_key=True), sa.Column("jid", sa.Text, primary_key=True), sqlite_with_rowid=False
    )
    op.create_table(
        "offline_messages",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        _account(),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("stanza", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("offline_messages_by_account", "offline_messages", ["account", "number"])
    op.create_table(
        "vcards", _account(primary_key=True, autoincrement=False), sa.Column("vcard", sa.LargeBinary, nullable=False)
    )
    op.create_table(
        "private_xml",
        _account(primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("xml", sa.LargeBinary, nullable=False),
    )


def _account(**options: Any) -> sa.Column[int]:
    key = sa.ForeignKey("accounts.id", ondelete="CASCADE")
    return sa.Column("account", sa.Integer, key, nullable=False, **options)


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("local", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("last_activity_at", sa.BigInteger),
        sa.Column("last_activity_status", sa.Text),
        sa.Column("sha1_salt", sa.LargeBinary, nullable=False),
        sa.Column("sha1_iterations", sa.Integer, nullable=False),
        sa.Column("sha1_stored_key", sa.LargeBinary, nullable=False),
        sa.Column("sha1_server_key", sa.LargeBinary, nullable=False),
        sa.Column("sha256_salt", sa.LargeBinary, nullable=False),
        sa.Column("sha256_iterations", sa.Integer, nullable=False),
        sa.Column("sha256_stored_key", sa.LargeBinary, nullable=False),
        sa.Column("sha256_server_key", sa.LargeBinary, nullable=False),
        sa.Column("roster_version", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("domain", "local", name="accounts_address"),
        sqlite_autoincrement=True,
    )
