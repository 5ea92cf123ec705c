"""XEP-0077 §3.1: in-band registration. Somebody without an account makes one, before any login."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta

from vrxmpp import dom, ns
from vrxmpp.core.peers import Clock, Derive
from vrxmpp.dom import Element
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import InvalidJid, prepare_local
from vrxmpp.store.interfaces import Accounts, NewAccount

_WINDOW = timedelta(hours=1)
_ADDRESSES = 10_000  # remembered at most


class Registration:
    """The registrations of one domain; each network address may try ``per_hour`` of them.

    A try counts whatever comes of it, so that nobody can ask for many names.
    """

    def __init__(self, accounts: Accounts, derive: Derive, clock: Clock, per_hour: int) -> None:
        self._accounts = accounts
        self._derive = derive
        self._clock = clock
        self._per_hour = per_hour
        self._tries: OrderedDict[str, deque[datetime]] = OrderedDict()

    def stream_feature(self) -> bytes:
        """§8: for a stream whose user has not logged in."""
        return f"<register xmlns='{ns.REGISTER_FEATURE}'/>".encode()

    def fields(self) -> bytes:
        """Return what must be filled in."""
        return (
            f"<query xmlns='{ns.REGISTER}'><instructions>Choose a username and a password.</instructions>"
            "<username/><password/></query>"
        ).encode()

    async def register(self, address: str, query: Element) -> str:
        """Make the account that is asked for from ``address`` and return its localpart; raises StanzaError.

        ``address`` is what tries are counted by: for IPv6 rather a network than one address.
        """
        username, password = (_filled_in(query, name) for name in ("username", "password"))
        try:
            local = prepare_local(username)
        except InvalidJid as error:
            raise StanzaError(Condition.JID_MALFORMED, str(error)) from error
        self._count(address)
        try:
            sha1, sha256 = await self._derive(password)
        except ValueError as error:
            raise StanzaError(Condition.NOT_ACCEPTABLE, str(error)) from error
        if await self._accounts.add([NewAccount(local, sha1, sha256)]):
            raise StanzaError(Condition.CONFLICT)
        return local

    def _count(self, address: str) -> None:
        """§3.1.1: too many tries are not acceptable."""
        now = self._clock()
        tries = self._tries.setdefault(address, deque())
        self._tries.move_to_end(address)
        if len(self._tries) > _ADDRESSES:
            self._tries.popitem(last=False)
        while tries and now - tries[0] >= _WINDOW:
            tries.popleft()
        if len(tries) >= self._per_hour:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "too many registrations, try again later", type="wait")
        tries.append(now)


def _filled_in(query: Element, name: str) -> str:
    """§3.1: what is required may be neither missing nor empty."""
    field = dom.child(query, ns.REGISTER, name)
    value = dom.text(field) if field is not None else ""
    if not value:
        raise StanzaError(Condition.NOT_ACCEPTABLE, f"{name} is missing")
    return value
