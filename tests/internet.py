"""Several servers in memory, which reach each other by a network that can be slow, deaf or cut."""

# ruff: noqa: N802 - Twisted calls us

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet import error
from twisted.internet._newtls import ClientMixin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from tests.authority import Authority
from tests.dns import Zone
from tests.house import House
from tests.network import Loop, Wire
from vrxmpp.config import Config
from vrxmpp.federation import federate, server_rules
from vrxmpp.net.resolve import Address
from vrxmpp.net.s2s import ServerStream
from vrxmpp.net.servers import ServerFactory, Servers
from vrxmpp.net.tls import CertificateFiles, DirectTls, ServerCertificates, to_ascii
from vrxmpp.store import open_peers

STARTTLS, DIRECT_TLS = 5269, 5270
ATTEMPT_SECONDS = 10  # as in reality


class Linked(Wire):
    """One end of a connection between two servers."""

    def __init__(self, loop: Loop, peer: IPv4Address, cable: Cable) -> None:
        super().__init__(loop, peer)
        self.other: Linked
        self._cable = cable

    def writeSomeData(self, data: bytes) -> int:
        if self._cable.is_alive:
            self.other.incoming.append(data)
        return len(data)

    def connectionLost(self, reason: Failure) -> None:
        if self.connected:
            super().connectionLost(reason)
            if self._cable.is_alive:
                self.other.incoming.append(None)


class Calling(ClientMixin, Linked):
    """The end of who has called, where TLS begins as a client."""


class Cable:
    """What connects two ends: alive until it is cut; who then writes does not learn of it."""

    def __init__(self, loop: Loop, factory: Factory, listener: Any, address: Address) -> None:
        self.is_alive = True
        self.port = address.port
        self.calling = Calling(loop, IPv4Address("TCP", address.ip, address.port), self)
        self.called = Linked(loop, IPv4Address("TCP", "192.0.2.99", 40_000), self)
        self.calling.other, self.called.other = self.called, self.calling
        for wire, maker in ((self.called, listener), (self.calling, factory)):
            wire.protocol = maker.buildProtocol(wire.getPeer())
            wire.startReading()  # type: ignore[no-untyped-call]
        for wire in (self.called, self.calling):
            wire.protocol.makeConnection(wire)

    def go_dead(self) -> None:
        """Lose all that is under way and all that follows, and tell nobody."""
        self.is_alive = False
        for wire in (self.calling, self.called):
            wire.incoming.clear()

    def reset(self) -> None:
        """Lose what is under way, and tell both ends."""
        self.go_dead()
        for wire in (self.calling, self.called):
            wire.incoming.append(None)


class Internet:
    """A network, its names, an authority, and the servers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loop = Loop()
        self.zone = Zone()
        self.authority = Authority(directory)
        self.cables: list[Cable] = []
        self.works = True  # otherwise connections are refused
        self.answers = True  # otherwise nothing comes of them
        self._listeners: dict[tuple[str, int], Any] = {}
        self.sites: list[Site] = []

    def site(
        self,
        domain: str,
        *domains: str,
        certificates: list[CertificateFiles] | None = None,
        srv: bool = False,
        limits: Mapping[str, object] | None = None,
        **s2s: object,
    ) -> Site:
        """Add a server; its name leads to it unless ``srv`` names its port for direct TLS."""
        ip = f"192.0.2.{len(self.sites) + 1}"
        served = (domain, *domains)
        if certificates is None:
            certificates = [self.authority.issue(each) for each in served]
        site = Site(self, ip, served, certificates, s2s=s2s, limits=limits or {})
        for each in map(to_ascii, served):
            if srv:
                self.zone.srv(each, f"host.{each}", DIRECT_TLS, direct_tls=True)
                self.zone.a(f"host.{each}", ip)
            else:
                self.zone.a(each, ip)
        self._listeners[ip, STARTTLS] = ServerFactory(site.servers, direct_tls=False)
        direct = ServerFactory(site.servers, direct_tls=True)
        self._listeners[ip, DIRECT_TLS] = DirectTls(site.servers.certificates, direct, self.loop)  # type: ignore[arg-type]
        self.sites.append(site)
        return site

    def connect(self, address: Address, factory: Factory) -> Deferred[Any]:
        """Be ``vrxmpp.net.servers.Connect``."""
        done: Deferred[Any] = Deferred()
        if self.answers:
            self.loop.callLater(0.01, self._answer, done, factory, address)
        return done.addTimeout(ATTEMPT_SECONDS, self.loop)

    def _answer(self, done: Deferred[Any], factory: Factory, address: Address) -> None:
        listener = self._listeners.get((address.ip, address.port)) if self.works else None
        if done.called:
            return  # given up
        if listener is None:
            done.errback(error.ConnectionRefusedError())
        else:
            done.callback(self._plug(factory, listener, address))

    def _plug(self, factory: Factory, listener: Any, address: Address) -> Any:
        cable = Cable(self.loop, factory, listener, address)
        self.cables.append(cable)
        return cable.calling.protocol

    def wait(self, seconds: float) -> None:
        self.loop.wait(seconds)

    def close(self) -> None:
        self.works = self.answers = True
        for site in self.sites:
            site.servers.give_up()
        for cable in self.cables:
            cable.reset()
        self.wait(1)
        for site in self.sites:
            site.house.close()
            assert not site.servers.connections


class Site:
    """A server at an address of its own."""

    def __init__(
        self,
        internet: Internet,
        ip: str,
        domains: tuple[str, ...],
        certificates: list[CertificateFiles],
        *,
        s2s: Mapping[str, object],
        limits: Mapping[str, object],
    ) -> None:
        self.domain = domains[0]
        self.house = House(
            internet.directory,
            domains=domains,
            loop=internet.loop,
            certificates=certificates,
            s2s={"ca_file": str(internet.authority.ca_file), **s2s},
            limits=limits,
        )
        self.servers: Servers = federate(
            self.house.config,
            self.house.router,
            ServerCertificates(certificates),
            open_peers(self.house.database),
            ip.encode(),
            certified={},
            lookups=internet.zone,
            connect=internet.connect,
            clock=internet.loop,
        )
        self.servers.start()

    def login(self, name: str, resource: str = "here", domain: str = "") -> Any:
        domain = domain or self.domain
        self.house.add(name, domain=domain)
        return self.house.connect().login(name, resource, domain)

    def fit(self, **s2s: object) -> None:
        """Take other rules, as SIGHUP does."""
        tables = self.house.config.model_dump(by_alias=True)
        self.servers.fit(server_rules(Config.model_validate({**tables, "s2s": s2s})))

    def stop(self) -> None:
        """Go down, as SIGTERM does."""
        self.servers.give_up()
        Deferred.fromCoroutine(self.servers.stop())

    def streams(self) -> Iterator[ServerStream]:
        return self.servers.established()
