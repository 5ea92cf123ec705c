"""XEP-0115: Entity Capabilities."""

from __future__ import annotations

import re

from tests.world import World
from vrxmpp import ns
from vrxmpp.core.info import Identity, Info
from vrxmpp.dom import Field, Form
from vrxmpp.modules.caps import EntityCapabilities, verification_string
from vrxmpp.modules.disco import ServiceDiscovery
from vrxmpp.modules.ping import Ping

# Out of order, as nothing may depend on it.
FEATURES = (
    "http://jabber.org/protocol/muc",
    "http://jabber.org/protocol/disco#items",
    "http://jabber.org/protocol/caps",
    "http://jabber.org/protocol/disco#info",
)


def test_simple_generation_example() -> None:
    """§5.2."""
    info = Info((Identity("client", "pc", "Exodus 0.9.1"),), FEATURES)
    assert verification_string(info) == "QgayPKawpkPSDYmwT/WM94uAlu0="


def test_complex_generation_example() -> None:
    """§5.3: identities in two languages, and a form."""
    form = Form(
        "result",
        formNamespace="urn:xmpp:dataforms:softwareinfo",
        fields=[
            Field(var="software_version", value="0.11"),
            Field("text-multi", "ip_version", values=["ipv6", "ipv4"]),
            Field(var="os", value="Mac"),
            Field(var="os_version", value="10.5.1"),
            Field(var="software", value="Psi"),
        ],
    )
    identities = (Identity("client", "pc", "Psi 0.11", "en"), Identity("client", "pc", "\u03a8 0.11", "el"))
    assert verification_string(Info(identities, FEATURES, (form,))) == "q07IKJEyjvHSyhy//CH0CxmKi8w="


def test_the_stream_feature_stands_for_what_the_domain_tells() -> None:
    """§6.2, §6.3: the node answers with all of the domain's disco#info, and hashes to its own name."""
    world = World(ServiceDiscovery(), EntityCapabilities("https://example.org/?a&b"), Ping())
    world.add("alice")
    alice = world.login("alice")
    announced = world.host.modules[1].stream_feature().decode()
    match = re.fullmatch(
        f"<c xmlns='{ns.CAPS}' hash='sha-1' node='https://example.org/\\?a&amp;b' ver='(.+)'/>", announced
    )
    assert match is not None
    node = f"https://example.org/?a&amp;b#{match[1]}"
    alice.says(f"<iq type='get' id='1' to='example.net'><query xmlns='{ns.DISCO_INFO}' node='{node}'/></iq>")
    alice.says(f"<iq type='get' id='1' to='example.net'><query xmlns='{ns.DISCO_INFO}'/></iq>")
    by_node, plain = alice.hears()
    assert by_node.replace(f" node='{node}'", "") == plain
    features = tuple(re.findall("<feature var='([^']+)'/>", plain))
    assert ns.CAPS in features
    assert verification_string(Info((Identity("server", "im"),), features)) == match[1]


def test_another_ver_is_not_found() -> None:
    """§6.2: only the capabilities of now are known."""
    world = World(ServiceDiscovery(), EntityCapabilities("https://example.org"))
    world.add("alice")
    alice = world.login("alice")
    node = "https://example.org#q07IKJEyjvHSyhy//CH0CxmKi8w="
    alice.says(f"<iq type='get' id='1' to='example.net'><query xmlns='{ns.DISCO_INFO}' node='{node}'/></iq>")
    [answer] = alice.hears()
    assert "<item-not-found" in answer


def test_accounts_have_no_such_node() -> None:
    world = World(ServiceDiscovery(), EntityCapabilities("https://example.org"))
    world.add("alice")
    alice = world.login("alice")
    node = f"https://example.org#{verification_string(world.host.info)}"
    alice.says(f"<iq type='get' id='1'><query xmlns='{ns.DISCO_INFO}' node='{node}'/></iq>")
    [answer] = alice.hears()
    assert "<item-not-found" in answer
