"""XEP-0054: vcard-temp."""

from __future__ import annotations

import pytest

from tests.world import Client, World, run
from vrxmpp.modules.vcard import VCardTemp

CARD = "<vCard xmlns='vcard-temp'><FN>Bob &amp; Co</FN></vCard>"


@pytest.fixture
def world() -> World:
    world = World()
    world.mount(VCardTemp(world.stores.vcards, limit=1000))
    world.add("alice", "bob")
    return world


def ask(client: Client, to: str = "") -> str:
    to = f" to='{to}'" if to else ""
    client.says(f"<iq type='get' id='1'{to}><vCard xmlns='vcard-temp'/></iq>")
    [answer] = client.hears()
    return answer


def put(client: Client, card: str, to: str = "", declarations: str = "") -> str:
    to = f" to='{to}'" if to else ""
    client.says(f"<iq type='set' id='1'{to}{declarations}>{card}</iq>")
    [answer] = client.hears()
    return answer


def test_everybody_may_read_the_card(world: World) -> None:
    """§3.1, §3.2, §3.3: whether the owner is there or not."""
    bob = world.login("bob")
    assert "type='result'/>" in put(bob, CARD)
    assert f"type='result'>{CARD}</iq>" in ask(bob)
    bob.leaves()
    assert f"from='bob@example.net' id='1' type='result'>{CARD}</iq>" in ask(world.login("alice"), "bob@example.net")


def test_a_card_replaces_the_one_before(world: World) -> None:
    """§3.2: there are no partial updates."""
    bob = world.login("bob")
    put(bob, CARD)
    put(bob, "<vCard xmlns='vcard-temp'><DESC/></vCard>")
    assert "type='result'><vCard xmlns='vcard-temp'><DESC/></vCard></iq>" in ask(bob)


def test_a_card_is_complete_wherever_its_prefixes_were_declared(world: World) -> None:
    """security.md 2: nothing enters the store that would break the one who reads it."""
    bob = world.login("bob")
    put(bob, "<v:vCard><v:FN>Bob</v:FN></v:vCard>", declarations=" xmlns:v='vcard-temp'")
    assert "type='result'><vCard xmlns='vcard-temp'><FN>Bob</FN></vCard></iq>" in ask(bob)


def test_the_owner_hears_that_there_is_none(world: World) -> None:
    """§3.1."""
    assert "<item-not-found" in ask(world.login("bob"))


def test_no_card_looks_like_no_account(world: World) -> None:
    """§3.3."""
    alice = world.login("alice")
    real, made_up = ask(alice, "bob@example.net"), ask(alice, "nobody@example.net")
    assert "<service-unavailable" in real
    assert real == made_up.replace("nobody", "bob")


def test_nobody_else_may_write_it(world: World) -> None:
    """§3.2."""
    alice = world.login("alice")
    assert "type='error'" in put(alice, CARD, "bob@example.net")
    assert "<service-unavailable" in ask(alice, "bob@example.net")


@pytest.mark.parametrize("to", ["", "guest@example.net"])
def test_a_guest_has_no_card(world: World, to: str) -> None:
    """XEP-0175 §4: nothing is stored of them, in whatever way they ask for it."""
    guest = Client()
    guest.session = run(world.host.bind("guest", "", guest, guest=True))
    assert "<not-allowed" in put(guest, CARD, to)


def test_a_card_that_is_too_big(world: World) -> None:
    """security.md 11; the one before stays."""
    bob = world.login("bob")
    put(bob, CARD)
    assert "<policy-violation" in put(bob, f"<vCard xmlns='vcard-temp'><DESC>{'a' * 1000}</DESC></vCard>")
    assert CARD in ask(bob)
