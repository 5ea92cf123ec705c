"""XEP-0030: Service Discovery."""

from __future__ import annotations

import pytest

from tests.world import Client, World, run
from vrxmpp import ns
from vrxmpp.core.info import Item
from vrxmpp.core.module import Module
from vrxmpp.jid import Jid
from vrxmpp.modules.disco import ServiceDiscovery
from vrxmpp.modules.presence import Presence


class Feature(Module):
    features = ("urn:example:domain",)
    account_features = ("urn:example:account",)


@pytest.fixture
def world() -> World:
    services = (Item(Jid.parse("rooms.example.net"), name="Rooms"),)
    world = World(ServiceDiscovery(lambda: services), Feature(), Presence())
    world.add("alice", "bob", "mallory")
    world.befriend("alice", "bob")
    return world


def ask(client: Client, namespace: str, to: str = "", node: str = "") -> str:
    to = f" to='{to}'" if to else ""
    node = f" node='{node}'" if node else ""
    client.hears()
    client.says(f"<iq type='get' id='1'{to}><query xmlns='{namespace}'{node}/></iq>")
    [answer] = client.hears()
    return answer


def info(client: Client, to: str = "", node: str = "") -> str:
    return ask(client, ns.DISCO_INFO, to, node)


def items(client: Client, to: str = "", node: str = "") -> str:
    return ask(client, ns.DISCO_ITEMS, to, node)


def test_the_domain_tells_what_it_is_and_what_its_modules_can_do(world: World) -> None:
    """§3.1."""
    answer = info(world.login("alice"), "example.net")
    assert "<identity category='server' type='im'/>" in answer
    for feature in (ns.DISCO_INFO, ns.DISCO_ITEMS, "urn:example:domain"):
        assert f"<feature var='{feature}'/>" in answer
    assert "urn:example:account" not in answer


@pytest.mark.parametrize("to", ["", "alice@example.net", "bob@example.net"])
def test_an_account_answers_its_owner_and_those_who_see_it(world: World, to: str) -> None:
    """§3.1, §8."""
    answer = info(world.login("alice"), to)
    assert "<identity category='account' type='registered'/>" in answer
    for feature in (ns.DISCO_INFO, ns.DISCO_ITEMS, "urn:example:account"):
        assert f"<feature var='{feature}'/>" in answer
    assert "urn:example:domain" not in answer


def test_a_guest_is_anonymous(world: World) -> None:
    """XEP-0175: the account lasts no longer than the session."""
    guest = Client()
    guest.session = run(world.host.bind("guest", "", guest, guest=True))
    assert "<identity category='account' type='anonymous'/>" in info(guest)


@pytest.mark.parametrize("node", ["", "anything"])
def test_a_stranger_cannot_tell_an_account_from_none(world: World, node: str) -> None:
    """§8 1: service-unavailable in both cases; 2: no items in both cases."""
    mallory = world.login("mallory")
    world.login("alice").says("<presence/>")
    for question, expected in ((info, "<service-unavailable"), (items, f"<query xmlns='{ns.DISCO_ITEMS}'")):
        real, made_up = (question(mallory, f"{name}@example.net", node) for name in ("alice", "nobody"))
        assert expected in real
        assert "<item " not in real
        assert real == made_up.replace("nobody", "alice")


def test_no_stranger_is_told_the_items_of_a_resource(world: World) -> None:
    """What is asked of a full address is not answered for it by the server."""
    mallory = world.login("mallory")
    for name in ("alice", "nobody"):
        assert "<service-unavailable" in items(mallory, f"{name}@example.net/x")


def test_the_domain_lists_its_services(world: World) -> None:
    """§4.1."""
    assert "><item jid='rooms.example.net' name='Rooms'/></query>" in items(world.login("alice"), "example.net")


def test_an_account_lists_its_available_resources(world: World) -> None:
    """§4.1: to those who see them; a session without presence is not available."""
    alice = world.login("alice", "balcony")
    alice.says("<presence/>")
    world.login("alice", "cellar")
    assert "><item jid='alice@example.net/balcony'/></query>" in items(world.login("bob"), "alice@example.net")


@pytest.mark.parametrize("question", [info, items])
@pytest.mark.parametrize("to", ["example.net", "alice@example.net"])
def test_an_unknown_node_is_not_found(world: World, to: str, question: object) -> None:
    """§7."""
    assert callable(question)
    assert "<item-not-found" in question(world.login("alice"), to, "no/such&amp;node")


def test_a_node_is_mirrored(world: World) -> None:
    """§3.2."""
    answer = items(world.login("mallory"), "alice@example.net", "a&amp;b")
    assert f"<query xmlns='{ns.DISCO_ITEMS}' node='a&amp;b'></query>" in answer


def test_features_are_told_once(world: World) -> None:
    """XEP-0115 §5.4: a doubled feature would make the answer ill-formed."""
    world.mount(Feature())
    assert info(world.login("alice"), "example.net").count("urn:example:domain") == 1
