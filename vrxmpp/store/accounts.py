"""The accounts of one domain: who exists, how they prove it, and all that is read when one wakes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, null, select, update

from vrxmpp.jid import Jid
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import (
    AccountId,
    AccountState,
    AccountSummary,
    Credentials,
    LastActivity,
    NewAccount,
    RosterItem,
    ScramKeys,
    Subscription,
)
from vrxmpp.store.schema import accounts, blocked, from_microseconds, offline_messages, roster_items, to_microseconds
from vrxmpp.store.statement import Row, Statement

_KEYS = (
    accounts.c.sha1_salt,
    accounts.c.sha1_iterations,
    accounts.c.sha1_stored_key,
    accounts.c.sha1_server_key,
    accounts.c.sha256_salt,
    accounts.c.sha256_iterations,
    accounts.c.sha256_stored_key,
    accounts.c.sha256_server_key,
)
_LAST_ACTIVITY = (accounts.c.last_activity_at, accounts.c.last_activity_status)

_IN_DOMAIN = accounts.c.domain == bindparam("domain")
_AT_ADDRESS = (_IN_DOMAIN, accounts.c.local == bindparam("local"))

_WAKE = Statement(
    select(accounts.c.id, accounts.c.enabled, accounts.c.roster_version, *_LAST_ACTIVITY).where(*_AT_ADDRESS)
)
_ROSTER = Statement(
    select(
        roster_items.c.jid,
        roster_items.c.name,
        roster_items.c.groups,
        roster_items.c.subscription,
        roster_items.c.asked,
        roster_items.c.approved,
        roster_items.c.request,
        roster_items.c.listed,
    )
    .where(roster_items.c.account == bindparam("account"))
    .order_by(roster_items.c.jid)
)
_BLOCKED = Statement(select(blocked.c.jid).where(blocked.c.account == bindparam("account")).order_by(blocked.c.jid))

_CREDENTIALS = Statement(select(accounts.c.id, accounts.c.enabled, *_KEYS).where(*_AT_ADDRESS))

_SUMMARY_OF = select(
    accounts.c.local,
    accounts.c.enabled,
    accounts.c.created,
    *_LAST_ACTIVITY,
    select(func.count()).where(offline_messages.c.account == accounts.c.id).scalar_subquery(),
    select(func.count()).where(roster_items.c.account == accounts.c.id, roster_items.c.listed).scalar_subquery(),
)
_SUMMARY = Statement(_SUMMARY_OF.where(*_AT_ADDRESS))
_SUMMARIES = Statement(_SUMMARY_OF.where(_IN_DOMAIN).order_by(accounts.c.local))

_EXISTS = Statement(select(accounts.c.id).where(*_AT_ADDRESS))
_ADD = Statement(
    insert(accounts)
    .values({column.name: bindparam(column.name) for column in accounts.c if not column.primary_key})
    .inline()
)
_SET_PASSWORD = Statement(update(accounts).where(*_AT_ADDRESS).values({key.name: bindparam(key.name) for key in _KEYS}))
_SET_ENABLED = Statement(update(accounts).where(*_AT_ADDRESS).values(enabled=bindparam("enabled")))
_SET_LAST_ACTIVITY = Statement(
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(last_activity_at=bindparam("at"), last_activity_status=bindparam("status"))
)
_REMOVE = Statement(delete(accounts).where(*_AT_ADDRESS))
_THEIR_CONTACT = roster_items.c.jid == bindparam("jid")
_END_SUBSCRIPTIONS = (
    Statement(
        update(accounts)
        .where(accounts.c.id.in_(select(roster_items.c.account).where(_THEIR_CONTACT)))
        .values(roster_version=accounts.c.roster_version + 1)
    ),
    Statement(delete(roster_items).where(_THEIR_CONTACT, roster_items.c.listed.is_(False))),
    Statement(
        update(roster_items)
        .where(_THEIR_CONTACT)
        .values(subscription=Subscription.NONE.value, asked=False, approved=False, request=null())
    ),
)


class SqlAccounts:
    """``Accounts`` of one domain in a database."""

    def __init__(self, database: Database, domain: str) -> None:
        self._database = database
        self._domain = domain

    async def wake(self, local: str) -> AccountState | None:
        def work(connection: Connection) -> AccountState | None:
            row = _WAKE.row(connection, domain=self._domain, local=local)
            if row is None:
                return None
            account, enabled, roster_version, *last_activity = row
            return AccountState(
                id=AccountId(account),
                local=local,
                enabled=bool(enabled),
                roster=tuple(_roster_item(item) for item in _ROSTER.rows(connection, account=account)),
                roster_version=roster_version,
                blocked=tuple(Jid.parse(jid) for (jid,) in _BLOCKED.rows(connection, account=account)),
                last_activity=_last_activity(*last_activity),
            )

        return await self._database.read(work)

    async def credentials(self, local: str) -> Credentials | None:
        def work(connection: Connection) -> Credentials | None:
            row = _CREDENTIALS.row(connection, domain=self._domain, local=local)
            if row is None:
                return None
            account, enabled, *keys = row
            return Credentials(AccountId(account), bool(enabled), ScramKeys(*keys[:4]), ScramKeys(*keys[4:]))

        return await self._database.read(work)

    async def add(self, accounts: list[NewAccount]) -> list[str]:
        created = to_microseconds(datetime.now(UTC))

        def work(connection: Connection) -> list[str]:
            return [account.local for account in accounts if not self._add(connection, account, created)]

        return await self._database.write(work)

    async def set_password(self, local: str, sha1: ScramKeys, sha256: ScramKeys) -> bool:
        return await self._change(_SET_PASSWORD, local, **_columns(sha1, sha256))

    async def set_enabled(self, local: str, enabled: bool) -> bool:
        return await self._change(_SET_ENABLED, local, enabled=enabled)

    async def remove(self, local: str) -> bool:
        def work(connection: Connection) -> bool:
            existed = _REMOVE.run(connection, domain=self._domain, local=local) > 0
            if existed:
                for statement in _END_SUBSCRIPTIONS:
                    statement.run(connection, jid=f"{local}@{self._domain}")
            return existed

        return await self._database.write(work)

    async def summary(self, local: str) -> AccountSummary | None:
        row = await self._database.read(lambda connection: _SUMMARY.row(connection, domain=self._domain, local=local))
        return _summary(row) if row else None

    async def summaries(self) -> list[AccountSummary]:
        rows = await self._database.read(lambda connection: _SUMMARIES.rows(connection, domain=self._domain))
        return [_summary(row) for row in rows]

    async def set_last_activity(self, account: AccountId, activity: LastActivity) -> None:
        def work(connection: Connection) -> None:
            at = to_microseconds(activity.at)
            _SET_LAST_ACTIVITY.run(connection, account=account, at=at, status=activity.status)

        await self._database.write(work)

    async def _change(self, statement: Statement, local: str, **values: Any) -> bool:
        return await self._database.write(
            lambda connection: statement.run(connection, domain=self._domain, local=local, **values) > 0
        )

    def _add(self, connection: Connection, account: NewAccount, created: int) -> bool:
        if _EXISTS.row(connection, domain=self._domain, local=account.local):
            return False
        _ADD.run(
            connection,
            domain=self._domain,
            local=account.local,
            created=created,
            enabled=True,
            last_activity_at=None,
            last_activity_status=None,
            roster_version=0,
            **_columns(account.sha1, account.sha256),
        )
        return True


def _columns(sha1: ScramKeys, sha256: ScramKeys) -> dict[str, Any]:
    values: list[Any] = []
    for keys in (sha1, sha256):
        values += (keys.salt, keys.iterations, keys.stored_key, keys.server_key)
    return {key.name: value for key, value in zip(_KEYS, values, strict=True)}


def _roster_item(row: Row) -> RosterItem:
    jid, name, groups, subscription, asked, approved, request, listed = row
    return RosterItem(
        jid=Jid.parse(jid),
        name=name,
        groups=tuple(json.loads(groups)),
        subscription=Subscription(subscription),
        asked=bool(asked),
        approved=bool(approved),
        request=request,
        listed=bool(listed),
    )


def _last_activity(at: int | None, status: str) -> LastActivity | None:
    return None if at is None else LastActivity(from_microseconds(at), status)


def _summary(row: Row) -> AccountSummary:
    local, enabled, created, at, status, offline_messages, contacts = row
    return AccountSummary(
        local=local,
        enabled=bool(enabled),
        created=from_microseconds(created),
        last_activity=_last_activity(at, status),
        offline_messages=offline_messages,
        contacts=contacts,
    )
