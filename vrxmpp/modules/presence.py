"""Presence: who sees a user come, change and go (RFC 6121 §4).

Nothing about the presence of this server's users is stored: whoever is in this process is asked directly, and other
servers by probes. Who of other servers is seen is remembered, for the case that the server is lost. A session's
``directed`` are those who saw its presence without being subscribed to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

from vrxmpp import dom, ns
from vrxmpp.core.account import Account
from vrxmpp.core.module import Module, Rfc, presence
from vrxmpp.core.seen import Seen
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Walk
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import Subscription
from vrxmpp.waiting import Waiting

_TO, _FROM, _BOTH = Subscription.TO, Subscription.FROM, Subscription.BOTH
_PRIORITY = ns.qname(ns.CLIENT, "priority")
_PLAIN_PRIORITY = re.compile(rb"<priority>([^<&]*)</priority>")
_BYTE = re.compile(r"\s*([+-]?[0-9]{1,3})\s*")
_RESOURCES = 64  # of one contact at another server that are remembered
_MISSED = 1000  # domains that are lost and may come back
_OCCUPANTS = 3000  # of one room


class Presence(Module):
    """Broadcasts, probes and directed presence; ``core.peers.Presences`` for other modules.

    ``directed`` is how many entities one session may send directed presence to.
    """

    implements = (Rfc(6121, "4"),)

    def __init__(self, directed: int = 1000) -> None:
        self._directed = directed
        self._watchers: dict[str, set[str]] | None = None
        self._missed: dict[str, set[str]] = {}  # the domains that were lost or not there, and whose users miss them

    # -- what clients send

    @presence(Side.SENDER, "")
    def send_available(self, walk: Walk) -> Waiting | None:
        """Initial presence and what follows it (§4.2, §4.4), or directed presence (§4.6)."""
        session, stanza = walk.session, walk.stanza
        assert session is not None
        if stanza.to is not None:
            self._remember(session, stanza.to)
            return self.host.router.route(stanza)
        return self._broadcast(session, stanza, _read_priority(stanza))

    @presence(Side.SENDER, "unavailable")
    def send_unavailable(self, walk: Walk) -> Waiting | None:
        """The end of a presence session (§4.5.2), or of directed presence (§4.6.3)."""
        session, stanza = walk.session, walk.stanza
        assert session is not None
        if stanza.to is not None:
            _end_directed(session, stanza.to)
            return self.host.router.route(stanza)
        if session.presence is not None:
            session.deliver(stanza.with_to(session.account.jid))
        self._go(session, stanza)
        session.presence = None
        session.account.rank_sessions()
        self._forget_seen(session)
        return None

    def session_ended(self, session: Session) -> None:
        """§4.5.2: whatever ended the session, those who saw it see it go."""
        self._go(session, Stanza("presence", type="unavailable", sender=session.jid))
        self._forget_seen(session)

    def _broadcast(self, session: Session, stanza: Stanza, priority: int) -> Waiting | None:
        account = session.account
        initial = session.presence is None
        was_available = not initial and session.priority >= 0
        first = not account.present
        session.presence = stanza
        session.priority = priority
        account.rank_sessions()
        self._send_to_contacts(account, stanza)
        own = stanza.with_to(account.jid)
        for each in account.present:
            each.deliver(own)
        if initial:
            self._inform(session, first=first)
        if was_available or priority < 0:
            return None
        waiting = self.host.became_available(session)
        return _one_by_one(waiting) if waiting else None

    def _go(self, session: Session, stanza: Stanza) -> None:
        """Send an unavailable stanza to all who saw the session's presence, but for itself; to nobody twice."""
        account = session.account
        directed, session.directed = session.directed, None
        if session.presence is not None:
            self._send_to_contacts(account, stanza)
            own = stanza.with_to(account.jid)
            for each in account.present:
                if each is not session:
                    each.deliver(own)
        for jid in (directed or {}).values():
            if session.presence is None or not account.is_seen_by(jid):
                self.host.router.send(stanza.with_to(jid))

    def _send_to_contacts(self, account: Account, stanza: Stanza) -> None:
        """Send a notification to everybody who is subscribed to the user: the hot path of presence."""
        router = self.host.router
        hosts, send, blocked = router.hosts, router.send, account.blocked
        for item in account.roster.values():
            subscription = item.subscription
            if subscription is not _BOTH and subscription is not _FROM:
                continue
            contact = item.jid
            if blocked and account.blocks(contact):
                continue
            host = hosts.get(contact.domain)
            if host is not None:
                other = host.awake.get(contact.local)
                if other is None or not other.present:
                    continue  # §8.5.2.2.2: nobody is there to see it
            send(stanza.with_to(contact))

    def _inform(self, session: Session, *, first: bool) -> None:
        """Give a newcomer what they would see if they had been there: presence of others, and waiting requests."""
        account = session.account
        for each in account.present:
            if each is not session and each.presence is not None:
                session.deliver(each.presence.with_to(session.jid))
        for item in list(account.roster.values()):
            if account.blocks(item.jid):
                continue
            if item.request is not None:
                session.outlet.send(item.request)  # §3.1.3: at each log-in, until it is answered
            if item.subscription is _TO or item.subscription is _BOTH:
                self._ask(session, item.jid)
            elif item.asked and first and item.jid.domain not in self.host.router.hosts:
                # §3.1.2: the request may have been lost on its way.
                self._send(account.jid, item.jid, "subscribe")

    def _ask(self, session: Session, contact: Jid) -> None:
        """Find out about the contact's presence: §4.3.1, without a probe where they are in this process."""
        router, account = self.host.router, session.account
        host = router.hosts.get(contact.domain)
        if host is not None:
            other = host.awake.get(contact.local)
            if other is None:
                return
            if other.is_seen_by(account.jid):
                for each in other.present:
                    if each.presence is not None:
                        router.send(each.presence.with_to(session.jid))
                return
            # A contact at hand who does not know of the subscription answers as another server would.
            self._send(account.jid, contact, "probe")
            return
        try:
            router.send_away(Stanza("presence", to=contact, sender=account.jid, type="probe"))
        except StanzaError:
            self._miss(account, contact.domain)

    def _remember(self, session: Session, to: Jid) -> None:
        """§4.6.3: who saw the session in this way is remembered until its end."""
        if session.directed is None:
            session.directed = {}
        if to.text not in session.directed and len(session.directed) >= self._directed:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "directed presence to too many")
        session.directed[to.text] = to
        if to.domain not in self.host.router.hosts:
            self._shown().setdefault(to.domain, set()).add(session.account.jid.local)

    # -- what arrives

    @presence(Side.RECIPIENT, "", "unavailable")
    def receive(self, walk: Walk) -> None:
        """§8.5.2.1.2, §8.5.3: to all resources that have sent presence, or to the one that is named."""
        stanza, account = walk.stanza, walk.account
        to, sender = stanza.to, stanza.sender
        assert to is not None
        assert sender is not None
        sessions = account.present
        if to.resource:
            named = account.sessions.get(to.resource)
            sessions = () if named is None else (named,)
        for each in sessions:
            each.deliver(stanza)
        if sender.domain not in self.host.router.hosts:
            self.domain_found(sender.domain)
            if _note(account, stanza, sessions):
                self._shown().setdefault(sender.domain, set()).add(account.jid.local)
        if stanza.type == "unavailable":
            for each in sessions if to.resource else account.sessions.values():
                _end_directed(each, sender)  # §4.6.1

    @presence(Side.RECIPIENT, "probe")
    def answer_probe(self, walk: Walk) -> None:
        """§4.3.2, §4.6.6."""
        stanza, account = walk.stanza, walk.account
        to, sender = stanza.to, stanza.sender
        assert to is not None
        assert sender is not None
        self.domain_found(sender.domain)
        session = account.sessions.get(to.resource)
        if not account.is_seen_by(sender):
            directed = session.directed if session is not None else None
            if directed and (sender.text in directed or sender.bare.text in directed):
                self._send(to, sender)
            else:
                self._send(to.bare, sender.bare, "unsubscribed", id=stanza.id)
        elif to.resource:
            # Of the one resource, no more than that it is there.
            if session is not None and session.presence is not None:
                self._send(to, sender)
            else:
                self._send(to, sender, "unavailable", id=stanza.id)
        elif account.present:
            for each in account.present:
                if each.presence is not None:
                    self.host.router.send(each.presence.with_to(sender))
        else:
            self.host.router.send(_absence(account, stanza.id).with_to(sender))

    # -- domains that go, and come back

    def domain_lost(self, domain: str) -> None:
        """§4.5.3: nobody there can say goodbye any more, so it is said for them."""
        for local in self._shown().pop(domain, ()):
            account = self.host.awake.get(local)
            if account is None:
                continue
            lost = {resource: seen.lose(domain) for resource, seen in account.seen.items()}
            if lost.get(""):
                self._miss(account, domain)
            for session in list(account.sessions.values()):
                if session.directed:
                    session.directed = {text: jid for text, jid in session.directed.items() if jid.domain != domain}
                everybodys = lost.get("", {}) if session.presence is not None else {}
                for jid in (everybodys | lost.get(session.jid.resource, {})).values():
                    if not account.blocks(jid):
                        session.deliver(Stanza("presence", to=session.jid, sender=jid, type="unavailable"))

    def _shown(self) -> dict[str, set[str]]:
        """Return the users who see somebody at each other domain, or have directed presence to it; perhaps too many."""
        if self._watchers is None:  # the modules are new, the accounts are not
            self._watchers = {}
            for account in self.host.awake.values():
                for domain in _domains_seen(account):
                    self._watchers.setdefault(domain, set()).add(account.jid.local)
        return self._watchers

    def _forget_seen(self, session: Session) -> None:
        """Forget what only this session saw; and what all saw, where none is left."""
        account = session.account
        before = _domains_seen(account)
        account.seen.pop(session.jid.resource, None)
        if not account.present:
            account.seen.pop("", None)
        shown = self._shown()
        for domain in before - _domains_seen(account):
            watchers = shown.get(domain, set())
            watchers.discard(account.jid.local)
            if not watchers:
                shown.pop(domain, None)

    def _miss(self, account: Account, domain: str) -> None:
        self._missed.setdefault(domain, set()).add(account.jid.local)
        if len(self._missed) > _MISSED:
            del self._missed[next(iter(self._missed))]

    def domain_found(self, domain: str) -> None:
        """Ask for what was missed while a domain was lost: who is there says so to nobody a second time (§4.3.1)."""
        for local in self._missed.pop(domain, ()):
            account = self.host.awake.get(local)
            if account is not None and account.present:
                for item in list(account.roster.values()):
                    if item.jid.domain == domain and item.subscription in {_TO, _BOTH}:
                        self._send(account.jid, item.jid, "probe")

    # -- what other modules ask for (core.peers.Presences)

    def withdraw(self, account: Account, *contacts: Jid) -> None:
        """Let the contacts see the user go offline, if they saw them online."""
        router = self.host.router
        covered = {contact.text for contact in contacts}
        watchers = {jid.text: jid for jid in _watchers(account, contacts)}
        for session in account.sessions.values():
            targets = dict(watchers) if session.presence is not None else {}
            directed = session.directed or {}
            for jid in [each for each in directed.values() if _is_under(each, covered)]:
                del directed[jid.text]
                if jid.bare.text not in targets:
                    targets[jid.text] = jid
            gone = Stanza("presence", type="unavailable", sender=session.jid)
            for jid in targets.values():
                router.send(gone.with_to(jid))

    def renew(self, account: Account, *contacts: Jid) -> None:
        """Let the contacts see the user's presence again, if they are entitled to."""
        watchers = _watchers(account, contacts)
        for session in account.present:
            if session.presence is not None:
                for jid in watchers:
                    self.host.router.send(session.presence.with_to(jid))

    def _send(self, sender: Jid, to: Jid, type: str = "", *, id: str = "") -> None:
        self.host.router.send(Stanza("presence", to=to, sender=sender, type=type, id=id))


def _note(account: Account, stanza: Stanza, sessions: Iterable[Session]) -> bool:
    """Remember who of another domain these sessions see: contacts, and who is where they have directed presence to.

    Return whether there is anybody to remember.
    """
    to, sender = stanza.to, stanza.sender
    assert to is not None
    assert sender is not None
    if stanza.type == "unavailable":
        for resource in [to.resource] if to.resource else account.seen:
            if resource in account.seen:
                account.seen[resource].discard(sender)
        return False
    if _is_watched(account, sender):
        most = _RESOURCES
    elif any(_is_directed(session, sender) for session in sessions):
        most = _OCCUPANTS
    else:
        return False
    if sessions:
        account.seen.setdefault(to.resource, Seen()).add(sender, most)
    return bool(sessions)


def _domains_seen(account: Account) -> set[str]:
    directed = {jid.domain for session in account.sessions.values() for jid in (session.directed or {}).values()}
    return directed.union(*(seen.domains for seen in account.seen.values()))


def _is_watched(account: Account, jid: Jid) -> bool:
    item = account.roster.get(jid.bare.text)
    return item is not None and item.subscription in {_TO, _BOTH}


def _is_directed(session: Session, jid: Jid) -> bool:
    """Tell whether presence was directed to the address, or to another resource of it: a room (XEP-0045)."""
    directed = session.directed or {}
    return any(each.local == jid.local and each.domain == jid.domain for each in directed.values())


def _end_directed(session: Session, jid: Jid) -> None:
    """§4.6.1; whoever was seen there says no goodbye to who has left."""
    if not session.directed or session.directed.pop(jid.text, None) is None:
        return
    seen = session.account.seen.get(session.jid.resource)
    if seen is not None and not _is_watched(session.account, jid) and not _is_directed(session, jid):
        seen.discard(jid.bare)


def _read_priority(stanza: Stanza) -> int:
    """Return the priority (§4.7.2.3), 0 where there is none; StanzaError if it is not a number that fits a byte."""
    if _PRIORITY not in stanza.payloads:
        return 0
    match = _BYTE.fullmatch(_priority_text(stanza)) if stanza.payloads.count(_PRIORITY) == 1 else None
    if match is not None and -128 <= (priority := int(match[1])) <= 127:
        return priority
    raise StanzaError(Condition.BAD_REQUEST, "a priority is an integer from -128 to 127")


def _priority_text(stanza: Stanza) -> str:
    inner = stanza.inner
    # The word stands nowhere else, so this is the child; parsing takes as long as telling twenty contacts.
    if inner.count(b"priority") == 2 and (plain := _PLAIN_PRIORITY.search(inner)):
        return plain[1].decode()
    element = dom.child(stanza.element(), ns.CLIENT, "priority")
    return dom.text(element) if element is not None else ""


async def _one_by_one(work: list[Waiting]) -> None:
    for waiting in work:
        await waiting


def _absence(account: Account, id: str) -> Stanza:
    """Say that no resource is there, and since when (§4.3.2, XEP-0203)."""
    absence = Stanza("presence", sender=account.jid, type="unavailable", id=id)
    if account.last_activity is None:
        return absence
    delay = f"<delay xmlns='{ns.DELAY}' stamp='{account.last_activity.at:%Y-%m-%dT%H:%M:%SZ}'/>"
    return absence.with_payload(ns.qname(ns.DELAY, "delay"), delay.encode())


def _is_under(jid: Jid, contacts: Set[str]) -> bool:
    """Tell whether one of the addresses is this one, or stands for it."""
    return not contacts.isdisjoint((jid.text, jid.bare.text, jid.domain))


def _watchers(account: Account, contacts: Iterable[Jid]) -> list[Jid]:
    """Return the addresses under ``contacts`` that the user's presence goes to by subscription."""
    covered = {contact.text for contact in contacts}
    under = [jid for item in account.roster.values() if _is_under(jid := item.jid, covered) and account.is_seen_by(jid)]
    single = [c for c in contacts if c.resource and not _is_under(c.bare, covered) and account.is_seen_by(c)]
    return under + single
