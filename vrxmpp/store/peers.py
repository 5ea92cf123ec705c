"""Which other servers have shown a valid certificate, so that none can be replaced by one that has none."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from vrxmpp.store.database import Database
from vrxmpp.store.schema import certified_peers, from_microseconds, to_microseconds
from vrxmpp.store.statement import Statement

_KEPT = 100_000  # peers
_REMEMBERED = timedelta(days=365)

_ALL = Statement(select(certified_peers.c.domain, certified_peers.c.last_seen))
_SEEN_AGAIN = Statement(
    update(certified_peers).where(certified_peers.c.domain == bindparam("peer")).values(last_seen=bindparam("at"))
)
_FORGET = Statement(delete(certified_peers).where(certified_peers.c.last_seen < bindparam("before")))
_COUNT = Statement(select(func.count()).select_from(certified_peers))
_ADD = Statement(insert(certified_peers))


class SqlPeers:
    """``Peers`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def certified(self) -> dict[str, datetime]:
        rows = await self._database.read(_ALL.rows)
        return {domain: from_microseconds(last_seen) for domain, last_seen in rows}

    async def note(self, domain: str, at: datetime) -> None:
        await self._database.write(lambda connection: _note(connection, domain, at))


def _note(connection: Connection, domain: str, at: datetime) -> None:
    now = to_microseconds(at)
    known = _SEEN_AGAIN.run(connection, peer=domain, at=now)
    _FORGET.run(connection, before=to_microseconds(at - _REMEMBERED))
    # Whoever has certificates to spare must not be able to push out those who are known.
    if not known and _COUNT.rows(connection)[0][0] < _KEPT:
        _ADD.run(connection, domain=domain, first_seen=now, last_seen=now)
