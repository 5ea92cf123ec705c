"""Rosters: a user's list of contacts, kept for them and shown to their clients (RFC 6121 §2)."""

from __future__ import annotations

from dataclasses import replace

from vrxmpp import dom, ns, xml
from vrxmpp.core.account import Account
from vrxmpp.core.module import At, Module, Request, Rfc, iq
from vrxmpp.core.peers import Presences
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import RosterItem, Rosters, Subscription

_NAME_LENGTH = 256  # characters, of names and of groups
_SEEING = (Subscription.FROM, Subscription.BOTH)
_SEEN = (Subscription.TO, Subscription.BOTH)


class Roster(Module):
    """Roster get, set and push, with versions; ``core.peers.Contacts`` for other modules.

    ``limit`` is how many contacts one account may list, and how many requests of others may wait for it.
    ``groups`` is how many groups one contact may be in.
    """

    implements = (Rfc(6121, "2"),)
    features = (ns.ROSTER,)

    def __init__(self, rosters: Rosters, presences: Presences, limit: int, groups: int = 20) -> None:
        self._rosters = rosters
        self._presences = presences
        self._limit = limit
        self._groups = groups

    def stream_feature(self) -> bytes:
        """§2.6.1."""
        return f"<ver xmlns='{ns.ROSTER_VERSIONING}'/>".encode()

    # -- what clients ask

    @iq("get", ns.ROSTER, "query", at=At.ACCOUNT)
    def get(self, request: Request) -> bytes | None:
        """§2.2: the roster, or nothing if the client has this version already (§2.6.3)."""
        account = request.account
        assert account is not None
        if request.session is not None:
            request.session.interested = True
        version = _version(account)
        if request.payload().attributes.get("ver") == version:
            return None
        items = "".join(_item(item) for item in account.roster.values() if item.listed)
        return f"<query xmlns='{ns.ROSTER}' ver='{version}'>{items}</query>".encode()

    @iq("set", ns.ROSTER, "query", at=At.ACCOUNT)
    async def set(self, request: Request) -> None:
        """§2.3 to §2.5: add, change or remove the one item."""
        account = request.account
        assert account is not None
        item = _only_item(request.payload())
        jid = _contact(item, account)
        if item.attributes.get("subscription") == "remove":
            await self._remove(account, jid)
            return
        name, groups = _name(item), _groups(item, self._groups)
        async with account.lock:
            old = account.roster.get(jid.text) or RosterItem(jid)
            new = replace(old, name=name, groups=groups, listed=True)
            await self.keep(account, new)
            self.push(account, new)

    async def _remove(self, account: Account, jid: Jid) -> None:
        """§2.5.2: what there was between the two ends as well, on either side."""
        async with account.lock:
            item = account.roster.get(jid.text)
            if item is None or not item.listed:
                raise StanzaError(Condition.ITEM_NOT_FOUND)
            await self.keep(account, RosterItem(jid, listed=False))
            cancel = Stanza("presence", to=jid, sender=account.jid, type="unsubscribe")
            deny = Stanza("presence", to=jid, sender=account.jid, type="unsubscribed")
            if item.subscription in _SEEN or item.asked:
                self.host.router.send(cancel)
            if item.subscription in _SEEING or item.request is not None:
                self.host.router.send(deny)
            self._push(account, f"<item jid='{xml.attribute(jid.text)}' subscription='remove'/>")

    # -- what other modules ask (core.peers.Contacts)

    async def keep(self, account: Account, item: RosterItem) -> None:
        """Put the item into the roster, or take it out if nothing is left of it."""
        key = item.jid.text
        old = account.roster.get(key)
        if old is None or old.listed != item.listed:
            self._check_room(account, item)
        is_something = item.listed or item.request is not None
        if is_something:
            version = await self._rosters.put(account.id, item)
        else:
            version = await self._rosters.remove(account.id, item.jid)
        if old is not None and old.subscription in _SEEING and item.subscription not in _SEEING:
            self._presences.withdraw(account, item.jid)  # §3.2.2: while they are still subscribed
        if is_something:
            account.roster[key] = item
        else:
            account.roster.pop(key, None)
        account.roster_version = version
        self.host.router.audit.note(
            "roster",
            account.jid.text,
            account=account.jid.text,
            contact=key,
            before=_facts(old) if old is not None else None,
            after=_facts(item) if is_something else None,
        )

    def push(self, account: Account, item: RosterItem) -> None:
        """Show the item to the clients that have asked for the roster."""
        self._push(account, _item(item))

    def _push(self, account: Account, item: str) -> None:
        """§2.1.6: to interested resources, with the version they are at then (§2.6.3)."""
        version = _version(account)
        query = f"<query xmlns='{ns.ROSTER}' ver='{version}'>{item}</query>"
        push = Stanza("iq", type="set", id=f"roster-{version}", inner=query.encode())
        for session in tuple(account.sessions.values()):
            if session.interested:
                session.deliver(push.with_to(session.jid))

    def _check_room(self, account: Account, item: RosterItem) -> None:
        if not item.listed and item.request is None:
            return
        alike = sum(1 for each in account.roster.values() if each.listed == item.listed)
        if alike >= self._limit:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, f"at most {self._limit} contacts")


def _version(account: Account) -> str:
    # With the account's number, so that a successor under the same name never seems to have the old roster.
    return f"{account.id}-{account.roster_version}"


def _facts(item: RosterItem) -> dict[str, object]:
    """Return the item as the archive notes it, what a request says included."""
    return {
        "name": item.name,
        "groups": item.groups,
        "subscription": item.subscription,
        "asked": item.asked,
        "approved": item.approved,
        "request": item.request.decode() if item.request is not None else None,
        "listed": item.listed,
    }


def _item(item: RosterItem) -> str:
    """Write an item as clients see it (§2.1.2)."""
    written = f"<item jid='{xml.attribute(item.jid.text)}' subscription='{item.subscription}'"
    if item.name:
        written += f" name='{xml.attribute(item.name)}'"
    if item.asked:
        written += " ask='subscribe'"
    if item.approved:
        written += " approved='true'"
    if not item.groups:
        return f"{written}/>"
    groups = "".join(f"<group>{xml.text(group)}</group>" for group in item.groups)
    return f"{written}>{groups}</item>"


# -- reading a roster set


def _only_item(query: dom.Element) -> dom.Element:
    items = [child for child in dom.children(query) if (child.uri, child.name) == (ns.ROSTER, "item")]
    if len(items) != 1:
        raise StanzaError(Condition.BAD_REQUEST, "a roster set has exactly one item")  # §2.1.5
    return items[0]


def _contact(item: dom.Element, account: Account) -> Jid:
    """Return whom the item is about: an address without a resource, and not the user's own (§2.3.3)."""
    written = item.attributes.get("jid")
    if written is None:
        raise StanzaError(Condition.BAD_REQUEST, "an item has a jid")
    try:
        jid = Jid.parse(written)
    except InvalidJid as error:
        raise StanzaError(Condition.JID_MALFORMED, str(error)) from None
    if jid.resource:
        raise StanzaError(Condition.BAD_REQUEST, "a contact's address has no resource")
    if jid == account.jid:
        raise StanzaError(Condition.NOT_ALLOWED, "nobody is a contact of their own")
    return jid


def _name(item: dom.Element) -> str:
    name: str = item.attributes.get("name", "")
    if len(name) > _NAME_LENGTH:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "the name is too long")
    return name


def _groups(item: dom.Element, limit: int) -> tuple[str, ...]:
    """Return the groups; what is wrong with them is answered as §2.3.3 says."""
    children = dom.children(item)
    groups = tuple(dom.text(child) for child in children if (child.uri, child.name) == (ns.ROSTER, "group"))
    if any(not 0 < len(group) <= _NAME_LENGTH for group in groups):
        raise StanzaError(Condition.NOT_ACCEPTABLE, "a group's name is empty or too long")
    if len(set(groups)) < len(groups):
        raise StanzaError(Condition.BAD_REQUEST, "the same group twice")
    if len(groups) > limit:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "too many groups")
    return groups
