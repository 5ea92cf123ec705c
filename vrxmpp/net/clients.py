"""All clients' connections: who is let in, what holds for every one of them, how they end together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from vrxmpp.core.host import Host
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.negotiation.feature import Feature
from vrxmpp.net.c2s import ClientConnection
from vrxmpp.net.limits import Addresses, Output, Rate, Timeouts
from vrxmpp.net.tls import Certificates
from vrxmpp.wire.framer import FramerLimits


class Timer(Protocol):
    """The part of a reactor that tells the time, in seconds, and calls later."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> object: ...


@dataclass(frozen=True, slots=True)
class ClientPolicy:
    """What holds for every client's connection."""

    before_login: FramerLimits
    after_login: FramerLimits
    timeouts: Timeouts
    rate: Rate
    output: Output


@dataclass(frozen=True, slots=True)
class Served:
    """A domain as the connections see it: its host, and the features of a new stream."""

    host: Host
    features: Callable[[], list[Feature]]


class Clients:
    """All clients' connections, and what they have in common."""

    log = Logger()

    def __init__(
        self,
        domains: dict[str, Served],
        policy: ClientPolicy,
        certificates: Certificates,
        addresses: Addresses,
        clock: Timer,
    ) -> None:
        self.domains = domains
        self.policy = policy
        self.certificates = certificates
        self.addresses = addresses
        self.clock = clock
        self.connections: set[ClientConnection] = set()
        self._all_gone: Deferred[None] | None = None
        self._sweeper = LoopingCall(self.sweep)
        self._sweeper.clock = cast(Any, clock)

    def start(self) -> None:
        """Begin to look after time limits."""
        self._sweeper.start(1.0, now=False)

    async def stop(self) -> None:
        """End every stream, the server goes down (RFC 6120 §4.9.3.22); return when all connections are gone."""
        for connection in list(self.connections):
            connection.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
        if self.connections:
            self._all_gone = Deferred()
            await self._all_gone  # the sweep cuts off who takes too long
        if self._sweeper.running:
            self._sweeper.stop()

    def left(self, connection: ClientConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self._all_gone is not None and not self.connections:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    def sweep(self) -> None:
        """Do what is due each second."""
        self.addresses.next_second()
        now = self.clock.seconds()
        for connection in list(self.connections):
            try:
                connection.sweep(now)
            except Exception:
                self.log.failure("{address} could not be looked after", address=connection.address)

    def served(self, domain: str) -> Served | None:
        """Return the domain a stream header names, if it is ours."""
        try:
            return self.domains.get(Jid.parse(domain).text)
        except InvalidJid:
            return None


class ClientFactory(Factory):
    """Makes connections for one kind of listener."""

    noisy = False

    def __init__(self, clients: Clients, *, direct_tls: bool) -> None:
        self._clients = clients
        self._direct_tls = direct_tls

    def buildProtocol(self, addr: Any) -> ClientConnection | None:
        """Admit a connection, or close it at once where its address has too many."""
        address = getattr(addr, "host", "unix")
        if not self._clients.addresses.admit(address):
            return None
        return ClientConnection(self._clients, address, direct_tls=self._direct_tls)
