"""RFC 6121 §3: asking for a subscription, granting it, and ending it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred

from tests.contacts import GET, come, give, item, make
from tests.world import Client, World, run
from vrxmpp.core.module import Module, stage
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.jid import Jid
from vrxmpp.modules.presence import Presence
from vrxmpp.modules.roster import Roster
from vrxmpp.modules.subscription import Subscriptions
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import AccountId, RosterItem, Rosters, StorageError, Subscription

ALICE, BOB = Jid.parse("alice@example.net"), Jid.parse("bob@example.net")
AWAY = Jid.parse("bob@elsewhere.example")
SUBSCRIBE = "<presence to='bob@example.net' type='subscribe'/>"
SUBSCRIBED = "<presence to='alice@example.net' type='subscribed'/>"
UNSUBSCRIBE = "<presence to='bob@example.net' type='unsubscribe'/>"
UNSUBSCRIBED = "<presence to='alice@example.net' type='unsubscribed'/>"


def sees(world: World, name: str, contact: str) -> str:
    """Return the subscription as the roster of ``name`` has it, with what is pending."""
    found = item(world, name, f"{contact}@example.net")
    if found is None:
        return "nothing"
    out, into = " asked" if found.asked else "", " requested" if found.request is not None else ""
    return f"{found.subscription}{out}{into}" if found.listed else f"unlisted{into}"


def from_away(world: World, type: str, *, to: Jid = ALICE, sender: Jid = AWAY, inner: bytes = b"") -> None:
    """Let another server's user send something."""
    waiting = world.router.route(Stanza("presence", to=to, sender=sender, type=type, id="far", inner=inner))
    if waiting is not None:
        run(waiting)


# -- §3.1.2 to §3.1.6: from a request to its approval


def test_a_request_goes_from_bare_address_to_bare_address() -> None:
    """§3, §3.1.2 rule 1: whatever resources were named."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.says(
        "<presence id='1' to='bob@example.net/desk' from='alice@example.net/here' type='subscribe' xml:lang='en'>"
        "<status>Hello</status></presence>"
    )
    assert bob.hears() == [
        "<presence to='bob@example.net' from='alice@example.net' id='1' type='subscribe' xml:lang='en'>"
        "<status>Hello</status></presence>"
    ]


def test_a_request_is_pending_in_the_roster_of_who_asks_only() -> None:
    """§3.1.2, and §3.1.3: not in the contact's before it is approved."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.says(SUBSCRIBE)
    [push] = alice.hears()
    assert "<item jid='bob@example.net' subscription='none' ask='subscribe'/>" in push
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("none asked", "unlisted requested")
    assert not any("<iq" in each for each in bob.hears())
    bob.says(GET)
    assert "alice" not in bob.hears()[0].replace("bob", "")


def test_a_request_is_shown_to_all_available_resources() -> None:
    """§3.1, implementation note: whether they have asked for the roster or not, whatever their priority."""
    world = make("alice", "bob")
    alice, desk = come(world, "alice"), come(world, "bob", "desk")
    silent, connected = world.login("bob", "silent"), world.login("bob", "connected")
    silent.says("<presence><priority>-1</priority></presence>")
    connected.says(GET)
    for each in (desk, silent, connected):
        each.hears()
    alice.says(SUBSCRIBE)
    assert len(desk.hears()) == len(silent.hears()) == 1
    assert connected.hears() == []


def test_a_request_waits_for_a_contact_who_is_away() -> None:
    """§3.1.3 rule 4: complete, at every log-in, until it is answered."""
    world = make("alice", "bob")
    alice = come(world, "alice")
    request = "<presence to='bob@example.net' id='1' type='subscribe'><status>Hi</status><x xmlns='urn:x'/></presence>"
    alice.says(request)
    expected = request.replace(" id=", " from='alice@example.net' id=")
    for _ in range(2):
        bob = world.login("bob")
        assert bob.hears() == []
        bob.says("<presence/>")
        assert bob.hears()[1:] == [expected]
        bob.leaves()
    bob = world.login("bob", "quiet")
    bob.says("<presence><priority>-1</priority></presence>")
    assert bob.hears()[1:] == [expected]
    bob.says(SUBSCRIBED)
    bob.says("<presence type='unavailable'/>")
    bob.hears()
    bob.says("<presence/>")
    assert not any("subscribe'" in each for each in bob.hears())


def test_a_request_waits_through_a_restart() -> None:
    world = make("alice", "bob")
    come(world, "alice").says(SUBSCRIBE)
    world.host.awake.clear()
    bob = world.login("bob")
    bob.says("<presence/>")
    assert "type='subscribe'" in bob.hears()[1]


def test_a_request_that_is_repeated_is_kept_and_shown_once() -> None:
    """§3.1.3 rule 4, §A.3.1."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    for number in "123":
        alice.says(SUBSCRIBE.replace("<presence", f"<presence id='{number}'"))
    assert len(bob.hears()) == 1
    assert len(alice.hears()) == 1
    bob.says("<presence type='unavailable'/><presence/>")
    assert [each for each in bob.hears() if "subscribe" in each] == [
        "<presence to='bob@example.net' from='alice@example.net' id='1' type='subscribe'/>"
    ]


def test_approval_step_by_step() -> None:
    """§3.1.5, §3.1.6: the approval before the push, the push before the presence."""
    world = make("alice", "bob")
    alice, desk, phone = come(world, "alice"), come(world, "bob", "desk"), come(world, "bob", "phone")
    phone.says("<presence id='p'><show>away</show></presence>")
    alice.says(SUBSCRIBE)
    for each in (alice, desk, phone):
        each.hears()
    desk.says("<presence id='h4' to='alice@example.net/here' type='subscribed'/>")
    approval, push, *presences = alice.hears()
    assert approval == "<presence to='alice@example.net' from='bob@example.net' id='h4' type='subscribed'/>"
    assert "<item jid='bob@example.net' subscription='to'/>" in push
    assert presences == [
        "<presence to='alice@example.net' from='bob@example.net/desk'/>",
        "<presence to='alice@example.net' from='bob@example.net/phone' id='p'><show>away</show></presence>",
    ]
    for each in (desk, phone):
        [push] = each.hears()
        assert "<item jid='alice@example.net' subscription='from'/>" in push
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("to", "from")


def test_an_answer_goes_to_interested_resources() -> None:
    """§3.1.6, §3.2.3, §3.3.3, all step 1."""
    world = make("alice", "bob")
    world.befriend("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    available, connected = world.login("alice", "available"), world.login("alice", "connected")
    available.says("<presence/>")
    connected.says(GET)
    for each in (alice, available, connected):
        each.hears()
    bob.says(UNSUBSCRIBED)
    assert any("type='unsubscribed'" in each for each in alice.hears())
    assert [" type='unsubscribed'" in each for each in connected.hears()] == [True, False]
    assert [" type='unavailable'" in each for each in available.hears()] == [True]


def test_an_approval_nobody_asked_for_is_ignored() -> None:
    """§3.1.6."""
    world = make("alice", domain="example.net")
    alice = come(world, "alice")
    from_away(world, "subscribed")
    assert alice.hears() == []
    assert item(world, "alice", AWAY.text) is None


def test_who_is_subscribed_and_asks_again_is_answered_at_once() -> None:
    """§3.1.3 rule 2; with the presence that is missing on their side."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, subscription=Subscription.FROM))
    alice = come(world, "alice")
    world.remote.sent.clear()
    from_away(world, "subscribe")
    assert alice.hears() == []
    assert [each.raw.decode() for each in world.remote.sent] == [
        "<presence to='bob@elsewhere.example' from='alice@example.net' id='far' type='subscribed'/>",
        "<presence to='bob@elsewhere.example' from='alice@example.net/here'/>",
    ]


def test_mutual_subscription() -> None:
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.says(SUBSCRIBE)
    bob.says(f"{SUBSCRIBED}<presence to='alice@example.net' type='subscribe'/>")
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("to requested", "from asked")
    alice.says("<presence to='bob@example.net' type='subscribed'/>")
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("both", "both")


class SlowRosters:
    """A store that writes when it is told to."""

    def __init__(self, rosters: Rosters) -> None:
        self._rosters = rosters
        self.waiting: list[Deferred[None]] = []

    async def put(self, account: AccountId, item: RosterItem) -> int:
        await self._turn()
        return await self._rosters.put(account, item)

    async def remove(self, account: AccountId, jid: Jid) -> int:
        await self._turn()
        return await self._rosters.remove(account, jid)

    async def _turn(self) -> None:
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        await turn


def make_slow() -> tuple[World, SlowRosters]:
    world = World()
    world.add("alice", "bob")
    presence, slow = Presence(), SlowRosters(world.stores.rosters)
    roster = Roster(slow, presence, limit=10)
    world.mount(presence, roster, Subscriptions(roster, presence))
    return world, slow


def say(client: Client, type: str, to: Jid) -> Deferred[None]:
    """Send a subscription stanza and do not wait for what becomes of it."""
    waiting = client.session.receive(Stanza("presence", to=to, type=type))
    assert waiting is not None
    return Deferred.fromCoroutine(waiting)


def test_presence_does_not_overtake_the_approval() -> None:
    """§3.1.5, §3.1.6, however long the stores take."""
    world, slow = make_slow()
    alice, bob = come(world, "alice"), come(world, "bob")
    works = [say(alice, "subscribe", BOB)]
    for _ in range(2):
        slow.waiting.pop(0).callback(None)
    works.append(say(bob, "subscribed", ALICE))
    quiet = alice.hears()
    slow.waiting.pop(0).callback(None)
    assert len(quiet) == 1
    assert alice.hears() == []
    slow.waiting.pop(0).callback(None)
    assert [each.partition(" ")[0] for each in alice.hears()] == ["<presence", "<iq", "<presence"]
    assert [work.called for work in works] == [True, True]


def test_requests_that_cross_do_not_wait_for_each_other() -> None:
    """Each holds the lock of their own account only; pushes keep the order of the versions (§2.6.3)."""
    world, slow = make_slow()
    alice, bob = come(world, "alice"), come(world, "bob")
    works = [say(alice, "subscribe", BOB), say(bob, "subscribe", ALICE)]
    while slow.waiting:
        slow.waiting.pop().callback(None)
    assert [work.called for work in works] == [True, True]
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("none asked requested",) * 2
    for client, other in ((alice, "bob"), (bob, "alice")):
        push, request = client.hears()
        assert "ask='subscribe'" in push
        assert f"from='{other}@example.net' type='subscribe'" in request


# -- other servers


def test_a_request_to_another_server_is_stamped_and_sent() -> None:
    """§3.1.2 rule 3."""
    world = make("alice")
    world.remote.reachable = True
    alice = come(world, "alice")
    alice.says("<presence id='1' to='bob@elsewhere.example/desk' type='subscribe'/>")
    assert [each.raw.decode() for each in world.remote.sent] == [
        "<presence to='bob@elsewhere.example' from='alice@example.net' id='1' type='subscribe'/>"
    ]
    assert "ask='subscribe'" in alice.hears()[0]


def test_a_request_that_cannot_be_sent_is_answered_and_not_pending() -> None:
    """§3.1.2: "the user's server MUST return an appropriate error stanza to the user"."""
    world = make("alice")
    alice = come(world, "alice")
    alice.says("<presence id='1' to='bob@elsewhere.example' type='subscribe'/>")
    [heard] = alice.hears()
    assert heard.startswith("<presence to='alice@example.net/here' from='bob@elsewhere.example' id='1' type='error'>")
    assert "<remote-server-not-found " in heard
    assert item(world, "alice", AWAY.text) is None


@pytest.mark.parametrize(
    ("before", "type"),
    [(Subscription.NONE, "unsubscribed"), (Subscription.TO, "unsubscribed"), (Subscription.FROM, "subscribed")],
)
def test_what_changes_nothing_is_neither_sent_nor_stored(before: Subscription, type: str) -> None:
    """§A.2.3, §A.2.4; nor is it a new version of the roster (§2.6.3)."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, subscription=before))
    alice = come(world, "alice")
    world.remote.sent.clear()
    version = alice.session.account.roster_version
    alice.says(f"<presence to='bob@elsewhere.example' type='{type}'/>")
    from_away(world, "subscribed")
    assert world.remote.sent == []
    assert alice.hears() == []
    assert alice.session.account.roster_version == version


def test_a_subscription_ends_even_if_the_other_server_cannot_be_told() -> None:
    world = make("alice")
    give(world, "alice", RosterItem(AWAY, subscription=Subscription.BOTH))
    alice = come(world, "alice")
    alice.says("<presence to='bob@elsewhere.example' type='unsubscribed'/>")
    assert item(world, "alice", AWAY.text) == RosterItem(AWAY, subscription=Subscription.TO)


def test_a_request_without_an_answer_is_sent_again_with_the_first_resource() -> None:
    """§3.1.2, last paragraph."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, asked=True))
    come(world, "alice", "first")
    assert [each.type for each in world.remote.sent] == ["subscribe"]
    come(world, "alice", "second")
    assert len(world.remote.sent) == 1


def test_the_sender_s_resource_does_not_matter() -> None:
    world = make("alice")
    alice = come(world, "alice")
    from_away(world, "subscribe", sender=AWAY.with_resource("desk"))
    [heard] = alice.hears()
    assert " from='bob@elsewhere.example' " in heard


@pytest.mark.parametrize(("to", "delivered"), [(ALICE, 1), (ALICE.with_resource("here"), 1)])
def test_an_approval_for_a_resource_that_is_there(to: Jid, delivered: int) -> None:
    """§8.5.3.1."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, asked=True))
    alice = come(world, "alice")
    from_away(world, "subscribed", to=to)
    assert len([each for each in alice.hears() if "type='subscribed'" in each]) == delivered
    assert item(world, "alice", AWAY.text) == RosterItem(AWAY, subscription=Subscription.TO)


@pytest.mark.parametrize("type", ["subscribed", "unsubscribe", "unsubscribed"])
def test_an_answer_for_a_resource_that_is_not_there_is_ignored(type: str) -> None:
    """§8.5.3.2.2."""
    world = make("alice")
    world.remote.reachable = True
    before = RosterItem(AWAY, subscription=Subscription.FROM, asked=True)
    give(world, "alice", before)
    alice = come(world, "alice")
    from_away(world, type, to=ALICE.with_resource("gone"))
    assert alice.hears() == []
    assert item(world, "alice", AWAY.text) == before


def test_a_request_for_a_resource_that_is_not_there_is_for_the_account() -> None:
    """§3.1.3, §8.5.3.2.2."""
    world = make("alice")
    alice = come(world, "alice")
    from_away(world, "subscribe", to=ALICE.with_resource("gone"))
    assert alice.hears() == [
        "<presence to='alice@example.net' from='bob@elsewhere.example' id='far' type='subscribe'/>"
    ]


# -- §3.2: cancelling; §3.3: unsubscribing


def test_cancelling_step_by_step() -> None:
    """§3.2.2, §3.2.3: the contact goes offline, then the cancellation, then the push."""
    world = make("alice", "bob")
    world.befriend("alice", "bob")
    alice, desk, phone = come(world, "alice"), come(world, "bob", "desk"), come(world, "bob", "phone")
    for each in (alice, desk, phone):
        each.hears()
    phone.says("<presence id='ij' to='alice@example.net' type='unsubscribed'/>")
    *gone, cancelled, push = alice.hears()
    assert gone == [
        f"<presence to='alice@example.net' from='bob@example.net/{resource}' type='unavailable'/>"
        for resource in ("desk", "phone")
    ]
    assert cancelled == "<presence to='alice@example.net' from='bob@example.net' id='ij' type='unsubscribed'/>"
    assert "<item jid='bob@example.net' subscription='from'/>" in push
    [push] = desk.hears()
    assert "<item jid='alice@example.net' subscription='to'/>" in push
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("from", "to")


def test_denying_a_request_says_nothing_about_presence() -> None:
    """§3.1.4, §3.2.2: they were never subscribed."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.says(SUBSCRIBE)
    alice.hears(), bob.hears()
    bob.says(UNSUBSCRIBED)
    denied, push = alice.hears()
    assert denied == "<presence to='alice@example.net' from='bob@example.net' type='unsubscribed'/>"
    assert "<item jid='bob@example.net' subscription='none'/>" in push
    assert bob.hears() == []
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("none", "nothing")


def test_cancelling_what_is_not_there_goes_nowhere() -> None:
    """§3.2.2 rule 1."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    bob.says(UNSUBSCRIBED)
    assert alice.hears() == bob.hears() == []
    assert item(world, "bob", "alice@example.net") is None


def test_unsubscribing_step_by_step() -> None:
    """§3.3.2, §3.3.3: the contact's server answers with the contact's going."""
    world = make("alice", "bob")
    world.befriend("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.hears()
    alice.says(UNSUBSCRIBE.replace("<presence", "<presence id='ul'"))
    unsubscribe, push = bob.hears()
    assert unsubscribe == "<presence to='bob@example.net' from='alice@example.net' id='ul' type='unsubscribe'/>"
    assert "<item jid='alice@example.net' subscription='to'/>" in push
    gone, push = alice.hears()
    assert gone == "<presence to='alice@example.net' from='bob@example.net/here' type='unavailable'/>"
    assert "<item jid='bob@example.net' subscription='from'/>" in push
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("from", "to")


def test_unsubscribing_is_acknowledged_to_another_server() -> None:
    """§A.3.2 [1]."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(AWAY, subscription=Subscription.FROM))
    come(world, "alice")
    world.remote.sent.clear()
    from_away(world, "unsubscribe")
    assert [each.type for each in world.remote.sent] == ["unavailable", "unsubscribed"]


def test_taking_a_request_back_forgets_it() -> None:
    """§3.3.3, last paragraph but one."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.says(SUBSCRIBE)
    bob.hears()
    alice.says(UNSUBSCRIBE)
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("none", "nothing")
    assert not any("<iq" in each for each in bob.hears())


# -- §3.4: pre-approval


def test_the_stream_feature_announces_pre_approval() -> None:
    """§3.4."""
    features = [module.stream_feature() for module in make("alice").host.modules]
    assert b"<sub xmlns='urn:xmpp:features:pre-approval'/>" in features


def test_approving_before_the_request_is_noted_and_not_sent() -> None:
    """§3.4.2 rule 4."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    bob.says(SUBSCRIBED)
    [push] = bob.hears()
    assert "<item jid='alice@example.net' subscription='none' approved='true'/>" in push
    assert alice.hears() == []


def test_a_request_approved_before_it_came_is_granted() -> None:
    """§3.4.2: it is not shown to the user."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    bob.says(SUBSCRIBED)
    bob.hears()
    alice.says(SUBSCRIBE)
    asked, approval, push, presence = alice.hears()
    assert "ask='subscribe'" in asked
    assert approval == "<presence to='alice@example.net' from='bob@example.net' type='subscribed'/>"
    assert "subscription='to'" in push
    assert presence == "<presence to='alice@example.net' from='bob@example.net/here'/>"
    [push] = bob.hears()
    assert "<item jid='alice@example.net' subscription='from' approved='true'/>" in push
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("to", "from")


def test_an_early_approval_can_be_taken_back() -> None:
    """§3.2.2 rule 2: nobody is told."""
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    bob.says(SUBSCRIBED)
    bob.hears()
    bob.says(UNSUBSCRIBED)
    [push] = bob.hears()
    assert "<item jid='alice@example.net' subscription='none'/>" in push
    assert alice.hears() == []


# -- what is refused, bounded, or silent


@pytest.mark.parametrize("to", ["", " to='alice@example.net'", " to='alice@example.net/there'"])
@pytest.mark.parametrize("type", ["subscribe", "subscribed", "unsubscribe", "unsubscribed"])
def test_a_subscription_needs_somebody_else(type: str, to: str) -> None:
    world = make("alice")
    alice = come(world, "alice")
    alice.says(f"<presence type='{type}'{to}/>")
    [heard] = alice.hears()
    assert "<bad-request " in heard
    assert alice.session.account.roster == {}


def test_a_user_who_does_not_exist_keeps_silent() -> None:
    """§8.5.1; just as one does who is away."""
    world = make("alice")
    alice = come(world, "alice")
    for kind in ("subscribe", "unsubscribe", "subscribed", "unsubscribed"):
        alice.says(f"<presence to='nobody@example.net' type='{kind}'/>")
    heard = alice.hears()
    assert len(heard) == 4
    assert all(each.startswith("<iq") for each in heard)


def test_a_full_roster_asks_nobody_more() -> None:
    world = make("alice", "bob", limit=1)
    give(world, "alice", RosterItem(AWAY))
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.says(SUBSCRIBE)
    [heard] = alice.hears()
    assert "<resource-constraint " in heard
    assert bob.hears() == []


def test_more_requests_than_a_roster_may_hold_are_dropped_without_a_word() -> None:
    """§3.1.3, security warning."""
    world = make("alice", limit=2)
    world.remote.reachable = True
    alice = come(world, "alice")
    for number in range(3):
        from_away(world, "subscribe", sender=Jid.parse(f"bot{number}@elsewhere.example"))
    assert len(alice.hears()) == 2
    assert len(alice.session.account.roster) == 2
    assert world.remote.sent == []


@pytest.mark.parametrize(
    ("inner", "kept"),
    [
        (b"<status>Hi</status><x xmlns='urn:x'>%b</x>" % (b"x" * 8192), "<status>Hi</status>"),
        (
            b"<x xmlns='urn:x'>%b</x><nick xmlns='http://jabber.org/protocol/nick'>Al</nick>" % (b"x" * 8192),
            "<nick xmlns='http://jabber.org/protocol/nick'>Al</nick>",
        ),
        (b"<status>%b</status>" % (b"x" * 8192), ""),
    ],
)
def test_a_long_request_is_shortened_before_it_is_kept(inner: bytes, kept: str) -> None:
    """§3.1.3, security warning; who is there sees it whole."""
    world = make("alice")
    alice = come(world, "alice")
    from_away(world, "subscribe", inner=inner)
    assert inner.decode() in alice.hears()[0]
    found = item(world, "alice", AWAY.text)
    assert found is not None
    assert found.request is not None
    start = "<presence to='alice@example.net' from='bob@elsewhere.example' type='subscribe'"
    assert found.request.decode() == (f"{start}>{kept}</presence>" if kept else f"{start}/>")


class Screen(Module):
    """Somebody who lets nothing in."""

    @stage(Stage.SCREEN, Side.RECIPIENT, "presence")
    def refuse(self, walk: Walk) -> bool:
        return True


def test_what_is_screened_changes_nothing() -> None:
    world = make("alice")
    world.mount(Screen())
    alice = come(world, "alice")
    from_away(world, "subscribe")
    assert alice.hears() == []
    assert item(world, "alice", AWAY.text) is None


def test_a_store_that_fails_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store first, then memory, then the others."""
    world = make("alice", "bob")
    world.befriend("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.hears()

    async def fail(*_: object) -> int:
        raise StorageError("the disk is full")

    monkeypatch.setattr(world.stores.rosters, "put", fail)
    bob.says(UNSUBSCRIBED)
    assert " type='error'" in bob.hears()[0]
    assert alice.hears() == []
    assert (sees(world, "alice", "bob"), sees(world, "bob", "alice")) == ("both", "both")


# -- any sequence


class TwoUsers(RuleBasedStateMachine):
    """Two users of one server say to each other whatever they like, present or not."""

    def __init__(self) -> None:
        super().__init__()
        self.world = make("alice", "bob")
        self.clients: dict[str, Client | None] = {"alice": None, "bob": None}

    @rule(name=st.sampled_from(["alice", "bob"]))
    def comes_or_goes(self, name: str) -> None:
        client = self.clients[name]
        if client is None:
            self.clients[name] = come(self.world, name)
        else:
            client.leaves()
            self.clients[name] = None

    @rule()
    def restart(self) -> None:
        for name, client in self.clients.items():
            if client is not None:
                client.leaves()
                self.clients[name] = None
        self.world.host.awake.clear()

    @rule(
        name=st.sampled_from(["alice", "bob"]),
        type=st.sampled_from(["subscribe", "subscribed", "unsubscribe", "unsubscribed"]),
    )
    def says(self, name: str, type: str) -> None:
        client = self.clients[name] or come(self.world, name)
        other = "bob" if name == "alice" else "alice"
        client.says(f"<presence to='{other}@example.net' type='{type}'/>")
        assert not any("error" in each for each in client.hears())
        if self.clients[name] is None:
            client.leaves()

    @rule(name=st.sampled_from(["alice", "bob"]), remove=st.booleans())
    def edits(self, name: str, remove: bool) -> None:
        client = self.clients[name] or come(self.world, name)
        other = "bob" if name == "alice" else "alice"
        change = "subscription='remove'" if remove else "name='them'"
        contact = f"<item jid='{other}@example.net' {change}/>"
        client.says(f"<iq type='set' id='1'><query xmlns='jabber:iq:roster'>{contact}</query></iq>")
        client.hears()
        if self.clients[name] is None:
            client.leaves()

    @invariant()
    def the_two_halves_agree(self) -> None:
        halves = {}
        for name, other in (("alice", "bob"), ("bob", "alice")):
            half = item(self.world, name, f"{other}@example.net")
            halves[name] = half or RosterItem(Jid.parse(f"{other}@example.net"), listed=False)
        for one, two in (("alice", "bob"), ("bob", "alice")):
            mine, theirs = halves[one], halves[two]
            to = mine.subscription in {Subscription.TO, Subscription.BOTH}
            seen = theirs.subscription in {Subscription.FROM, Subscription.BOTH}
            assert to == seen
            assert mine.asked == (theirs.request is not None)
            assert not (mine.asked and to)
            assert mine.listed or replace(mine, request=None) == RosterItem(mine.jid, listed=False)


TwoUsers.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestTwoUsers = TwoUsers.TestCase
