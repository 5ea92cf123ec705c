"""Puts federation together: from the configuration to the streams of other servers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory

from vrxmpp.assembly import utc_now
from vrxmpp.config import Config, ServerConnections
from vrxmpp.config.components import parents
from vrxmpp.core.router import Router
from vrxmpp.negotiation.dialback import Keys
from vrxmpp.net.dialer import Connect
from vrxmpp.net.identity import Trust
from vrxmpp.net.policy import Authentication, Federation, PeerException, Policy
from vrxmpp.net.resolve import Address, Lookups, Resolver, make_lookups
from vrxmpp.net.servers import Foundations, ServerLimits, Servers
from vrxmpp.net.tls import ServerCertificates
from vrxmpp.policies import server_addresses, server_policy
from vrxmpp.store import open_peers
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import Peers

_ATTEMPT_SECONDS = 10


def is_federated(config: Config) -> bool:
    """Whether any domain talks to other servers."""
    return config.s2s.enabled or any(config.federation(host).enabled for host in config.hosts)


def federate(
    config: Config,
    router: Router,
    certificates: ServerCertificates,
    peers: Peers,
    secret: bytes,
    *,
    certified: Mapping[str, datetime],
    lookups: Lookups,
    connect: Connect,
    clock: Any,
) -> Servers:
    """Build what leads to other servers, and make it the router's way to them. Raises CertificateError."""
    foundations = Foundations(
        router=router,
        policy=server_rules(config),
        resolver=Resolver(lookups, clock, config.s2s.routes),
        trust=Trust(config.s2s.ca_file),
        certificates=certificates,
        # A secret of its own: keys are shown to strangers (XEP-0185 §3).
        keys=Keys(sha256(b"dialback" + secret).digest()),
        peers=peers,
        certified=certified,
        connect=connect,
        now=utc_now,
    )
    servers = Servers(foundations, _limits(config), server_policy(config), server_addresses(config), clock)
    router.remote = servers
    return servers


def system_lookups(config: Config, reactor: Any) -> Lookups:
    """Return the DNS as the configuration names it."""
    return make_lookups(reactor, config.s2s.resolver)


def certified_peers(url: str) -> dict[str, datetime]:
    """Read from the database which peers have shown a valid certificate; before anything else uses it."""
    database = Database.open(url)
    found: list[dict[str, datetime]] = []
    Deferred.fromCoroutine(open_peers(database).certified()).addCallback(found.append)
    Deferred.fromCoroutine(database.close())
    return found[0]


def connect_by(reactor: Any) -> Connect:
    """Return what connects through the system's network."""

    def connect(address: Address, factory: Factory) -> Deferred[Any]:
        endpoint = TCP6ClientEndpoint if ":" in address.ip else TCP4ClientEndpoint
        to = endpoint(reactor, address.ip, address.port, timeout=_ATTEMPT_SECONDS)
        return to.connect(cast(Any, factory))

    return connect


def server_rules(config: Config) -> Policy:
    """Return who may talk to whom. A component federates as the host above it does."""
    hosts = {host.domain: _federation(config.federation(host)) for host in config.hosts}
    common = _federation(config.s2s)
    components = {
        component.domain: next((hosts[above] for above in parents(component.domain) if above in hosts), common)
        for component in config.components
    }
    exceptions = {
        domain: PeerException(
            authentication=Authentication(peer.authentication) if peer.authentication else None,
            tls_required=peer.tls == "required" if peer.tls else None,
        )
        for domain, peer in config.s2s.peers.items()
    }
    return Policy(hosts | components, exceptions)


def _federation(s2s: ServerConnections) -> Federation:
    return Federation(
        enabled=s2s.enabled,
        authentication=Authentication(s2s.authentication),
        tls_required=s2s.tls == "required",
        allow=frozenset(s2s.allow),
        deny=frozenset(s2s.deny),
    )


def _limits(config: Config) -> ServerLimits:
    limits = config.limits.s2s
    return ServerLimits(
        queue_stanzas=limits.queue_stanzas,
        queue_bytes=limits.queue_bytes,
        queue_seconds=limits.queue_seconds,
        connect_seconds=limits.connect_seconds,
        idle_seconds=config.s2s.idle_seconds,
        dialbacks_per_stream=limits.dialbacks_per_stream,
        dialbacks_per_address=limits.dialbacks_per_address,
    )
