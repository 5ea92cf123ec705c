"""Who another server is: which certificates prove which domains, on both sides of a handshake (RFC 9525, RFC 5280)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto

from tests.authority import ANY_USAGE, CERTIFIES, CLIENT_AUTH, CODE_SIGNING, SERVER_AUTH, SIGNS, Authority, shake_hands
from vrxmpp.net.identity import PeerCertificate, Trust
from vrxmpp.net.tls import CertificateError, CertificateFiles, ServerCertificates

A, B = "a.example", "b.example"
Usages = Sequence[x509.ObjectIdentifier]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trust(authority: Authority) -> Trust:
    return Trust(authority.ca_file)


def connect(ours: CertificateFiles, theirs: CertificateFiles, version: int = 0) -> tuple[SSL.Connection, ...]:
    """Connect A to B; return both sides of the connection."""
    creator = ServerCertificates([ours]).outgoing(A, B)
    if version:
        creator._context.set_max_proto_version(version)
    client = creator.clientConnectionForTLS(None)  # type: ignore[arg-type]
    server = ServerCertificates([theirs]).serverConnectionForTLS(None)  # type: ignore[arg-type]
    shake_hands(client, server)
    return client, server


def examine_both(trust: Trust, files: CertificateFiles, version: int = 0) -> PeerCertificate:
    """Let both sides of a connection show the same certificate; return what both make of it."""
    at_client, at_server = map(trust.examine, connect(files, files, version))
    assert at_client == at_server
    return at_client


def read(files: CertificateFiles) -> list[crypto.X509]:
    certificates = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    return [crypto.X509.from_cryptography(certificate) for certificate in certificates]


def examine(trust: Trust, files: CertificateFiles) -> PeerCertificate:
    leaf, *chain = read(files)
    return trust.examine_chain(leaf, chain)


def day(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


# -- authorities


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_certificate_for_servers_only_is_taken_on_both_sides(
    authority: Authority, trust: Trust, version: int
) -> None:
    """And from an authority for servers only: OpenSSL would refuse both where it accepts a connection."""
    peer = examine_both(trust, authority.intermediate(usages=[SERVER_AUTH]).issue(A, usages=[SERVER_AUTH]), version)
    assert (peer.fault, peer.why_not(A), peer.proves(A)) == ("", "", True)


def test_openssl_itself_would_refuse_a_certificate_for_servers_of_one_who_connects(authority: Authority) -> None:
    """Else there were no need for all this."""
    files = authority.issue(A)
    client = ServerCertificates([files]).outgoing(A, B).clientConnectionForTLS(None)  # type: ignore[arg-type]
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(files.certificate))
    context.use_privatekey_file(str(files.key))
    context.load_verify_locations(str(authority.ca_file))
    context.set_verify(SSL.VERIFY_PEER)
    with pytest.raises(SSL.Error):
        shake_hands(client, SSL.Connection(context, None))


@pytest.mark.parametrize("usages", [[CLIENT_AUTH], [ANY_USAGE], [CODE_SIGNING, SERVER_AUTH], []])
def test_other_usages_that_will_do(authority: Authority, trust: Trust, usages: Usages) -> None:
    assert examine_both(trust, authority.issue(A, usages=usages)).proves(A)


def test_a_certificate_for_something_else_is_refused(authority: Authority, trust: Trust) -> None:
    peer = examine_both(trust, authority.issue(A, usages=[CODE_SIGNING]))
    assert peer.why_not(A) == "is not for servers"


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ([CODE_SIGNING], [SERVER_AUTH]),
        ([CLIENT_AUTH], [SERVER_AUTH]),
        ([CODE_SIGNING], []),
        ([CODE_SIGNING], [ANY_USAGE]),
    ],
)
def test_an_authority_for_something_else_vouches_for_nobody(
    authority: Authority, trust: Trust, above: Usages, below: Usages
) -> None:
    """A certificate is for no more than its authority, whatever it says."""
    peer = examine_both(trust, authority.intermediate(usages=above).issue(A, usages=below))
    assert peer.why_not(A) == "comes from an authority that may not vouch for servers"


def test_the_certificate_of_an_authority_is_not_for_tls(authority: Authority, trust: Trust) -> None:
    assert examine(trust, authority.issue(A, ca=True, key_usages=[CERTIFIES])).why_not(A) == "is not for TLS"
    assert examine_both(trust, authority.issue(A, ca=True, key_usages=[CERTIFIES, SIGNS])).proves(A)


def test_a_certificate_is_no_authority(authority: Authority, trust: Trust) -> None:
    """B has a good certificate, and issues itself one for A."""
    usurper = authority.usurped(authority.issue(B))
    assert examine_both(trust, usurper.issue(A)).why_not(A).startswith("is not valid: ")


def test_nobody_known_vouches(tmp_path: Path, trust: Trust) -> None:
    peer = examine_both(trust, Authority(tmp_path).issue(A))
    assert peer.fault == peer.why_not(A) == "has nobody known to vouch for it"


def test_a_stranger_who_brings_the_root_is_a_stranger(tmp_path: Path, trust: Trust) -> None:
    stranger = Authority(tmp_path)
    files = stranger.issue(A)
    files.certificate.write_bytes(files.certificate.read_bytes() + stranger.ca_file.read_bytes())
    assert examine_both(trust, files).fault == "has nobody known to vouch for it"


def test_an_authority_in_between_must_be_shown(authority: Authority, trust: Trust) -> None:
    leaf, between = read(authority.intermediate().issue(A))
    assert trust.examine_chain(leaf, []).fault == "has nobody known to vouch for it"
    assert trust.examine_chain(leaf, [between]).proves(A)


def test_not_everything_that_is_shown_is_looked_at(authority: Authority, trust: Trust) -> None:
    leaf, between = read(authority.intermediate().issue(A))
    noise = read(authority.issue(B))
    assert trust.examine_chain(leaf, [*noise * 10, between]).proves(A)
    assert not trust.examine_chain(leaf, [*noise * 11, between]).proves(A)


def test_self_signed(authority: Authority, trust: Trust) -> None:
    assert examine_both(trust, authority.self_signed(A)).why_not(A) == "is self-signed"


def test_a_self_signed_certificate_may_be_trusted_by_itself(authority: Authority) -> None:
    files = authority.self_signed(A)
    peer = examine_both(Trust(files.certificate), files)
    assert peer.proves(A)
    assert not peer.proves(B)


def test_expired(authority: Authority, trust: Trust) -> None:
    peer = examine_both(trust, authority.issue(A, expired=True))
    assert peer.why_not(A) == f"has expired on {day(-1)}"
    assert peer.expires is not None
    assert peer.expires < datetime.now(UTC)


def test_not_yet_valid(authority: Authority, trust: Trust) -> None:
    assert examine_both(trust, authority.issue(A, not_yet=True)).why_not(A) == f"is not valid before {day(1)}"


def test_an_expired_authority(authority: Authority, trust: Trust) -> None:
    files = authority.intermediate(expired=True).issue(A)
    expected = f"comes from an authority whose certificate has expired on {day(-1)}"
    assert examine_both(trust, files).why_not(A) == expected


def test_no_certificate(authority: Authority, trust: Trust) -> None:
    server = ServerCertificates([authority.issue(B)]).serverConnectionForTLS(None)  # type: ignore[arg-type]
    shake_hands(SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None), server)
    peer = trust.examine(server)
    assert peer == PeerCertificate("there is none")
    assert peer.why_not(A) == "there is none"
    assert (peer.expires, peer.names) == (None, ())


def test_before_the_handshake_there_is_no_certificate(authority: Authority, trust: Trust) -> None:
    connection = ServerCertificates([authority.issue(B)]).outgoing(B, A).clientConnectionForTLS(None)  # type: ignore[arg-type]
    assert trust.examine(connection).fault == "there is none"


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP192R1())])
def test_weak_keys_prove_nothing(authority: Authority, trust: Trust, key: rsa.RSAPrivateKey) -> None:
    """RFC 9325 §4.5. Not the certificate's own, nor one on the way."""
    expected = f"rests on a key of {key.key_size} bits"
    assert examine(trust, authority.issue(A, key=key)).why_not(A) == expected
    assert examine(trust, authority.intermediate(key=key).issue(A)).why_not(A) == expected


@pytest.mark.filterwarnings("ignore:X509.sign is deprecated")  # and nothing else signs with SHA-1 any more
def test_broken_signatures_prove_nothing(authority: Authority, trust: Trust) -> None:
    [leaf] = read(authority.issue(A))
    key = crypto.PKey.from_cryptography_key(authority._issuer.key)
    assert trust.examine_chain(leaf, []).proves(A)
    leaf.sign(key, "sha1")
    assert trust.examine_chain(leaf, []).why_not(A) == "rests on a signature with SHA1"


def test_a_forged_signature_proves_nothing(authority: Authority, trust: Trust) -> None:
    der = read(authority.issue(A))[0].to_cryptography().public_bytes(serialization.Encoding.DER)
    forged = crypto.load_certificate(crypto.FILETYPE_ASN1, der.replace(A.encode(), B.encode()))
    assert trust.examine_chain(forged, []).why_not(B).startswith("is not valid: ")


def test_what_cannot_be_parsed_proves_nothing(authority: Authority, trust: Trust) -> None:
    garbage = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x84garbage")
    assert examine_both(trust, authority.issue(A, alternative_names=garbage)).why_not(A) == "cannot be understood"


def test_the_authorities_of_the_system_are_believed(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    files = authority.issue(A)
    assert not examine(Trust(None), files).proves(A)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    assert examine(Trust(None), files).proves(A)


def test_the_authorities_of_a_file_come_on_top(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    other = Authority(tmp_path)
    trust = Trust(other.ca_file)
    assert examine(trust, authority.issue(A)).proves(A)
    assert examine(trust, other.issue(A)).proves(A)


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_file_without_authorities_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CertificateError, match=r"ca\.pem"):
        Trust(file)


# -- names


@pytest.mark.parametrize(
    ("names", "srv", "domain"),
    [
        ([A, B], [], B),
        (["A.Example"], [], A),
        (["*.example.org"], [], "chat.example.org"),
        (["bücher.example"], [], "bücher.example"),
        (["*.bücher.example"], [], "chat.bücher.example"),
        (["host.example"], ["_xmpp-server.a.example"], A),
        (["host.example"], ["_XMPP-Server.A.example"], A),
        (["host.example"], ["_xmpp-server.xn--bcher-kva.example"], "bücher.example"),
        (["192.0.2.1"], [], "192.0.2.1"),
        (["2001:db8::1"], [], "[2001:db8::1]"),
        (["*", "*.*.example", "a*b*.example", "", A], ["", "_", "xmpp-server", "_xmpp-server."], A),
        (["localhost"], [], "localhost"),
    ],
)
def test_names_that_prove_a_domain(
    authority: Authority, trust: Trust, names: Sequence[str], srv: Sequence[str], domain: str
) -> None:
    peer = examine(trust, authority.issue("whoever", *names[1:], wrong_name=names[0], srv=srv))
    assert peer.why_not(domain) == ""
    assert peer.proves(domain)


@pytest.mark.parametrize(
    ("name", "srv", "domain"),
    [
        (A, [], B),
        (A, [], f"chat.{A}"),
        (f"chat.{A}", [], A),
        ("*.example.org", [], "example.org"),
        ("*.example.org", [], "a.b.example.org"),
        ("*.example", [], A),  # too wide
        ("c*.example.org", [], "chat.example.org"),  # RFC 9525 §6.3: a wildcard is a whole label
        ("chat.*.example.org", [], "chat.a.example.org"),
        ("*.*.example.org", [], "a.b.example.org"),
        ("*", [], "example"),
        (B, ["_xmpp-client.a.example"], A),
        (B, ["_sip.a.example"], A),
        (B, ["_xmpp-server.*.example.org"], "a.example.org"),
        (B, ["xmpp-server.a.example"], A),
        ("192.0.2.1", [], "192.0.2.2"),
        ("2001:db8::1", [], "[2001:db8::2]"),
        ("*.0.2.1", [], "192.0.2.1"),
        ("xn--bcher-kva.example", [], "bucher.example"),
        ("bucher.example", [], "bücher.example"),
        (A, [], f"{A}\0"),
        (A, [], ""),
        (A, [], "ü" * 64),
    ],
)
def test_names_that_do_not(authority: Authority, trust: Trust, name: str, srv: Sequence[str], domain: str) -> None:
    peer = examine(trust, authority.issue("whoever", wrong_name=name, srv=srv))
    assert peer.fault == ""
    assert not peer.proves(domain)
    assert domain in peer.why_not(domain)


def test_a_domain_name_that_looks_like_an_address_is_none(authority: Authority, trust: Trust) -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("192.0.2.1")])
    assert not examine(trust, authority.issue("whoever", alternative_names=names)).proves("192.0.2.1")


def test_the_common_name_is_no_name(authority: Authority, trust: Trust) -> None:
    """RFC 9525 §2."""
    peer = examine(trust, authority.issue(B, common_name=A))
    assert peer.why_not(A) == "is for b.example, not for a.example"
    nameless = examine(trust, authority.issue(A, alternative_names=x509.SubjectAlternativeName([x509.RFC822Name(A)])))
    assert nameless.why_not(A) == "names no domain, so not a.example"


def test_it_is_told_whom_a_certificate_is_for(authority: Authority, trust: Trust) -> None:
    peer = examine(trust, authority.issue(A, "bücher.example", "::1", srv=["_xmpp-server.a.example"]))
    assert peer.names == (A, "xn--bcher-kva.example", "::1", "_xmpp-server.a.example")
    many = examine(trust, authority.issue("1.example", *(f"{number}.example" for number in range(2, 1001))))
    expected = "is for 1.example, 2.example, 3.example, 4.example, 5.example, 995 more, not for a.example"
    assert many.why_not(A) == expected


def test_a_name_cannot_forge_a_line_of_the_log(authority: Authority, trust: Trust) -> None:
    peer = examine(
        trust, authority.issue(A, "x\nroot logged in.example", srv=["_xmpp-server.a\x1b[2J.example", "_x\n.a.example"])
    )
    assert peer.names == (A,)


def test_an_authority_may_be_for_some_names_only(authority: Authority, trust: Trust) -> None:
    """RFC 5280 §4.2.1.10."""
    limited = authority.intermediate(permitted=[A])
    assert examine(trust, limited.issue(A)).proves(A)
    assert examine(trust, limited.issue(f"chat.{A}")).proves(f"chat.{A}")
    assert examine(trust, limited.issue(B)).why_not(B).startswith("is not valid: ")


def test_services_are_no_way_around_the_limits_of_an_authority(authority: Authority, trust: Trust) -> None:
    """RFC 4985 §4: limits on domain names say nothing of services."""
    files = authority.intermediate(permitted=[A]).issue(A, srv=["_xmpp-server.b.example"])
    assert examine(trust, files).why_not(B) == "is for a.example, not for b.example"
