"""XEP-0202: Entity Time."""

from __future__ import annotations

from tests.world import World
from vrxmpp.modules.time import EntityTime


def test_the_time_is_told_in_utc() -> None:
    """§2, with the formats of XEP-0082."""
    world = World(EntityTime())
    world.add("alice")
    alice = world.login("alice")
    world.advance(61)
    alice.says("<iq type='get' id='1' to='example.net'><time xmlns='urn:xmpp:time'/></iq>")
    [answer] = alice.hears()
    assert "<time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2026-01-01T12:01:01Z</utc></time>" in answer
