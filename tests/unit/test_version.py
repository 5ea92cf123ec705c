"""XEP-0092: Software Version."""

from __future__ import annotations

from tests.world import World
from vrxmpp.modules.version import SoftwareVersion


def test_name_and_version_and_no_operating_system() -> None:
    """§2, §5."""
    world = World(SoftwareVersion("a <server>", "1.0"))
    world.add("alice")
    alice = world.login("alice")
    alice.says("<iq type='get' id='1' to='example.net'><query xmlns='jabber:iq:version'/></iq>")
    assert alice.hears() == [
        "<iq to='alice@example.net/here' from='example.net' id='1' type='result'>"
        "<query xmlns='jabber:iq:version'><name>a &lt;server&gt;</name><version>1.0</version></query></iq>"
    ]
