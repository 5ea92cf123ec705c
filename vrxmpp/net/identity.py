"""Who another server is, by the certificate it showed (RFC 6120 §13.7, RFC 9525, XEP-0178)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreContext, X509StoreContextError
from OpenSSL.SSL import X509VerificationCodes
from service_identity import CertificateError as PatternError
from service_identity.hazmat import (
    DNS_ID,
    SRV_ID,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    ServiceID,
    SRVPattern,
)

from vrxmpp.net.tls import CHAIN_LENGTH, CertificateError, ip_literal, to_ascii

_SRV_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # RFC 4985 §2
_SERVICE = "xmpp-server"
_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_BROKEN_HASHES = {"md5", "sha1"}
_RSA_BITS, _EC_BITS = 2048, 224  # RFC 9325 §4.5, and what OpenSSL asks for by itself at its second security level
_NAMES_TOLD = 5

_Pattern = DNSPattern | SRVPattern | IPAddressPattern
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a peer's certificate is worth. ``fault`` is empty if a trusted authority vouches for it, else says why not.

    ``expires`` is None if there is no certificate that can be read.
    """

    fault: str
    expires: datetime | None = None
    patterns: tuple[_Pattern, ...] = field(default=(), repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Whom the certificate says it is for: domains in A-labels, services as ``_xmpp-server.domain``, addresses."""
        return tuple(map(_show, self.patterns))

    def proves(self, domain: str) -> bool:
        """Tell whether whoever has this certificate speaks for the domain."""
        return not self.why_not(domain)

    def why_not(self, domain: str) -> str:
        """Return nothing if the certificate proves the domain, else why it does not, as in "has expired on ..."."""
        if self.fault:
            return self.fault
        wanted = list(_reference_identifiers(domain))
        if any(identifier.verify(pattern) for identifier in wanted for pattern in self.patterns):
            return ""
        if not self.patterns:
            return f"names no domain, so not {domain}"
        more = len(self.patterns) - _NAMES_TOLD
        told = [_show(pattern) for pattern in self.patterns[:_NAMES_TOLD]] + [f"{more} more"] * (more > 0)
        return f"is for {', '.join(told)}, not for {domain}"


class Trust:
    """The authorities that are believed: the system's, and those in a PEM file."""

    def __init__(self, ca_file: Path | None) -> None:
        """Read the authorities. Raises CertificateError if the file has none."""
        self._context = SSL.Context(SSL.TLS_METHOD)  # it keeps the store alive
        self._context.set_default_verify_paths()
        if ca_file is not None:
            try:
                self._context.load_verify_locations(str(ca_file))
            except SSL.Error as error:
                raise CertificateError(f"{ca_file}: no certificates of authorities") from error
        store = self._context.get_cert_store()
        assert store is not None
        self._store = store

    def examine(self, connection: SSL.Connection) -> PeerCertificate:
        """Look at the certificate of the peer, whichever side it is, once the handshake is done."""
        leaf = connection.get_peer_certificate()
        if leaf is None:
            return PeerCertificate("there is none")
        return self.examine_chain(leaf, connection.get_peer_cert_chain() or [])

    def examine_chain(self, leaf: X509, chain: Sequence[X509]) -> PeerCertificate:
        """Look at a certificate with those that should lead from it to a trusted authority."""
        try:
            certificate = leaf.to_cryptography()
            fault, constrained = self._verify(leaf, chain)
            return PeerCertificate(fault, certificate.not_valid_after_utc, tuple(_patterns(certificate, constrained)))
        except Exception:
            # A stranger wrote it, and the parsers have many ways to say no.
            return PeerCertificate("cannot be understood")

    def _verify(self, leaf: X509, chain: Sequence[X509]) -> tuple[str, bool]:
        """Return what is wrong, and whether an authority on the way may only vouch for some names."""
        # No purpose is set: OpenSSL would ask each authority on the way for the one this side of a handshake has.
        try:
            found = X509StoreContext(self._store, leaf, chain[: CHAIN_LENGTH + 1]).get_verified_chain()
        except X509StoreContextError as error:
            return _explain(error), False
        path = [certificate.to_cryptography() for certificate in found]
        constrained = any(_extension(each, x509.NameConstraints) for each in path[1:])
        return _misuse(path[:-1] or path) or _weakness(path), constrained


def _explain(error: X509StoreContextError) -> str:
    code, depth, message = error.errors
    certificate = error.certificate.to_cryptography()
    whose = "comes from an authority whose certificate " if depth else ""
    codes = X509VerificationCodes
    match code:
        case codes.ERR_CERT_HAS_EXPIRED:
            return f"{whose}has expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
        case codes.ERR_CERT_NOT_YET_VALID:
            return f"{whose}is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
        case codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
            return "is self-signed"
        case (
            codes.ERR_SELF_SIGNED_CERT_IN_CHAIN
            | codes.ERR_UNABLE_TO_GET_ISSUER_CERT
            | codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            | codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
        ):
            return "has nobody known to vouch for it"
    return f"is not valid: {message}"


def _misuse(path: Sequence[x509.Certificate]) -> str:
    """Find what is for something else; ``path`` has no root, whose usages are no limit (RFC 5280 §6.1)."""
    key_usage = _extension(path[0], x509.KeyUsage)
    if key_usage and not (key_usage.digital_signature or key_usage.key_encipherment or key_usage.key_agreement):
        return "is not for TLS"
    if not any(_allows(path[0], usage) for usage in _USAGES):
        return "is not for servers"
    if not any(all(_allows(certificate, usage) for certificate in path) for usage in _USAGES):
        return "comes from an authority that may not vouch for servers"
    return ""


def _allows(certificate: x509.Certificate, usage: ObjectIdentifier) -> bool:
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    return usages is None or usage in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def _weakness(path: Sequence[x509.Certificate]) -> str:
    """Find what could be forged. OpenSSL looks for this in a handshake, whose findings count for nothing here."""
    for certificate in path[:-1]:
        algorithm = certificate.signature_hash_algorithm
        if algorithm is not None and algorithm.name in _BROKEN_HASHES:
            return f"rests on a signature with {algorithm.name.upper()}"
    for certificate in path:
        match certificate.public_key():
            case (rsa.RSAPublicKey() | dsa.DSAPublicKey()) as key if key.key_size < _RSA_BITS:
                return f"rests on a key of {key.key_size} bits"
            case ec.EllipticCurvePublicKey() as key if key.key_size < _EC_BITS:
                return f"rests on a key of {key.key_size} bits"
    return ""


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _reference_identifiers(domain: str) -> Iterator[ServiceID]:
    """Yield what a certificate may say to be for a domain (RFC 9525 §6.1, RFC 6120 §13.7.1.2)."""
    address = ip_literal(domain)
    if address is not None:
        yield IPAddress_ID(address)
        return
    try:
        name = to_ascii(domain)
        yield DNS_ID(name)
        yield SRV_ID(f"_{_SERVICE}.{name}")
    except ValueError:
        return  # no name that the DNS could have


def _patterns(certificate: x509.Certificate, constrained: bool) -> Iterator[_Pattern]:
    """Yield the names that can be compared; others prove nothing, and do no harm to those beside them.

    RFC 4985 §4: limits on domain names bind no services, so services do not count where an authority has limits.
    """
    names = _extension(certificate, x509.SubjectAlternativeName) or ()
    for name in names:
        pattern = _pattern(name)
        if pattern and not (constrained and isinstance(pattern, SRVPattern)):
            yield pattern


def _pattern(name: x509.GeneralName) -> _Pattern | None:
    try:
        if isinstance(name, x509.DNSName):
            return _legal(DNSPattern.from_bytes(name.value.encode()))
        if isinstance(name, x509.IPAddress) and not isinstance(name.value, IPv4Network | IPv6Network):
            return IPAddressPattern(name.value)
        if isinstance(name, x509.OtherName) and name.type_id == _SRV_NAME:
            text = asn1.decode_der(asn1.IA5String, name.value).as_str()
            service = SRVPattern.from_bytes(text.encode())
            return service if _legal(service.dns_pattern) and service.name_pattern == _SERVICE.encode() else None
    except (PatternError, ValueError, IndexError):
        return None
    return None


def _legal(pattern: DNSPattern) -> DNSPattern | None:
    return pattern if re.fullmatch(rb"(\*\.)?[a-z0-9_.-]+", pattern.pattern) else None


def _show(pattern: _Pattern) -> str:
    match pattern:
        case DNSPattern():
            return pattern.pattern.decode()
        case SRVPattern():
            return f"_{pattern.name_pattern.decode()}.{pattern.dns_pattern.pattern.decode()}"
    return str(pattern.pattern)
