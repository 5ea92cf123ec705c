"""Servers that find each other in a DNS of their own, and believe an authority of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from tests.authority import CLIENT_AUTH, SERVER_AUTH, Authority
from tests.dns import Zone, serve
from tests.peers.ejabberd import Ejabberd
from tests.peers.peer import Peer, Policy
from tests.peers.prosody import Prosody
from tests.peers.vrxmpp import Vrxmpp
from vrxmpp.net.tls import CertificateFiles


class Means(StrEnum):
    """By what two servers come to talk. Each is tried between domains that are named for it."""

    EXTERNAL = "external"  # STARTTLS and SASL EXTERNAL
    DIALBACK = "dialback"
    DIRECT_TLS = "direct"  # and SASL EXTERNAL

    @property
    def policy(self) -> Policy:
        return Policy.DIALBACK if self is Means.DIALBACK else Policy.CERTIFICATE


class Federation:
    """All servers of a test. ``ours`` is the one that the test is about."""

    def __init__(self, directory: Path, resolver: tuple[str, int], zone: Zone) -> None:
        self.authority = Authority(directory)
        self.zone = zone
        self._directory = directory
        self._resolver = resolver
        self._peers: dict[tuple[str, Policy], Peer] = {}

    def add(self, kind: type[Peer], name: str, policy: Policy, hosts: Sequence[CertificateFiles]) -> Peer:
        """Add a server and tell the DNS of it; nobody is started yet."""
        peer = kind(
            self._directory / f"{name}-{policy.value}",
            hosts,
            ca_file=self.authority.ca_file,
            resolver=self._resolver,
            policy=policy,
        )
        self._peers[name, policy] = peer
        # ejabberd asks the system for the addresses of hosts, which knows none of ours but can read addresses.
        self.zone.a(peer.address, peer.address)
        for host in hosts:
            is_direct = host.domain.startswith(Means.DIRECT_TLS)
            port = peer.s2s_direct_tls_port if is_direct else peer.s2s_port
            self.zone.srv(host.domain, peer.address, port, direct_tls=is_direct)
        return peer

    def add_for_all_means(self, kind: type[Peer], name: str) -> None:
        """Add servers that are called ``external.NAME.example`` and so on."""
        by_certificate = [self.certificate(f"{means}.{name}.example") for means in (Means.EXTERNAL, Means.DIRECT_TLS)]
        self.add(kind, name, Policy.CERTIFICATE, by_certificate)
        self.add(kind, name, Policy.DIALBACK, [self.authority.self_signed(f"{Means.DIALBACK}.{name}.example")])

    def certificate(self, domain: str) -> CertificateFiles:
        """Issue a certificate that ejabberd takes, too: it refuses servers that may not be TLS clients."""
        return self.authority.issue(domain, usages=(SERVER_AUTH, CLIENT_AUTH))

    def peer(self, name: str, policy: Policy) -> Peer:
        return self._peers[name, policy]

    def start(self) -> None:
        """Start all, at once."""
        for peer in self._peers.values():
            peer.launch()
        for peer in self._peers.values():
            peer.wait_until_ready()

    def kill(self) -> None:
        for peer in self._peers.values():
            peer.kill()


@contextmanager
def federation(directory: Path) -> Iterator[Federation]:
    """A federation for the length of a with block."""
    zone = Zone()
    with serve(zone) as port:
        members = Federation(directory, ("127.0.0.1", port), zone)
        try:
            yield members
        finally:
            members.kill()


KINDS: dict[str, type[Peer]] = {"prosody": Prosody, "ejabberd": Ejabberd, "other": Vrxmpp}
"""The servers that ours, which is called "ours", is to get along with."""
