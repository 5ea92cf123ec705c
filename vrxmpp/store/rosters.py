"""The rosters of all accounts (RFC 6121 §2); they are read as their accounts wake."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, update

from vrxmpp.jid import Jid
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId, RosterItem
from vrxmpp.store.schema import accounts, roster_items

_REMOVE = delete(roster_items).where(
    roster_items.c.account == bindparam("account"), roster_items.c.jid == bindparam("jid")
)
_ADD = insert(roster_items)
_NEXT_VERSION = (
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
        key = {"account": account, "jid": item.jid.text}
        row = {
            **key,
            "name": item.name,
            "groups": item.groups,
            "subscription": item.subscription,
            "asked": item.asked,
            "approved": item.approved,
            "request": item.request,
            "listed": item.listed,
        }

        def work(connection: Connection) -> int:
            connection.execute(_REMOVE, key)
            connection.execute(_ADD, row)
            return _next_version(connection, account)

        return await self._database.write(work)

    async def remove(self, account: AccountId, jid: Jid) -> int:
        key = {"account": account, "jid": jid.text}

        def work(connection: Connection) -> int:
            connection.execute(_REMOVE, key)
            return _next_version(connection, account)

        return await self._database.write(work)


def _next_version(connection: Connection, account: AccountId) -> int:
    version: int = connection.execute(_NEXT_VERSION, {"account": account}).scalar_one()
    return version
