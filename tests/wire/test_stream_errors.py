"""Every stream error that a client can meet (RFC 6120 §4.9.3): after a header, before the end, and never twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import House
from tests.streams import DOMAIN, Client, chat, stream_header
from vrxmpp import ns
from vrxmpp.errors import StreamCondition

Build = Callable[..., House]
OPEN = f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'>"
UTF_16 = OPEN.encode("utf-16")

HEADERS = [
    # §4.9.3.1
    ("bad-format", "<features/>"),
    ("bad-format", f"<stream:features xmlns:stream='{ns.STREAM}' xmlns='{ns.CLIENT}'>"),
    # §4.9.3.2
    ("bad-namespace-prefix", OPEN.replace("<stream:", "<s:").replace(":stream=", ":s=")),
    ("bad-namespace-prefix", f"<stream xmlns='{ns.STREAM}'>"),
    # §4.9.3.10
    ("invalid-namespace", OPEN.replace(ns.STREAM, "http://wrong.example/")),
    ("invalid-namespace", OPEN.replace(ns.CLIENT, "urn:wrong")),
    ("invalid-namespace", OPEN.replace(ns.CLIENT, ns.SERVER)),
    ("invalid-namespace", OPEN.replace(f"xmlns='{ns.CLIENT}'", "")),
    # §4.9.3.13
    ("not-well-formed", "<stream:stream<"),
    ("not-well-formed", "GET / HTTP/1.1\r\nHost: example.net\r\n\r\n"),
    ("not-well-formed", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("not-well-formed", "{}"),
    # §4.9.3.18, §11.1
    ("restricted-xml", "<!DOCTYPE stream>" + OPEN),
    ("restricted-xml", "<!-- hello -->" + OPEN),
    ("restricted-xml", "<?hello world?>" + OPEN),
    # §4.9.3.22, §11.6
    ("unsupported-encoding", "<?xml version='1.0' encoding='ISO-8859-1'?>" + OPEN),
    ("unsupported-encoding", "<?xml version='1.0' encoding='US-ASCII'?>" + OPEN),
    # §4.9.3.14
    ("policy-violation", OPEN.replace("version", f"x='{'x' * 10_000}' version")),
    ("policy-violation", OPEN.replace("version", f"x='{'x' * 20_000}")),
]

BEFORE_LOGIN = [
    ("not-well-formed", "<a></b>"),
    ("not-well-formed", "<x:a/>"),
    ("not-well-formed", "<a b='1' b='1'/>"),
    ("not-well-formed", "<a>&#0;</a>"),
    ("restricted-xml", "<!-- hello -->"),
    ("restricted-xml", "<?hello world?>"),
    ("restricted-xml", "<a>&hello;</a>"),
    ("bad-format", "hello"),
    ("policy-violation", f"<a>{'x' * 10_000}</a>"),
    ("policy-violation", f"<a>{'x' * 20_000}"),
    ("policy-violation", f"<a>{'<b>' * 16}"),
    ("policy-violation", f"<a>{'<b/>' * 200}"),
    # §4.9.3.12
    ("not-authorized", chat("too early")),
    ("not-authorized", "<presence/>"),
    ("not-authorized", f"<iq type='get' id='r'><query xmlns='{ns.ROSTER}'/></iq>"),
    ("not-authorized", f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'/></iq>".replace("bind xm", "bound xm")),
    ("not-authorized", "<message to='@'/>"),
    ("not-authorized", "<iq/>"),
    # a request that is answered on its own, but not inside an IQ
    ("not-authorized", f"<iq type='set' id='a'><auth xmlns='{ns.SASL}' mechanism='PLAIN'>AHIAcg==</auth></iq>"),
    ("not-authorized", f"<iq type='set' id='s'><starttls xmlns='{ns.TLS}'/></iq>"),
    # §4.9.3.24
    ("unsupported-stanza-type", "<pubsub/>"),
    ("unsupported-stanza-type", "<active xmlns='urn:xmpp:csi:0'/>"),
    ("unsupported-stanza-type", f"<message xmlns='{ns.SERVER}'/>"),
    ("unsupported-stanza-type", f"<bind xmlns='{ns.BIND}'/>"),
    ("unsupported-stanza-type", f"<compress xmlns='{ns.STREAM}'/>"),
    (
        "unsupported-stanza-type",
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
    ),
]

AFTER_LOGIN = [
    ("not-well-formed", "<message></presence>"),
    ("restricted-xml", "<message><body>&hello;</body></message>"),
    ("restricted-xml", "<message><!-- hello --></message>"),
    ("bad-format", "hello"),
    ("bad-namespace-prefix", f"<c:message xmlns:c='{ns.CLIENT}'/>"),
    ("policy-violation", f"<message>{'<b>' * 128}"),
    ("policy-violation", f"<message>{'<b/>' * 10_000}"),
    ("policy-violation", f"<message>{'x' * 262_144}"),
    # §4.9.3.9
    ("invalid-from", f"<message from='juliet@{DOMAIN}' to='juliet@{DOMAIN}'><body>hello</body></message>"),
    ("invalid-from", f"<presence from='romeo@{DOMAIN}/elsewhere'/>"),
    ("invalid-from", f"<iq from='{DOMAIN}' type='result' id='x'/>"),
    ("unsupported-stanza-type", "<pubsub/>"),
    ("unsupported-stanza-type", f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>AHIAcg==</auth>"),
    ("unsupported-stanza-type", f"<starttls xmlns='{ns.TLS}'/>"),
    ("unsupported-stanza-type", f"<message xmlns='{ns.SERVER}'/>"),
]


def both_ways(client: Client, script: str, piece: int) -> str:
    client.piece = piece
    client.send(script)
    return client.fails()


@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize(("condition", "script"), HEADERS)
def test_a_bad_header(house: House, condition: str, script: str, piece: int) -> None:
    assert both_ways(house.connect(), script, piece) == condition


def test_utf_16_is_refused(house: House) -> None:
    romeo = house.connect()
    romeo.send_bytes(UTF_16)
    assert romeo.fails() == "unsupported-encoding"


def test_what_is_not_utf_8_is_refused(house: House) -> None:
    romeo = house.login("romeo")
    romeo.send_bytes(b"<message><body>\xff\xfe</body></message>")
    assert romeo.fails() == "not-well-formed"


@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize(("condition", "script"), BEFORE_LOGIN)
def test_a_bad_beginning(house: House, condition: str, script: str, piece: int) -> None:
    romeo = house.connect()
    romeo.open()
    assert both_ways(romeo, script, piece) == condition


@pytest.mark.parametrize("piece", [0, 1000])
@pytest.mark.parametrize(("condition", "script"), AFTER_LOGIN)
def test_a_bad_stanza(house: House, condition: str, script: str, piece: int) -> None:
    juliet, romeo = house.login("juliet"), house.login("romeo")
    assert both_ways(romeo, script, piece) == condition
    assert juliet.ping() == []


def test_before_a_header_the_server_shows_one_of_its_own(house: House) -> None:
    """§4.9.1.2: the error is inside a stream, whatever the client has said."""
    romeo = house.connect()
    romeo.send("hello, is anybody there?")
    assert romeo.fails() == "not-well-formed"
    assert romeo.reader.header is not None
    assert romeo.reader.header["from"] == DOMAIN


def test_an_unknown_domain_is_answered_in_its_name(house: House) -> None:
    """§4.9.1.2: the header says what the client asked for."""
    romeo = house.connect()
    romeo.send(stream_header("example.org"))
    assert romeo.fails() == "host-unknown"
    assert romeo.reader.header is not None
    assert romeo.reader.header["from"] == "example.org"


def test_the_newer_client_takes_the_resource(house: House) -> None:
    """§4.9.3.3, §7.7.2.2."""
    older, newer = house.login("romeo"), house.login("romeo")
    assert older.fails() == "conflict"
    assert newer.ping() == []


def test_a_client_may_be_thrown_out(house: House) -> None:
    romeo = house.login("romeo")
    house.host.forget("romeo", StreamCondition.NOT_AUTHORIZED)
    assert romeo.fails() == "not-authorized"


def test_the_rest_of_the_house_does_not_notice(house: House) -> None:
    juliet = house.login("juliet")
    for _, script in BEFORE_LOGIN:
        house.wait(0.25)
        romeo = house.connect()
        romeo.open()
        romeo.send(script)
    assert juliet.ping() == []


def test_an_error_says_no_more_than_it_must(build: Build) -> None:
    """Neither the stanza nor anything else that came is repeated."""
    romeo = build().login("romeo")
    romeo.send("<message><body>a secret of mine</body><x y='also a secret'></message>")
    assert b"secret" not in romeo.pipe.read()
