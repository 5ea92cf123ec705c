"""Certificate authorities for tests: what they issue is right, or wrong in one way only (RFC 5280); and handshakes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

import idna
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from vrxmpp.net.tls import CertificateFiles

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
ANY_USAGE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
SIGNS, CERTIFIES = "digital_signature", "key_cert_sign"  # key usages, RFC 5280 §4.2.1.3

_SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # RFC 4985 §2
_KEY_USAGES = (
    SIGNS,
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    CERTIFIES,
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_FLIGHTS = 4
_numbers = count(1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class _Issuer:
    """Who signs: with this certificate, and this key."""

    certificate: x509.Certificate
    key: Key


class Authority:
    """Issues certificates; whoever has its ``ca_file`` believes them. Each authority is another one."""

    def __init__(self, directory: Path) -> None:
        number = next(_numbers)
        self._directory = directory
        self._chain: tuple[x509.Certificate, ...] = ()
        key = _key()
        name = _name(f"Test Authority {number}")
        builder = _certificate(name, key, _since(365), _since(-365)).issuer_name(name)
        certificate = _as_authority(builder).sign(key, hashes.SHA256())
        self._issuer = _Issuer(certificate, key)
        self.ca_file = directory / f"authority-{number}.pem"
        self.ca_file.write_bytes(_pem(certificate))

    def intermediate(
        self,
        *,
        usages: Sequence[x509.ObjectIdentifier] = (SERVER_AUTH,),
        permitted: Sequence[str] = (),
        key: Key | None = None,
        expired: bool = False,
    ) -> Authority:
        """Make an authority below this one: for these usages only, for these domains (name constraints) only."""
        key = key or _key()
        builder = _certificate(
            _name(f"Test Intermediate {next(_numbers)}"), key, _since(365), _since(1 if expired else -365)
        )
        builder = _below(_as_authority(builder, path_length=0), self._issuer, usages)
        if permitted:
            names = [x509.DNSName(domain) for domain in permitted]
            builder = builder.add_extension(x509.NameConstraints(names, None), critical=True)
        return self._below(builder.sign(self._issuer.key, hashes.SHA256()), key)

    def usurped(self, files: CertificateFiles) -> Authority:
        """Make one of a certificate issued here: what it issues must not be believed."""
        certificate = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        assert isinstance(key, Key)
        return self._below(certificate, key)

    def _below(self, certificate: x509.Certificate, key: Key) -> Authority:
        made = Authority.__new__(Authority)
        made._directory, made.ca_file = self._directory, self.ca_file
        made._issuer = _Issuer(certificate, key)
        made._chain = (certificate, *self._chain)
        return made

    def issue(
        self,
        domain: str,
        *names: str,
        wrong_name: str = "",
        common_name: str = "",
        srv: Iterable[str] = (),
        expired: bool = False,
        not_yet: bool = False,
        days: int = 30,
        usages: Sequence[x509.ObjectIdentifier] = (SERVER_AUTH,),
        key_usages: Iterable[str] = (SIGNS,),
        ca: bool = False,
        key: Key | None = None,
        alternative_names: x509.ExtensionType | None = None,
    ) -> CertificateFiles:
        """Issue a certificate for a domain, more ``names`` and ``srv`` names (as in ``_xmpp-server.a.example``).

        With a ``wrong_name`` it is for that instead of the domain; ``alternative_names`` takes the place of them all.
        It is good for ``days``, unless it is ``expired`` or ``not_yet`` good.
        """
        start, end = (_since(60), _since(1)) if expired else (_since(-1 if not_yet else 1), _since(-days, hours=1))
        key = key or _key()
        builder = _certificate(_name(common_name or wrong_name or domain), key, start, end)
        builder = _below(builder, self._issuer, usages).add_extension(
            alternative_names or _alternative_names((wrong_name or domain, *names), srv), critical=False
        )
        builder = _with_usages(builder, ca, key_usages)
        leaf = builder.sign(self._issuer.key, hashes.SHA256())
        return self._save(domain, (leaf, *self._chain), key)

    def self_signed(self, domain: str, *, common_name: str = "") -> CertificateFiles:
        """Make a certificate that nobody vouches for but its own key."""
        key = _key()
        name = _name(common_name or domain)
        builder = _certificate(name, key, _since(1), _since(-30)).issuer_name(name)
        builder = builder.add_extension(_alternative_names((domain,), ()), critical=False)
        leaf = _with_usages(builder, False, (SIGNS,)).sign(key, hashes.SHA256())
        return self._save(domain, (leaf,), key)

    def _save(self, domain: str, chain: Iterable[x509.Certificate], key: Key) -> CertificateFiles:
        certificate = self._directory / f"{domain.strip('[]').replace(':', '-')}-{next(_numbers)}.crt"
        certificate.write_bytes(b"".join(map(_pem, chain)))
        key_file = certificate.with_suffix(".key")
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return CertificateFiles(domain, certificate, key_file)


def shake_hands(client: SSL.Connection, server: SSL.Connection) -> None:
    """Go through a handshake. Raises SSL.Error on the side that fails."""
    client.set_connect_state()
    server.set_accept_state()
    carry_records(client, server)


def carry_records(client: SSL.Connection, server: SSL.Connection) -> None:
    """Let both sides do what they have to do, until both wait for each other."""
    for _ in range(_FLIGHTS):
        for side, other in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                side.recv(1)
            with suppress(SSL.WantReadError):
                while True:
                    other.bio_write(side.bio_read(65_536))


def _key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _since(days: int, *, hours: int = 0) -> datetime:
    """Return the time this many days ago, and hours ahead."""
    return datetime.now(UTC) - timedelta(days=days) + timedelta(hours=hours)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _certificate(name: x509.Name, key: Key, start: datetime, end: datetime) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _as_authority(builder: x509.CertificateBuilder, path_length: int | None = None) -> x509.CertificateBuilder:
    return _with_usages(builder, True, (CERTIFIES, "crl_sign"), path_length)


def _with_usages(
    builder: x509.CertificateBuilder, ca: bool, key_usages: Iterable[str], path_length: int | None = None
) -> x509.CertificateBuilder:
    usages: dict[str, Any] = {usage: usage in key_usages for usage in _KEY_USAGES}
    return builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True).add_extension(
        x509.KeyUsage(**usages), critical=True
    )


def _below(
    builder: x509.CertificateBuilder, issuer: _Issuer, usages: Sequence[x509.ObjectIdentifier]
) -> x509.CertificateBuilder:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.issuer_name(issuer.certificate.subject).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False) if usages else builder


def _alternative_names(names: Iterable[str], srv: Iterable[str]) -> x509.SubjectAlternativeName:
    services = [x509.OtherName(_SRV_NAME, asn1.encode_der(asn1.IA5String(name))) for name in srv]
    return x509.SubjectAlternativeName([*map(_general_name, names), *services])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        labels = (label if label.isascii() else idna.alabel(label).decode() for label in name.split("."))
        return x509.DNSName(".".join(labels))
