"""The one decision "where to": what a client sends, and whatever else has an address, goes through here.

RFC 6120 §10 and RFC 6121 §8. A stanza leaves its sender (``from_client``), then arrives (``route``); both are plain
calls. Where something must wait, a store or an account that is not in memory, they return the rest of the work as a
coroutine, which the caller runs before it sends anything else for the same sender.

The one rule of refusal: an error never answers an error or a result, and every IQ request gets exactly one answer.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vrxmpp import ns
from vrxmpp.core import delivery
from vrxmpp.core.account import Account
from vrxmpp.core.delivery import Action, Address, Situation
from vrxmpp.core.host import Host, IqHandler
from vrxmpp.core.module import At, Payload, Request
from vrxmpp.core.peers import Audit, NoAudit, Remote
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Walk
from vrxmpp.errors import Condition, StanzaError, StreamError
from vrxmpp.stanza import REFUSED, UNSEEN, Stanza
from vrxmpp.store.interfaces import StorageError
from vrxmpp.waiting import Waiting

_REQUESTS = ("get", "set")
_ANSWERS = ("result", "error")
_ID_LENGTH = 1023  # it is remembered until the answer comes
_SUBSCRIPTION_TYPES = frozenset(("subscribe", "subscribed", "unsubscribe", "unsubscribed"))
_ASKING = ("subscribe", "unsubscribe", "probe")  # presence that is sent to bring something about
_NOTIFICATIONS = ("", "unavailable")
_PRESENCE_TYPES = _SUBSCRIPTION_TYPES | {*_NOTIFICATIONS, "probe", "error"}
_SESSION_REQUEST = ns.qname(ns.SESSION, "session")


class Router:
    """Knows the hosts, the domains of services beside them, and the way to other servers."""

    log = Logger()

    remote: Remote  # set before anything is routed

    def __init__(self, remote: Remote | None = None) -> None:
        self.hosts: dict[str, Host] = {}
        self.services: dict[str, Remote] = {}  # domains on this machine that are nobody's host (XEP-0114)
        self.audit: Audit = NoAudit()
        self.routed = 0  # messages that were in the archive first
        self.answered: Callable[[Stanza], None] = _ignore  # takes the answers to what a domain itself has asked
        if remote is not None:
            self.remote = remote

    def is_ours(self, domain: str) -> bool:
        """Whether a domain is served here: by a host or by a service."""
        return domain in self.hosts or domain in self.services

    def lost(self, domain: str) -> None:
        """A domain that is no host of ours cannot be reached any more; its users are seen by nobody."""
        for host in self.hosts.values():
            host.lost(domain)

    def found(self, domain: str) -> None:
        """A domain that is no host of ours can be reached, perhaps again."""
        for host in self.hosts.values():
            host.found(domain)

    # -- the two doors

    def from_client(self, stanza: Stanza, session: Session) -> Waiting | None:
        """Take what a local client has sent; its ``from`` is the session's."""
        try:
            if stanza.kind == "message" and (recording := self._recording(stanza, session)) is not None:
                return recording
            waiting = self._leave(stanza, session)
        except StanzaError as error:
            self.refuse(stanza, error)
        except StreamError:
            raise
        except Exception:
            self._fail(stanza)
        else:
            return None if waiting is None else self.finish(stanza, waiting)
        return None

    def route(self, stanza: Stanza) -> Waiting | None:
        """Bring a stanza to its address; the sender is told if that cannot be."""
        try:
            if stanza.kind == "message" and (recording := self._recording(stanza, None)) is not None:
                return recording
            if stanza.kind == "iq":
                _check_iq(stanza)
            waiting = self._arrive(stanza)
        except StanzaError as error:
            self.refuse(stanza, error)
        except Exception:
            self._fail(stanza)
        else:
            return None if waiting is None else self.finish(stanza, waiting)
        return None

    def _recording(self, stanza: Stanza, session: Session | None) -> Waiting | None:
        """Let no message pass that the archive wants and has not; StanzaError if it cannot have it.

        What comes over a connection is recorded before (``net.intake``); the rest waits here.
        """
        if stanza.record == UNSEEN and self.audit.wants(stanza):
            return self._record(stanza, session)
        if stanza.record == REFUSED:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "the archive cannot take it now")
        if stanza.record >= 0 and stanza.type != "error":
            self.routed += 1
        return None

    async def archive(self, stanza: Stanza, facts: Mapping[str, object]) -> None:
        """Wait until the archive has a message that it wants; StanzaError if it cannot have it."""
        if stanza.record == UNSEEN and self.audit.wants(stanza):
            await self._written(stanza, facts)
        if stanza.record == REFUSED:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "the archive cannot take it now")

    async def _written(self, stanza: Stanza, facts: Mapping[str, object]) -> None:
        recorded: Deferred[None] = Deferred()
        self.audit.record(stanza, json.dumps(facts).encode(), partial(recorded.callback, None))
        await recorded

    async def _record(self, stanza: Stanza, session: Session | None) -> None:
        facts = {} if session is None else {"session": session.jid.text, "address": session.address}
        await self._written(stanza, facts)
        waiting = self.route(stanza) if session is None else self.from_client(stanza, session)
        if waiting is not None:
            await waiting

    def send(self, stanza: Stanza) -> Deferred[None] | None:
        """Route a stanza whose further way need not be waited for; it can be, by what is returned. It never fails."""
        waiting = self.route(stanza)
        return None if waiting is None else Deferred.fromCoroutine(waiting)

    def send_away(self, stanza: Stanza) -> None:
        """Give a stanza to the service or the other server its domain is at; StanzaError if that cannot be."""
        assert stanza.to is not None
        self.services.get(stanza.to.domain, self.remote).send(stanza)

    def refuse(self, stanza: Stanza, error: StanzaError) -> None:
        """Answer a stanza with an error, unless it is an answer itself (RFC 6120 §8.3.1)."""
        if stanza.record >= 0:
            self.audit.outcome(stanza, f"refused: {error.condition}")
        sender = stanza.sender
        if stanza.type in _ANSWERS or sender is None:
            return
        if stanza.kind == "presence" and not sender.resource and stanza.type not in _ASKING:
            return  # a server has said it for an account: there is no client that waits to hear of it
        self._answer(stanza.refusal(error))

    def _fail(self, stanza: Stanza) -> None:
        self.log.failure("a {kind} from {sender} failed", kind=stanza.kind, sender=stanza.sender)
        self.refuse(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    async def finish(self, stanza: Stanza, waiting: Waiting) -> None:
        """Do the rest of the work for a stanza; the sender is told if it fails."""
        try:
            await waiting
        except StanzaError as error:
            self.refuse(stanza, error)
        except StorageError as error:
            # RFC 6120 §8.3.3.18: the sender may try again.
            self.log.error("a {kind} is refused: {reason}", kind=stanza.kind, reason=str(error))
            self.refuse(stanza, StanzaError(Condition.RESOURCE_CONSTRAINT))
        except Exception:
            self._fail(stanza)

    def _answer(self, answer: Stanza) -> None:
        """Bring an answer of the server's own to who asked; no module has a say in it."""
        to = answer.to
        assert to is not None
        host = self.hosts.get(to.domain)
        if host is None:
            try:
                self.send_away(answer)
            except StanzaError:
                self.log.debug("no way back to {domain}", domain=to.domain)
            return
        if not to.resource and answer.kind != "message":
            if not to.local or to.local in host.awake:
                self.send(answer)  # RFC 6121 §3.1.2: a request that cannot be delivered was the account's
            return
        account = host.awake.get(to.local)
        session = account.sessions.get(to.resource) if account is not None else None
        if session is not None:
            session.deliver(answer)

    # -- leaving

    def _leave(self, stanza: Stanza, session: Session) -> Waiting | None:
        host, account, kind = session.host, session.account, stanza.kind
        if kind == "iq":
            _check_iq(stanza)
        if account.is_guest:
            self._restrain_guest(stanza, account)
        steps = host.leaving[kind]
        if steps:
            walk = Walk(stanza, host, account, session)
            for step in steps:
                if step(walk):
                    return None
            stanza = walk.stanza
            if walk.copies:
                _send_copies(walk)
        if kind == "presence":
            return self._presence_out(Walk(stanza, host, account, session))
        if kind == "iq" and stanza.type in _ANSWERS and not session.settle(stanza):
            return None  # an answer goes only to who asked this client
        if stanza.to is None:
            # RFC 6120 §10.3: without 'to', a message or an IQ is for the sender's own account.
            if kind == "iq":
                return self._iq_to_account(stanza, host, account, session)
            stanza = stanza.with_to(account.jid)
        return self._arrive(stanza, session)

    def _restrain_guest(self, stanza: Stanza, account: Account) -> None:
        """XEP-0175 §4: a guest stores nothing, subscribes to nobody, and stays in the house."""
        to = stanza.to
        to_self = stanza.kind == "iq" and stanza.type == "set" and to in (None, account.jid)
        stores = to_self and stanza.payloads != (_SESSION_REQUEST,)
        subscribes = stanza.kind == "presence" and stanza.type in _SUBSCRIPTION_TYPES
        if stores or subscribes or (to is not None and to.domain not in self.hosts):
            raise StanzaError(Condition.NOT_ALLOWED)

    def _presence_out(self, walk: Walk) -> Waiting | None:
        if walk.stanza.type not in _PRESENCE_TYPES:
            raise StanzaError(Condition.BAD_REQUEST, "unknown presence type")
        handler = walk.host.presence.get((Side.SENDER, walk.stanza.type))
        if handler is not None:
            return handler(walk)
        return self._arrive(walk.stanza) if walk.stanza.to is not None else None

    # -- arriving

    def _arrive(self, stanza: Stanza, session: Session | None = None) -> Waiting | None:
        to = stanza.to
        assert to is not None
        host = self.hosts.get(to.domain)
        if host is None:
            self.send_away(stanza)
            return None
        if not to.local:
            return self._to_host(stanza, host, session)
        account = host.awake.get(to.local)
        if account is None:
            if stanza.kind == "presence" and stanza.type in _NOTIFICATIONS:
                return None  # RFC 6121 §8.5.2.2.2: an account that sleeps has no resource to show it to
            return self._to_cold(stanza, host, session)
        return self._to_account(stanza, host, account, session)

    async def _to_cold(self, stanza: Stanza, host: Host, session: Session | None) -> None:
        """Wake an account first, if the stanza is worth it."""
        assert stanza.to is not None
        account = await host.wake(stanza.to.local)
        if account is not None:
            waiting = self._to_account(stanza, host, account, session)
            if waiting is not None:
                await waiting
            return
        # RFC 6121 §8.5.1: nobody of that name. Who probes cannot tell that from an account that is not for them.
        if stanza.kind == "presence" and stanza.type == "probe" and stanza.sender is not None:
            self.send(
                Stanza("presence", to=stanza.sender.bare, sender=stanza.to.bare, type="unsubscribed", id=stanza.id)
            )
        if stanza.kind == "iq":
            if stanza.to.resource:
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)
            waiting = self._iq_to_account(stanza, host, None, session)
            if waiting is not None:
                await waiting
        if stanza.kind == "message":
            address = Address.FULL if stanza.to.resource else Address.BARE
            if delivery.action(address, Situation.NO_ACCOUNT, stanza.type) is Action.REFUSE:
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    def _to_host(self, stanza: Stanza, host: Host, session: Session | None) -> Waiting | None:
        if stanza.kind == "iq" and stanza.type in _REQUESTS:
            handler = host.iq.get((At.HOST, stanza.type, stanza.payloads[0]))
            if handler is not None:
                return self._call(handler, Request(stanza, host, None, session))
        if stanza.kind == "iq" and stanza.type in _ANSWERS:
            self.answered(stanza)
        elif stanza.kind != "presence":
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return None

    def _to_account(self, stanza: Stanza, host: Host, account: Account, session: Session | None) -> Waiting | None:
        kind = stanza.kind
        steps = host.arriving[kind]
        walk: Walk | None = None
        if steps:
            walk = Walk(stanza, host, account)
            for step in steps:
                if step(walk):
                    return None
            stanza = walk.stanza
        if kind == "message":
            waiting = self._message(stanza, host, account)
        elif kind == "iq":
            waiting = self._iq(stanza, host, account, session)
        else:
            waiting = self._presence_in(walk or Walk(stanza, host, account))
        if walk is not None and walk.copies:
            _send_copies(walk)
        return waiting

    def _message(self, stanza: Stanza, host: Host, account: Account) -> Waiting | None:
        to = stanza.to
        assert to is not None
        if to.resource:
            session = account.sessions.get(to.resource)
            if session is not None:
                waiting = _behind(stanza, host, account) if session is account.catching_up else None
                if waiting is None:
                    session.deliver(stanza)
                return waiting
        address = Address.FULL if to.resource else Address.BARE
        situation = Situation.AVAILABLE if account.available else Situation.ABSENT
        match delivery.action(address, situation, stanza.type):
            case Action.MOST_AVAILABLE:
                if account.catching_up is not None and (waiting := _behind(stanza, host, account)) is not None:
                    return waiting
                for session in account.most_available:
                    session.deliver(stanza)
            case Action.ALL_AVAILABLE:
                for session in account.available:
                    session.deliver(stanza)
            case Action.KEEP if host.keep is not None:
                return host.keep(account, stanza)
            case Action.KEEP | Action.REFUSE:
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return None

    def _presence_in(self, walk: Walk) -> Waiting | None:
        if walk.account.is_guest and walk.stanza.type in _SUBSCRIPTION_TYPES:
            return None
        handler = walk.host.presence.get((Side.RECIPIENT, walk.stanza.type))
        return handler(walk) if handler is not None else None

    # -- IQ

    def _iq(self, stanza: Stanza, host: Host, account: Account, session: Session | None) -> Waiting | None:
        assert stanza.to is not None
        if not stanza.to.resource:
            return self._iq_to_account(stanza, host, account, session)
        recipient = account.sessions.get(stanza.to.resource)
        if recipient is None:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        if stanza.type in _ANSWERS:
            recipient.deliver(stanza)
            return None
        given_up = recipient.ask(stanza)
        if given_up is not None:
            self.refuse(given_up, StanzaError(Condition.RECIPIENT_UNAVAILABLE))
        return None

    def _iq_to_account(
        self, stanza: Stanza, host: Host, account: Account | None, session: Session | None
    ) -> Waiting | None:
        """Let a module answer for an account, or for a name that nobody has (RFC 6121 §8.5.1, §8.5.2.1.3)."""
        if stanza.type in _ANSWERS:
            return None
        handler = host.iq.get((At.ACCOUNT, stanza.type, stanza.payloads[0]))
        own = session is not None and session.account is account
        if handler is None or not (own or handler.shared):
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return self._call(handler, Request(stanza, host, account, session))

    def _call(self, handler: IqHandler, request: Request) -> Waiting | None:
        payload = handler.call(request)
        if inspect.iscoroutine(payload):
            return self._answer_later(request.stanza, payload)
        self._answer(request.stanza.reply(cast(Payload, payload) or b""))
        return None

    async def _answer_later(self, request: Stanza, payload: Coroutine[Any, Any, Payload]) -> None:
        self._answer(request.reply(await payload or b""))


def _ignore(answer: Stanza) -> None:
    """Nobody has asked."""


def _behind(stanza: Stanza, host: Host, account: Account) -> Waiting | None:
    """Put a message behind those that are being delivered only now (RFC 6120 §10.1); None if it need not wait."""
    return host.keep(account, stanza) if host.keep is not None else None


def _send_copies(walk: Walk) -> None:
    for session, stanza in walk.copies or ():
        session.deliver(stanza)


def _check_iq(stanza: Stanza) -> None:
    """RFC 6120 §8.2.3: an id, one of four types, and in a request exactly one child."""
    is_request = stanza.type in _REQUESTS and len(stanza.payloads) == 1
    if not 0 < len(stanza.id) <= _ID_LENGTH or not (is_request or stanza.type in _ANSWERS):
        raise StanzaError(Condition.BAD_REQUEST)
