"""TLS between servers: what each side shows and asks for, and how Twisted puts it on (XEP-0178, XEP-0368)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.authority import Authority, carry_records, shake_hands
from tests.network import Loop, Wire
from vrxmpp.net.tls import (
    CertificateError,
    CertificateFiles,
    DirectTls,
    ServerCertificates,
    days_left,
    make_self_signed,
)

A, B, C = "a.example", "b.example", "c.example"
IDN = "bücher.example"
Make = Callable[..., ServerCertificates]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def make(authority: Authority) -> Make:
    """Make the certificates of a server that has these domains."""
    return lambda *domains: ServerCertificates([authority.issue(domain) for domain in domains])


def shown(connection: SSL.Connection) -> str:
    """Return the domain for which the peer has shown a certificate."""
    certificate = connection.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    [name] = names.get_values_for_type(x509.DNSName)
    return name


def connect(
    ours: ServerCertificates, local: str, theirs: ServerCertificates, remote: str
) -> tuple[SSL.Connection, SSL.Connection]:
    """Let one server connect to another; return both sides."""
    client = ours.outgoing(local, remote).clientConnectionForTLS(None)  # type: ignore[arg-type]
    server = theirs.serverConnectionForTLS(None)  # type: ignore[arg-type]
    shake_hands(client, server)
    return client, server


# -- who shows what


@pytest.mark.parametrize("remote", [C, IDN])
def test_both_show_the_certificate_of_the_domain_that_is_meant(make: Make, remote: str) -> None:
    client, server = connect(make(A, B), B, make(A, C, IDN), remote)
    assert (shown(server), shown(client)) == (B, remote.encode("idna").decode())
    assert server.get_servername() == remote.encode("idna")


def test_both_agree_what_they_will_speak(make: Make) -> None:
    for side in connect(make(A), A, make(B), B):
        assert side.get_alpn_proto_negotiated() == b"xmpp-server"
        assert side.get_protocol_version() == SSL.TLS1_3_VERSION


@pytest.mark.parametrize("address", ["192.0.2.1", "[2001:db8::1]"])
def test_an_address_is_no_server_name(make: Make, address: str) -> None:
    """RFC 6066 §3."""
    client, server = connect(make(A), A, make(B), address)
    assert server.get_servername() is None
    assert shown(client) == B


def test_a_subdomain_without_a_certificate_shows_that_of_its_domain(make: Make) -> None:
    client, server = connect(make(C, A), f"rooms.chat.{A}", make(C, B), f"rooms.{B}")
    assert (shown(server), shown(client)) == (A, B)
    client, server = connect(make(C, A), A, make(C, B), f"other{B}")
    assert shown(client) == C


def test_a_peer_need_not_show_a_certificate(make: Make) -> None:
    """It may still prove itself by dialback."""
    server = make(A).serverConnectionForTLS(None)  # type: ignore[arg-type]
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    shake_hands(client, server)
    assert server.get_peer_certificate() is None
    assert client.get_client_ca_list() == []


def test_no_certificate_ends_a_handshake(authority: Authority) -> None:
    """Why it proves nothing is told on the stream, where it can be understood."""
    bad = ServerCertificates([authority.self_signed(A)])
    worse = ServerCertificates([authority.issue(B, wrong_name=C, expired=True)])
    client, server = connect(bad, A, worse, B)
    assert (shown(server), shown(client)) == (A, C)


@pytest.mark.parametrize("protocol", [b"xmpp-client", b"h2"])
def test_who_wants_to_speak_something_else_is_refused(make: Make, protocol: bytes) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([protocol])
    with pytest.raises(SSL.Error):
        shake_hands(SSL.Connection(context, None), make(A).serverConnectionForTLS(None))  # type: ignore[arg-type]


def test_a_session_is_never_resumed(make: Make) -> None:
    """Who the peer was then says nothing of who it is now; and it does no harm to ask."""
    certificates, context = make(A), SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    first, second = SSL.Connection(context, None), SSL.Connection(context, None)
    shake_hands(first, certificates.serverConnectionForTLS(None))  # type: ignore[arg-type]
    session = first.get_session()
    assert session is not None
    second.set_session(session)
    shake_hands(second, certificates.serverConnectionForTLS(None))  # type: ignore[arg-type]
    assert second.master_key() != first.master_key()


def test_a_peer_that_wants_to_negotiate_again_is_refused(authority: Authority, make: Make) -> None:
    """RFC 7590 §3.5: it stays who it was."""
    files, context = authority.issue(B), SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate_chain_file(str(files.certificate))
    context.use_privatekey_file(str(files.key))
    client = make(A).outgoing(A, B).clientConnectionForTLS(None)  # type: ignore[arg-type]
    server = SSL.Connection(context, None)
    shake_hands(client, server)
    assert server.renegotiate()
    with suppress(SSL.WantReadError):
        server.do_handshake()
    with pytest.raises(SSL.Error):
        carry_records(client, server)


# -- loading again


def test_both_directions_take_new_certificates_or_neither(authority: Authority, make: Make) -> None:
    ours, theirs, other = make(A), make(C), authority.issue(B)
    ours.load(iter([CertificateFiles(A, other.certificate, other.key)]))
    assert shown(connect(ours, A, theirs, C)[1]) == B
    assert shown(connect(theirs, C, ours, A)[0]) == B
    good, bad = authority.issue(A), CertificateFiles(C, other.certificate, authority.issue(C).key)
    with pytest.raises(CertificateError, match=r"b\.example.*\.crt"):
        ours.load([good, bad])
    assert shown(connect(ours, A, theirs, C)[1]) == B
    assert shown(connect(theirs, C, ours, A)[0]) == B


def test_how_long_a_certificate_is_good(authority: Authority, tmp_path: Path) -> None:
    assert days_left(authority.issue(A, days=20).certificate) == 20
    assert days_left(authority.issue(A, days=0).certificate) == 0
    assert days_left(authority.issue(A, expired=True).certificate) < 0
    make_self_signed(A, tmp_path / "own.crt", tmp_path / "own.key")
    assert days_left(tmp_path / "own.crt") > 3000


# -- on connections


class ClientWire(Wire):
    """The side of a connection that has opened it."""

    _tlsClientDefault = True  # noqa: N815 - Twisted's name


class Talker(Protocol):
    """Keeps what it hears."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted calls us
        self.heard += data


def settle(loop: Loop, one: Wire, other: Wire) -> None:
    """Carry bytes between both ends until there are none."""
    loop.settle()
    while one.received or other.received:
        for source, target in ((one, other), (other, one)):
            if source.received:
                target.incoming.append(bytes(source.received))
                source.received.clear()
        loop.settle()


def wire(kind: type[Wire], loop: Loop, protocol: Any) -> Wire:
    made = kind(loop, IPv4Address("TCP", "192.0.2.1", 5269))
    made.protocol = protocol
    protocol.makeConnection(made)
    made.startReading()  # type: ignore[no-untyped-call]
    return made


def test_a_stream_is_secured_by_starttls(make: Make) -> None:
    loop, client, server = Loop(), Talker(), Talker()
    at_client, at_server = wire(ClientWire, loop, client), wire(Wire, loop, server)
    at_server.startTLS(make(C, B).for_domain(B))
    at_client.startTLS(make(A).outgoing(A, B))
    client.transport.write(b"from A")
    server.transport.write(b"from B")
    settle(loop, at_client, at_server)
    assert (client.heard, server.heard) == (b"from B", b"from A")
    assert shown(server.transport.getHandle()) == A
    assert shown(client.transport.getHandle()) == B


def test_a_connection_is_secure_from_the_start(make: Make) -> None:
    loop, client, server = Loop(), Talker(), Talker()
    to_client = TLSMemoryBIOFactory(make(A).outgoing(A, B), True, Factory.forProtocol(lambda: client), loop)  # type: ignore[arg-type]
    to_server = DirectTls(make(C, B), Factory.forProtocol(lambda: server), loop)  # type: ignore[arg-type]
    at_client = wire(ClientWire, loop, to_client.buildProtocol(None))
    at_server = wire(Wire, loop, to_server.buildProtocol(None))
    client.transport.write(b"from A")
    server.transport.write(b"from B")
    settle(loop, at_client, at_server)
    assert (client.heard, server.heard) == (b"from B", b"from A")
    assert shown(server.transport.getHandle()) == A
    assert shown(client.transport.getHandle()) == B
