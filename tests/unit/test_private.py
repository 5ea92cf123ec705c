"""XEP-0049: Private XML Storage."""

from __future__ import annotations

import pytest

from tests.world import Client, World
from vrxmpp.modules.private import PrivateXmlStorage

PREFERENCES = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>"


@pytest.fixture
def world() -> World:
    world = World()
    world.mount(PrivateXmlStorage(world.stores.private, limit=1000))
    world.add("alice", "bob")
    return world


def query(client: Client, type: str, content: str, to: str = "") -> str:
    to = f" to='{to}'" if to else ""
    client.says(f"<iq type='{type}' id='1'{to}><query xmlns='jabber:iq:private'>{content}</query></iq>")
    [answer] = client.hears()
    return answer


def test_what_is_put_comes_back(world: World) -> None:
    """§2.3, also to another resource."""
    assert "type='result'/>" in query(world.login("alice"), "set", PREFERENCES)
    answer = query(world.login("alice", "there"), "get", "<exodus xmlns='exodus:prefs'/>")
    assert f"type='result'><query xmlns='jabber:iq:private'>{PREFERENCES}</query></iq>" in answer


def test_what_was_never_put_is_empty(world: World) -> None:
    answer = query(world.login("alice"), "get", "<storage xmlns='storage:bookmarks'/>")
    assert "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>" in answer


def test_an_element_replaces_the_one_of_its_name(world: World) -> None:
    alice = world.login("alice")
    query(alice, "set", PREFERENCES)
    query(alice, "set", "<other xmlns='exodus:prefs'>1</other>")
    query(alice, "set", "<other xmlns='exodus:prefs'>2</other>")
    assert ">2</other>" in query(alice, "get", "<other xmlns='exodus:prefs'/>")
    assert PREFERENCES in query(alice, "get", "<exodus xmlns='exodus:prefs'/>")


@pytest.mark.parametrize("type", ["get", "set"])
@pytest.mark.parametrize("content", ["", PREFERENCES * 2])
def test_exactly_one_element(world: World, type: str, content: str) -> None:
    """§2.3, §3: "Bad Format", which is bad-request in RFC 6120."""
    assert "<bad-request" in query(world.login("alice"), type, content)


@pytest.mark.parametrize("type", ["get", "set"])
@pytest.mark.parametrize(
    "content",
    ["<exodus/>", "<exodus xmlns=''/>", "<x xmlns='http://jabber.org/protocol/x'/>", "<vCard xmlns='vcard-temp'/>"],
)
def test_reserved_namespaces(world: World, type: str, content: str) -> None:
    """§2.3; an element without a namespace of its own is in jabber:iq:private."""
    assert "<not-acceptable" in query(world.login("alice"), type, content)


@pytest.mark.parametrize("type", ["get", "set"])
def test_it_is_private(world: World, type: str) -> None:
    """§2.3, §4."""
    query(world.login("bob"), "set", PREFERENCES)
    answer = query(world.login("alice"), type, "<exodus xmlns='exodus:prefs'/>", "bob@example.net")
    assert "<service-unavailable" in answer
    assert "Hamlet" not in answer


def test_all_together_are_bounded(world: World) -> None:
    """security.md 11; what was there stays."""
    alice = world.login("alice")
    query(alice, "set", f"<a xmlns='b'>{'a' * 600}</a>")
    assert "<policy-violation" in query(alice, "set", f"<b xmlns='b'>{'b' * 600}</b>")
    assert "<policy-violation" in query(alice, "set", f"<a xmlns='b'>{'b' * 1200}</a>")
    assert "aaa</a>" in query(alice, "get", "<a xmlns='b'/>")
    assert "<b xmlns='b'/>" in query(alice, "get", "<b xmlns='b'/>")
