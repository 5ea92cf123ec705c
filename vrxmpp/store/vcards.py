"""One vCard an account (XEP-0054)."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select

from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId
from vrxmpp.store.schema import vcards
from vrxmpp.store.statement import Statement

_OF_ACCOUNT = vcards.c.account == bindparam("account")

_GET = Statement(select(vcards.c.vcard).where(_OF_ACCOUNT))
_REMOVE = Statement(delete(vcards).where(_OF_ACCOUNT))
_ADD = Statement(insert(vcards))


class SqlVCards:
    """``VCards`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: AccountId) -> bytes | None:
        row = await self._database.read(lambda connection: _GET.row(connection, account=account))
        return row[0] if row else None

    async def put(self, account: AccountId, vcard: bytes) -> None:
        def work(connection: Connection) -> None:
            _REMOVE.run(connection, account=account)
            _ADD.run(connection, account=account, vcard=vcard)

        await self._database.write(work)
