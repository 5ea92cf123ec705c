"""Private XML, kept by the qualified name of its element (XEP-0049)."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId
from vrxmpp.store.schema import private_xml
from vrxmpp.store.statement import Statement

_OF_ACCOUNT = private_xml.c.account == bindparam("account")
_OF_ELEMENT = (_OF_ACCOUNT, private_xml.c.name == bindparam("name"))

_GET = Statement(select(private_xml.c.xml).where(*_OF_ELEMENT))
_SIZE_OF_OTHERS = Statement(
    select(func.coalesce(func.sum(func.length(private_xml.c.xml)), 0)).where(
        _OF_ACCOUNT, private_xml.c.name != bindparam("name")
    )
)
_REMOVE = Statement(delete(private_xml).where(*_OF_ELEMENT))
_ADD = Statement(insert(private_xml))


class SqlPrivateStorage:
    """``PrivateStorage`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: AccountId, name: str) -> bytes | None:
        row = await self._database.read(lambda connection: _GET.row(connection, account=account, name=name))
        return row[0] if row else None

    async def put(self, account: AccountId, name: str, xml: bytes, limit: int) -> bool:
        def work(connection: Connection) -> bool:
            [[size]] = _SIZE_OF_OTHERS.rows(connection, account=account, name=name)
            if size + len(xml) > limit:
                return False
            _REMOVE.run(connection, account=account, name=name)
            _ADD.run(connection, account=account, name=name, xml=xml)
            return True

        return await self._database.write(work)
