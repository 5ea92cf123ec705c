"""XEP-0077 §3.1: in-band registration."""

from __future__ import annotations

import pytest

from tests.world import World, run
from vrxmpp import dom
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.modules.registration import Registration
from vrxmpp.store.interfaces import ScramKeys

SHA1 = ScramKeys(b"salt", 4096, b"sha1", b"sha1")
SHA256 = ScramKeys(b"salt", 4096, b"sha256", b"sha256")
ADDRESS = "192.0.2.1"


async def derive(password: str) -> tuple[ScramKeys, ScramKeys]:
    if password == "forbidden":
        raise ValueError("forbidden")
    return SHA1, SHA256


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def registration(world: World) -> Registration:
    return Registration(world.stores.accounts, derive, lambda: world.now, per_hour=3)


def register(registration: Registration, content: str, address: str = ADDRESS) -> Condition | str:
    """Return the localpart of the new account, or the condition of the refusal."""
    query = dom.parse(f"<query xmlns='jabber:iq:register'>{content}</query>".encode())

    async def attempt() -> Condition | str:
        try:
            return await registration.register(address, query)
        except StanzaError as error:
            return error.condition

    return run(attempt())


def filled_in(username: str, password: str = "secret") -> str:
    return f"<username>{username}</username><password>{password}</password>"


def test_the_fields(registration: Registration) -> None:
    """§3.1."""
    query = dom.parse(registration.fields())
    assert [child.name for child in dom.children(query)] == ["instructions", "username", "password"]


def test_the_stream_feature(registration: Registration) -> None:
    """§8."""
    assert registration.stream_feature() == b"<register xmlns='http://jabber.org/features/iq-register'/>"


def test_an_account_is_made(world: World, registration: Registration) -> None:
    """§3.1; its name is prepared (RFC 7622 §3.3)."""
    assert register(registration, filled_in("Bill")) == "bill"
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
    assert register(registration, filled_in("a")) == "a"
    assert register(registration, filled_in("a")) is Condition.CONFLICT
    world.advance(1800)
    assert register(registration, filled_in("b", "forbidden")) is Condition.NOT_ACCEPTABLE
    assert register(registration, filled_in("c")) is Condition.NOT_ACCEPTABLE
    assert register(registration, filled_in("c"), "192.0.2.2") == "c"
    world.advance(1800)
    assert register(registration, filled_in("d")) == "d"
    assert register(registration, filled_in("e")) == "e"
    assert register(registration, filled_in("f")) is Condition.NOT_ACCEPTABLE


def test_a_mistake_in_the_form_is_no_try(registration: Registration) -> None:
    for _ in range(10):
        register(registration, filled_in("not a name"))
    assert register(registration, filled_in("a")) == "a"


def test_memory_is_bounded(registration: Registration, monkeypatch: pytest.MonkeyPatch) -> None:
    """security.md 9: the address that has rested longest is forgotten first."""
    monkeypatch.setattr("vrxmpp.modules.registration._ADDRESSES", 2)
    for name in "abc":
        register(registration, filled_in(name))
    register(registration, filled_in("d"), "192.0.2.2")
    assert register(registration, filled_in("e")) is Condition.NOT_ACCEPTABLE
    register(registration, filled_in("f"), "192.0.2.3")
    assert register(registration, filled_in("g")) is Condition.NOT_ACCEPTABLE
    register(registration, filled_in("h"), "192.0.2.4")
    register(registration, filled_in("i"), "192.0.2.5")
    assert register(registration, filled_in("j")) == "j"
