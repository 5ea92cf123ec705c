"""Whom each account has blocked (XEP-0191); the lists are read as their accounts wake."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert

from vrxmpp.jid import Jid
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId
from vrxmpp.store.schema import blocked

_CLEAR = delete(blocked).where(blocked.c.account == bindparam("account"))
_REMOVE = _CLEAR.where(blocked.c.jid == bindparam("jid"))
_ADD = insert(blocked)


class SqlBlocklists:
    """``Blocklists`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: AccountId, jids: tuple[Jid, ...]) -> None:
        rows = _rows(account, jids)

        def work(connection: Connection) -> None:
            if rows:
                connection.execute(_REMOVE, rows)
                connection.execute(_ADD, rows)

        await self._database.write(work)

    async def remove(self, account: AccountId, jids: tuple[Jid, ...]) -> None:
        rows = _rows(account, jids)

        def work(connection: Connection) -> None:
            if rows:
                connection.execute(_REMOVE, rows)

        await self._database.write(work)

    async def clear(self, account: AccountId) -> None:
        await self._database.write(lambda connection: connection.execute(_CLEAR, {"account": account}).close())


def _rows(account: AccountId, jids: tuple[Jid, ...]) -> list[dict[str, object]]:
    """One row an address, however often it was named."""
    return [{"account": account, "jid": text} for text in dict.fromkeys(jid.text for jid in jids)]
