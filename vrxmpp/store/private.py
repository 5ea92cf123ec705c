"""Private XML, kept by the qualified name of its element (XEP-0049)."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId
from vrxmpp.store.schema import private_xml

_OF_ACCOUNT = private_xml.c.account == bindparam("account")
_OF_ELEMENT = (_OF_ACCOUNT, private_xml.c.name == bindparam("name"))

_GET = select(private_xml.c.xml).where(*_OF_ELEMENT)
_OTHERS = select(func.coalesce(func.sum(func.length(private_xml.c.xml)), 0)).where(
    _OF_ACCOUNT, private_xml.c.name != bindparam("name")
)
_REMOVE = delete(private_xml).where(*_OF_ELEMENT)
_ADD = insert(private_xml)


class SqlPrivateStorage:
    """``PrivateStorage`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: AccountId, name: str) -> bytes | None:
        key = {"account": account, "name": name}
        return await self._database.read(lambda connection: connection.scalar(_GET, key))

    async def put(self, account: AccountId, name: str, xml: bytes, limit: int) -> bool:
        key = {"account": account, "name": name}

        def work(connection: Connection) -> bool:
            if connection.execute(_OTHERS, key).scalar_one() + len(xml) > limit:
                return False
            connection.execute(_REMOVE, key)
            connection.execute(_ADD, {**key, "xml": xml})
            return True

        return await self._database.write(work)
