"""Services at domains of their own, and all connections of those that run outside this process (XEP-0114)."""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from vrxmpp.core.pending import Pending
from vrxmpp.core.router import Router
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.net.component import ComponentConnection
from vrxmpp.net.connections import Connections, StreamPolicy, Timer
from vrxmpp.net.limits import Addresses
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting

_REQUESTS = ("get", "set")
_ANSWERS = ("result", "error")
_UNANSWERED = 10_000  # requests that one service may have in hand
# Bytes that may wait for a component before more is refused: when it comes back, thousands have something for it.
_BACKLOG_BYTES = 16_777_216


class Authority(Protocol):
    """What lets a service do more than its address alone allows (XEP-0356)."""

    def welcome(self, service: Jid) -> None:
        """The service is there: tell it what it may do."""

    def take(self, stanza: Stanza) -> Waiting | None:
        """Deal with a stanza of the service that asks for a privilege; None: it asks for none."""


class Service(ABC):
    """One domain on this machine that is nobody's host; to the router, the way there.

    Requests that it has been given are remembered until it answers: each gets exactly one answer (RFC 6120 §8.2.3).
    """

    log = Logger()

    def __init__(self, domain: str, router: Router, authorities: Callable[[], Iterable[Authority]] = tuple) -> None:
        self.jid = Jid.parse(domain)
        self._router = router
        self._authorities = authorities
        self._pending = Pending(_UNANSWERED)
        router.services[self.jid.domain] = self

    @property
    @abstractmethod
    def is_up(self) -> bool:
        """Whether stanzas can be brought there."""

    @abstractmethod
    def deliver(self, stanza: Stanza) -> None:
        """Bring a stanza there, which is up; StanzaError if it cannot take it."""

    @abstractmethod
    def start(self) -> None:
        """The server is there."""

    @abstractmethod
    def stop(self) -> None:
        """The server goes down."""

    def send(self, stanza: Stanza) -> None:
        """Take a stanza for the service; StanzaError while it is not there.

        That is remote-server-timeout: the address is right, but nobody is reached (RFC 6120 §8.3.3.17); trying later
        makes sense. It is what Prosody says, too.
        """
        if not self.is_up:
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "the service is not there at the moment")
        self.deliver(stanza)
        if stanza.kind == "iq" and stanza.type in _REQUESTS:
            self._expect(stanza)

    def accept(self, stanza: Stanza) -> None:
        """See whether a stanza of the service has the addresses it must have (XEP-0114 §3)."""
        sender, to = stanza.sender, stanza.to
        if sender is None or to is None:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
        if sender.domain != self.jid.domain:
            raise StreamError(StreamCondition.INVALID_FROM)

    def receive(self, stanza: Stanza) -> Waiting | None:
        """Take a stanza that the service has sent; return the rest of the work, if it must wait."""
        self.accept(stanza)
        if stanza.kind == "iq" and stanza.type in _ANSWERS and not self.settle(stanza):
            return None  # an answer goes only to who has asked
        for authority in self._authorities():
            waiting = authority.take(stanza)
            if waiting is not None:
                return waiting
        return self._router.route(stanza)

    def came(self) -> None:
        """The service is there from now on, perhaps again."""
        for authority in self._authorities():
            authority.welcome(self.jid)
        self._router.found(self.jid.domain)

    def went(self) -> None:
        """The service is gone: nobody waits for its answers any longer, and its users are offline."""
        for request in self._pending.give_up():
            self._router.refuse(request, StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "the service has gone"))
        self._router.lost(self.jid.domain)

    def _expect(self, request: Stanza) -> None:
        given_up = self._pending.expect(request)
        if given_up is not None:
            self._router.refuse(given_up, StanzaError(Condition.RECIPIENT_UNAVAILABLE))

    def fail(self, asker: str, asked: str, id: str) -> None:
        """A request, if there is such a one, cannot be answered by the service."""
        request = self._pending.take(asker, asked, id)
        if request is not None:
            self._router.refuse(request, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def settle(self, answer: Stanza) -> bool:
        """Return whether this answers a request that waits, which it then does no longer."""
        return self._pending.settle(answer)


class Component(Service):
    """A service that connects and proves itself by a secret.

    While one connection is there, a second one is refused, as Prosody does it: of two processes that were started
    with the same settings, the first goes on working, instead of both throwing each other out for ever.
    """

    def __init__(
        self, domain: str, secret: str, router: Router, authorities: Callable[[], Iterable[Authority]] = tuple
    ) -> None:
        super().__init__(domain, router, authorities)
        self._secret = secret.encode()
        self._connection: ComponentConnection | None = None

    @property
    def is_up(self) -> bool:
        """Whether the component is connected."""
        return self._connection is not None and not self._connection.is_over

    def start(self) -> None:
        """The component will come by itself."""

    def stop(self) -> None:
        """Its connection is ended with all the others."""

    def deliver(self, stanza: Stanza) -> None:
        """Write the stanza onto the component's stream; who sends faster than it reads does not kill it."""
        assert self._connection is not None
        if self._connection.is_behind:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "the service is busy")
        self._connection.send(stanza.raw)

    def is_proven(self, stream_id: str, proof: bytes) -> bool:
        """XEP-0114 §3: the proof is the hash of the stream's id and the secret."""
        expected = hashlib.sha1(stream_id.encode() + self._secret).hexdigest()
        return hmac.compare_digest(expected.encode(), proof)

    def join(self, connection: ComponentConnection) -> None:
        """Take a connection that has proven itself; StreamError where there is one already."""
        if self.is_up:
            self.log.warn("a second {domain} has come from {address}", domain=self.jid, address=connection.address)
            raise StreamError(StreamCondition.CONFLICT, "the component is connected already")
        if self._connection is not None:
            self.leave(self._connection)  # it has been cut off, and nobody has been told so far
        self._connection = connection
        self.log.info("{domain} has connected", domain=self.jid)
        self._note("began", **connection.describe())

    def leave(self, connection: ComponentConnection) -> None:
        """The connection is gone; told more than once, or by one that was not taken, it does nothing."""
        if self._connection is connection:
            self._connection = None
            self.log.info("{domain} is gone", domain=self.jid)
            self._note("ended", address=connection.address, reason=connection.reason)
            self.went()

    def _note(self, event: str, **facts: str) -> None:
        facts |= {"component": self.jid.text, "direction": "from"}
        self._router.audit.note("stream", f"stream {self.jid}", event=event, **facts)


class Components(Connections):
    """All services, and what the connections of those have in common that connect."""

    def __init__(self, policy: StreamPolicy, addresses: Addresses, clock: Timer) -> None:
        output = replace(policy.output, pause_bytes=_BACKLOG_BYTES, cut_bytes=2 * _BACKLOG_BYTES)
        super().__init__(replace(policy, output=output), addresses, clock)
        self._services: dict[str, Service] = {}

    def add(self, service: Service) -> None:
        """Look after a service; if it is one that connects, it may."""
        self._services[service.jid.domain] = service

    def expected(self, domain: str) -> Component | None:
        """Return the component that a stream header names, if there may be one."""
        try:
            service = self._services.get(Jid.parse(domain).text)
        except InvalidJid:
            return None
        return service if isinstance(service, Component) else None

    def start(self) -> None:
        """Begin to look after time limits, and start what runs in this process."""
        super().start()
        for service in self._services.values():
            service.start()

    async def stop(self) -> None:
        """End every stream, and what runs in this process."""
        await super().stop()
        for service in self._services.values():
            service.stop()


class ComponentFactory(Factory):
    """Makes connections for a listener."""

    noisy = False

    def __init__(self, components: Components) -> None:
        self._components = components

    def buildProtocol(self, addr: Any) -> ComponentConnection | None:
        """Admit a connection, or close it at once where its address has too many."""
        address = getattr(addr, "host", "unix")
        if not self._components.addresses.admit(address):
            return None
        return ComponentConnection(self._components, address)
