"""Messages that are encrypted end to end, where the policy is to refuse them: XEP-0384, 0373, 0027, 0380, 0364."""

from __future__ import annotations

import re

import pytest

from tests.world import Client, World, parse, run
from vrxmpp.jid import Jid
from vrxmpp.modules.encrypted import EncryptedMessages
from vrxmpp.modules.presence import Presence
from vrxmpp.modules.privilege import Grant, PrivilegedEntities
from vrxmpp.modules.roster import Roster
from vrxmpp.stanza import Stanza

FALLBACK = "<body>I sent you an encrypted message</body>"
ENCRYPTED = {
    "omemo 2": f"{FALLBACK}<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/></encrypted>",
    "omemo 1": "<encrypted xmlns='urn:xmpp:omemo:1'/>",
    "omemo as it is used": f"{FALLBACK}<encrypted xmlns='eu.siacs.conversations.axolotl'><payload/></encrypted>",
    "OX": "<openpgp xmlns='urn:xmpp:openpgp:0'>BASE64</openpgp>",
    "OpenPGP": f"{FALLBACK}<x xmlns='jabber:x:encrypted'>BASE64</x>",
    "EME": f"{FALLBACK}<encryption xmlns='urn:xmpp:eme:0' namespace='urn:example:unheard-of'/>",
    "with a prefix": "<o:encrypted xmlns:o='urn:xmpp:omemo:2'/>",
    "OTR": "<body>?OTR:AAMDJ+MVmSfjFZcAAAAAAQAAAAIAAADA1g5IjD1ZGLDVQEyCgCyn9hb.</body>",
    "OTR query": "<body>?OTRv23?</body>",
    "OTR behind a space": "<body>\n ?OTR:AAMD.</body>",
    "OTR in another language": "<body>Hello</body><body xml:lang='de'>?OTR:AAMD.</body>",
    "OTR as a character reference": "<body>&#63;OTR:AAMD.</body>",
    "OTR as a hexadecimal reference": "<body>?O&#x54;R:AAMD.</body>",
    "OTR in pieces": "<body><![CDATA[?O]]><![CDATA[TR:AAMD.]]></body>",
    "OTR with a prefix": "<c:body xmlns:c='jabber:client'>?OTR:AAMD.</c:body>",
}
OPEN = [
    "<body>Hello</body>",
    "<body>What is ?OTR, please</body>",
    "<body>&#63;</body>",
    "<body>Hello</body><subject>?OTR:</subject>",
    "<body>Hello</body><body xmlns='http://www.w3.org/1999/xhtml'>?OTR:</body>",
    "<encrypted xmlns='urn:example:lock'/>",
    "<x xmlns='jabber:x:data' type='form'/>",
    "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:omemo:2:devices'/></event>",
]


@pytest.fixture
def world() -> World:
    world = World(Presence(), EncryptedMessages())
    world.add("alice", "bob")
    world.remote.reachable = True
    return world


def come(world: World, name: str) -> Client:
    client = world.login(name)
    client.says("<presence/>")
    client.hears()
    return client


def message(inner: str, to: str = "bob@example.net", sender: str = "") -> str:
    sender = f" from='{sender}'" if sender else ""
    return f"<message to='{to}'{sender} type='chat' id='1'>{inner}</message>"


def arrive(world: World, raw: str) -> None:
    """Let a message come from outside."""
    [stanza] = parse(raw)
    assert isinstance(stanza, Stanza)
    waiting = world.router.route(stanza)
    if waiting is not None:
        run(waiting)


@pytest.mark.parametrize("inner", ENCRYPTED.values(), ids=ENCRYPTED)
@pytest.mark.parametrize("to", ["bob@example.net", "bob@example.net/here", "bob@elsewhere.example"])
def test_what_a_user_has_encrypted_goes_back(world: World, inner: str, to: str) -> None:
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.says(message(inner, to))
    [refusal] = alice.hears()
    assert re.search("<error type='modify'><not-acceptable [^>]*/><text [^>]*>encrypted messages are not acc", refusal)
    assert (bob.hears(), world.remote.sent) == ([], [])


@pytest.mark.parametrize("inner", ENCRYPTED.values(), ids=ENCRYPTED)
def test_what_others_have_encrypted_goes_back(world: World, inner: str) -> None:
    bob = come(world, "bob")
    arrive(world, message(inner, sender="alice@elsewhere.example/far"))
    [refusal] = world.remote.sent
    assert (refusal.type, str(refusal.to)) == ("error", "alice@elsewhere.example/far")
    assert b"<not-acceptable" in refusal.raw
    assert bob.hears() == []


@pytest.mark.parametrize("inner", OPEN)
def test_the_rest_passes(world: World, inner: str) -> None:
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.says(message(inner))
    arrive(world, message(inner, sender="alice@elsewhere.example/far"))
    assert len(bob.hears()) == 2
    assert (alice.hears(), world.remote.sent) == ([], [])


def test_an_error_that_carries_it_is_dropped(world: World) -> None:
    """It would be a way around; and no error is answered (RFC 6120 §8.3.1)."""
    bob = come(world, "bob")
    raw = message(ENCRYPTED["OX"], "bob@example.net/here", "alice@elsewhere.example").replace("'chat'", "'error'")
    arrive(world, raw)
    assert (bob.hears(), world.remote.sent) == ([], [])


def test_a_component_may_not_send_it_for_a_user(world: World) -> None:
    """XEP-0356 §5.3."""
    presence = Presence()
    gateway = "gate.example.net"
    module = PrivilegedEntities({gateway: Grant(message=True)}, Roster(world.stores.rosters, presence, 9), presence)
    other = World(EncryptedMessages(), module, domain="example.org", router=world.router)
    other.add("carol")
    bob = come(world, "bob")
    for inner, heard in ((OPEN[0], 1), (ENCRYPTED["omemo 2"], 0)):
        said = f"<message xmlns='jabber:client' from='carol@example.org' to='bob@example.net'>{inner}</message>"
        [stanza] = parse(
            f"<message from='{gateway}' to='example.org' id='1'><privilege xmlns='urn:xmpp:privilege:2'>"
            f"<forwarded xmlns='urn:xmpp:forward:0'>{said}</forwarded></privilege></message>"
        )
        assert isinstance(stanza, Stanza)
        waiting = module.take(stanza)
        assert waiting is not None
        run(waiting)
        assert len(bob.hears()) == heard
    [refusal] = world.remote.sent
    assert refusal.to == Jid.parse(gateway)
    assert b"<not-acceptable" in refusal.raw
