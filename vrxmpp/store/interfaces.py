"""What the rooms above ask of storage: one small Protocol per concern, one method one transaction.

An account is named by its number here (``AccountId``), given out by ``Accounts.wake``; removing the account removes
everything stored under the number. Times are UTC and timezone-aware. Stanzas and payloads are kept as the bytes that
came in and never serialised anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType, Protocol

from vrxmpp.jid import Jid

AccountId = NewType("AccountId", int)


class StorageError(Exception):
    """Storage cannot do what was asked: one line says why and quotes nothing that is stored. Nothing was changed."""


class StorageBusy(StorageError):  # noqa: N818, it is named for what storage is
    """Too much waits for the disk already; ask again later."""


class Subscription(StrEnum):
    """RFC 6121 §2.1.2.5: who sees whose presence. TO: the user sees the contact's."""

    NONE = "none"
    TO = "to"
    FROM = "from"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class RosterItem:
    """One contact, with all that RFC 6121 Appendix A calls its state.

    ``asked``: the user's request waits for the contact (Pending Out). ``request``: the contact's request waits for
    the user (Pending In), kept as the stanza that came. ``approved``: a request will be granted unasked (§3.4).
    ``listed``: the user put it into the roster or has a subscription; an item that is only a waiting request is not
    shown to the user (§2.1.2.5, A.1).
    """

    jid: Jid
    name: str = ""
    groups: tuple[str, ...] = ()
    subscription: Subscription = Subscription.NONE
    asked: bool = False
    approved: bool = False
    request: bytes | None = None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class LastActivity:
    """When the last resource of an account went, and the status it left with (XEP-0012 §3)."""

    at: datetime
    status: str


@dataclass(frozen=True, slots=True)
class AccountState:
    """What is read when an account wakes: all that must be known at once about one local user."""

    id: AccountId
    local: str
    enabled: bool
    roster: tuple[RosterItem, ...] = ()
    roster_version: int = 0
    blocked: tuple[Jid, ...] = ()
    last_activity: LastActivity | None = None


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password for one SCRAM hash (RFC 5802 §3): never the password."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The SCRAM keys of one account; ``enabled`` is false where the administrator has switched it off."""

    id: AccountId
    enabled: bool
    sha1: ScramKeys
    sha256: ScramKeys


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made."""

    local: str
    sha1: ScramKeys
    sha256: ScramKeys


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """One line of the administrator's list."""

    local: str
    enabled: bool
    created: datetime
    last_activity: LastActivity | None
    offline_messages: int
    contacts: int


@dataclass(frozen=True, slots=True)
class OfflineMessage:
    """A message that waits for its recipient, with the time it came (XEP-0160, XEP-0203)."""

    number: int
    stamp: datetime
    stanza: bytes


class Accounts(Protocol):
    """The accounts of one domain. ``local`` is always a prepared localpart."""

    async def wake(self, local: str) -> AccountState | None: ...
    async def credentials(self, local: str) -> Credentials | None: ...
    async def add(self, accounts: list[NewAccount]) -> list[str]:
        """Add all of them that do not exist yet, in one transaction; return the localparts that existed."""
        ...

    async def set_password(self, local: str, sha1: ScramKeys, sha256: ScramKeys) -> bool:
        """Return false where there is no such account."""
        ...

    async def set_enabled(self, local: str, enabled: bool) -> bool: ...
    async def remove(self, local: str) -> bool:
        """Return false where there is no such account. Nobody stays subscribed to it: the name may be given anew."""
        ...

    async def summary(self, local: str) -> AccountSummary | None: ...
    async def summaries(self) -> list[AccountSummary]: ...
    async def set_last_activity(self, account: AccountId, activity: LastActivity) -> None: ...


class Rosters(Protocol):
    """The rosters of a domain's accounts (RFC 6121 §2). Each write returns the roster's new version."""

    async def put(self, account: AccountId, item: RosterItem) -> int: ...
    async def remove(self, account: AccountId, jid: Jid) -> int: ...


class Blocklists(Protocol):
    """Whom the accounts of a domain have blocked (XEP-0191)."""

    async def add(self, account: AccountId, jids: tuple[Jid, ...]) -> None: ...
    async def remove(self, account: AccountId, jids: tuple[Jid, ...]) -> None: ...
    async def clear(self, account: AccountId) -> None: ...


class Offline(Protocol):
    """Messages that wait for a user without available resources (XEP-0160)."""

    async def add(self, account: AccountId, stamp: datetime, stanza: bytes, limit: int) -> bool:
        """Return false, and keep nothing, where ``limit`` messages wait already."""
        ...

    async def waiting(self, account: AccountId) -> list[OfflineMessage]:
        """Return them in the order they came."""
        ...

    async def discard(self, account: AccountId, up_to: int) -> None:
        """Forget every message whose number is at most ``up_to``."""
        ...


class Sealer(Protocol):
    """Seals words that wait in storage, so that the disk alone does not tell them. Raises ``StorageError``."""

    def seal(self, plain: bytes) -> bytes: ...
    def open(self, stored: bytes) -> bytes:
        """Return what was sealed, or stored before there was a sealer."""
        ...


class VCards(Protocol):
    """One vCard an account (XEP-0054), as its bytes."""

    async def get(self, account: AccountId) -> bytes | None: ...
    async def put(self, account: AccountId, vcard: bytes) -> None: ...


class PrivateStorage(Protocol):
    """Private XML by the qualified name of its element (XEP-0049)."""

    async def get(self, account: AccountId, name: str) -> bytes | None: ...
    async def put(self, account: AccountId, name: str, xml: bytes, limit: int) -> bool:
        """Return false, and keep what was there, where all of the account's elements would pass ``limit`` bytes."""
        ...


class Peers(Protocol):
    """What is remembered of other servers. It is the same for all domains here. ``domain`` is prepared."""

    async def certified(self) -> dict[str, datetime]:
        """Return all that have shown a valid certificate, each with the time it last did."""
        ...

    async def note(self, domain: str, at: datetime) -> None:
        """One shows a valid certificate now. Those that did not for a year are forgotten; beyond 100,000 a new one is
        not remembered."""
        ...
