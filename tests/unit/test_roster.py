"""RFC 6121 §2: getting, changing and pushing rosters."""

from __future__ import annotations

import re

import pytest

from tests.contacts import GET, come, give, item, make
from tests.world import run
from vrxmpp.jid import Jid
from vrxmpp.store.interfaces import RosterItem, Subscription

BOB = Jid.parse("bob@example.net")


def setting(inner: str) -> str:
    return f"<iq type='set' id='set'><query xmlns='jabber:iq:roster'>{inner}</query></iq>"


def versions(heard: list[str]) -> list[str]:
    return [found for each in heard for found in re.findall(" ver='([^']*)'", each)]


def test_an_empty_roster_is_an_empty_query() -> None:
    """§2.1.4."""
    alice = make("alice").login("alice")
    alice.says(GET)
    [heard] = alice.hears()
    assert re.fullmatch(
        "<iq to='alice@example.net/here' id='get' type='result'>"
        "<query xmlns='jabber:iq:roster' ver='[^']+'></query></iq>",
        heard,
    )


def test_items_are_shown_with_all_that_is_known_of_them() -> None:
    """§2.1.2."""
    world = make("alice")
    give(world, "alice", RosterItem(BOB, "B & <b>", ("Friends & foes", "'quoted'"), Subscription.FROM, asked=True))
    give(world, "alice", RosterItem(Jid.parse("carol@example.net"), approved=True))
    alice = world.login("alice")
    alice.says(GET)
    [heard] = alice.hears()
    assert (
        "<item jid='bob@example.net' subscription='from' name='B &amp; &lt;b&gt;' ask='subscribe'>"
        "<group>Friends &amp; foes</group><group>'quoted'</group></item>"
        "<item jid='carol@example.net' subscription='none' approved='true'/></query>"
    ) in heard


def test_a_request_that_waits_is_not_in_the_roster() -> None:
    """§3.1.3: not before the user has approved it."""
    world = make("alice")
    give(world, "alice", RosterItem(BOB, request=b"<presence/>", listed=False))
    alice = world.login("alice")
    alice.says(GET)
    assert "bob" not in alice.hears()[0]


def test_nobody_else_reads_or_writes_a_roster() -> None:
    """§2, security warning; the condition does not tell whether there is such a user."""
    world = make("alice", "bob")
    bob = world.login("bob")
    world.login("alice")
    for asked in ("alice", "nobody"):
        bob.says(GET.replace("<iq", f"<iq to='{asked}@example.net'"))
        bob.says(setting("<item jid='carol@example.net'/>").replace("<iq", f"<iq to='{asked}@example.net'"))
    heard = bob.hears()
    assert len(heard) == 4
    assert all("<service-unavailable" in each for each in heard)
    assert item(world, "alice", "carol@example.net") is None


def test_the_version_a_client_has_brings_an_empty_result() -> None:
    """§2.6.3."""
    alice = come(make("alice"), "alice")
    alice.says(setting("<item jid='bob@example.net'/>"))
    [version] = versions(alice.hears())
    alice.says(f"<iq type='get' id='again'><query xmlns='jabber:iq:roster' ver='{version}'/></iq>")
    [heard] = alice.hears()
    assert heard.startswith("<iq ")
    assert " type='result'" in heard
    assert "<query" not in heard


@pytest.mark.parametrize("version", ["", "7-7", "nonsense"])
def test_another_version_brings_the_whole_roster(version: str) -> None:
    """§2.6.2, §2.6.3."""
    world = make("alice")
    give(world, "alice", RosterItem(BOB))
    alice = world.login("alice")
    alice.says(f"<iq type='get' id='1'><query xmlns='jabber:iq:roster' ver='{version}'/></iq>")
    assert "bob@example.net" in alice.hears()[0]


def test_every_push_has_a_version_of_its_own_and_the_last_is_the_roster_s() -> None:
    """§2.6.3."""
    alice = come(make("alice"), "alice")
    for name in ("bob", "carol", "bob"):
        alice.says(setting(f"<item jid='{name}@example.net'/>"))
    pushed = versions(alice.hears())
    assert len(set(pushed)) == 3
    alice.says(GET)
    assert versions(alice.hears()) == pushed[-1:]


def test_the_roster_of_a_successor_never_seems_unchanged() -> None:
    world = make("alice")
    alice = world.login("alice")
    alice.says(GET)
    [version] = versions(alice.hears())
    alice.leaves()
    world.host.awake.clear()
    run(world.stores.accounts.remove("alice"))
    world.add("alice")
    alice = world.login("alice")
    alice.says(f"<iq type='get' id='1'><query xmlns='jabber:iq:roster' ver='{version}'/></iq>")
    assert "<query" in alice.hears()[0]


def test_the_stream_feature_announces_versions() -> None:
    """§2.6.1."""
    features = [module.stream_feature() for module in make("alice").host.modules]
    assert b"<ver xmlns='urn:xmpp:features:rosterver'/>" in features


def test_a_new_item_is_pushed_to_all_who_have_asked_for_the_roster() -> None:
    """§2.1.6, §2.3.2: the one that has set it is one of them."""
    world = make("alice")
    balcony, chamber, deaf = come(world, "alice", "balcony"), come(world, "alice", "chamber"), world.login("alice")
    deaf.says("<presence/>")
    for each in (balcony, chamber, deaf):
        each.hears()
    balcony.says(setting("<item jid='Bob@example.net' name='Bob'><group>Friends</group></item>"))
    pushed, result = balcony.hears()
    version = versions([pushed])[0]
    assert pushed == (
        f"<iq to='alice@example.net/balcony' id='roster-{version}' type='set'>"
        f"<query xmlns='jabber:iq:roster' ver='{version}'>"
        "<item jid='bob@example.net' subscription='none' name='Bob'><group>Friends</group></item></query></iq>"
    )
    assert " id='set' type='result'/>" in result
    assert chamber.hears() == [pushed.replace("balcony", "chamber")]
    assert deaf.hears() == []
    assert item(world, "alice", "bob@example.net") == RosterItem(BOB, "Bob", ("Friends",))


def test_the_answer_to_a_push_goes_nowhere() -> None:
    """§2.1.6, implementation note."""
    alice = come(make("alice"), "alice")
    alice.says(setting("<item jid='bob@example.net'/>"))
    alice.hears()
    alice.says("<iq type='result' id='roster-1-1'/><iq type='error' id='roster-1-2'><error/></iq>")
    assert alice.hears() == []


def test_an_update_replaces_name_and_groups_and_leaves_the_rest() -> None:
    """§2.4.1: "the item MUST be updated exactly as provided in the roster set"."""
    world = make("alice")
    before = RosterItem(
        BOB, "Bob", ("Friends",), Subscription.TO, approved=True, request=b"<presence type='subscribe'/>"
    )
    give(world, "alice", before)
    alice = come(world, "alice")
    alice.says(setting("<item jid='bob@example.net' name=''><group>Lovers</group><group>Others</group></item>"))
    after = item(world, "alice", "bob@example.net")
    assert after == RosterItem(
        BOB, "", ("Lovers", "Others"), Subscription.TO, approved=True, request=b"<presence type='subscribe'/>"
    )


def test_a_client_sets_neither_subscription_nor_ask_nor_approval() -> None:
    """§2.1.2.1, §2.1.2.2, §2.1.5 rule 2."""
    world = make("alice")
    come(world, "alice").says(
        setting("<item jid='bob@example.net' subscription='both' ask='subscribe' approved='true'/>")
    )
    assert item(world, "alice", "bob@example.net") == RosterItem(BOB)


def test_who_only_asked_is_listed_once_the_user_adds_them() -> None:
    """§A.1, state 3: the item is there, and the request still waits."""
    world = make("alice")
    give(world, "alice", RosterItem(BOB, request=b"<presence type='subscribe'/>", listed=False))
    come(world, "alice").says(setting("<item jid='bob@example.net' name='Bob'/>"))
    assert item(world, "alice", "bob@example.net") == RosterItem(BOB, "Bob", request=b"<presence type='subscribe'/>")


@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        ("", "bad-request"),
        ("<item jid='bob@example.net'/><item jid='carol@example.net'/>", "bad-request"),
        ("<item xmlns='urn:other' jid='bob@example.net'/>", "bad-request"),
        ("<item/>", "bad-request"),
        ("<item jid=''/>", "jid-malformed"),
        ("<item jid='@example.net'/>", "jid-malformed"),
        ("<item jid='bob@example.net/desk'/>", "bad-request"),
        ("<item jid='alice@example.net'/>", "not-allowed"),
        ("<item jid='bob@example.net'><group>A</group><group>A</group></item>", "bad-request"),
        ("<item jid='bob@example.net'><group/></item>", "not-acceptable"),
        (f"<item jid='bob@example.net'><group>{'g' * 257}</group></item>", "not-acceptable"),
        (f"<item jid='bob@example.net' name='{'n' * 257}'/>", "not-acceptable"),
        (
            "<item jid='bob@example.net'>" + "".join(f"<group>{n}</group>" for n in range(33)) + "</item>",
            "not-acceptable",
        ),
    ],
)
def test_what_is_wrong_with_a_set_is_said(inner: str, condition: str) -> None:
    """§2.3.3; nothing is changed and nothing pushed."""
    world = make("alice")
    alice = come(world, "alice")
    alice.says(setting(inner))
    [heard] = alice.hears()
    assert f"<{condition} " in heard
    assert " type='error'" in heard
    assert item(world, "alice", "bob@example.net") is None


def test_as_much_as_is_allowed_is_taken() -> None:
    world = make("alice")
    groups = tuple(f"{number:0256}" for number in range(20))
    written = "".join(f"<group>{group}</group>" for group in groups)
    come(world, "alice").says(setting(f"<item jid='bob@example.net' name='{'n' * 256}'>{written}</item>"))
    assert item(world, "alice", "bob@example.net") == RosterItem(BOB, "n" * 256, groups)


def test_a_full_roster_takes_no_more_but_can_be_changed() -> None:
    world = make("alice", limit=2)
    give(world, "alice", RosterItem(Jid.parse("stranger@example.net"), request=b"<presence/>", listed=False))
    alice = come(world, "alice")
    for name in ("bob", "carol", "dave"):
        alice.says(setting(f"<item jid='{name}@example.net'/>"))
    assert "<resource-constraint " in alice.hears()[-1]
    assert item(world, "alice", "dave@example.net") is None
    alice.says(setting("<item jid='stranger@example.net'/>"))
    assert "<resource-constraint " in alice.hears()[-1]
    alice.says(setting("<item jid='bob@example.net' name='Bob'/>"))
    assert item(world, "alice", "bob@example.net") == RosterItem(BOB, "Bob")


def test_removing_is_pushed() -> None:
    """§2.5.2."""
    world = make("alice")
    give(world, "alice", RosterItem(BOB, "Bob"))
    alice = come(world, "alice")
    alice.says(setting("<item jid='bob@example.net' subscription='remove'/>"))
    pushed, result = alice.hears()
    assert "<item jid='bob@example.net' subscription='remove'/>" in pushed
    assert " id='set' type='result'/>" in result
    assert item(world, "alice", "bob@example.net") is None


def test_only_what_is_in_the_roster_can_be_removed() -> None:
    """§2.5.3; a request that waits is not in it."""
    world = make("alice")
    request = RosterItem(BOB, request=b"<presence/>", listed=False)
    give(world, "alice", request)
    alice = come(world, "alice")
    for name in ("bob", "carol"):
        alice.says(setting(f"<item jid='{name}@example.net' subscription='remove'/>"))
    assert all("<item-not-found " in each for each in alice.hears())
    assert item(world, "alice", "bob@example.net") == request


@pytest.mark.parametrize(
    ("before", "sent"),
    [
        (RosterItem(BOB), []),
        (RosterItem(BOB, approved=True), []),
        (RosterItem(BOB, asked=True), ["unsubscribe"]),
        (RosterItem(BOB, subscription=Subscription.TO), ["unsubscribe"]),
        (RosterItem(BOB, request=b"<presence/>"), ["unsubscribed"]),
        (RosterItem(BOB, subscription=Subscription.FROM), ["unavailable", "unsubscribed"]),
        (RosterItem(BOB, subscription=Subscription.FROM, asked=True), ["unavailable", "unsubscribe", "unsubscribed"]),
        (RosterItem(BOB, subscription=Subscription.BOTH), ["unavailable", "unsubscribe", "unsubscribed"]),
    ],
)
def test_removing_ends_what_there_was_between_the_two(before: RosterItem, sent: list[str]) -> None:
    """§2.5.2, for a contact on another server."""
    world = make("alice", domain="example.org")
    world.remote.reachable = True
    give(world, "alice", before)
    alice = come(world, "alice")
    world.remote.sent.clear()
    alice.says(setting("<item jid='bob@example.net' subscription='remove'/>"))
    assert [stanza.type for stanza in world.remote.sent] == sent
    for stanza in world.remote.sent:
        assert stanza.to == BOB
        assert stanza.sender == (alice.session.jid if stanza.type == "unavailable" else alice.session.account.jid)


def test_removing_reaches_the_contact_s_roster_too() -> None:
    """§2.5.2, §3.2.3, §3.3.3."""
    world = make("alice", "bob")
    world.befriend("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    alice.hears()
    alice.says(setting("<item jid='bob@example.net' subscription='remove'/>"))
    assert item(world, "bob", "alice@example.net") == RosterItem(Jid.parse("alice@example.net"))
    gone, unsubscribe, push_to, unsubscribed, push_none = bob.hears()
    assert gone == "<presence to='bob@example.net' from='alice@example.net/here' type='unavailable'/>"
    assert unsubscribe == "<presence to='bob@example.net' from='alice@example.net' type='unsubscribe'/>"
    assert "subscription='to'" in push_to
    assert unsubscribed == "<presence to='bob@example.net' from='alice@example.net' type='unsubscribed'/>"
    assert "subscription='none'" in push_none
    gone, push, _ = alice.hears()
    assert gone == "<presence to='alice@example.net' from='bob@example.net/here' type='unavailable'/>"
    assert "subscription='remove'" in push


def test_removing_is_possible_where_as_many_requests_wait_as_may() -> None:
    world = make("alice", limit=1)
    give(world, "alice", RosterItem(BOB))
    give(world, "alice", RosterItem(Jid.parse("stranger@example.net"), request=b"<presence/>", listed=False))
    come(world, "alice").says(setting("<item jid='bob@example.net' subscription='remove'/>"))
    assert item(world, "alice", "bob@example.net") is None


def test_a_contact_does_not_see_what_is_changed_about_them() -> None:
    world = make("alice", "bob", "carol")
    world.befriend("alice", "bob")
    bob, carol, alice = come(world, "bob"), come(world, "carol"), come(world, "alice")
    alice.says("<presence to='carol@example.net'/>")
    bob.hears(), carol.hears()
    alice.says(setting("<item jid='bob@example.net' name='Bob'/>"))
    alice.says(setting("<item jid='carol@example.net'/>"))
    alice.says(setting("<item jid='carol@example.net' name='Carol'/>"))
    assert bob.hears() == carol.hears() == []


def test_removing_works_on_a_contact_who_is_asleep() -> None:
    world = make("alice", "bob")
    world.befriend("alice", "bob")
    come(world, "alice").says(setting("<item jid='bob@example.net' subscription='remove'/>"))
    assert item(world, "bob", "alice@example.net") == RosterItem(Jid.parse("alice@example.net"))
