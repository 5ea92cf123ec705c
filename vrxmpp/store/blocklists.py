"""Whom each account has blocked (XEP-0191); the lists are read as their accounts wake."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert

from vrxmpp.jid import Jid
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId
from vrxmpp.store.schema import blocked
from vrxmpp.store.statement import Statement

_OF_ACCOUNT = blocked.c.account == bindparam("account")

_ADD = Statement(insert(blocked))
_REMOVE = Statement(delete(blocked).where(_OF_ACCOUNT, blocked.c.jid == bindparam("jid")))
_CLEAR = Statement(delete(blocked).where(_OF_ACCOUNT))


class SqlBlocklists:
    """``Blocklists`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: AccountId, jids: tuple[Jid, ...]) -> None:
        rows = _rows(account, jids)

        def work(connection: Connection) -> None:
            _REMOVE.run_each(connection, rows)
            _ADD.run_each(connection, rows)

        await self._database.write(work)

    async def remove(self, account: AccountId, jids: tuple[Jid, ...]) -> None:
        rows = _rows(account, jids)
        await self._database.write(lambda connection: _REMOVE.run_each(connection, rows))

    async def clear(self, account: AccountId) -> None:
        await self._database.write(lambda connection: _CLEAR.run(connection, account=account))


def _rows(account: AccountId, jids: tuple[Jid, ...]) -> list[dict[str, object]]:
    """One row an address, however often it was named."""
    return [{"account": account, "jid": text} for text in dict.fromkeys(jid.text for jid in jids)]
