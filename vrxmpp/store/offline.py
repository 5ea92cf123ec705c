"""Messages that wait for a user without available resources (XEP-0160)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select

from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId, OfflineMessage
from vrxmpp.store.schema import accounts, offline_messages

_NUMBER_WAITING = select(func.count()).where(offline_messages.c.account == bindparam("account")).scalar_subquery()
_ADD = insert(offline_messages).from_select(
    ["account", "stamp", "stanza"],
    select(
        accounts.c.id,
        bindparam("stamp", type_=offline_messages.c.stamp.type),
        bindparam("stanza", type_=offline_messages.c.stanza.type),
    ).where(accounts.c.id == bindparam("account"), bindparam("limit") > _NUMBER_WAITING),
)
_WAITING = (
    select(offline_messages.c.number, offline_messages.c.stamp, offline_messages.c.stanza)
    .where(offline_messages.c.account == bindparam("account"))
    .order_by(offline_messages.c.number)
)
_DISCARD = delete(offline_messages).where(
    offline_messages.c.account == bindparam("account"), offline_messages.c.number <= bindparam("up_to")
)


class SqlOffline:
    """``Offline`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: AccountId, stamp: datetime, stanza: bytes, limit: int) -> bool:
        row = {"account": account, "stamp": stamp, "stanza": stanza, "limit": limit}
        return await self._database.write(lambda connection: connection.execute(_ADD, row).rowcount > 0)

    async def waiting(self, account: AccountId) -> list[OfflineMessage]:
        key = {"account": account}
        return await self._database.read(
            lambda connection: [OfflineMessage(*row) for row in connection.execute(_WAITING, key)]
        )

    async def discard(self, account: AccountId, up_to: int) -> None:
        key = {"account": account, "up_to": up_to}
        await self._database.write(lambda connection: connection.execute(_DISCARD, key).close())
