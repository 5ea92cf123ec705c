"""XEP-0191: Blocking Command."""

from __future__ import annotations

import re

import pytest

from tests.world import Client, World, run
from vrxmpp import ns
from vrxmpp.core.router import Router
from vrxmpp.modules.blocking import Blocking
from vrxmpp.modules.offline import OfflineMessages
from vrxmpp.modules.ping import Ping
from vrxmpp.modules.presence import Presence
from vrxmpp.store.interfaces import StorageError

BLOCKED_ERROR = (
    "<error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
    "<blocked xmlns='urn:xmpp:blocking:errors'/></error>"
)
UNAVAILABLE_ERROR = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


def make_world(domain: str = "example.net", router: Router | None = None) -> World:
    world = World(Ping(), domain=domain, router=router)
    presence = Presence()
    world.mount(
        presence, Blocking(world.stores.blocklists, presence, limit=10), OfflineMessages(world.stores.offline, 10)
    )
    world.add("alice", "bob", "carol")
    world.befriend("alice", "bob")
    world.befriend("alice", "carol")
    return world


@pytest.fixture
def world() -> World:
    return make_world()


def command(name: str, *jids: str) -> str:
    items = "".join(f"<item jid='{jid}'/>" for jid in jids)
    return f"<{name} xmlns='{ns.BLOCKING}'>{items}</{name}>"


def change(client: Client, name: str, *jids: str) -> str:
    """Block or unblock; return the answer."""
    client.says(f"<iq type='set' id='c'>{command(name, *jids)}</iq>")
    [answer] = [heard for heard in client.hears() if " id='c'" in heard]
    return answer


def block(client: Client, *jids: str) -> None:
    assert "type='result'/>" in change(client, "block", *jids)


def unblock(client: Client, *jids: str) -> None:
    assert "type='result'/>" in change(client, "unblock", *jids)


def blocklist(client: Client) -> list[str]:
    client.says(f"<iq type='get' id='l'><blocklist xmlns='{ns.BLOCKING}'/></iq>")
    [answer] = [heard for heard in client.hears() if " id='l'" in heard]
    assert "<blocklist xmlns='urn:xmpp:blocking'>" in answer
    return re.findall("<item jid='([^']+)'/>", answer)


# -- the list


def test_the_list(world: World) -> None:
    """§3.2 to §3.5."""
    alice = world.login("alice")
    assert blocklist(alice) == []
    block(alice, "romeo@montague.net")
    block(alice, "Iago@Shakespeare.LIT", "romeo@montague.net", "iago@shakespeare.lit")
    assert blocklist(alice) == ["romeo@montague.net", "iago@shakespeare.lit"]
    unblock(alice, "romeo@montague.net", "never@blocked")
    assert blocklist(alice) == ["iago@shakespeare.lit"]
    unblock(alice)
    assert blocklist(alice) == []


def test_the_list_lasts(world: World) -> None:
    """§3.3: across sessions; it is in the store."""
    alice = world.login("alice")
    block(alice, "a@b", "c@d", "e@f")
    unblock(alice, "c@d")
    state = run(world.stores.accounts.wake("alice"))
    assert state is not None
    assert [jid.text for jid in state.blocked] == ["a@b", "e@f"]
    unblock(alice)
    state = run(world.stores.accounts.wake("alice"))
    assert state is not None
    assert state.blocked == ()


def test_changes_are_pushed_to_who_has_asked_for_the_list(world: World) -> None:
    """§3.3, §3.4, §3.5."""
    alice, other, silent = (world.login("alice", name) for name in ("one", "other", "silent"))
    bob = world.login("bob")
    for client in (alice, other, bob):
        blocklist(client)
    pushes = [command("block", "a@b", "c@d"), command("unblock", "c@d"), command("unblock")]
    block(alice, "a@b", "c@d")
    unblock(alice, "c@d")
    unblock(alice)
    heard = other.hears()
    assert [re.sub(" id='[^']+'", "", push) for push in heard] == [
        f"<iq to='alice@example.net/other' type='set'>{push}</iq>" for push in pushes
    ]
    assert len({re.findall(" id='([^']+)'", push)[0] for push in heard}) == 3
    assert silent.hears() == bob.hears() == []


def test_who_makes_the_change_is_pushed_too(world: World) -> None:
    """§3.3: to all resources that have requested the list."""
    alice = world.login("alice")
    blocklist(alice)
    alice.says(f"<iq type='set' id='1'>{command('block', 'a@b')}</iq>")
    push, result = alice.hears()
    assert command("block", "a@b") in push
    assert "id='1' type='result'/>" in result


def test_who_has_left_listens_no_more(world: World) -> None:
    """A new session of the same name has not asked."""
    blocklist(alice := world.login("alice"))
    alice.leaves()
    alice = world.login("alice")
    alice.says(f"<iq type='set' id='1'>{command('block', 'a@b')}</iq>")
    assert len(alice.hears()) == 1


def test_a_reload_silences_nobody(world: World) -> None:
    """§3.3: modules are made anew by a reload, under sessions that have asked for the list already."""
    alice = world.login("alice")
    blocklist(alice)
    world.host.clear()
    presence = Presence()
    world.mount(presence, Blocking(world.stores.blocklists, presence, limit=10))
    alice.says(f"<iq type='set' id='c'>{command('block', 'a@b')}</iq>")
    assert any(command("block", "a@b") in heard for heard in alice.hears())


@pytest.mark.parametrize(
    ("payload", "condition"),
    [
        (command("block"), "bad-request"),
        (f"<block xmlns='{ns.BLOCKING}'><item/></block>", "bad-request"),
        (f"<unblock xmlns='{ns.BLOCKING}'><other jid='a@b'/></unblock>", "bad-request"),
        (command("block", "a@b", "c@d@e"), "jid-malformed"),
        (command("unblock", "@"), "jid-malformed"),
    ],
)
def test_bad_requests_change_nothing(world: World, payload: str, condition: str) -> None:
    """§3.3."""
    alice = world.login("alice")
    block(alice, "x@y")
    alice.says(f"<iq type='set' id='1'>{payload}</iq>")
    assert f"<{condition}" in alice.hears()[0]
    assert blocklist(alice) == ["x@y"]


def test_the_list_is_bounded(world: World) -> None:
    """security.md 9, 11."""
    alice = world.login("alice")
    block(alice, *(f"{number}@a" for number in range(9)))
    block(alice, "9@a", "9@a", "9@A")
    assert "<policy-violation" in change(alice, "block", "x@y")
    block(alice, "3@a")
    assert len(blocklist(alice)) == 10


def test_a_failing_store_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    alice = world.login("alice")
    with monkeypatch.context() as patch:
        patch.setattr(world.stores.blocklists, "add", fail)
        assert "type='error'" in change(alice, "block", "a@b")
    assert blocklist(alice) == []


def test_nobody_else_may_see_or_change_it(world: World) -> None:
    alice, bob = world.login("alice"), world.login("bob")
    block(alice, "a@b")
    bob.says(f"<iq type='get' id='1' to='alice@example.net'>{command('blocklist')}</iq>")
    bob.says(f"<iq type='set' id='1' to='alice@example.net'>{command('unblock')}</iq>")
    assert all(UNAVAILABLE_ERROR in answer for answer in bob.hears())
    assert blocklist(alice) == ["a@b"]


# -- what comes from the blocked


def test_messages_of_the_blocked_are_refused(world: World) -> None:
    """§3.3: as from somebody offline; and nothing is kept for later."""
    alice, bob = world.login("alice"), world.login("bob")
    block(alice, "bob@example.net")
    for to in ("alice@example.net", "alice@example.net/here"):
        bob.says(f"<message type='chat' to='{to}'><body>a</body></message>")
        assert UNAVAILABLE_ERROR in bob.hears()[0]
    bob.says("<message type='error' to='alice@example.net/here'/>")
    alice.says("<presence/>")
    assert bob.hears() == []
    assert [heard for heard in alice.hears() if "<message" in heard] == []


def test_requests_of_the_blocked_are_refused(world: World) -> None:
    """§3.3: results and errors are dropped."""
    alice, bob = world.login("alice"), world.login("bob")
    block(alice, "bob@example.net")
    for type in ("get", "set", "result", "error"):
        bob.says(f"<iq type='{type}' id='1' to='alice@example.net/here'><x xmlns='y'/></iq>")
    assert len(heard := bob.hears()) == 2
    assert all(UNAVAILABLE_ERROR in answer for answer in heard)
    assert alice.hears() == []


@pytest.mark.parametrize("type", ["", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe"])
def test_presence_of_the_blocked_is_dropped(world: World, type: str) -> None:
    """§3.3: without an answer."""
    alice, bob = world.login("alice"), world.login("bob")
    alice.says("<presence/>")
    block(alice, "bob@example.net")
    alice.hears()
    bob.hears()
    bob.says(f"<presence type='{type}' to='alice@example.net'/>" if type else "<presence to='alice@example.net'/>")
    assert alice.hears() == bob.hears() == []


def test_the_block_holds_while_the_user_is_away(world: World) -> None:
    """§3.3: also where the account has been read anew."""
    alice, bob = world.login("alice"), world.login("bob")
    block(alice, "bob@example.net")
    alice.leaves()
    world.host.awake.pop("alice")
    bob.says("<message type='chat' to='alice@example.net'><body>a</body></message>")
    assert UNAVAILABLE_ERROR in bob.hears()[0]


def test_unblocked_means_heard_again(world: World) -> None:
    """§3.4."""
    alice, bob = world.login("alice"), world.login("bob")
    block(alice, "bob@example.net")
    unblock(alice, "bob@example.net")
    bob.says("<message type='chat' to='alice@example.net/here'><body>a</body></message>")
    assert len(alice.hears()) == 1
    assert bob.hears() == []


@pytest.mark.parametrize(
    ("item", "sender", "blocked"),
    [
        ("bob@other.net/here", "bob@other.net/here", True),
        ("bob@other.net/here", "bob@other.net/there", False),
        ("bob@other.net", "bob@other.net/here", True),
        ("bob@other.net", "carol@other.net/here", False),
        ("other.net/here", "bob@other.net/here", False),
        ("other.net", "bob@other.net/here", True),
        ("net", "bob@other.net/here", False),
    ],
)
def test_matching(world: World, item: str, sender: str, blocked: bool) -> None:
    """§6; other.net is another domain of the same server."""
    other = make_world("other.net", world.router)
    alice = world.login("alice")
    block(alice, item)
    local, _, rest = sender.partition("@")
    bob = other.login(local, rest.partition("/")[2])
    bob.says("<message type='chat' to='alice@example.net/here'><body>a</body></message>")
    assert (alice.hears() == []) is blocked
    assert (bob.hears() != []) is blocked


# -- what goes to the blocked


@pytest.mark.parametrize(
    "stanza",
    [
        "<message to='bob@example.net'><body>a</body></message>",
        "<iq type='get' id='1' to='bob@example.net/here'><x xmlns='y'/></iq>",
        "<presence to='bob@example.net'/>",
        "<presence type='subscribe' to='bob@example.net'/>",
    ],
)
def test_nothing_goes_to_the_blocked(world: World, stanza: str) -> None:
    """§3.3."""
    alice, bob = world.login("alice"), world.login("bob")
    block(alice, "bob@example.net")
    alice.says(stanza)
    [answer] = alice.hears()
    assert BLOCKED_ERROR in answer
    assert bob.hears() == []


def test_the_contact_may_not_know(world: World) -> None:
    """Blocking is one-sided: the blocked may send to others, and the user too."""
    alice, bob, carol = world.login("alice"), world.login("bob"), world.login("carol")
    block(alice, "bob@example.net")
    alice.says("<message to='carol@example.net/here'><body>a</body></message>")
    bob.says("<message to='carol@example.net/here'><body>b</body></message>")
    assert len(carol.hears()) == 2
    assert alice.hears() == bob.hears() == []


# -- the own address and the own server


def test_nobody_is_cut_off_from_themselves(world: World) -> None:
    """§5: one resource is never blocked from another, whatever is in the list."""
    alice, other = world.login("alice"), world.login("alice", "other")
    block(alice, "alice@example.net", "alice@example.net/other", "example.net")
    alice.says("<message to='alice@example.net/other'><body>a</body></message>")
    assert len(other.hears()) == 1
    assert alice.hears() == []


def test_nobody_is_cut_off_from_the_server(world: World) -> None:
    """The server's answers still come, and the list can still be emptied."""
    alice, bob = world.login("alice"), world.login("bob")
    block(alice, "example.net")
    alice.says("<iq type='get' id='1' to='example.net'><ping xmlns='urn:xmpp:ping'/></iq>")
    alice.says("<iq type='get' id='1' to='alice@example.net'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert all("type='result'/>" in answer for answer in alice.hears())
    bob.says("<message to='alice@example.net/here'><body>a</body></message>")
    assert UNAVAILABLE_ERROR in bob.hears()[0]
    unblock(alice, "example.net")
    bob.says("<message to='alice@example.net/here'><body>a</body></message>")
    assert len(alice.hears()) == 1


# -- presence


def test_the_blocked_see_the_user_go_and_come(world: World) -> None:
    """§3.3, §3.4: those who are entitled to the user's presence."""
    alice, bob, carol = world.login("alice"), world.login("bob"), world.login("carol")
    for client in (bob, carol, alice):
        client.says("<presence/>")
    bob.hears()
    carol.hears()
    block(alice, "bob@example.net")
    assert bob.hears() == ["<presence to='bob@example.net' from='alice@example.net/here' type='unavailable'/>"]
    alice.says("<presence><show>away</show></presence>")
    assert bob.hears() == []
    unblock(alice, "bob@example.net")
    [presence] = bob.hears()
    assert "<show>away</show>" in presence
    assert "unavailable" not in "".join(carol.hears())


def test_a_domain_is_blocked_with_all_who_are_there(world: World) -> None:
    alice, bob, carol = world.login("alice"), world.login("bob"), world.login("carol")
    for client in (bob, carol, alice):
        client.says("<presence/>")
    bob.hears()
    carol.hears()
    block(alice, "bob@example.net")
    bob.hears()
    block(alice, "example.net")
    assert "type='unavailable'" in carol.hears()[0]
    unblock(alice, "example.net")
    assert len(carol.hears()) == 1
    assert "<presence" not in "".join(heard for heard in bob.hears() if "unavailable" not in heard)
    unblock(alice)
    [presence] = bob.hears()
    assert "unavailable" not in presence


def test_nobody_sees_more_than_has_changed(world: World) -> None:
    """Who is blocked already does not see the user go again, nor come who was not blocked."""
    alice, bob, carol = world.login("alice"), world.login("bob"), world.login("carol")
    for client in (bob, carol, alice):
        client.says("<presence/>")
    block(alice, "bob@example.net")
    bob.hears()
    carol.hears()
    block(alice, "bob@example.net")
    unblock(alice, "carol@example.net")
    assert bob.hears() == carol.hears() == []
    block(alice, "example.net", "carol@example.net")
    assert bob.hears() == []
    assert len(carol.hears()) == 1
