"""Subscriptions: asking to see somebody's presence, granting it, and ending it (RFC 6121 §3).

What a stanza leads to is looked up (``subscription_states``); here it is done. The user's half of a subscription is
kept before the stanza goes to the contact. While an account's lock is held only its store is waited for, never another
account: two users may well subscribe to each other at the same moment.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred

from vrxmpp import dom, ns
from vrxmpp.core.account import Account
from vrxmpp.core.module import Module, Rfc, presence
from vrxmpp.core.peers import Contacts, Presences
from vrxmpp.core.stages import Side, Walk
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import Jid
from vrxmpp.modules.subscription_states import Move, Way, move, state_of
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import RosterItem, Subscription
from vrxmpp.waiting import Waiting

_TYPES = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")
_LASTING = (ns.STANZA_ERRORS, "remote-server-not-found")
_REQUEST_BYTES = 8192  # of a request that waits for an answer; what is left of a longer one:
_KEPT = frozenset((ns.qname(ns.CLIENT, "status"), ns.qname(ns.NICK, "nick")))  # XEP-0172


class Subscriptions(Module):
    """Handles presence of the four subscription types, outbound and inbound, with pre-approval."""

    implements = (Rfc(6121, "3"), Rfc(6121, "A"))

    def __init__(self, contacts: Contacts, presences: Presences) -> None:
        self._contacts = contacts
        self._presences = presences

    def stream_feature(self) -> bytes:
        """§3.4."""
        return f"<sub xmlns='{ns.PRE_APPROVAL}'/>".encode()

    @presence(Side.SENDER, *_TYPES)
    async def send(self, walk: Walk) -> None:
        """§3.1.2, §3.1.5, §3.2.2, §3.3.2, §3.4.2: what the user sends, on its way to the contact."""
        account, to = walk.account, walk.stanza.to
        if to is None or to.bare == account.jid:
            raise StanzaError(Condition.BAD_REQUEST, "a subscription needs a contact")
        # §3: from bare address to bare address.
        stanza = walk.stanza.with_sender(account.jid).with_to(to.bare)
        on_its_way: Deferred[None] | None = None
        async with account.lock:
            old = _item(account, to.bare)
            step = move(Way.OUTBOUND, stanza.type, state_of(old), old.approved)
            new = _moved(old, step, old.request)
            if new != old:
                await self._contacts.keep(account, new)
            if step.goes_on:
                on_its_way = await self._forward(account, stanza, old)
            self._push(account, old, new)
        if on_its_way is not None:
            await on_its_way
        if _is_subscribed(new) and not _is_subscribed(old):
            self._presences.renew(account, to.bare)  # §3.1.5

    async def _forward(self, account: Account, stanza: Stanza, old: RosterItem) -> Deferred[None] | None:
        """Send the stanza to the contact; a request that cannot be sent is not pending (§3.1.2)."""
        router = self.host.router
        assert stanza.to is not None
        if stanza.type != "subscribe" or stanza.to.domain in router.hosts:
            return router.send(stanza)
        try:
            router.send_away(stanza)
        except StanzaError:
            await self._contacts.keep(account, old)
            raise
        return None

    @presence(Side.RECIPIENT, *_TYPES)
    async def receive(self, walk: Walk) -> None:
        """§3.1.3, §3.1.6, §3.2.3, §3.3.3: what the contact has sent, come to the user."""
        account, to, sender = walk.account, walk.stanza.to, walk.stanza.sender
        assert to is not None
        assert sender is not None
        if to.resource and to.resource not in account.sessions and walk.stanza.type != "subscribe":
            return  # §8.5.3.2.2
        contact = sender.bare
        stanza = walk.stanza.with_sender(contact).with_to(account.jid)
        on_its_way: Deferred[None] | None = None
        async with account.lock:
            old = _item(account, contact)
            step = move(Way.INBOUND, stanza.type, state_of(old), old.approved)
            new = _moved(old, step, old.request or _shortened(stanza))
            if new != old:
                try:
                    await self._contacts.keep(account, new)
                except StanzaError:
                    return  # too many requests wait already; a stranger does not learn that there is a user
            if step.goes_on:
                _deliver(account, stanza)
            self._push(account, old, new)
            if step.reply:
                reply = Stanza("presence", to=contact, sender=account.jid, type=step.reply, id=stanza.id)
                on_its_way = self.host.router.send(reply)
        if on_its_way is not None:
            await on_its_way
        if step.reply == "subscribed":
            self._presences.renew(account, contact)

    @presence(Side.RECIPIENT, "error")
    def returned(self, walk: Walk) -> Waiting | None:
        """§3.1.2: an error is for whose presence it answers; what was asked for the account, for all who are there."""
        stanza, account = walk.stanza, walk.account
        to, sender = stanza.to, stanza.sender
        assert to is not None
        assert sender is not None
        named = account.sessions.get(to.resource)
        for each in account.present if not to.resource else () if named is None else (named,):
            each.deliver(stanza)
        if not to.resource and _item(account, sender.bare).asked and _is_lasting(stanza):
            return self._take_back(account, sender.bare)
        return None

    async def _take_back(self, account: Account, contact: Jid) -> None:
        """A request to a server that does not exist is not pending: it was never routed (§3.1.2)."""
        async with account.lock:
            old = _item(account, contact)
            new = replace(old, asked=False)
            if new != old:
                await self._contacts.keep(account, new)
                self._push(account, old, new)

    def _push(self, account: Account, old: RosterItem, new: RosterItem) -> None:
        """Show a change to the user's clients; that a request waits is none (§A.1)."""
        if new.listed and replace(new, request=None) != replace(old, request=None):
            self._contacts.push(account, new)


def _item(account: Account, contact: Jid) -> RosterItem:
    return account.roster.get(contact.text) or RosterItem(contact, listed=False)


def _is_lasting(stanza: Stanza) -> bool:
    error = dom.child(stanza.element(), ns.CLIENT, "error")
    return error is not None and dom.child(error, *_LASTING) is not None


def _is_subscribed(item: RosterItem) -> bool:
    return item.subscription in {Subscription.FROM, Subscription.BOTH}


def _moved(item: RosterItem, step: Move, request: bytes | None) -> RosterItem:
    """Return the item in its new state; a request alone does not put it into the roster (§3.1.3)."""
    state = step.state
    return replace(
        item,
        subscription=state.subscription,
        asked=state.asked,
        approved=step.approved,
        request=request if state.requested else None,
        listed=item.listed or state.subscription is not Subscription.NONE or state.asked or step.approved,
    )


def _deliver(account: Account, stanza: Stanza) -> None:
    """Requests go to available resources, the rest to those that follow the roster (§3.1, implementation note)."""
    for session in tuple(account.sessions.values()):
        if session.presence is not None if stanza.type == "subscribe" else session.interested:
            session.deliver(stanza)


def _shortened(request: Stanza) -> bytes:
    """Return the request as it is kept: whole, unless it is long (§3.1.3, security warning)."""
    if len(request.raw) <= _REQUEST_BYTES:
        return request.raw
    children = [child for child in dom.children(request.element()) if ns.qname(child.uri, child.name) in _KEPT]
    kept = b"".join(dom.serialise(child) for child in children)
    for inner in (kept, b""):
        raw = Stanza("presence", to=request.to, sender=request.sender, type=request.type, inner=inner).raw
        if len(raw) <= _REQUEST_BYTES:
            break
    return raw
