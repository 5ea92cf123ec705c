"""RFC 6121 §4: who sees whom come, change and go."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.contacts import GET, come, give, item, make
from tests.world import Client, World, run
from vrxmpp.core.module import Module, stage
from vrxmpp.core.peers import Presences
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.jid import Jid
from vrxmpp.modules.presence import Presence
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import LastActivity, RosterItem, Subscription
from vrxmpp.waiting import Waiting

NONE, TO, FROM, BOTH = Subscription.NONE, Subscription.TO, Subscription.FROM, Subscription.BOTH
ALICE = Jid.parse("alice@example.net")
AWAY = Jid.parse("bob@elsewhere.example")
HERE = "alice@example.net/here"


def pair(mine: Subscription, theirs: Subscription) -> World:
    """Alice and Bob, with what each has of the other."""
    world = make("alice", "bob", "carol")
    give(world, "alice", RosterItem(Jid.parse("bob@example.net"), subscription=mine))
    give(world, "bob", RosterItem(ALICE, subscription=theirs))
    return world


def far(world: World) -> list[str]:
    """Return what has gone to other servers since it was last asked."""
    sent = [each.raw.decode() for each in world.remote.sent]
    world.remote.sent.clear()
    return sent


def from_far(world: World, xml_type: str, *, to: Jid = ALICE, sender: Jid = AWAY, inner: bytes = b"") -> None:
    waiting = world.router.route(Stanza("presence", to=to, sender=sender, type=xml_type, id="far", inner=inner))
    assert waiting is None or run(waiting) is None


def quiet(*clients: Client) -> None:
    for client in clients:
        client.hears()


# -- §4.2: initial presence; §4.4: updates


@pytest.mark.parametrize(("theirs", "sees"), [(FROM, True), (BOTH, True), (TO, False), (NONE, False)])
def test_presence_goes_to_those_who_are_subscribed(theirs: Subscription, sees: bool) -> None:
    """§4.2.2, §4.4.2; to all of their available resources (§4.2.3), whatever their priority."""
    world = pair(theirs, NONE)
    desk, phone, connected = come(world, "bob", "desk"), world.login("bob", "phone"), world.login("bob", "connected")
    phone.says("<presence><priority>-5</priority></presence>")
    connected.says(GET)
    quiet(desk, phone, connected)
    alice = world.login("alice")
    for change in ("<presence id='1'/>", "<presence id='2' xml:lang='en'><show>away</show></presence>"):
        alice.says(change)
        seen = change.replace("<presence", f"<presence to='bob@example.net' from='{HERE}'")
        for client in (desk, phone):
            assert client.hears() == ([seen] if sees else [])
    assert connected.hears() == []


def test_presence_goes_to_other_servers() -> None:
    """§4.2.2; a contact who only is asked about is probed (§4.3.1)."""
    world = make("alice")
    world.remote.reachable = True
    for name, subscription in (("a", NONE), ("b", TO), ("c", FROM), ("d", BOTH)):
        give(world, "alice", RosterItem(Jid.parse(f"{name}@elsewhere.example"), subscription=subscription))
    alice = world.login("alice")
    alice.says("<presence/>")
    assert far(world) == [
        f"<presence to='c@elsewhere.example' from='{HERE}'/>",
        f"<presence to='d@elsewhere.example' from='{HERE}'/>",
        "<presence to='b@elsewhere.example' from='alice@example.net' type='probe'/>",
        "<presence to='d@elsewhere.example' from='alice@example.net' type='probe'/>",
    ]
    alice.says("<presence><show>away</show></presence>")
    assert far(world) == [
        f"<presence to='{name}@elsewhere.example' from='{HERE}'><show>away</show></presence>" for name in "cd"
    ]


def test_presence_reaches_another_domain_of_the_same_server() -> None:
    world = make("alice")
    other = make("bob", domain="example.org", router=world.router)
    give(world, "alice", RosterItem(Jid.parse("bob@example.org"), subscription=BOTH))
    give(other, "bob", RosterItem(ALICE, subscription=BOTH))
    bob = come(other, "bob")
    alice = world.login("alice")
    alice.says("<presence/>")
    assert bob.hears() == [f"<presence to='bob@example.org' from='{HERE}'/>"]
    assert alice.hears()[1:] == [f"<presence to='{HERE}' from='bob@example.org/here'/>"]


def test_presence_comes_back_to_all_of_the_user_s_own_resources() -> None:
    """§4.2.2, §4.4.2: "including the resource that generated the presence notification in the first place"."""
    world = make("alice")
    here, there, connected = world.login("alice"), world.login("alice", "there"), world.login("alice", "connected")
    here.says("<presence/>")
    assert here.hears() == [f"<presence to='alice@example.net' from='{HERE}'/>"]
    there.says("<presence/>")
    arrival = "<presence to='alice@example.net' from='alice@example.net/there'/>"
    assert here.hears() == [arrival]
    assert there.hears() == [arrival, f"<presence to='alice@example.net/there' from='{HERE}'/>"]
    assert connected.hears() == []


@pytest.mark.parametrize(
    ("mine", "theirs", "sees"), [(TO, FROM, True), (BOTH, BOTH, True), (FROM, TO, False), (NONE, NONE, False)]
)
def test_a_newcomer_sees_who_is_there(mine: Subscription, theirs: Subscription, sees: bool) -> None:
    """§4.2.2, §4.3.1: without probes, as the contact is in the same house; and once, not at every update."""
    world = pair(mine, theirs)
    desk, phone = come(world, "bob", "desk"), come(world, "bob", "phone")
    phone.says("<presence id='p'><show>away</show></presence>")
    quiet(desk, phone)
    alice = world.login("alice")
    alice.says("<presence/>")
    expected = [
        f"<presence to='{HERE}' from='bob@example.net/desk'/>",
        f"<presence to='{HERE}' from='bob@example.net/phone' id='p'><show>away</show></presence>",
    ]
    assert alice.hears()[1:] == (expected if sees else [])
    alice.says("<presence><show>dnd</show></presence>")
    assert len(alice.hears()) == 1


def test_only_the_newcomer_is_told_who_is_there() -> None:
    world = pair(BOTH, BOTH)
    bob, here = come(world, "bob"), come(world, "alice")
    quiet(bob)
    there = world.login("alice", "there")
    there.says("<presence/>")
    assert len(there.hears()) == 3
    assert here.hears() == ["<presence to='alice@example.net' from='alice@example.net/there'/>"]


def test_a_contact_who_does_not_know_of_the_subscription_ends_it() -> None:
    """§4.3.2 rule 1: what a probe would have brought to light."""
    world = pair(TO, NONE)
    bob = come(world, "bob")
    alice = world.login("alice")
    alice.says("<presence/>")
    assert item(world, "alice", "bob@example.net") == RosterItem(Jid.parse("bob@example.net"))
    assert bob.hears() == []


def test_nobody_wakes_for_presence() -> None:
    """§8.5.2.2.2; an account that sleeps has nobody to show it to."""
    world = pair(BOTH, BOTH)
    alice = world.login("alice")
    alice.says("<presence/><presence to='bob@example.net/desk'/><presence type='unavailable'/>")
    assert list(world.host.awake) == ["alice"]
    assert len(alice.hears()) == 2


@pytest.mark.parametrize(
    ("written", "priority"),
    [
        ("", 0),
        ("<priority>5</priority>", 5),
        ("<priority> +127\n</priority>", 127),
        ("<priority>-128</priority>", -128),
        ("<priority xml:lang='en'>007</priority>", 7),
        ("<x xmlns='urn:x'><priority>9</priority></x>", 0),
        ("<status>My priority</status><priority>4</priority>", 4),
        ("<x:priority xmlns:x='jabber:client'>3</x:priority><x xmlns='urn:x'><priority>9</priority></x>", 3),
        ("<priority>&#49;2</priority>", 12),
        ("<![CDATA[<priority>9</priority>]]><priority>1<![CDATA[0]]></priority>", 10),
    ],
)
def test_priorities(written: str, priority: int) -> None:
    """§4.7.2.3."""
    alice = make("alice").login("alice")
    alice.says(f"<presence>{written}</presence>")
    assert alice.session.priority == priority
    assert alice.session.account.present == (alice.session,)


@pytest.mark.parametrize(
    "written",
    [
        "<priority/>",
        "<priority>128</priority>",
        "<priority>-129</priority>",
        "<priority>99999999999999999999</priority>",
        "<priority>1.0</priority>",
        "<priority>high</priority>",
        "<priority>\N{ARABIC-INDIC DIGIT ONE}</priority>",
        "<priority><b>1</b></priority>",
        "<priority/><x xmlns='urn:x'>priority</x>",
        "<priority>1</priority><priority>1</priority>",
    ],
)
def test_a_priority_that_is_none_is_refused(written: str) -> None:
    """§4.7.2.3; the presence before stays."""
    world = pair(BOTH, BOTH)
    alice, bob = come(world, "alice"), come(world, "bob")
    quiet(alice)
    alice.says(f"<presence id='1'>{written}</presence>")
    [heard] = alice.hears()
    assert heard.startswith(f"<presence to='{HERE}' id='1' type='error'>")
    assert "<bad-request " in heard
    assert bob.hears() == []
    assert alice.session.priority == 0


def test_presence_of_an_unknown_type_is_refused() -> None:
    """§4.7.1."""
    world = pair(BOTH, BOTH)
    alice, bob = come(world, "alice"), come(world, "bob")
    quiet(alice)
    alice.says("<presence type='available'/>")
    assert "<bad-request " in alice.hears()[0]
    assert bob.hears() == []


class Listener(Module):
    """Writes down who can take messages from now on; the work it leaves behind says when it is done."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def became_available(self, session: Session) -> Waiting | None:
        self.events.append(f"told {session.priority}")
        return self._work()

    async def _work(self) -> None:
        self.events.append("worked")


def test_modules_learn_when_a_session_can_take_messages() -> None:
    """§8.5.2.1.1: from initial presence on, or from a priority that is negative no longer."""
    world = make("alice")
    first, second = Listener(), Listener()
    world.mount(first, second)
    alice = world.login("alice")
    alice.says("<presence><priority>-1</priority></presence>")
    assert first.events == []
    alice.says("<presence/>")
    alice.says("<presence><priority>7</priority></presence>")
    assert first.events == second.events == ["told 0", "worked"]
    alice.says("<presence><priority>-1</priority></presence><presence><priority>3</priority></presence>")
    alice.says("<presence type='unavailable'/><presence/>")
    assert first.events == ["told 0", "worked", "told 3", "worked", "told 0", "worked"]


# -- §4.3: probes


def test_a_probe_brings_the_last_presence_of_each_resource() -> None:
    """§4.3.2 rule 4, §4.3.2.1: with the id of the presence."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, subscription=FROM))
    here, there = come(world, "alice"), come(world, "alice", "there")
    here.says("<presence id='one'><show>dnd</show></presence>")
    there.says("<presence><priority>-1</priority></presence>")
    quiet(here, there)
    far(world)
    from_far(world, "probe")
    assert far(world) == [
        f"<presence to='bob@elsewhere.example' from='{HERE}' id='one'><show>dnd</show></presence>",
        "<presence to='bob@elsewhere.example' from='alice@example.net/there'><priority>-1</priority></presence>",
    ]
    assert here.hears() == there.hears() == []


def test_a_probe_of_somebody_who_is_away_says_since_when() -> None:
    """§4.3.2 rule 3, §4.3.2.1: with the id of the probe."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, subscription=BOTH))
    from_far(world, "probe")
    start = "<presence to='bob@elsewhere.example' from='alice@example.net' id='far' type='unavailable'"
    assert far(world) == [f"{start}/>"]
    world.host.awake["alice"].last_activity = LastActivity(datetime(2026, 1, 1, 12, 30, tzinfo=UTC), "secret")
    from_far(world, "probe")
    assert far(world) == [f"{start}><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T12:30:00Z'/></presence>"]


@pytest.mark.parametrize("to", ["alice@example.net", HERE, "alice@example.net/gone", "nobody@example.net"])
@pytest.mark.parametrize("subscription", [NONE, TO])
def test_who_is_not_subscribed_learns_nothing(to: str, subscription: Subscription) -> None:
    """§4.3.2 rule 1, §8.5.1: present, absent or not existing look the same."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, subscription=subscription, approved=True))
    come(world, "alice")
    far(world)
    from_far(world, "probe", to=Jid.parse(to), sender=AWAY.with_resource("desk"))
    bare = Jid.parse(to).bare
    assert far(world) == [f"<presence to='bob@elsewhere.example' from='{bare}' id='far' type='unsubscribed'/>"]
    kept = item(world, "alice", AWAY.text)
    assert kept is not None
    assert kept.approved


def test_a_probe_of_one_resource_brings_mere_presence_of_that_one() -> None:
    """§4.3.2, last paragraph but one."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, subscription=BOTH))
    come(world, "alice").says("<presence><show>away</show></presence>")
    connected = world.login("alice", "connected")
    far(world)
    from_far(world, "probe", to=Jid.parse(HERE))
    assert far(world) == [f"<presence to='bob@elsewhere.example' from='{HERE}'/>"]
    for absent in (connected.session.jid, Jid.parse("alice@example.net/gone")):
        from_far(world, "probe", to=absent)
        assert far(world) == [f"<presence to='bob@elsewhere.example' from='{absent}' id='far' type='unavailable'/>"]


def test_a_client_s_own_probe_is_answered() -> None:
    """§4.3: it "MUST NOT use its receipt [...] as the sole cause for returning a stanza or stream error"."""
    world = pair(BOTH, BOTH)
    alice, bob = come(world, "alice"), come(world, "bob")
    quiet(alice, bob)
    alice.says("<presence type='probe' to='bob@example.net'/><presence type='probe'/>")
    assert alice.hears() == [f"<presence to='{HERE}' from='bob@example.net/here'/>"]
    assert bob.hears() == []


# -- §4.5: going


def test_who_goes_tells_all_who_saw_them() -> None:
    """§4.5.2: the full stanza; to the resource itself too."""
    world = pair(BOTH, BOTH)
    alice, there, bob = come(world, "alice"), come(world, "alice", "there"), come(world, "bob")
    quiet(alice, there, bob)
    alice.says("<presence type='unavailable'><status>Gone</status></presence>")
    gone = f" from='{HERE}' type='unavailable'><status>Gone</status></presence>"
    assert bob.hears() == [f"<presence to='bob@example.net'{gone}"]
    assert there.hears() == alice.hears() == [f"<presence to='alice@example.net'{gone}"]
    assert alice.session.account.present == (there.session,)
    alice.leaves()
    assert bob.hears() == there.hears() == []


def test_who_is_cut_off_is_seen_to_go() -> None:
    """§4.5.2: "the server MUST generate the unavailable presence broadcast on the user's behalf"."""
    world = pair(BOTH, BOTH)
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, subscription=FROM))
    alice, there, bob = come(world, "alice"), come(world, "alice", "there"), come(world, "bob")
    quiet(alice, there, bob)
    far(world)
    alice.leaves()
    alice.leaves()
    gone = f"from='{HERE}' type='unavailable'/>"
    assert bob.hears() == [f"<presence to='bob@example.net' {gone}"]
    assert there.hears() == [f"<presence to='alice@example.net' {gone}"]
    assert far(world) == [f"<presence to='bob@elsewhere.example' {gone}"]
    assert alice.hears() == []


def test_a_resource_that_is_taken_over_goes_before_its_successor_comes() -> None:
    world = pair(BOTH, BOTH)
    bob, alice = come(world, "bob"), come(world, "alice")
    bob.hears()
    successor = world.login("alice")
    successor.says("<presence/>")
    assert alice.closed is not None
    assert bob.hears() == [
        f"<presence to='bob@example.net' from='{HERE}' type='unavailable'/>",
        f"<presence to='bob@example.net' from='{HERE}'/>",
    ]


def test_who_never_came_does_not_go() -> None:
    world = pair(BOTH, BOTH)
    bob, alice = come(world, "bob"), world.login("alice")
    alice.says("<presence type='unavailable'/>")
    alice.leaves()
    assert bob.hears() == alice.hears() == []


def test_presence_after_going_is_initial_presence_again() -> None:
    """§4.5.2, implementation note."""
    world = pair(BOTH, BOTH)
    bob, alice = come(world, "bob"), come(world, "alice")
    alice.says("<presence type='unavailable'/>")
    quiet(alice, bob)
    alice.says("<presence/>")
    assert len(alice.hears()) == 2
    assert len(bob.hears()) == 1


# -- §4.6: directed presence


def test_directed_presence_is_taken_back_at_the_end() -> None:
    """§4.6.3 rule 2: no updates, but the end."""
    world = make("alice", "carol")
    world.remote.reachable = True
    alice, carol = come(world, "alice"), come(world, "carol")
    alice.says("<presence to='carol@example.net'><show>chat</show></presence>")
    alice.says("<presence to='room@elsewhere.example/al'/>")
    assert carol.hears() == [f"<presence to='carol@example.net' from='{HERE}'><show>chat</show></presence>"]
    assert far(world) == [f"<presence to='room@elsewhere.example/al' from='{HERE}'/>"]
    alice.says("<presence><show>away</show></presence>")
    assert carol.hears() == far(world) == []
    alice.says("<presence type='unavailable'><status>Bye</status></presence>")
    bye = f"from='{HERE}' type='unavailable'><status>Bye</status></presence>"
    assert carol.hears() == [f"<presence to='carol@example.net' {bye}"]
    assert far(world) == [f"<presence to='room@elsewhere.example/al' {bye}"]
    alice.leaves()
    assert carol.hears() == far(world) == []


def test_directed_presence_without_a_broadcast_ends_with_the_session() -> None:
    """§4.6.3 rule 3: a subscriber who saw the session only so is remembered as well."""
    world = pair(BOTH, BOTH)
    bob, carol, alice = come(world, "bob"), come(world, "carol"), world.login("alice")
    alice.says("<presence to='carol@example.net'/><presence to='bob@example.net/here'/>")
    quiet(bob, carol)
    alice.leaves()
    assert carol.hears() == [f"<presence to='carol@example.net' from='{HERE}' type='unavailable'/>"]
    assert bob.hears() == [f"<presence to='bob@example.net/here' from='{HERE}' type='unavailable'/>"]


def test_directed_presence_that_is_answered_is_not_ended() -> None:
    world = make("alice", "carol")
    alice, carol = come(world, "alice"), come(world, "carol")
    alice.says("<presence to='carol@example.net/here'/>")
    carol.says("<presence to='alice@example.net/here'/>")
    carol.hears()
    alice.leaves()
    assert len(carol.hears()) == 1


def test_directed_presence_that_ends_is_the_end_for_one_only() -> None:
    """§4.6.3 rule 1: the presence session goes on for everybody else, and for later broadcasts."""
    world = pair(BOTH, BOTH)
    alice, bob, carol = come(world, "alice"), come(world, "bob"), come(world, "carol")
    quiet(alice, bob)
    alice.says(
        "<presence to='carol@example.net' type='unavailable'/><presence to='bob@example.net' type='unavailable'/>"
    )
    assert carol.hears() == [f"<presence to='carol@example.net' from='{HERE}' type='unavailable'/>"]
    assert bob.hears() == [f"<presence to='bob@example.net' from='{HERE}' type='unavailable'/>"]
    assert alice.hears() == []
    alice.says("<presence><show>away</show></presence>")
    assert len(bob.hears()) == 1


@pytest.mark.parametrize("first", [True, False])
def test_nobody_is_told_twice(first: bool) -> None:
    """§4.6.3 rule 1: who is subscribed hears of the end as a subscriber."""
    world = pair(BOTH, BOTH)
    bob, alice = come(world, "bob"), world.login("alice")
    directed, broadcast = "<presence to='bob@example.net/here'/>", "<presence/>"
    alice.says(f"{directed}{broadcast}" if first else f"{broadcast}{directed}")
    assert len(bob.hears()) == 2
    alice.leaves()
    assert bob.hears() == [f"<presence to='bob@example.net' from='{HERE}' type='unavailable'/>"]


def test_directed_presence_that_was_ended_is_not_ended_again() -> None:
    """§4.6.1: in either direction."""
    world = make("alice", "carol", "dave")
    alice, carol, dave = come(world, "alice"), come(world, "carol"), come(world, "dave")
    alice.says("<presence to='carol@example.net'/><presence to='dave@example.net/here'/>")
    alice.says("<presence to='carol@example.net' type='unavailable'/>")
    assert len(carol.hears()) == 2
    dave.says("<presence to='alice@example.net/here' type='unavailable'/>")
    quiet(dave)
    alice.leaves()
    assert carol.hears() == dave.hears() == []


def test_directed_presence_to_a_resource_reaches_it_alone() -> None:
    """§8.5.3.1, §8.5.3.2.2: one that is connected too; nobody where there is none of that name."""
    world = make("alice", "carol")
    alice, desk, connected = come(world, "alice"), come(world, "carol", "desk"), world.login("carol", "connected")
    alice.says("".join(f"<presence to='carol@example.net/{each}'/>" for each in ("desk", "connected", "gone")))
    assert len(desk.hears()) == len(connected.hears()) == 1
    assert len(alice.hears()) == 0


def test_directed_presence_to_more_than_can_be_remembered_is_refused() -> None:
    world = make("alice", "carol", "dave", directed=1)
    alice, carol, dave = come(world, "alice"), come(world, "carol"), come(world, "dave")
    alice.says("<presence to='carol@example.net'/><presence to='carol@example.net'/>")
    assert len(carol.hears()) == 2
    assert alice.hears() == []
    alice.says("<presence id='1' to='dave@example.net'/>")
    assert "<resource-constraint " in alice.hears()[0]
    assert dave.hears() == []


def test_who_got_directed_presence_may_probe_that_resource() -> None:
    """§4.6.6."""
    world = make("alice")
    world.remote.reachable = True
    room = Jid.parse("room@elsewhere.example/al")
    come(world, "alice", "other")
    alice = come(world, "alice")
    alice.says(f"<presence to='{room}'><show>away</show></presence>")
    far(world)
    from_far(world, "probe", to=Jid.parse(HERE), sender=room)
    assert far(world) == [f"<presence to='{room}' from='{HERE}'/>"]
    for to in ("alice@example.net", "alice@example.net/other"):
        from_far(world, "probe", to=Jid.parse(to), sender=room)
        assert far(world) == [f"<presence to='{room.bare}' from='alice@example.net' id='far' type='unsubscribed'/>"]


def test_directed_presence_to_an_own_resource() -> None:
    world = make("alice")
    alice, there = come(world, "alice"), come(world, "alice", "there")
    quiet(alice, there)
    alice.says("<presence to='alice@example.net/there'/>")
    assert len(there.hears()) == 1
    alice.leaves()
    assert len(there.hears()) == 1


# -- what arrives


def test_an_error_reaches_who_it_is_for() -> None:
    world = make("alice")
    alice, there = come(world, "alice"), come(world, "alice", "there")
    quiet(alice, there)
    from_far(world, "error", to=Jid.parse(HERE), inner=b"<error/>")
    assert len(alice.hears()) == 1
    assert there.hears() == []


def test_a_broadcast_that_cannot_be_sent_is_answered() -> None:
    world = make("alice")
    give(world, "alice", RosterItem(AWAY, subscription=FROM))
    alice = world.login("alice")
    alice.says("<presence/>")
    assert any("<remote-server-not-found " in each for each in alice.hears())
    alice.leaves()
    assert alice.hears() == []


# -- blocking (XEP-0191), from this side of it


def block(world: World, name: str, *blocked: str) -> None:
    account = run(world.host.wake(name))
    assert account is not None
    account.blocked = {each: Jid.parse(each) for each in blocked}


@pytest.mark.parametrize("blocked", ["bob@example.net", "example.net"])
def test_the_blocked_do_not_see_and_are_not_looked_at(blocked: str) -> None:
    """XEP-0191 §3.3, §5."""
    world = pair(BOTH, BOTH)
    give(world, "alice", RosterItem(Jid.parse("carol@example.net"), request=b"<presence/>", listed=False))
    bob = come(world, "bob")
    block(world, "alice", blocked, "carol@example.net")
    alice = world.login("alice")
    alice.says("<presence/><presence><show>away</show></presence>")
    assert len(alice.hears()) == 2
    alice.leaves()
    assert bob.hears() == []


def test_who_has_blocked_a_newcomer_is_not_seen() -> None:
    world = pair(BOTH, BOTH)
    come(world, "bob")
    block(world, "bob", "alice@example.net")
    alice = world.login("alice")
    alice.says("<presence/>")
    assert not any("bob@example.net/here" in each for each in alice.hears())


class Wall(Module):
    """Lets no presence in."""

    @stage(Stage.SCREEN, Side.RECIPIENT, "presence")
    def refuse(self, walk: Walk) -> bool:
        return True


def test_arriving_presence_is_screened() -> None:
    world = pair(BOTH, BOTH)
    alice, bob = come(world, "alice"), come(world, "bob")
    quiet(alice, bob)
    world.mount(Wall())
    alice.says("<presence/><presence to='bob@example.net/here'/><presence to='bob@example.net' type='probe'/>")
    assert bob.hears() == []
    assert alice.hears() == [f"<presence to='alice@example.net' from='{HERE}'/>"]


def presences(world: World) -> Presences:
    return next(module for module in world.host.modules if isinstance(module, Presence))


@pytest.mark.parametrize(
    ("contact", "told"),
    [
        ("bob@example.net", "bob@example.net"),
        ("example.net", "bob@example.net"),
        ("bob@example.net/here", "bob@example.net/here"),
        ("bob@example.net/gone", None),
        ("elsewhere.example", None),
    ],
)
def test_presence_is_withdrawn_and_renewed(contact: str, told: str | None) -> None:
    """XEP-0191 §3.3, §3.4, with the patterns of §5."""
    world = pair(BOTH, BOTH)
    alice, bob = come(world, "alice"), come(world, "bob")
    world.login("alice", "connected")
    alice.says("<presence><show>away</show></presence>")
    quiet(alice, bob)
    presences(world).withdraw(alice.session.account, Jid.parse(contact))
    assert bob.hears() == ([f"<presence to='{told}' from='{HERE}' type='unavailable'/>"] if told else [])
    presences(world).renew(alice.session.account, Jid.parse(contact))
    assert bob.hears() == ([f"<presence to='{told}' from='{HERE}'><show>away</show></presence>"] if told else [])


@pytest.mark.parametrize("subscription", [NONE, TO])
def test_who_saw_nothing_is_told_nothing(subscription: Subscription) -> None:
    world = pair(subscription, NONE)
    alice, bob = come(world, "alice"), come(world, "bob")
    presences(world).withdraw(alice.session.account, Jid.parse("bob@example.net"))
    presences(world).renew(alice.session.account, Jid.parse("bob@example.net"))
    assert bob.hears() == []


def test_directed_presence_is_withdrawn_once() -> None:
    """§4.6.1: "the user's server MUST handle the cancellation just as it normally would"."""
    world = pair(BOTH, BOTH)
    alice, bob, carol = world.login("alice"), come(world, "bob"), come(world, "carol")
    alice.says("<presence to='bob@example.net/here'/><presence to='carol@example.net/here'/><presence/>")
    quiet(alice, bob, carol)
    presences(world).withdraw(alice.session.account, Jid.parse("example.net"))
    assert bob.hears() == [f"<presence to='bob@example.net' from='{HERE}' type='unavailable'/>"]
    assert carol.hears() == [f"<presence to='carol@example.net/here' from='{HERE}' type='unavailable'/>"]
    block(world, "alice", "example.net")
    alice.leaves()
    assert bob.hears() == carol.hears() == []


def test_what_was_withdrawn_from_one_is_not_withdrawn_with_its_domain_again() -> None:
    world = pair(BOTH, BOTH)
    alice, bob = come(world, "alice"), come(world, "bob")
    block(world, "alice", "bob@example.net")
    presences(world).withdraw(alice.session.account, Jid.parse("example.net"))
    assert bob.hears() == []


# -- what broadcasting costs


def test_a_broadcast_writes_a_presence_once_and_parses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many see it: the hot path of presence."""
    world = make("alice", *(f"contact{number}" for number in range(20)))
    for number in range(20):
        give(world, "alice", RosterItem(Jid.parse(f"contact{number}@example.net"), subscription=FROM))
    clients = [come(world, f"contact{number}") for number in range(20)]
    alice = come(world, "alice")
    quiet(*clients)
    written, write = [], Stanza._write_tail

    def count(stanza: Stanza) -> bytes:
        written.append(stanza)
        return write(stanza)

    monkeypatch.setattr(Stanza, "_write_tail", count)
    monkeypatch.setattr(Stanza, "element", None)
    alice.says("<presence><show>away</show><priority>5</priority></presence>")
    assert [len(client.hears()) for client in clients] == [1] * 20
    assert len(written) == 1


def test_a_broadcast_builds_nothing_for_contacts_who_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    world = pair(BOTH, BOTH)
    give(world, "alice", RosterItem(Jid.parse("carol@example.net"), subscription=FROM))
    world.login("bob")
    alice, copies, copy = come(world, "alice"), [], Stanza._copy

    def count(stanza: Stanza) -> Stanza:
        copies.append(stanza)
        return copy(stanza)

    monkeypatch.setattr(Stanza, "_copy", count)
    alice.says("<presence/>")
    assert len(copies) == 1
