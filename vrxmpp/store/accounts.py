"""The accounts of one domain: who exists, how they prove it, and all that is read when one wakes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

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
from vrxmpp.store.schema import accounts, blocked, offline_messages, roster_items

_LOOKED_UP_TOGETHER = 1_000  # localparts; SQLite takes some 30,000 values in one statement

_AT_ADDRESS = (accounts.c.domain == bindparam("at_domain"), accounts.c.local == bindparam("at_local"))

_ACCOUNT = select(
    accounts.c.id,
    accounts.c.enabled,
    accounts.c.roster_version,
    accounts.c.last_activity_at,
    accounts.c.last_activity_status,
).where(*_AT_ADDRESS)

_ROSTER = (
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

_BLOCKED = select(blocked.c.jid).where(blocked.c.account == bindparam("account")).order_by(blocked.c.jid)

_CREDENTIALS = select(
    accounts.c.id,
    accounts.c.enabled,
    accounts.c.sha1_salt,
    accounts.c.sha1_iterations,
    accounts.c.sha1_stored_key,
    accounts.c.sha1_server_key,
    accounts.c.sha256_salt,
    accounts.c.sha256_iterations,
    accounts.c.sha256_stored_key,
    accounts.c.sha256_server_key,
).where(*_AT_ADDRESS)

_SUMMARIES = (
    select(
        accounts.c.local,
        accounts.c.enabled,
        accounts.c.created,
        accounts.c.last_activity_at,
        accounts.c.last_activity_status,
        select(func.count()).where(offline_messages.c.account == accounts.c.id).scalar_subquery(),
        select(func.count()).where(roster_items.c.account == accounts.c.id, roster_items.c.listed).scalar_subquery(),
    )
    .where(accounts.c.domain == bindparam("at_domain"))
    .order_by(accounts.c.local)
)
_SUMMARY = _SUMMARIES.where(accounts.c.local == bindparam("at_local"))

_EXISTING = select(accounts.c.local).where(
    accounts.c.domain == bindparam("at_domain"), accounts.c.local.in_(bindparam("locals", expanding=True))
)

_ADD = insert(accounts)
_CHANGE = update(accounts).where(*_AT_ADDRESS)
_REMOVE = delete(accounts).where(*_AT_ADDRESS)
_SET_LAST_ACTIVITY = update(accounts).where(accounts.c.id == bindparam("account"))


class SqlAccounts:
    """``Accounts`` of one domain in a database."""

    def __init__(self, database: Database, domain: str) -> None:
        self._database = database
        self._domain = domain

    async def wake(self, local: str) -> AccountState | None:
        address = self._address(local)

        def work(connection: Connection) -> AccountState | None:
            row = connection.execute(_ACCOUNT, address).first()
            if row is None:
                return None
            account, enabled, roster_version, at, status = row
            key = {"account": account}
            return AccountState(
                id=AccountId(account),
                local=local,
                enabled=enabled,
                roster=tuple(_roster_item(item) for item in connection.execute(_ROSTER, key)),
                roster_version=roster_version,
                blocked=tuple(Jid.parse(jid) for (jid,) in connection.execute(_BLOCKED, key)),
                last_activity=_last_activity(at, status),
            )

        return await self._database.read(work)

    async def credentials(self, local: str) -> Credentials | None:
        address = self._address(local)

        def work(connection: Connection) -> Credentials | None:
            row = connection.execute(_CREDENTIALS, address).first()
            if row is None:
                return None
            account, enabled, *keys = row
            return Credentials(AccountId(account), enabled, sha1=ScramKeys(*keys[:4]), sha256=ScramKeys(*keys[4:]))

        return await self._database.read(work)

    async def add(self, accounts: list[NewAccount]) -> list[str]:
        created = datetime.now(UTC)

        def work(connection: Connection) -> list[str]:
            known = self._existing(connection, [account.local for account in accounts])
            existed, rows = [], []
            for account in accounts:
                if account.local in known:
                    existed.append(account.local)
                else:
                    known.add(account.local)
                    rows.append(self._row(account, created))
            if rows:
                connection.execute(_ADD, rows)
            return existed

        return await self._database.write(work)

    async def set_password(self, local: str, sha1: ScramKeys, sha256: ScramKeys) -> bool:
        return await self._change(local, _key_columns(sha1, sha256))

    async def set_enabled(self, local: str, enabled: bool) -> bool:
        return await self._change(local, {"enabled": enabled})

    async def remove(self, local: str) -> bool:
        address = self._address(local)
        return await self._database.write(lambda connection: connection.execute(_REMOVE, address).rowcount > 0)

    async def summary(self, local: str) -> AccountSummary | None:
        address = self._address(local)

        def work(connection: Connection) -> AccountSummary | None:
            row = connection.execute(_SUMMARY, address).first()
            return None if row is None else _summary(row)

        return await self._database.read(work)

    async def summaries(self) -> list[AccountSummary]:
        domain = {"at_domain": self._domain}
        return await self._database.read(
            lambda connection: [_summary(r) for r in connection.execute(_SUMMARIES, domain)]
        )

    async def set_last_activity(self, account: AccountId, activity: LastActivity) -> None:
        values = {"account": account, "last_activity_at": activity.at, "last_activity_status": activity.status}
        await self._database.write(lambda connection: connection.execute(_SET_LAST_ACTIVITY, values).close())

    def _address(self, local: str) -> dict[str, str]:
        return {"at_domain": self._domain, "at_local": local}

    async def _change(self, local: str, values: dict[str, Any]) -> bool:
        parameters = self._address(local) | values
        return await self._database.write(lambda connection: connection.execute(_CHANGE, parameters).rowcount > 0)

    def _existing(self, connection: Connection, locals: list[str]) -> set[str]:
        existing: set[str] = set()
        for start in range(0, len(locals), _LOOKED_UP_TOGETHER):
            some = {"at_domain": self._domain, "locals": locals[start : start + _LOOKED_UP_TOGETHER]}
            existing.update(connection.scalars(_EXISTING, some))
        return existing

    def _row(self, account: NewAccount, created: datetime) -> dict[str, Any]:
        return {
            "domain": self._domain,
            "local": account.local,
            "created": created,
            "enabled": True,
            "roster_version": 0,
            **_key_columns(account.sha1, account.sha256),
        }


def _key_columns(sha1: ScramKeys, sha256: ScramKeys) -> dict[str, Any]:
    return {
        "sha1_salt": sha1.salt,
        "sha1_iterations": sha1.iterations,
        "sha1_stored_key": sha1.stored_key,
        "sha1_server_key": sha1.server_key,
        "sha256_salt": sha256.salt,
        "sha256_iterations": sha256.iterations,
        "sha256_stored_key": sha256.stored_key,
        "sha256_server_key": sha256.server_key,
    }


def _roster_item(row: Sequence[Any]) -> RosterItem:
    jid, name, groups, subscription, asked, approved, request, listed = row
    return RosterItem(
        jid=Jid.parse(jid),
        name=name,
        groups=tuple(groups),
        subscription=Subscription(subscription),
        asked=asked,
        approved=approved,
        request=request,
        listed=listed,
    )


def _last_activity(at: datetime | None, status: str | None) -> LastActivity | None:
    return None if at is None else LastActivity(at, status or "")


def _summary(row: Sequence[Any]) -> AccountSummary:
    local, enabled, created, at, status, offline, contacts = row
    return AccountSummary(
        local=local,
        enabled=enabled,
        created=created,
        last_activity=_last_activity(at, status),
        offline_messages=offline,
        contacts=contacts,
    )
