"""XEP-0077 §3.1: in-band registration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world import World, parse, run
from vrxmpp import dom, ns
from vrxmpp.errors import Condition
from vrxmpp.negotiation.feature import Have
from vrxmpp.negotiation.registration import Registration
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import ScramKeys

SHA1 = ScramKeys(b"salt", 4096, b"sha1", b"sha1")
SHA256 = ScramKeys(b"salt", 4096, b"sha256", b"sha256")
ADDRESS = "192.0.2.1"


class Stream:
    """What a registration sees of a stream."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sent = b""

    def send(self, raw: bytes) -> None:
        self.sent += raw

    def note(self, type: str, local: str, event: str) -> None:
        self.noted = (type, local, event)


async def derive(password: str) -> tuple[ScramKeys, ScramKeys]:
    if password == "forbidden":
        raise ValueError("forbidden")
    return SHA1, SHA256


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def registration(world: World) -> Registration:
    return Registration(world.stores.accounts, derive, lambda: world.now, per_hour=3, needs=Have.SECURE)


def ask(registration: Registration, type: str, content: str = "", address: str = ADDRESS) -> dom.Element:
    """Return the answer to a request."""
    [request] = parse(f"<iq type='{type}' id='reg'><query xmlns='jabber:iq:register'>{content}</query></iq>")
    assert isinstance(request, Stanza)
    stream: Any = Stream(address)
    waiting = registration.take(request, stream)
    assert waiting is not None
    run(waiting)
    return dom.parse(stream.sent)


def register(registration: Registration, content: str, address: str = ADDRESS) -> Condition | None:
    """Return the condition of a refusal, None for success."""
    answer = ask(registration, "set", content, address)
    assert answer.attributes["id"] == "reg"
    error = dom.child(answer, ns.CLIENT, "error")
    if error is not None:
        return Condition(dom.children(error)[0].name)
    assert answer.attributes["type"] == "result"
    assert dom.children(answer) == []
    return None


def filled_in(username: str, password: str = "secret") -> str:
    return f"<username>{username}</username><password>{password}</password>"


def test_the_fields(registration: Registration) -> None:
    """§3.1."""
    [query] = dom.children(ask(registration, "get"))
    assert [child.name for child in dom.children(query)] == ["instructions", "username", "password"]


def test_an_account_is_made(world: World, registration: Registration) -> None:
    """§3.1; its name is prepared (RFC 7622 §3.3)."""
    assert register(registration, filled_in("Bill")) is None
    credentials = run(world.stores.accounts.credentials("bill"))
    assert credentials is not None
    assert (credentials.sha1, credentials.sha256, credentials.enabled) == (SHA1, SHA256, True)


def test_a_name_that_is_taken(world: World, registration: Registration) -> None:
    """§3.1: and its owner's password stays."""
    world.add("bill")
    before = run(world.stores.accounts.credentials("bill"))
    assert register(registration, filled_in("BILL")) is Condition.CONFLICT
    assert run(world.stores.accounts.credentials("bill")) == before


@pytest.mark.parametrize(
    ("content", "condition"),
    [
        ("", Condition.NOT_ACCEPTABLE),
        ("<username>bill</username>", Condition.NOT_ACCEPTABLE),
        ("<password>secret</password>", Condition.NOT_ACCEPTABLE),
        (filled_in("bill", ""), Condition.NOT_ACCEPTABLE),
        (filled_in(""), Condition.NOT_ACCEPTABLE),
        (filled_in("bill", "forbidden"), Condition.NOT_ACCEPTABLE),
        (filled_in("bill@example.net"), Condition.JID_MALFORMED),
        (filled_in("b ill"), Condition.JID_MALFORMED),
        (filled_in("b" * 1024), Condition.JID_MALFORMED),
    ],
)
def test_what_is_refused(world: World, registration: Registration, content: str, condition: Condition) -> None:
    """§3.1."""
    assert register(registration, content) is condition
    assert run(world.stores.accounts.summaries()) == []


def test_an_address_has_so_many_tries_an_hour(world: World, registration: Registration) -> None:
    """§3.1.1; a try counts whatever comes of it, and another address has its own."""
    assert register(registration, filled_in("a")) is None
    assert register(registration, filled_in("a")) is Condition.CONFLICT
    world.advance(1800)
    assert register(registration, filled_in("b", "forbidden")) is Condition.NOT_ACCEPTABLE
    assert register(registration, filled_in("c")) is Condition.NOT_ACCEPTABLE
    assert register(registration, filled_in("c"), "192.0.2.2") is None
    world.advance(1800)
    assert register(registration, filled_in("d")) is None
    assert register(registration, filled_in("e")) is None
    assert register(registration, filled_in("f")) is Condition.NOT_ACCEPTABLE


def test_a_network_is_one_address(registration: Registration) -> None:
    """RFC 6177 §2: a /64 is what one customer has."""
    for number in range(3):
        assert register(registration, filled_in(f"a{number}"), f"2001:db8::{number}") is None
    assert register(registration, filled_in("b"), "2001:db8::ffff") is Condition.NOT_ACCEPTABLE
    assert register(registration, filled_in("b"), "2001:db8:0:1::") is None


def test_a_mistake_in_the_form_is_no_try(registration: Registration) -> None:
    for _ in range(10):
        register(registration, filled_in("not a name"))
    assert register(registration, filled_in("a")) is None


def test_memory_is_bounded(registration: Registration, monkeypatch: pytest.MonkeyPatch) -> None:
    """security.md 9: the address that has rested longest is forgotten first."""
    monkeypatch.setattr("vrxmpp.negotiation.registration._ADDRESSES", 2)
    for name in "abc":
        register(registration, filled_in(name))
    register(registration, filled_in("d"), "192.0.2.2")
    assert register(registration, filled_in("e")) is Condition.NOT_ACCEPTABLE
    register(registration, filled_in("f"), "192.0.2.3")
    assert register(registration, filled_in("g")) is Condition.NOT_ACCEPTABLE
    register(registration, filled_in("h"), "192.0.2.4")
    register(registration, filled_in("i"), "192.0.2.5")
    assert register(registration, filled_in("j")) is None
