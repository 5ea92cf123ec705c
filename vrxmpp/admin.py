"""What an administrator may do, written once: for the running server and for the command line beside a stopped one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pydantic_core import to_jsonable_python

from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.store.interfaces import Accounts, AccountSummary, NewAccount, ScramKeys, StorageError

Json = Any

CONTROL_SOCKET = "control.sock"
"""The name of the running server's control socket, in the state directory."""

REQUEST_BYTES = 1_048_576
"""The longest request the control socket takes."""

CONFIGURATION = "configuration"
"""Under which the archive files what an administrator does to no account."""

# These change nothing and show no person.
_UNREMARKABLE = frozenset(("status", "audit status", "s2s status", "s2s test", "user exists"))


class AdminError(Exception):
    """The request failed. ``code`` is for programs, the message for people; neither holds a secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Keys:
    """All that is stored of a password."""

    sha1: ScramKeys
    sha256: ScramKeys


@dataclass(frozen=True, slots=True)
class User:
    """An account as the administrator sees it; ``sessions`` is how many are open now."""

    jid: str
    enabled: bool
    created: datetime
    last_activity: datetime | None
    last_status: str
    offline_messages: int
    contacts: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Refused:
    """An account that was not imported, and why."""

    jid: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a list of new accounts."""

    added: int
    refused: list[Refused]


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A connected client. ``security`` is the TLS version, if any; ``priority`` None says it is not available."""

    jid: str
    address: str
    security: str
    since: datetime
    priority: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """How the server is. ``connections`` counts sockets, logged in or not; ``sessions`` is by domain."""

    version: str
    process: int
    started: datetime
    listeners: list[str]
    connections: int
    sessions: dict[str, int]


class Federation(Protocol):
    """The streams of a running server to and from others. What is returned can be written in JSON."""

    def status(self, remote: str) -> object:
        """Return what there is with a domain, or all there is for ""."""
        ...

    async def test(self, local: str, remote: str) -> object:
        """Try to reach a domain from one here, and return how each step went. May raise AdminError."""
        ...

    def close(self, remote: str) -> int:
        """End all streams to and from a domain; return how many."""
        ...


class Live(Protocol):
    """What only a running server knows and can do."""

    def status(self) -> Status: ...
    def sessions(self) -> list[SessionInfo]: ...
    def federation(self) -> Federation: ...
    def audit_status(self) -> object: ...
    def kick(self, jid: Jid) -> int:
        """End the session of a full JID, or all sessions of a bare one; return how many."""
        ...

    async def end_subscriptions(self, jid: Jid) -> None:
        """Tell the contacts of an account that it goes for good."""
        ...

    def account_removed(self, jid: Jid) -> None: ...
    def account_disabled(self, jid: Jid) -> None: ...
    def password_changed(self, jid: Jid) -> None: ...


class Administration:
    """The requests of an administrator. ``accounts`` by domain; ``live`` is None where no server runs.

    Each method raises AdminError: "invalid-jid", "unknown-domain", "not-found", "exists", "not-running", and those for
    other servers also "served-here".
    """

    def __init__(self, accounts: Mapping[str, Accounts], live: Live | None) -> None:
        self._accounts = accounts
        self._live = live

    async def add_user(self, jid: str, keys: Keys) -> None:
        address, accounts = self._find(jid)
        if await accounts.add([NewAccount(address.local, keys.sha1, keys.sha256)]):
            raise AdminError("exists", f"{address} exists already")

    async def remove_user(self, jid: str) -> None:
        """Remove the account and all that is stored for it. Its sessions end first, so that they can still write."""
        await self.disable_user(jid)
        address, accounts = self._find(jid)
        if self._live:
            await self._live.end_subscriptions(address)
        _must_exist(await accounts.remove(address.local), address)
        if self._live:
            self._live.account_removed(address)

    async def set_password(self, jid: str, keys: Keys) -> None:
        address, accounts = self._find(jid)
        _must_exist(await accounts.set_password(address.local, keys.sha1, keys.sha256), address)
        if self._live:
            self._live.password_changed(address)

    async def disable_user(self, jid: str) -> None:
        """Refuse the account's logins from now on, and end its sessions; what is stored for it stays."""
        address, accounts = self._find(jid)
        _must_exist(await accounts.set_enabled(address.local, False), address)
        if self._live:
            self._live.account_disabled(address)

    async def enable_user(self, jid: str) -> None:
        address, accounts = self._find(jid)
        _must_exist(await accounts.set_enabled(address.local, True), address)

    async def list_users(self, domain: str | None = None) -> list[User]:
        """Return the accounts of one domain, or of all."""
        if domain is None:
            stores = dict(self._accounts)
        else:
            address = _parse(domain)
            stores = {address.domain: self._at(address)}
        sessions = self._sessions_by_account()
        return [
            _user(served, summary, sessions)
            for served, accounts in stores.items()
            for summary in await accounts.summaries()
        ]

    async def has_user(self, jid: str) -> bool:
        """Return whether there is such an account: for whoever is about to change it."""
        address, accounts = self._find(jid)
        return await accounts.summary(address.local) is not None

    async def show_user(self, jid: str) -> User:
        address, accounts = self._find(jid)
        summary = await accounts.summary(address.local)
        if summary is None:
            raise _not_found(address)
        return _user(address.domain, summary, self._sessions_by_account())

    async def import_users(self, users: Mapping[str, Keys]) -> Imported:
        """Add all that can be added, in one transaction a domain."""
        refused: list[Refused] = []
        new: dict[str, list[NewAccount]] = {}
        for jid, keys in users.items():
            try:
                address, _ = self._find(jid)
            except AdminError as error:
                refused.append(Refused(jid, error.code, error.message))
            else:
                new.setdefault(address.domain, []).append(NewAccount(address.local, keys.sha1, keys.sha256))
        for domain, accounts in new.items():
            for local in await self._accounts[domain].add(accounts):
                refused.append(Refused(f"{local}@{domain}", "exists", f"{local}@{domain} exists already"))
        return Imported(len(users) - len(refused), refused)

    async def sessions(self) -> list[SessionInfo]:
        return self._running().sessions()

    async def kick(self, jid: str) -> int:
        """End one session, or all of an account; return how many."""
        address = _parse(jid)
        self._at(address)
        ended = self._running().kick(address)
        if not ended:
            raise AdminError("not-found", f"{address} has no session")
        return ended

    async def status(self) -> Status:
        return self._running().status()

    async def audit_status(self) -> object:
        """Return how the archive does, and how safe it is; None where it is switched off."""
        return self._running().audit_status()

    async def s2s_status(self, domain: str) -> object:
        """Return what there is between this server and a domain elsewhere, or all others for ""."""
        return self._running().federation().status(_domain(domain) if domain else "")

    async def s2s_test(self, domain: str, local: str | None) -> object:
        """Try to reach a domain elsewhere from one here, by default the first."""
        federation = self._running().federation()
        return await federation.test(next(iter(self._accounts)) if local is None else _domain(local), _domain(domain))

    async def s2s_close(self, domain: str) -> int:
        """End all streams to and from a domain elsewhere; return how many."""
        remote = _domain(domain)
        closed = self._running().federation().close(remote)
        if not closed:
            raise AdminError("not-found", f"there is no stream to or from {remote}")
        return closed

    def _find(self, jid: str) -> tuple[Jid, Accounts]:
        address = _parse(jid)
        if not address.local or address.resource:
            raise AdminError("invalid-jid", f"{address} is not the address of an account: user@domain")
        return address, self._at(address)

    def _at(self, address: Jid) -> Accounts:
        if address.domain not in self._accounts:
            raise AdminError("unknown-domain", f"{address.domain} is not served here")
        return self._accounts[address.domain]

    def _running(self) -> Live:
        if self._live is None:
            raise AdminError("not-running", "the server is not running")
        return self._live

    def _sessions_by_account(self) -> Counter[str]:
        sessions = self._live.sessions() if self._live else []
        return Counter(session.jid.partition("/")[0] for session in sessions)


async def perform(administration: Administration, request: Json) -> Json:
    """Do what a request in JSON asks for, and return the result in JSON.

    Raises AdminError as the methods do, and "bad-request", or "storage" where the database fails.
    """
    try:
        return to_jsonable_python(await _perform(administration, request))
    except StorageError as error:
        raise AdminError("storage", str(error)) from None


def facts_of(request: Json, outcome: str, uid: int) -> tuple[str, dict[str, object]] | None:
    """Return what goes on record of a request, and under which name; None if it need not.

    ``uid`` is whose request it is. The keys of passwords are left out.
    """
    if not isinstance(request, dict) or str(request.get("command")) in _UNREMARKABLE:
        return None
    facts: dict[str, object] = {"event": "administrator", "uid": uid, "outcome": outcome}
    facts |= {name: request[name] for name in ("command", "jid", "domain") if name in request}
    if isinstance(request.get("users"), dict):
        facts["users"] = list(request["users"])
    account = _account(request.get("jid"))
    if account:
        facts["account"] = account
    return account or CONFIGURATION, facts


def _account(jid: object) -> str:
    """Return the account that a request is about, if it is about one."""
    try:
        address = Jid.parse(jid) if isinstance(jid, str) else None
    except InvalidJid:
        return ""
    return address.bare.text if address is not None and address.local else ""


async def _perform(administration: Administration, request: Json) -> object:
    result: object = None
    match request:
        case {"command": "user add", "jid": str(jid), "keys": keys}:
            await administration.add_user(jid, keys_from_json(keys))
        case {"command": "user remove", "jid": str(jid)}:
            await administration.remove_user(jid)
        case {"command": "user password", "jid": str(jid), "keys": keys}:
            await administration.set_password(jid, keys_from_json(keys))
        case {"command": "user disable", "jid": str(jid)}:
            await administration.disable_user(jid)
        case {"command": "user enable", "jid": str(jid)}:
            await administration.enable_user(jid)
        case {"command": "user list", "domain": str() | None as domain}:
            result = await administration.list_users(domain)
        case {"command": "user exists", "jid": str(jid)}:
            result = await administration.has_user(jid)
        case {"command": "user show", "jid": str(jid)}:
            result = await administration.show_user(jid)
        case {"command": "user import", "users": dict(users)}:
            result = await administration.import_users({jid: keys_from_json(keys) for jid, keys in users.items()})
        case _:
            result = await _ask_server(administration, request)
    return result


async def _ask_server(administration: Administration, request: Json) -> object:
    """Do what only a running server can."""
    result: object
    match request:
        case {"command": "session list"}:
            result = await administration.sessions()
        case {"command": "session kick", "jid": str(jid)}:
            result = await administration.kick(jid)
        case {"command": "status"}:
            result = await administration.status()
        case {"command": "audit status"}:
            result = await administration.audit_status()
        case {"command": "s2s status", "jid": str(domain)}:
            result = await administration.s2s_status(domain)
        case {"command": "s2s test", "jid": str(domain), "from": str() | None as local}:
            result = await administration.s2s_test(domain, local)
        case {"command": "s2s close", "jid": str(domain)}:
            result = await administration.s2s_close(domain)
        case _:
            raise AdminError("bad-request", "the server does not know this request")
    return result


def keys_to_json(keys: Keys) -> Json:
    """Write keys as ``perform`` reads them: bytes in hexadecimal."""
    return [
        [key.salt.hex(), key.iterations, key.stored_key.hex(), key.server_key.hex()] for key in (keys.sha1, keys.sha256)
    ]


def keys_from_json(data: Json) -> Keys:
    try:
        return Keys(
            *(
                ScramKeys(bytes.fromhex(salt), int(i), bytes.fromhex(stored), bytes.fromhex(server))
                for salt, i, stored, server in data
            )
        )
    except (TypeError, ValueError):
        raise AdminError("bad-request", "the keys cannot be read") from None


def _parse(jid: str) -> Jid:
    try:
        return Jid.parse(jid)
    except InvalidJid as error:
        raise AdminError("invalid-jid", str(error)) from None


def _domain(text: str) -> str:
    address = _parse(text)
    if address.text != address.domain:
        raise AdminError("invalid-jid", f"{address} is not a domain")
    return address.domain


def _not_found(address: Jid) -> AdminError:
    return AdminError("not-found", f"{address} does not exist")


def _must_exist(existed: bool, address: Jid) -> None:
    if not existed:
        raise _not_found(address)


def _user(domain: str, summary: AccountSummary, sessions: Counter[str]) -> User:
    jid = f"{summary.local}@{domain}"
    return User(
        jid=jid,
        enabled=summary.enabled,
        created=summary.created,
        last_activity=summary.last_activity.at if summary.last_activity else None,
        last_status=summary.last_activity.status if summary.last_activity else "",
        offline_messages=summary.offline_messages,
        contacts=summary.contacts,
        sessions=sessions[jid],
    )
