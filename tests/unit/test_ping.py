"""XEP-0199: XMPP Ping."""

from __future__ import annotations

import pytest

from tests.world import World
from vrxmpp.modules.ping import Ping

PING = "<ping xmlns='urn:xmpp:ping'/>"


@pytest.fixture
def world() -> World:
    world = World(Ping())
    world.add("alice", "bob")
    return world


def test_the_server_answers(world: World) -> None:
    """§4.2."""
    alice = world.login("alice")
    alice.says(f"<iq type='get' id='1' to='example.net'>{PING}</iq>")
    assert alice.hears() == ["<iq to='alice@example.net/here' from='example.net' id='1' type='result'/>"]


@pytest.mark.parametrize("to", ["", " to='alice@example.net'"])
def test_the_own_account_answers(world: World, to: str) -> None:
    """§4.2: the note on the bare address, and on none."""
    alice = world.login("alice")
    alice.says(f"<iq type='get' id='1'{to}>{PING}</iq>")
    assert len(heard := alice.hears()) == 1
    assert "type='result'" in heard[0]


def test_another_account_does_not_answer(world: World) -> None:
    """§8: a ping must not tell who is there."""
    alice = world.login("alice")
    world.login("bob")
    answers = []
    for name in ("bob", "nobody"):
        alice.says(f"<iq type='get' id='1' to='{name}@example.net'>{PING}</iq>")
        answers += [heard.replace(name, "x") for heard in alice.hears()]
    assert len(answers) == 2
    assert "service-unavailable" in answers[0]
    assert answers[0] == answers[1]
