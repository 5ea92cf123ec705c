"""Messages that wait for a user without available resources (XEP-0160)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId, OfflineMessage, Sealer
from vrxmpp.store.schema import accounts, from_microseconds, offline_messages, to_microseconds
from vrxmpp.store.statement import Statement

_OF_ACCOUNT = offline_messages.c.account == bindparam("account")

_ADD = Statement(
    insert(offline_messages).from_select(
        ["account", "stamp", "stanza"],
        select(accounts.c.id, bindparam("stamp"), bindparam("stanza")).where(
            accounts.c.id == bindparam("account"),
            bindparam("limit") > select(func.count()).where(_OF_ACCOUNT).scalar_subquery(),
        ),
    )
)
_WAITING = Statement(
    select(offline_messages.c.number, offline_messages.c.stamp, offline_messages.c.stanza)
    .where(_OF_ACCOUNT)
    .order_by(offline_messages.c.number)
)
_DISCARD = Statement(delete(offline_messages).where(_OF_ACCOUNT, offline_messages.c.number <= bindparam("up_to")))


class SqlOffline:
    """``Offline`` in a database, where a sealer hides the messages from whoever steals the disk."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def add(self, account: AccountId, stamp: datetime, stanza: bytes, limit: int) -> bool:
        at, sealed = to_microseconds(stamp), self._sealer.seal(stanza)

        def work(connection: Connection) -> bool:
            return _ADD.run(connection, account=account, stamp=at, stanza=sealed, limit=limit) > 0

        return await self._database.write(work)

    async def waiting(self, account: AccountId) -> list[OfflineMessage]:
        def work(connection: Connection) -> list[OfflineMessage]:
            rows = _WAITING.rows(connection, account=account)
            return [
                OfflineMessage(number, from_microseconds(stamp), self._sealer.open(stored))
                for number, stamp, stored in rows
            ]

        return await self._database.read(work)

    async def discard(self, account: AccountId, up_to: int) -> None:
        await self._database.write(lambda connection: _DISCARD.run(connection, account=account, up_to=up_to))
