"""XEP-0077 §3.1: in-band registration. Somebody without an account makes one, before any log-in."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from vrxmpp import dom, ns
from vrxmpp.dom import Element
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import InvalidJid, prepare_local
from vrxmpp.negotiation.feature import Channel, Have, Request, answer, in_iq
from vrxmpp.negotiation.throttle import network
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import Accounts, NewAccount, ScramKeys
from vrxmpp.waiting import Waiting

_WINDOW = timedelta(hours=1)
_ADDRESSES = 10_000  # remembered at most


class Registration:
    """The registrations of one domain, on all of its streams; each network address may try ``per_hour`` of them.

    A try counts whatever comes of it, so that nobody can ask for many names. ``derive`` makes the keys to store from
    a password, or raises ValueError if it cannot be one.
    """

    until = Have.IDENTITY
    answers = frozenset((in_iq(ns.REGISTER, "query"),))

    def __init__(
        self,
        accounts: Accounts,
        derive: Callable[[str], Awaitable[tuple[ScramKeys, ScramKeys]]],
        clock: Callable[[], datetime],
        *,
        per_hour: int,
        needs: Have,
    ) -> None:
        self.needs = needs
        self._accounts = accounts
        self._derive = derive
        self._clock = clock
        self._per_hour = per_hour
        self._tries: OrderedDict[str, deque[datetime]] = OrderedDict()

    def offer(self, channel: Channel) -> bytes:
        """§8."""
        return f"<register xmlns='{ns.REGISTER_FEATURE}'/>".encode()

    def take(self, request: Request, channel: Channel) -> Waiting | None:
        """§3.1: tell what must be filled in, or take it."""
        assert isinstance(request, Stanza)
        work = self._fields() if request.type == "get" else self._register(request, channel)
        return answer(request, channel, work)

    async def _fields(self) -> bytes:
        return (
            f"<query xmlns='{ns.REGISTER}'><instructions>Choose a username and a password.</instructions>"
            "<username/><password/></query>"
        ).encode()

    async def _register(self, request: Stanza, channel: Channel) -> bytes:
        query = dom.children(request.element())[0]
        username, password = (_filled_in(query, name) for name in ("username", "password"))
        try:
            local = prepare_local(username)
        except InvalidJid as error:
            raise StanzaError(Condition.JID_MALFORMED, str(error)) from error
        self._count(network(channel.address))
        try:
            sha1, sha256 = await self._derive(password)
        except ValueError as error:
            raise StanzaError(Condition.NOT_ACCEPTABLE, str(error)) from error
        if await self._accounts.add([NewAccount(local, sha1, sha256)]):
            raise StanzaError(Condition.CONFLICT)
        channel.note("config", local, "account registered")
        return b""

    def _count(self, guest: str) -> None:
        """§3.1.1: too many tries are not acceptable."""
        now = self._clock()
        tries = self._tries.setdefault(guest, deque())
        self._tries.move_to_end(guest)
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
