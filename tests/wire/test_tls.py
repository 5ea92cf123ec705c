"""TLS on a stream: STARTTLS and direct, which certificate, which versions, bound log-ins (RFC 6120 §5, XEP-0368)."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
from cryptography import x509
from OpenSSL import SSL

from tests.house import House
from tests.network import MemoryPipe, TlsPipe
from tests.streams import DOMAIN, Client, chat, ping, show, stream_header
from vrxmpp import ns
from vrxmpp.net.tls import CertificateError, CertificateFiles

Build = Callable[..., House]
STARTTLS = f"<starttls xmlns='{ns.TLS}'/>"
ORG = "example.org"
IDN = "bücher.example"


def certified(client: Client) -> str:
    """Return the domain that the server's certificate is for."""
    assert isinstance(client.pipe, TlsPipe)
    certificate = client.pipe.tls.get_peer_certificate()
    assert certificate is not None
    names = certificate.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    [name] = names.get_values_for_type(x509.DNSName)
    return name


# -- STARTTLS


@pytest.mark.parametrize("tls", ["required", "optional"])
def test_the_stream_is_secured(build: Build, tls: str) -> None:
    romeo = build(tls=tls).connect()
    romeo.open()
    romeo.secure()
    assert romeo.login("romeo").ping() == []


@pytest.mark.parametrize(
    "behind", [chat("smuggled"), " <a/>", "<a", "<", ping("p") * 200, stream_header(), " " * 9000 + chat("smuggled")]
)
def test_nothing_is_smuggled_in_behind_the_request(house: House, behind: str) -> None:
    """§5.3.3: what came in the clear is no input of the secure stream, but the end of this one."""
    romeo = house.connect()
    romeo.open()
    romeo.send(STARTTLS + behind)
    assert romeo.fails() == "policy-violation"


def test_nothing_is_smuggled_in_by_single_bytes(house: House) -> None:
    romeo, juliet = house.connect(), house.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    romeo.open()
    romeo.piece = 1
    romeo.send(STARTTLS + chat("smuggled"))
    assert romeo.is_gone
    assert juliet.hears() == []


def test_nothing_is_smuggled_in_by_a_later_segment(house: House) -> None:
    """What comes next must be the handshake: the connection ends without a word in the clear."""
    romeo = house.connect()
    romeo.open()
    romeo.send(STARTTLS)
    assert romeo.hears() == [f"<proceed xmlns='{ns.TLS}'/>"]
    romeo.send(stream_header() + chat("smuggled"))
    assert b"stream" not in romeo.pipe.read()
    assert romeo.is_gone


def test_a_line_may_end_behind_the_request(house: House) -> None:
    """White space says nothing."""
    romeo = house.connect()
    romeo.open()
    romeo.send(STARTTLS + "\n")
    assert romeo.hears() == [f"<proceed xmlns='{ns.TLS}'/>"]
    romeo.shake_hands()
    assert romeo.login("romeo").ping() == []


def test_a_stream_is_secured_once(house: House) -> None:
    romeo = house.connect()
    romeo.open()
    romeo.secure()
    features = romeo.open()
    assert f"{{{ns.TLS}}}starttls" not in [feature.tag for feature in features]
    romeo.send(STARTTLS)
    assert romeo.fails() == "policy-violation"


def test_a_stream_is_not_secured_in_the_middle_of_a_log_in(house: House) -> None:
    romeo = house.connect()
    romeo.open()
    romeo.send(f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'/>")
    assert romeo.hears() == [f"<challenge xmlns='{ns.SASL}'>=</challenge>"]
    romeo.send(STARTTLS)
    assert romeo.fails() == "policy-violation"


def test_a_stream_is_not_secured_after_the_log_in(house: House) -> None:
    romeo = house.connect()
    romeo.open()
    romeo.authenticate("romeo")
    romeo.open()
    romeo.send(STARTTLS)
    assert romeo.fails() == "policy-violation"


def test_nobody_logs_in_before_the_stream_is_secured(build: Build) -> None:
    """§5.3.1: where TLS is required."""
    romeo = build(tls="required").connect()
    romeo.open()
    romeo.send(f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'/>")
    assert romeo.fails() == "policy-violation"


def test_a_handshake_that_fails_ends_the_connection(house: House) -> None:
    romeo = house.connect()
    romeo.open()
    romeo.send(STARTTLS)
    romeo.elements()
    romeo.send("no handshake at all")
    assert romeo.is_gone


def test_the_stream_that_was_is_forgotten(house: House) -> None:
    """§5.4.3.3: the client names its domain, and its language, anew."""
    romeo = house.connect()
    romeo.open(xml_lang="it")
    romeo.secure()
    assert b"stream" not in romeo.pipe.read()
    romeo.open(xml_lang="de")


def test_tls_may_come_byte_by_byte(house: House) -> None:
    romeo = house.connect()
    assert isinstance(romeo.pipe, MemoryPipe)
    romeo.pipe.segment = 1
    romeo.open()
    romeo.secure()
    assert romeo.login("romeo").ping() == []


# -- direct TLS


def test_tls_from_the_start(build: Build) -> None:
    house = build(tls="required")
    romeo = house.connect(direct_tls=True)
    romeo.shake_hands(protocols=[b"xmpp-client"])
    assert isinstance(romeo.pipe, TlsPipe)
    assert romeo.pipe.tls.get_alpn_proto_negotiated() == b"xmpp-client"
    assert f"{{{ns.TLS}}}starttls" not in [feature.tag for feature in romeo.open()]
    romeo.authenticate("romeo")
    romeo.open()
    assert romeo.bind().get("type") == "result"


def test_tls_for_others_is_refused(house: House) -> None:
    """XEP-0368 §3: a browser that was sent here by somebody else does not get far (ALPACA)."""
    romeo = house.connect(direct_tls=True)
    with pytest.raises(SSL.Error):
        romeo.shake_hands(protocols=[b"http/1.1", b"h2"])
    assert romeo.is_gone


def test_one_of_several_protocols_is_ours(house: House) -> None:
    romeo = house.connect(direct_tls=True)
    romeo.shake_hands(protocols=[b"http/1.1", b"xmpp-client"])
    assert isinstance(romeo.pipe, TlsPipe)
    assert romeo.pipe.tls.get_alpn_proto_negotiated() == b"xmpp-client"


def test_plain_text_where_tls_begins_is_not_answered(house: House) -> None:
    romeo = house.connect(direct_tls=True)
    romeo.send(stream_header())
    assert b"stream" not in romeo.pipe.read()
    assert romeo.is_gone


def test_a_stream_arrives_with_the_end_of_the_handshake(house: House) -> None:
    """A client need not wait before it opens the stream (TLS 1.3: its last flight and its first words are one)."""
    romeo = house.connect(direct_tls=True)
    assert romeo.wire.connected
    romeo.shake_hands(version=SSL.TLS1_3_VERSION)
    romeo.piece = 0
    assert show(romeo.open()).startswith("<features")


# -- certificates, versions


@pytest.mark.parametrize(
    ("name", "domain"),
    [(DOMAIN, DOMAIN), (ORG, ORG), (ORG.upper(), ORG), ("xn--bcher-kva.example", "xn--bcher-kva.example")],
)
def test_the_client_asks_for_a_certificate(build: Build, name: str, domain: str) -> None:
    house = build(domains=(DOMAIN, ORG, IDN))
    romeo = house.connect(direct_tls=True)
    romeo.shake_hands(name)
    assert certified(romeo) == domain


def test_an_unknown_name_gets_the_first_certificate(build: Build) -> None:
    house = build(domains=(DOMAIN, ORG))
    romeo = house.connect(direct_tls=True)
    romeo.shake_hands("elsewhere.example")
    assert certified(romeo) == DOMAIN


@pytest.mark.parametrize("name", ["elsewhere.example", ORG])
def test_the_stream_has_said_for_which_domain(build: Build, name: str) -> None:
    """§4.7.2: the ``to`` of the stream in the clear, for who names nothing we know in TLS."""
    house = build(domains=(DOMAIN, ORG))
    romeo = house.connect()
    romeo.open(ORG)
    romeo.secure(name)
    assert certified(romeo) == ORG


def test_old_versions_of_tls_are_refused(house: House) -> None:
    """RFC 7590 §3.1, RFC 8996."""
    romeo = house.connect(direct_tls=True)
    with pytest.raises(SSL.Error):
        romeo.shake_hands(version=SSL.TLS1_1_VERSION)


@pytest.mark.parametrize(("version", "name"), [(SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")])
def test_the_session_knows_its_version(house: House, version: int, name: str) -> None:
    romeo = house.connect()
    romeo.open()
    romeo.secure(version=version)
    romeo.login("romeo")
    [session] = house.host.all_sessions()
    assert session.security == name


def test_tls_is_not_negotiated_again(house: House) -> None:
    """RFC 7590 §3.5: what the log-in was bound to stays what it was."""
    romeo = house.connect()
    romeo.open()
    romeo.secure(version=SSL.TLS1_2_VERSION)
    romeo.login("romeo")
    assert isinstance(romeo.pipe, TlsPipe)
    romeo.pipe.tls.renegotiate()
    romeo.pipe.is_secure = False
    with pytest.raises(SSL.Error):
        romeo.pipe.shake_hands()


def test_new_certificates_are_taken_by_new_connections(build: Build, certificates: object) -> None:
    house = build(domains=(DOMAIN, ORG))
    files = house.clients.certificates
    old = house.connect()
    old.open()
    other = CertificateFiles(DOMAIN, house.directory / f"{ORG}.crt", house.directory / f"{ORG}.key")
    files.load([other])
    new = house.connect(direct_tls=True)
    new.shake_hands()
    assert certified(new) == ORG
    with pytest.raises(CertificateError, match=r"example\.net\.crt"):
        files.load([CertificateFiles(DOMAIN, house.directory / f"{DOMAIN}.crt", house.directory / f"{ORG}.key")])
    again = house.connect(direct_tls=True)
    again.shake_hands()
    assert certified(again) == ORG
    old.secure()
    old.open()


# -- channel bindings (RFC 5056, XEP-0440)


def announced(client: Client) -> tuple[list[str], list[str]]:
    """Return the mechanisms and the types of binding that are offered."""
    features = client.open()
    mechanisms = [each.text or "" for each in features.iterfind(f"{{{ns.SASL}}}mechanisms/*")]
    types = [each.get("type", "") for each in features.iterfind(f"{{{ns.SASL_CHANNEL_BINDING}}}sasl-channel-binding/*")]
    return mechanisms, types


def secured(house: House, version: int = 0) -> Client:
    romeo = house.connect()
    romeo.open()
    romeo.secure(version=version)
    return romeo


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
@pytest.mark.parametrize("binding", ["tls-exporter", "tls-server-end-point"])
@pytest.mark.parametrize("direct_tls", [False, True])
def test_a_log_in_is_bound_to_its_channel(house: House, mechanism: str, binding: str, direct_tls: bool) -> None:
    romeo = house.connect(direct_tls=direct_tls)
    if direct_tls:
        romeo.shake_hands()
    else:
        romeo.open()
        romeo.secure()
    assert announced(romeo) == (
        ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"],
        ["tls-exporter", "tls-server-end-point"],
    )
    assert romeo.authenticate("romeo", mechanism=mechanism, binding=binding).tag == f"{{{ns.SASL}}}success"


def test_an_older_tls_binds_to_the_certificate_only(house: House) -> None:
    """RFC 9266 §4.2: an exporter is safe to bind to with TLS 1.3."""
    romeo = secured(house, SSL.TLS1_2_VERSION)
    assert announced(romeo)[1] == ["tls-server-end-point"]
    answer = romeo.authenticate("romeo", mechanism="SCRAM-SHA-256-PLUS", binding="tls-server-end-point")
    assert answer.tag == f"{{{ns.SASL}}}success"


def test_the_binding_is_to_the_certificate_that_was_shown(build: Build) -> None:
    house = build(domains=(DOMAIN, ORG))
    house.add("romeo", domain=ORG)
    romeo = house.connect(direct_tls=True)
    romeo.shake_hands(ORG)
    romeo.open(ORG)
    answer = romeo.authenticate("romeo", mechanism="SCRAM-SHA-256-PLUS", binding="tls-server-end-point")
    assert answer.tag == f"{{{ns.SASL}}}success"


def test_somebody_in_the_middle_is_found_out(house: House) -> None:
    """The client's binding is to another channel than the server's."""
    romeo, mallory = secured(house), secured(house)
    romeo.open()
    romeo.binding = mallory.binding  # type: ignore[method-assign]
    answer = romeo.authenticate("romeo", mechanism="SCRAM-SHA-256-PLUS", binding="tls-exporter")
    assert [child.tag.partition("}")[2] for child in answer] == ["malformed-request", "text"]


def test_without_tls_there_is_nothing_to_bind_to(house: House) -> None:
    romeo = house.connect()
    assert announced(romeo) == (["SCRAM-SHA-256", "SCRAM-SHA-1"], [])
    answer = romeo.authenticate("romeo", mechanism="SCRAM-SHA-256-PLUS")
    assert answer[0].tag == f"{{{ns.SASL}}}invalid-mechanism"


def test_pythons_own_tls_can_talk_to_it(house: House) -> None:
    """Another reader of the same certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(house.directory / f"{DOMAIN}.crt")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=DOMAIN)
    romeo = house.connect(direct_tls=True)
    for _ in range(5):
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            romeo.pipe.write(outgoing.read())
            incoming.write(romeo.pipe.read())
    assert tls.version() == "TLSv1.3"
