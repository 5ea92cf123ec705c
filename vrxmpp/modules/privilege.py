"""XEP-0356: Privileged Entity. A component manages rosters, and speaks, for the users of this domain."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from vrxmpp import dom, ns, xml
from vrxmpp.core.account import Account
from vrxmpp.core.module import At, Module, Request, Xep, stage
from vrxmpp.core.peers import Contacts, Presences
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.stanza import Kind, Stanza
from vrxmpp.store.interfaces import RosterItem, Subscription
from vrxmpp.waiting import Waiting

_REQUESTS = ("get", "set")
_ANSWERS = ("result", "error")
_ROSTER = ns.qname(ns.ROSTER, "query")
_PRIVILEGE = ns.qname(ns.PRIVILEGE, "privilege")
_PRIVILEGED_IQ = ns.qname(ns.PRIVILEGE, "privileged_iq")
_UNANSWERED = 1000  # requests on behalf of users
_ID_LENGTH = 1023  # of those
_SEEING = (Subscription.FROM, Subscription.BOTH)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one component may do: nothing, unless it is said here.

    ``roster`` is "none", "get", "set" or "both"; ``iq`` has "get", "set" or "both" for namespaces of requests.
    """

    roster: str = "none"
    message: bool = False
    presence: bool = False
    iq: Mapping[str, str] = field(default_factory=dict)


class PrivilegedEntities(Module):
    """Tells components what they may do, and does it for them. ``grants`` are by the domain of the component.

    A component that may set rosters decides on the subscriptions to its own users, too: both sides of them are its to
    speak for. Nobody else's consent is given for them.
    """

    implements = (Xep(356, "0.4.1", "no roster pushes, and no presence of contacts"),)

    def __init__(self, grants: Mapping[str, Grant], contacts: Contacts, presences: Presences) -> None:
        self._grants = grants
        self._contacts = contacts
        self._presences = presences
        self._watchers = [Jid.parse(domain) for domain, grant in grants.items() if grant.presence]
        self._asked: dict[tuple[Jid, Jid, str], Stanza] = {}  # user, who is asked, id: for which request

    # -- what the connections of components call (net.components.Authority)

    def welcome(self, service: Jid) -> None:
        """Advertise what is granted (§4.2, §5.2, §6.2, §7.2), and show who is online (§8)."""
        grant = self._grants.get(service.text)
        permissions = _permissions(grant) if grant is not None else ""
        if not permissions:
            return
        privilege = f"<privilege xmlns='{ns.PRIVILEGE}'>{permissions}</privilege>".encode()
        self.host.router.send(Stanza("message", to=service, sender=self.host.jid).with_payload(_PRIVILEGE, privilege))
        if service in self._watchers:
            for session in self.host.all_sessions():
                if session.presence is not None:
                    self._show(session.account, session.presence, service)

    def take(self, stanza: Stanza) -> Waiting | None:
        """Deal with what a component asks for by privilege; None: it asks for none."""
        to, sender = stanza.to, stanza.sender
        assert to is not None
        assert sender is not None
        grant = self._grants.get(sender.text)
        if grant is None or to.domain != self.host.domain or to.resource:
            return None
        if stanza.kind == "message" and not to.local and _PRIVILEGE in stanza.payloads:
            return self.host.router.finish(stanza, self._send_message(stanza, grant))
        if stanza.kind == "iq" and to.local and stanza.type in _REQUESTS and stanza.id:
            if stanza.payloads == (_ROSTER,):
                return self.host.router.finish(stanza, self._manage_roster(stanza, grant))
            if stanza.payloads == (_PRIVILEGED_IQ,):
                return self.host.router.finish(stanza, self._ask(stanza, grant))
        return None

    async def _account(self, user: Jid, service: Jid | None) -> Account:
        """Return the account, if it is a managed one; §9: nobody who is not allowed to do something has it done."""
        account = await self.host.wake(user.local)
        assert service is not None
        if account is None or not _is_managed(account, service):
            raise StanzaError(Condition.FORBIDDEN)
        return account

    def _leave(self, account: Account, stanza: Stanza) -> Waiting | None:
        """Let a stanza go its way as if the user had sent it."""
        walk = Walk(stanza, self.host, account)
        for step in self.host.leaving[stanza.kind]:
            if step(walk):
                return None
        for session, copy in walk.copies or ():
            session.deliver(copy)
        return self.host.router.route(walk.stanza)

    # -- rosters

    async def _manage_roster(self, stanza: Stanza, grant: Grant) -> None:
        """§4.3: in the usual way, as if the user had asked."""
        if grant.roster not in (stanza.type, "both"):
            raise StanzaError(Condition.FORBIDDEN)
        assert stanza.to is not None
        account = await self._account(stanza.to, stanza.sender)
        usual = self.host.iq[At.ACCOUNT, stanza.type, _ROSTER].call
        payload = usual(Request(stanza, self.host, account, None))
        if isinstance(payload, Awaitable):
            payload = await payload
        if stanza.type == "set":
            await self._subscribe(account, stanza)
        self.host.router.send(stanza.reply(payload or b""))

    async def _subscribe(self, account: Account, stanza: Stanza) -> None:
        """Let the subscription be as the component says, if the contact is one of its own."""
        item = _only(stanza.element(), (ns.ROSTER, "query"), (ns.ROSTER, "item"))
        contact = Jid.parse(item.attributes["jid"])  # which has been looked at by now
        assert stanza.sender is not None
        try:
            subscription = Subscription(item.attributes.get("subscription", ""))
        except ValueError:
            return  # it says nothing of it, or "remove"
        if contact.domain != stanza.sender.domain:
            return
        async with account.lock:
            old = account.roster.get(contact.text)
            if old is None or old.subscription is subscription:
                return
            new = _settled(old, subscription)
            await self._contacts.keep(account, new)
            self._contacts.push(account, new)
        if subscription in _SEEING and old.subscription not in _SEEING:
            self._presences.renew(account, contact)

    # -- messages

    async def _send_message(self, stanza: Stanza, grant: Grant) -> None:
        """§5.3: what is forwarded goes its way as if the user had sent it."""
        path = ((ns.PRIVILEGE, "privilege"), (ns.FORWARD, "forwarded"), (ns.CLIENT, "message"))
        message = _read("message", _only(stanza.element(), *path))
        user = message.sender
        if not grant.message or user is None or user.domain != self.host.domain or user.resource or message.to is None:
            raise StanzaError(Condition.FORBIDDEN)
        account = await self._account(user, stanza.sender)
        assert stanza.sender is not None
        await self.host.router.archive(message, {"component": stanza.sender.text})
        waiting = self._leave(account, message)
        if waiting is not None:
            await waiting

    # -- requests

    async def _ask(self, stanza: Stanza, grant: Grant) -> None:
        """§6.3: ask on behalf of the user; the answer, an error of the way there as well, comes by ``hand_on``."""
        user = stanza.to
        assert user is not None
        path = ((ns.PRIVILEGE, "privileged_iq"), (ns.CLIENT, "iq"))
        request = _read("iq", _only(stanza.element(), *path))
        namespace = request.payloads[0].rpartition(" ")[0] if len(request.payloads) == 1 else ""
        if (
            request.type != stanza.type
            or request.sender not in (None, user)
            or grant.iq.get(namespace) not in (stanza.type, "both")
        ):
            raise StanzaError(Condition.FORBIDDEN)
        if not 0 < len(request.id) <= _ID_LENGTH:
            raise StanzaError(Condition.BAD_REQUEST, "the request has no fitting id")
        account = await self._account(user, stanza.sender)
        request = request.with_sender(user).with_to(request.to or user)
        assert request.to is not None
        key = (user, request.to, request.id)
        if key in self._asked:
            raise StanzaError(Condition.CONFLICT, "the id is in use")
        self._expect(key, stanza)
        try:
            waiting = self._leave(account, request)
        except StanzaError:
            del self._asked[key]
            raise
        if waiting is not None:
            await waiting

    def _expect(self, key: tuple[Jid, Jid, str], stanza: Stanza) -> None:
        if len(self._asked) >= _UNANSWERED:
            oldest = self._asked.pop(next(iter(self._asked)))
            self.host.router.refuse(oldest, StanzaError(Condition.RECIPIENT_UNAVAILABLE))
        self._asked[key] = Stanza("iq", to=stanza.to, sender=stanza.sender, type=stanza.type, id=stanza.id)

    @stage(Stage.SCREEN, Side.RECIPIENT, "iq")
    def hand_on(self, walk: Walk) -> bool | None:
        """§6.3: the answer to a request that was sent on behalf of the user goes to who has sent it."""
        answer = walk.stanza
        if not self._asked or answer.type not in _ANSWERS:
            return None
        assert answer.to is not None
        assert answer.sender is not None
        asked = self._asked.pop((answer.to, answer.sender, answer.id), None)
        if asked is None:
            return None
        self.host.router.send(_forward(asked, answer))
        return True

    def domain_lost(self, domain: str) -> None:
        """A component that is gone waits for no answer."""
        for key in [key for key, stanza in self._asked.items() if stanza.sender and stanza.sender.domain == domain]:
            del self._asked[key]

    # -- presence

    @stage(Stage.COPY, Side.SENDER, "presence")
    def show_presence(self, walk: Walk) -> None:
        """§7.3: what a user shows to everybody is shown to the components, too."""
        stanza, session = walk.stanza, walk.session
        if stanza.to is not None or stanza.type not in ("", "unavailable"):
            return
        if stanza.type == "" or (session is not None and session.presence is not None):
            for service in self._watchers:
                self._show(walk.account, stanza, service)

    def session_ended(self, session: Session) -> None:
        """§7.3: whoever was shown is seen to go."""
        if session.presence is not None:
            for service in self._watchers:
                self._show(session.account, Stanza("presence", type="unavailable", sender=session.jid), service)

    def _show(self, account: Account, presence: Stanza, service: Jid) -> None:
        """§8: once, and not to a service that gets it as a contact."""
        if _is_managed(account, service) and not account.is_seen_by(service):
            with suppress(StanzaError):  # the user knows nothing of it
                self.host.router.send_away(presence.with_to(service))


def _is_managed(account: Account, service: Jid) -> bool:
    """Whether the privileges of a service hold for a user: for no guest, and for nobody who has blocked it."""
    return not account.is_guest and not account.blocks(service)


def _permissions(grant: Grant) -> str:
    """Write what is granted."""
    written = ""
    if grant.roster != "none":
        written += f"<perm access='roster' type='{grant.roster}' push='false'/>"
    if grant.message:
        written += "<perm access='message' type='outgoing'/>"
    if grant.iq:
        namespaces = "".join(
            f"<namespace ns='{xml.attribute(name)}' type='{type}'/>" for name, type in grant.iq.items()
        )
        written += f"<perm access='iq'>{namespaces}</perm>"
    if grant.presence:
        written += "<perm access='presence' type='managed_entity'/>"
    return written


def _settled(item: RosterItem, subscription: Subscription) -> RosterItem:
    """Return the item with that subscription; what has come true by it is asked for no longer."""
    return replace(
        item,
        subscription=subscription,
        asked=item.asked and subscription not in (Subscription.TO, Subscription.BOTH),
        request=None if subscription in _SEEING else item.request,
    )


def _only(element: dom.Element, *path: tuple[str, str]) -> dom.Element:
    """Return the one element that lies at the end of the path of names."""
    found = [element]
    for name in path:
        found = [child for each in found for child in dom.children(each) if (child.uri, child.name) == name]
    if len(found) != 1:
        raise StanzaError(Condition.FORBIDDEN, "exactly one stanza is forwarded")
    return found[0]


def _read(kind: Kind, element: dom.Element) -> Stanza:
    """Return a stanza that was inside another."""
    attributes = element.attributes
    try:
        to, sender = (Jid.parse(attributes[name]) if name in attributes else None for name in ("to", "from"))
    except InvalidJid as error:
        raise StanzaError(Condition.JID_MALFORMED, str(error)) from None
    return Stanza(
        kind,
        to=to,
        sender=sender,
        type=attributes.get("type", ""),
        id=attributes.get("id", ""),
        lang=attributes.get((ns.XML, "lang"), ""),
        payloads=tuple(ns.qname(child.uri, child.name) for child in dom.children(element)),
        inner=b"".join(
            xml.text(node).encode() if isinstance(node, str) else dom.serialise(node) for node in element.children
        ),
    )


def _forward(request: Stanza, answer: Stanza) -> Stanza:
    """Return the answer to a privileged request: of the same type as the answer that is forwarded in it."""
    element = answer.element()
    privilege = dom.element(ns.PRIVILEGE, "privilege", dom.element(ns.FORWARD, "forwarded", element))
    inner = dom.serialise(privilege)
    error = dom.child(element, ns.CLIENT, "error")
    if error is not None:
        inner += dom.serialise(error)
    return Stanza("iq", to=request.sender, sender=request.to, type=answer.type, id=request.id, inner=inner)
