"""XEP-0191: Blocking Command. A user neither hears of an address nor writes to it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from vrxmpp import dom, ns, xml
from vrxmpp.core.account import Account
from vrxmpp.core.module import At, Module, Request, Xep, iq, stage
from vrxmpp.core.peers import Presences
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.dom import Element
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import Blocklists

_BLOCKED = f"<blocked xmlns='{ns.BLOCKING_ERRORS}'/>".encode()


class Blocking(Module):
    """Keeps at most ``limit`` blocked addresses for each account; what they cover is ``Account.blocks`` (§6)."""

    implements = (Xep(191, "1.3"),)
    features = (ns.BLOCKING,)

    def __init__(self, blocklists: Blocklists, presences: Presences, limit: int) -> None:
        self._blocklists = blocklists
        self._presences = presences
        self._limit = limit
        self._push_ids = count(1)

    # -- both ways of every stanza

    @stage(Stage.SCREEN, Side.RECIPIENT, "message", "presence", "iq")
    def refuse_incoming(self, walk: Walk) -> bool | None:
        """§3.3: to the blocked the user looks offline; presence is dropped without an answer."""
        if not walk.account.blocked:
            return None
        stanza = walk.stanza
        if stanza.sender is None or not walk.account.blocks(stanza.sender):
            return None
        if stanza.kind == "presence":
            return True
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    @stage(Stage.SCREEN, Side.SENDER, "message", "presence", "iq")
    def refuse_outgoing(self, walk: Walk) -> None:
        """§3.3: nothing goes to whom the user has blocked."""
        if not walk.account.blocked:
            return
        to = walk.stanza.to
        if to is not None and walk.account.blocks(to):
            raise StanzaError(Condition.NOT_ACCEPTABLE, type="cancel", application=_BLOCKED)

    # -- the list

    @iq("get", ns.BLOCKING, "blocklist", at=At.ACCOUNT)
    def tell(self, request: Request) -> bytes:
        """§3.2: who has asked for the list hears of its changes."""
        assert request.account is not None
        assert request.session is not None
        request.session.hears_blocklist = True
        return _write("blocklist", request.account.blocked.values())

    @iq("set", ns.BLOCKING, "block", at=At.ACCOUNT)
    async def block(self, request: Request) -> None:
        """§3.3."""
        account, jids = _read(request)
        if not jids:
            raise StanzaError(Condition.BAD_REQUEST, "nobody to block")
        async with account.lock:
            new = tuple(jid for jid in jids if jid.text not in account.blocked)
            if len(account.blocked) + len(new) > self._limit:
                raise StanzaError(Condition.POLICY_VIOLATION, f"a blocklist has at most {self._limit} addresses")
            await self._blocklists.add(account.id, new)
            self._presences.withdraw(account, *new)
            account.blocked |= {jid.text: jid for jid in new}
            self._note(account, "blocked", new)
            self._push(account, _write("block", jids))

    @iq("set", ns.BLOCKING, "unblock", at=At.ACCOUNT)
    async def unblock(self, request: Request) -> None:
        """§3.4, and §3.5 where nobody is named: all."""
        account, jids = _read(request)
        async with account.lock:
            if jids:
                await self._blocklists.remove(account.id, jids)
            else:
                await self._blocklists.clear(account.id)
            freed = {jid.text: jid for jid in jids or account.blocked.values() if jid.text in account.blocked}
            for text in freed:
                del account.blocked[text]
            self._note(account, "unblocked", freed.values())
            self._presences.renew(account, *freed.values())
            self._push(account, _write("unblock", jids))

    def _note(self, account: Account, event: str, jids: Iterable[Jid]) -> None:
        contacts = [jid.text for jid in jids]
        if contacts:
            owner = account.jid.text
            self.host.router.audit.note("roster", owner, account=owner, event=event, contacts=contacts)

    def _push(self, account: Account, change: bytes) -> None:
        """§3.3 to §3.5: a change is shown to all sessions that know the list."""
        for session in account.sessions.values():
            if session.hears_blocklist:
                push_id = f"block{next(self._push_ids)}"
                session.deliver(Stanza("iq", to=session.jid, type="set", id=push_id, inner=change))


def _read(request: Request) -> tuple[Account, tuple[Jid, ...]]:
    """Return the account and the addresses in the request, each once."""
    assert request.account is not None
    return request.account, tuple(dict.fromkeys(_jid(item) for item in dom.children(request.payload())))


def _jid(item: Element) -> Jid:
    if (item.uri, item.name) != (ns.BLOCKING, "item") or "jid" not in item.attributes:
        raise StanzaError(Condition.BAD_REQUEST, "not an item with an address")
    try:
        return Jid.parse(item.attributes["jid"])
    except InvalidJid as error:
        raise StanzaError(Condition.JID_MALFORMED, str(error)) from error


def _write(name: str, jids: Iterable[Jid]) -> bytes:
    items = "".join(f"<item jid='{xml.attribute(jid.text)}'/>" for jid in jids)
    return f"<{name} xmlns='{ns.BLOCKING}'>{items}</{name}>".encode()
