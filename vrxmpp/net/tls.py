"""TLS on streams: a context a domain, for clients and both ways between servers (RFC 6120 §5, RFC 7590, XEP-0368)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, cast

import idna
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from vrxmpp.negotiation.mechanism import ChannelBindings

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"  # RFC 7590 §3.2: forward secrecy, authenticated encryption
_SELF_SIGNED_DAYS = 3650
CHAIN_LENGTH = 10  # certificates of authorities that are taken from a peer


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a domain's certificate chain and key are, in PEM."""

    domain: str
    certificate: Path
    key: Path


class CertificateError(Exception):
    """A certificate or key cannot be used; the message names the file."""


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """The contexts of all domains. ``load`` again to take new certificates for connections to come."""

    def __init__(self, files: Iterable[CertificateFiles], alpn: bytes) -> None:
        self._alpn = alpn
        self._contexts: dict[str, SSL.Context] = {}
        self.load(files)

    def load(self, files: Iterable[CertificateFiles]) -> None:
        """Read all files; raises CertificateError and keeps what was, if one of them is bad."""
        self._contexts = {to_ascii(each.domain): self._listening_context(each) for each in files}

    def _listening_context(self, files: CertificateFiles) -> SSL.Context:
        context = _make_context(SSL.TLS_SERVER_METHOD, files)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_app_data(_end_point(files.certificate))
        context.set_tlsext_servername_callback(self._choose_by_name)
        context.set_alpn_select_callback(self._choose_protocol)
        return context

    def _choose_by_name(self, connection: SSL.Connection) -> None:
        """Take the certificate the client asks for; a name that is not ours gets the one there is."""
        name = connection.get_servername()
        context = _nearest(self._contexts, name.decode("ascii", "replace").lower()) if name else None
        if context is not None:
            connection.set_context(context)

    def _choose_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        # A peer that speaks ALPN but not our XMPP was sent here by somebody else: end it.
        return self._alpn if self._alpn in offered else b""

    # -- IOpenSSLServerConnectionCreator

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make the TLS side of a connection that has just been accepted."""
        return self._connection("")

    def for_domain(self, domain: str) -> DomainCertificate:
        """Return what makes connections for a domain that the stream has named already."""
        return DomainCertificate(self, to_ascii(domain))

    def _connection(self, domain: str) -> SSL.Connection:
        return SSL.Connection(_best(self._contexts, domain), None)


@implementer(IOpenSSLServerConnectionCreator)
class DomainCertificate:
    """Makes connections with one domain's certificate; SNI may still choose another."""

    def __init__(self, certificates: Certificates, domain: str) -> None:
        self._certificates = certificates
        self._domain = domain

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make the TLS side of a connection."""
        return self._certificates._connection(self._domain)


class ServerCertificates(Certificates):
    """The contexts for other servers, in both directions: each side is asked for its certificate (XEP-0178 §3).

    A handshake never fails for what the peer shows, or does not show: whose certificate it is, is asked of
    ``net.identity`` afterwards. OpenSSL itself would ask one who connects for a client's certificate, and those that
    authorities issue to servers today are for servers only.
    """

    def __init__(self, files: Iterable[CertificateFiles]) -> None:
        super().__init__(files, b"xmpp-server")

    def load(self, files: Iterable[CertificateFiles]) -> None:
        """Read all files; raises CertificateError and keeps what was, if one of them is bad."""
        files = list(files)
        outgoing = {to_ascii(each.domain): self._outgoing_context(each) for each in files}
        super().load(files)
        self._outgoing = outgoing

    def outgoing(self, local: str, remote: str) -> RemoteDomain:
        """Return what makes connections from a domain of ours to another server's domain."""
        return RemoteDomain(_best(self._outgoing, to_ascii(local)), remote)

    def _listening_context(self, files: CertificateFiles) -> SSL.Context:
        context = super()._listening_context(files)
        _ask_peer(context)
        return context

    def _outgoing_context(self, files: CertificateFiles) -> SSL.Context:
        context = _make_context(SSL.TLS_CLIENT_METHOD, files)
        context.set_alpn_protos([self._alpn])
        _ask_peer(context)
        return context


@implementer(IOpenSSLClientConnectionCreator)
class RemoteDomain:
    """Makes the TLS side of connections to another server, which learns by SNI which domain is meant."""

    def __init__(self, context: SSL.Context, domain: str) -> None:
        self._context = context
        self._domain = domain

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make the TLS side of a connection."""
        connection = SSL.Connection(self._context, None)
        if ip_literal(self._domain) is None:  # RFC 6066 §3: which is no host name
            connection.set_tlsext_host_name(to_ascii(self._domain).encode())
        return connection


class DirectTls(TLSMemoryBIOFactory):
    """Puts TLS in front of the connections that a factory makes (XEP-0368), where it makes one."""

    def __init__(self, certificates: Certificates, factory: Factory, clock: IReactorTime) -> None:
        super().__init__(cast(Any, certificates), False, cast(Any, factory), clock)  # interfaces mypy cannot see

    def buildProtocol(self, addr: Any) -> Any:
        """Make a connection, or none where the factory says so."""
        connection = self.wrappedFactory.buildProtocol(addr)
        return None if connection is None else self.protocol(self, connection)


def channel_bindings(connection: SSL.Connection) -> ChannelBindings:
    """Return the channel bindings of a connection whose handshake is done.

    RFC 9266 §2: tls-exporter needs TLS 1.3 (or an extended master secret, which cannot be asked for here).
    """
    bindings = ChannelBindings()
    if connection.get_protocol_version() == SSL.TLS1_3_VERSION:
        bindings["tls-exporter"] = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    bindings["tls-server-end-point"] = connection.get_context().get_app_data()
    return bindings


def to_ascii(domain: str) -> str:
    """Write a domain in A-labels, as SNI and certificates do (RFC 6066 §3)."""
    return domain if domain.isascii() else idna.encode(domain).decode()


def ip_literal(domain: str) -> IPv4Address | IPv6Address | None:
    """Return the address if the domain is one rather than a name; IPv6 stands in brackets (RFC 7622 §3.2)."""
    try:
        return ip_address(domain.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _make_context(method: int, files: CertificateFiles) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(_CIPHERS)
    try:
        context.use_certificate_chain_file(str(files.certificate))
        context.use_privatekey_file(str(files.key))
        context.check_privatekey()
    except SSL.Error as error:
        raise CertificateError(f"{files.certificate}, {files.key}: no certificate with its key") from error
    return context


def _ask_peer(context: SSL.Context) -> None:
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    context.set_verify_depth(CHAIN_LENGTH)


def _nearest(contexts: Mapping[str, SSL.Context], domain: str) -> SSL.Context | None:
    """Return the context of a domain, else of the nearest above it: services live on subdomains."""
    while domain and domain not in contexts:
        domain = domain.partition(".")[2]
    return contexts.get(domain)


def _best(contexts: Mapping[str, SSL.Context], domain: str) -> SSL.Context:
    return _nearest(contexts, domain) or next(iter(contexts.values()))


def _end_point(certificate: Path) -> bytes:
    """RFC 5929 §4.1: the hash of the certificate, by its signature's own hash, or SHA-256 for the weak ones."""
    parsed = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    algorithm = parsed.signature_hash_algorithm
    name = "sha256" if algorithm is None or algorithm.name in {"md5", "sha1"} else algorithm.name
    return hashlib.new(name, parsed.public_bytes(serialization.Encoding.DER)).digest()


def days_left(certificate: Path) -> int:
    """Return for how many more days the first certificate in a file is good; below zero if it is no longer."""
    end = x509.load_pem_x509_certificates(certificate.read_bytes())[0].not_valid_after_utc
    return (end - datetime.now(UTC)).days


def make_self_signed(domain: str, certificate: Path, key: Path) -> None:
    """Make a key and a certificate that nobody vouches for, so that a first start works; TLS needs one."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain[:64])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(to_ascii(domain))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
