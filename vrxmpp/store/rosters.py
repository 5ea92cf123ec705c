"""The rosters of all accounts (RFC 6121 §2); they are read as their accounts wake."""

from __future__ import annotations

import json

from sqlalchemy import Connection, bindparam, delete, insert, update

from vrxmpp.jid import Jid
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId, RosterItem, StorageError
from vrxmpp.store.schema import accounts, roster_items
from vrxmpp.store.statement import Statement

_REMOVE = Statement(
    delete(roster_items).where(roster_items.c.account == bindparam("account"), roster_items.c.jid == bindparam("jid"))
)
_ADD = Statement(insert(roster_items))
_NEXT_VERSION = Statement(
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(roster_version=accounts.c.roster_version + 1)
    .returning(accounts.c.roster_version)
)


class SqlRosters:
    """``Rosters`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, account: AccountId, item: RosterItem) -> int:
        def work(connection: Connection) -> int:
            _REMOVE.run(connection, account=account, jid=item.jid.text)
            _ADD.run(
                connection,
                account=account,
                jid=item.jid.text,
                name=item.name,
                groups=json.dumps(item.groups),
                subscription=item.subscription.value,
                asked=item.asked,
                approved=item.approved,
                request=item.request,
                listed=item.listed,
            )
            return _next_version(connection, account)

        return await self._database.write(work)

    async def remove(self, account: AccountId, jid: Jid) -> int:
        def work(connection: Connection) -> int:
            _REMOVE.run(connection, account=account, jid=jid.text)
            return _next_version(connection, account)

        return await self._database.write(work)


def _next_version(connection: Connection, account: AccountId) -> int:
    row = _NEXT_VERSION.row(connection, account=account)
    if row is None:
        raise StorageError("the account is gone")
    version: int = row[0]
    return version
