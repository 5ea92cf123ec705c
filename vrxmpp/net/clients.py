"""All clients' connections: the domains they can log in to, and how they are let in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import Factory

from vrxmpp.core.host import Host
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.negotiation.feature import Feature
from vrxmpp.net.c2s import ClientConnection
from vrxmpp.net.connections import Connections, StreamPolicy, Timer
from vrxmpp.net.limits import Addresses
from vrxmpp.net.tls import Certificates


@dataclass(frozen=True, slots=True)
class Served:
    """A domain as the connections see it: its host, and the features of a new stream."""

    host: Host
    features: Callable[[], list[Feature]]


class Clients(Connections):
    """All clients' connections, and what they have in common."""

    note_type = "session"

    def __init__(
        self,
        domains: dict[str, Served],
        policy: StreamPolicy,
        certificates: Certificates,
        addresses: Addresses,
        clock: Timer,
    ) -> None:
        super().__init__(policy, addresses, clock)
        self.domains = domains
        self.certificates = certificates

    def note_more(self, event: str, more: int) -> None:
        """Let the archive know how many more there were."""
        domain = next(iter(self.domains))
        self.audit.note(self.note_type, domain, event=event, account=domain, more=more)

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
