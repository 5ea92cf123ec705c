"""RFC 3921 §3: session establishment."""

from __future__ import annotations

import pytest

from tests.world import World
from vrxmpp.modules.session_request import SessionRequest


@pytest.mark.parametrize("to", ["", " to='example.net'"])
def test_the_request_is_answered(to: str) -> None:
    world = World(SessionRequest())
    world.add("alice")
    alice = world.login("alice")
    alice.says(f"<iq type='set' id='1'{to}><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>")
    [answer] = alice.hears()
    assert "id='1' type='result'/>" in answer


def test_it_is_announced_as_optional() -> None:
    assert (
        SessionRequest().stream_feature()
        == b"<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>"
    )
