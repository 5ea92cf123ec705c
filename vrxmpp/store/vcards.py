"""One vCard an account (XEP-0054)."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select

from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId
from vrxmpp.store.schema import vcards

_GET = select(vcards.c.vcard).where(vcards.c.account == bindparam("account"))
_REMOVE = delete(vcards).where(vcards.c.account == bindparam("account"))
_ADD = insert(vcards)


class SqlVCards:
    """``VCards`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: AccountId) -> bytes | None:
        return await self._database.read(lambda connection: connection.scalar(_GET, {"account": account}))

    async def put(self, account: AccountId, vcard: bytes) -> None:
        def work(connection: Connection) -> None:
            connection.execute(_REMOVE, {"account": account})
            connection.execute(_ADD, {"account": account, "vcard": vcard})

        await self._database.write(work)
