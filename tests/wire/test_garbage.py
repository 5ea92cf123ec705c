"""Whatever comes, the server neither stumbles nor writes a traceback into the log, and others do not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.house import House
from tests.streams import DOMAIN, Client, show, stream_header
from vrxmpp import ns

Build = Callable[..., House]
FAST = {"rate": {"burst_stanzas": 1_000_000, "stanzas_per_second": 1_000_000, "burst_bytes": 1_000_000_000}}
MANY = {"connections": {"new_per_second": 100_000, "unauthenticated_per_address": 100_000, "per_address": 1_000_000}}

PIECES = [
    *("<", ">", "/>", "</", "'", '"', " ", "\n", "=", "&amp;", "&", "&#1;", "]]>", "<![CDATA[", "\x00", "\ud7ff", "ä"),
    *("<message>", "</message>", "<presence/>", "<presence type='unavailable'/>", "<iq", "<body>hello</body>", "</iq>"),
    *(" type='set'", " type='get'", " id='1'", " to='juliet@example.net'", " to='@'", " from='x'", " xmlns='urn:x'"),
    *(" xmlns:a='urn:a'", "<a:b/>", "</stream:stream>", "<stream:stream>", "<stream:error/>", "<!DOCTYPE x>", "<!--"),
    *("-->", "<?x?>", stream_header(), f"<starttls xmlns='{ns.TLS}'/>", f"<query xmlns='{ns.ROSTER}'/>"),
    *(f"<response xmlns='{ns.SASL}'/>", f"<abort xmlns='{ns.SASL}'/>", f"<bind xmlns='{ns.BIND}'/>"),
    f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>AHIAcg==</auth>",
    f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'/>",
    f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'/></iq>",
]
GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=20).map(lambda pieces: "".join(pieces).encode("utf-8", "surrogatepass")),
)
quickly = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def inn(build: Build) -> House:
    return build(limits=FAST | MANY, host={"registration": True, "anonymous": True})


def bother(house: House, client: Client, garbage: list[bytes]) -> None:
    """Send it, wait, and leave."""
    for piece in garbage:
        client.send_bytes(piece)
    house.wait(1)
    assert house.failures() == []
    if client.pipe.is_open:
        client.pipe.close()
    house.visitors.remove(client)
    assert house.failures() == []


@quickly
@given(st.lists(GARBAGE, max_size=5))
def test_from_the_first_byte(inn: House, garbage: list[bytes]) -> None:
    bother(inn, inn.connect(), garbage)


@quickly
@given(st.lists(GARBAGE, max_size=5))
def test_after_the_header(inn: House, garbage: list[bytes]) -> None:
    client = inn.connect()
    client.open()
    bother(inn, client, garbage)


@quickly
@given(st.lists(GARBAGE, max_size=5))
def test_inside_tls(inn: House, garbage: list[bytes]) -> None:
    client = inn.connect()
    client.open()
    client.secure()
    client.open()
    bother(inn, client, garbage)


@quickly
@given(st.lists(GARBAGE, max_size=5))
def test_instead_of_tls(inn: House, garbage: list[bytes]) -> None:
    bother(inn, inn.connect(direct_tls=True), garbage)


@quickly
@given(st.lists(GARBAGE, max_size=5))
def test_before_there_is_a_resource(inn: House, garbage: list[bytes]) -> None:
    client = inn.connect()
    client.open()
    client.authenticate("romeo")
    client.open()
    bother(inn, client, garbage)


@quickly
@given(st.lists(GARBAGE, max_size=5))
def test_in_a_session(inn: House, garbage: list[bytes]) -> None:
    bother(inn, inn.login("romeo"), garbage)


# -- requests that are well-formed, and odd

ADDRESSES = ["", "@", "juliet@example.net", f"romeo@{DOMAIN}", f"{DOMAIN}/x", "a@elsewhere.example/b", "\u200b@x"]
NAMES = ["item", "group", "username", "password", "remove", "x", "field", "value", "query", "name", "a", "vCard"]
NAMES += ["PHOTO", "BINVAL", "command", "status", "priority", "body", "delay", "storage", "block"]
SPACES = [ns.ROSTER, ns.PRIVATE, ns.DATA_FORMS, ns.REGISTER, ns.BLOCKING, ns.VCARD, ns.CLIENT, "", "urn:x"]
VALUES = ["", "1", "-1", "submit", "both", "remove", "none", "subscribe", "9" * 400, "2026-01-01T00:00:00Z", "\u2028"]
ATTRIBUTES = ["jid", "subscription", "ask", "approved", "type", "var", "node", "ver", "name", "action", "stamp", "from"]
TYPES = ["", "chat", "error", "headline", "groupchat", "subscribe", "subscribed", "probe", "unavailable", "x"]


def write(name: str, space: str | None, attributes: dict[str, str], content: str) -> str:
    values = attributes if space is None else {"xmlns": space} | attributes
    written = "".join(f" {key}='{value}'" for key, value in values.items())
    return f"<{name}{written}>{content}</{name}>"


ODD_ATTRIBUTES = st.dictionaries(st.sampled_from(ATTRIBUTES), st.sampled_from(ADDRESSES + VALUES), max_size=3)
CONTENT = st.recursive(
    st.sampled_from(["", "text", "-200", " ", "&lt;", *ADDRESSES]),
    lambda inner: st.lists(
        st.builds(write, st.sampled_from(NAMES), st.none() | st.sampled_from(SPACES), ODD_ATTRIBUTES, inner), max_size=3
    ).map("".join),
    max_leaves=6,
)


def requests(house: House) -> list[tuple[str, str]]:
    """Return the type and the name of every request that a module answers."""
    return sorted({(type, name) for _, type, name in house.host.iq})


def somebody(house: House) -> Client:
    """Return the client of the example before, if it is still there."""
    for client in house.visitors:
        if client.pipe.is_open:
            return client
    client = house.connect()
    client.open()
    client.secure()
    return client.login("romeo")


def answers(client: Client, id: str) -> Iterator[str]:
    for element in client.elements():
        if element.get("id") == id and element.get("type") in {"result", "error"}:
            yield show(element)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_request_has_one_answer(inn: House, data: st.DataObject) -> None:
    """RFC 6120 §8.2.3: whatever is in it."""
    romeo = somebody(inn)
    romeo.hears()
    type, name = data.draw(st.sampled_from(requests(inn)))
    space, _, local = name.partition(" ")
    to = data.draw(st.sampled_from(["", f" to='{DOMAIN}'", f" to='romeo@{DOMAIN}'", f" to='juliet@{DOMAIN}'"]))
    payload = write(local, space, data.draw(ODD_ATTRIBUTES), data.draw(CONTENT))
    romeo.send(f"<iq type='{type}' id='odd'{to}>{payload}</iq>")
    inn.wait(0.25)
    assert inn.failures() == []
    assert len(list(answers(romeo, "odd"))) == 1
    if romeo.is_gone:  # it has removed its account
        inn.add("romeo")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["message", "presence"]),
    st.sampled_from(["", *[f" to='{address}'" for address in ADDRESSES]]),
    st.sampled_from(TYPES),
    CONTENT,
)
def test_odd_messages_and_presence(inn: House, kind: str, to: str, type: str, content: str) -> None:
    romeo = somebody(inn)
    romeo.send(f"<{kind}{to} type='{type}' id='odd'>{content}</{kind}>")
    inn.wait(0.25)
    assert inn.failures() == []
    assert romeo.pipe.is_open, romeo.hears()
