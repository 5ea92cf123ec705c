"""How our server opens a stream, and what becomes of what waits when the other side is hostile or silent (RFC 6120)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.internet import Internet, Site
from tests.peer import DIALBACK, EXTERNAL, MANAGEMENT, PEER, REQUIRED, Host, Peer, header, message
from tests.streams import END, Client, Reader, show
from vrxmpp import ns
from vrxmpp.net.tls import CertificateFiles

ONE = "one.example"
JULIET = f"juliet@{PEER}"
SM = ns.STREAM_MANAGEMENT
FROM_ROMEO = f"romeo@{ONE}/here"


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE, "two.example")


@pytest.fixture
def good(internet: Internet) -> CertificateFiles:
    return internet.authority.issue(PEER)


@pytest.fixture
def romeo(one: Site) -> Client:
    romeo: Client = one.login("romeo")
    return romeo


@pytest.fixture
def host(internet: Internet) -> Host:
    return Host(internet)


def write(romeo: Client, body: str = "Hush", id: str = "m1") -> None:
    romeo.send(f"<message to='{JULIET}' id='{id}'><body>{body}</body></message>")


def bounced(client: Client) -> tuple[str, str]:
    """Return why the one message of a client came back, and what it is told."""
    [element] = client.elements()
    assert (element.get("type"), element.get("id"), element.get("from")) == ("error", "m1", JULIET), show(element)
    error = element.find(f"{{{ns.CLIENT}}}error")
    assert error is not None
    text = error.find(f"{{{ns.STANZA_ERRORS}}}text")
    return error[0].tag.partition("}")[2], (text.text or "") if text is not None else ""


def heard(peer: Peer) -> list[str]:
    """Return the bodies that have come."""
    return [element.findtext(f"{{{ns.SERVER}}}body", "") for element in peer.elements() if "body" in show(element)]


# -- who comes all the way


def test_a_certificate_is_shown_and_a_name_said(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles
) -> None:
    write(romeo)
    peer = host.answer()
    peer.welcome(REQUIRED)
    assert peer.reader.header is not None
    assert peer.reader.header.get("id") is None
    assert (peer.reader.header["from"], peer.reader.header["to"]) == (ONE, PEER)
    peer.accept_tls(good)
    peer.welcome(EXTERNAL)
    assert peer.hears() == [f"<auth mechanism='EXTERNAL' xmlns='{ns.SASL}'>b25lLmV4YW1wbGU=</auth>"]
    peer.send(f"<success xmlns='{ns.SASL}'/>")
    peer.reader = Reader()
    peer.elements()
    assert peer.reader.header is not None


def test_the_name_is_said_when_it_is_asked_for(romeo: Client, host: Host, good: CertificateFiles) -> None:
    write(romeo)
    peer = host.answer()
    peer.welcome_securely(good, EXTERNAL)
    peer.elements()
    peer.send(f"<challenge xmlns='{ns.SASL}'>=</challenge>")
    assert peer.hears() == [f"<response xmlns='{ns.SASL}'>b25lLmV4YW1wbGU=</response>"]


@pytest.mark.parametrize("offer", [(EXTERNAL, DIALBACK), (DIALBACK,), ()])
def test_a_stanza_goes_when_we_are_believed(
    romeo: Client, host: Host, good: CertificateFiles, offer: tuple[str, ...]
) -> None:
    write(romeo)
    peer = host.answer()
    peer.welcome_securely(good, *offer)
    if EXTERNAL in offer:
        peer.believe_certificate()
    else:
        assert heard(peer) == []
        peer.send(f"<db:result from='{PEER}' to='{ONE}' type='valid'/>")
    assert heard(peer) == ["Hush"]
    assert romeo.hears() == []


def test_features_with_prefixes_of_their_own_are_read(romeo: Client, host: Host, good: CertificateFiles) -> None:
    write(romeo)
    peer = host.answer()
    peer.welcome(f"<t:starttls xmlns:t='{ns.TLS}'><t:required/></t:starttls>")
    peer.accept_tls(good)
    peer.welcome(f"<m:mechanisms xmlns:m='{ns.SASL}'><m:mechanism>EXTERNAL</m:mechanism></m:mechanisms>")
    peer.believe_certificate()
    assert heard(peer) == ["Hush"]


@pytest.mark.parametrize("where", ["header", "features"])
def test_features_with_prefixes_from_outside_are_read(
    romeo: Client, host: Host, good: CertificateFiles, where: str
) -> None:
    write(romeo)
    peer = host.answer()
    peer.welcome(REQUIRED)
    peer.accept_tls(good)
    peer.elements()
    declared = f" xmlns:m='{ns.SASL}'"
    peer.send(header(ONE, PEER, id="x", **({"xmlns_m": ns.SASL} if where == "header" else {})))
    mechanisms = "<m:mechanisms><m:mechanism>EXTERNAL</m:mechanism></m:mechanisms>"
    peer.send(f"<stream:features{declared if where == 'features' else ''}>{mechanisms}</stream:features>")
    peer.believe_certificate()
    assert heard(peer) == ["Hush"]


@pytest.mark.parametrize("fails", ["<failure xmlns='{}'><not-authorized/></failure>", "<failure xmlns='{}'/>"])
def test_who_does_not_believe_the_certificate_gets_a_key(
    romeo: Client, host: Host, good: CertificateFiles, fails: str
) -> None:
    write(romeo)
    peer = host.answer()
    peer.welcome_securely(good, EXTERNAL, DIALBACK)
    peer.elements()
    peer.send(fails.format(ns.SASL))
    peer.believe_key()
    assert heard(peer) == ["Hush"]


def test_what_the_peer_takes_is_kept_to(romeo: Client, host: Host, good: CertificateFiles) -> None:
    write(romeo, "x" * 20_000)
    peer = host.answer()
    peer.welcome_securely(good, EXTERNAL)
    peer.believe_certificate(f"<limits xmlns='{ns.STREAM_LIMITS}'><max-bytes>10000</max-bytes></limits>")
    assert heard(peer) == []
    condition, text = bounced(romeo)
    assert (condition, text) == ("policy-violation", f"{PEER} takes no more than 10000 bytes")
    write(romeo)
    assert heard(peer) == ["Hush"]


# -- who does not


def silent(_: Peer, __: CertificateFiles) -> None:
    """Say nothing more."""


def says(
    *words: str, tls: bool = True, offer: tuple[str, ...] = (EXTERNAL,)
) -> Callable[[Peer, CertificateFiles], None]:
    def speak(peer: Peer, good: CertificateFiles) -> None:
        if tls:
            peer.welcome_securely(good, *offer)
        for each in words:
            peer.send(each)

    return speak


def header_only(**attributes: str) -> Callable[[Peer, CertificateFiles], None]:
    def speak(peer: Peer, _: CertificateFiles) -> None:
        peer.welcome(REQUIRED, **attributes)

    return speak


def tls_then(last: Callable[[Peer], object]) -> Callable[[Peer, CertificateFiles], None]:
    def speak(peer: Peer, good: CertificateFiles) -> None:
        peer.welcome(REQUIRED)
        last(peer)

    return speak


_HEADER = f"<stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}' from='{PEER}' id='x' version='1.0'>"
_ERROR = "<stream:error><{} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"


@pytest.mark.parametrize(
    ("speak", "told"),
    [
        (header_only(sender="else.example"), ("remote-server-not-found", "another server answers")),
        (header_only(sender=f"a@{PEER}"), ("remote-server-not-found", "another server answers")),
        (lambda peer, _: peer.welcome(), ("not-authorized", "does not offer TLS")),
        (
            tls_then(lambda peer: peer.send(f"<failure xmlns='{ns.TLS}'/></stream:stream>")),
            ("not-authorized", "refused to change to TLS"),
        ),
        (
            says(f"<failure xmlns='{ns.SASL}'><not-authorized/></failure>"),
            ("not-authorized", "does not take our certificate"),
        ),
        (
            says(f"<db:result from='{PEER}' to='{ONE}' type='invalid'/>", offer=(DIALBACK,)),
            ("not-authorized", "could not verify"),
        ),
        (says(_HEADER + _ERROR.format("host-unknown"), tls=False), ("remote-server-not-found", "says host-unknown")),
        (says(_HEADER + _ERROR.format("not-authorized"), tls=False), ("not-authorized", "says not-authorized")),
        (says(_ERROR.format("policy-violation")), ("not-authorized", "says policy-violation")),
    ],
)
def test_what_will_not_change_is_told_at_once(
    romeo: Client, host: Host, good: CertificateFiles, speak: Any, told: tuple[str, str]
) -> None:
    write(romeo)
    speak(host.answer(), good)
    romeo.pipe.wait(1)
    condition, text = bounced(romeo)
    assert condition == told[0]
    assert told[1] in text
    romeo.pipe.wait(100)
    assert romeo.hears() == []
    assert not host.is_called


@pytest.mark.parametrize(
    "speak",
    [
        says("", tls=False),
        says(_HEADER, tls=False),
        says(_HEADER + "<stream:features>", tls=False),
        tls_then(lambda peer: None),
        tls_then(lambda peer: peer.send(f"<proceed xmlns='{ns.TLS}'/>")),
        says(),
        says(f"<challenge xmlns='{ns.SASL}'>=</challenge>"),
        says(f"<success xmlns='{ns.SASL}'/>"),
        says(offer=(DIALBACK,)),
        says(f"<db:result from='{PEER}' to='{ONE}' type='valid'/>", offer=(DIALBACK, MANAGEMENT)),
    ],
)
def test_silence_is_waited_for_so_long(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles, speak: Any
) -> None:
    write(romeo)
    speak(host.answer(), good)
    internet.wait(25)
    assert romeo.hears() == []
    internet.wait(70)
    condition, text = bounced(romeo)
    assert condition == "remote-server-timeout"
    assert text
    internet.wait(200)
    assert romeo.hears() == []


@pytest.mark.parametrize(
    "speak",
    [
        says("garbage", tls=False),
        says("\x16\x03\x01", tls=False),
        says("<html>", tls=False),
        says(_HEADER + "<unheard-of/>", tls=False),
        says(_HEADER + message(), tls=False),
        says(_HEADER + "<stream:features><broken></stream:features>", tls=False),
        says(_HEADER + END, tls=False),
        says(_HEADER + _ERROR.format("internal-server-error"), tls=False),
        says(_HEADER + f"<stream:features>{'x' * 20_000}</stream:features>", tls=False),
        tls_then(lambda peer: peer.send(f"<proceed xmlns='{ns.TLS}'/>{_HEADER}")),
        tls_then(lambda peer: (peer.send(f"<proceed xmlns='{ns.TLS}'/>"), peer.send("garbage" * 10))),
        tls_then(lambda peer: peer.pipe.close()),
        says(message()),
        says(f"<success xmlns='{ns.SASL}'/>{_HEADER}"),
        says("<db:result from='x' type='valid'/>"),
        says(f"<db:result from='{PEER}' to='{ONE}'>a key</db:result>"),
        says(f"<db:verify from='{PEER}' to='{ONE}' id='x'>a key</db:verify>"),
        says(f"<a xmlns='{SM}' h='0'/>"),
        says("<unheard-of/>" * 40, offer=(DIALBACK,)),
        says(f"<db:result from='{PEER}' to='{ONE}' type='valid'/><x xmlns='urn:x'/>", offer=(DIALBACK, MANAGEMENT)),
        says(
            f"<db:result from='{PEER}' to='{ONE}' type='valid'/><enabled xmlns='{SM}' resume='x'/>",
            offer=(DIALBACK, MANAGEMENT),
        ),
    ],
)
def test_who_does_not_keep_to_the_protocol_is_tried_again_for_a_while(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles, speak: Any
) -> None:
    write(romeo)
    speak(host.answer(), good)
    assert host.is_called or romeo.hears() == []
    internet.wait(90)
    condition, text = bounced(romeo)
    assert condition == "remote-server-timeout"
    assert text
    internet.wait(200)
    assert romeo.hears() == []
