"""What users see of another domain that cannot be reached any more, and when it is back (RFC 6121 §4.3.1, §4.5.3)."""

from __future__ import annotations

import pytest

from tests.contacts import come, give, make
from tests.world import Client, World, run
from vrxmpp.core.seen import Seen
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import RosterItem, Subscription

ALICE, BOB = Jid.parse("alice@example.net"), Jid.parse("bob@elsewhere.example")
HERE, PHONE = ALICE.with_resource("here"), ALICE.with_resource("phone")
DESK = BOB.with_resource("desk")
ROOM = Jid.parse("room@elsewhere.example")
ME, HIM = ROOM.with_resource("me"), ROOM.with_resource("him")
LOST = "elsewhere.example"


def federated(subscription: Subscription = Subscription.BOTH) -> World:
    """Return a world with Alice, who has a contact at another server that takes everything."""
    world = make("alice")
    world.remote.reachable = True
    give(world, "alice", RosterItem(BOB, subscription=subscription))
    return world


def meet(world: World) -> tuple[Client, Client, Client]:
    """Return three clients of Alice's; the last has sent no presence. What their coming has sent is forgotten."""
    clients = come(world, "alice"), come(world, "alice", "phone"), world.login("alice", "mute")
    quiet(world, *clients)
    return clients


def quiet(world: World, *clients: Client) -> None:
    world.remote.sent.clear()
    for each in clients:
        each.hears()


def arrives(world: World, sender: Jid, type: str = "", to: Jid = ALICE) -> None:
    waiting = world.router.route(Stanza("presence", to=to, sender=sender, type=type))
    if waiting is not None:
        run(waiting)


def lose(world: World, *clients: Client) -> list[list[str]]:
    """Lose the domain; return who is seen to go by each client."""
    for each in clients:
        each.hears()
    world.router.lost(LOST)
    seen = []
    for client in clients:
        heard = client.hears()
        start, end = f"<presence to='{client.session.jid}' from='", "' type='unavailable'/>"
        assert all(each.startswith(start) and each.endswith(end) for each in heard)
        seen.append([each.removeprefix(start).removesuffix(end) for each in heard])
    return seen


# -- contacts


@pytest.mark.parametrize("subscription", [Subscription.TO, Subscription.BOTH])
def test_all_resources_of_a_contact_go_for_all_who_see_them_and_go_once(subscription: Subscription) -> None:
    world = federated(subscription)
    clients = meet(world)
    for sender in (DESK, BOB.with_resource("sofa"), DESK):
        arrives(world, sender)
    assert lose(world, *clients) == [[DESK.text, f"{BOB}/sofa"], [DESK.text, f"{BOB}/sofa"], []]
    assert lose(world, *clients) == [[], [], []]


def test_a_contact_whose_server_gives_no_resource_goes_too() -> None:
    """A gateway's."""
    world = federated()
    alice, *_ = meet(world)
    arrives(world, BOB)
    assert lose(world, alice) == [[BOB.text]]


@pytest.mark.parametrize("farewell", [DESK, BOB])
def test_who_has_said_goodbye_does_not_go_again(farewell: Jid) -> None:
    """§4.5.4: from the bare address it is for all resources."""
    world = federated()
    alice, *_ = meet(world)
    arrives(world, DESK)
    arrives(world, farewell, "unavailable")
    arrives(world, DESK.with_resource("never seen"), "unavailable")
    assert lose(world, alice) == [[]]


def test_who_has_not_come_does_not_go() -> None:
    world = federated()
    alice, *_ = meet(world)
    arrives(world, DESK, "error")
    assert lose(world, alice) == [[]]


@pytest.mark.parametrize("subscription", [Subscription.NONE, Subscription.FROM])
def test_presence_that_nobody_asked_for_is_not_remembered(subscription: Subscription) -> None:
    world = federated(subscription)
    alice, *_ = meet(world)
    arrives(world, DESK)
    arrives(world, Jid.parse("stranger@elsewhere.example/x"), to=HERE)
    assert len(alice.hears()) == 2
    assert lose(world, alice) == [[]]
    assert alice.session.account.seen == {}


def test_other_domains_do_not_go() -> None:
    world = federated()
    alice, *_ = meet(world)
    arrives(world, DESK)
    alice.hears()
    world.router.lost("other.example")
    assert alice.hears() == []
    assert lose(world, alice) == [[DESK.text]]


def test_users_of_this_server_are_not_remembered() -> None:
    world = make("alice", "carol")
    world.befriend("alice", "carol")
    alice, carol = come(world, "alice"), come(world, "carol")
    carol.says("<presence to='alice@example.net/here'/>")
    assert alice.session.account.seen == carol.session.account.seen == {}


def test_the_blocked_are_not_heard_of() -> None:
    """XEP-0191 §3.3."""
    world = federated()
    alice, *_ = meet(world)
    arrives(world, DESK)
    alice.session.account.blocked = {BOB.text: BOB}
    assert lose(world, alice) == [[]]


def test_what_one_client_has_been_shown_goes_for_it_alone() -> None:
    world = federated()
    clients = meet(world)
    arrives(world, DESK, to=HERE)
    assert lose(world, *clients) == [[DESK.text], [], []]


def test_what_was_shown_to_one_and_to_all_goes_once() -> None:
    world = federated()
    clients = meet(world)
    arrives(world, DESK)
    arrives(world, DESK, to=PHONE)
    assert lose(world, *clients) == [[DESK.text], [DESK.text], []]


@pytest.mark.parametrize("leaves", [True, False])
def test_nothing_is_remembered_for_who_has_gone(leaves: bool) -> None:
    world = federated()
    alice, phone, mute = meet(world)
    arrives(world, DESK)
    arrives(world, DESK, to=PHONE)
    for each in (alice, phone):
        assert alice.session.account.seen
        if leaves:
            each.leaves()
        else:
            each.says("<presence type='unavailable'/>")
    assert alice.session.account.seen == {}
    assert lose(world, alice, phone, mute) == [[], [], []]


# -- directed presence


def in_a_room() -> tuple[World, Client, Client]:
    """Return a world, and two clients, of which the first has gone into a room where somebody is (XEP-0045)."""
    world = federated(Subscription.NONE)
    alice, phone, _ = meet(world)
    alice.says(f"<presence to='{ME}'/>")
    for occupant in (HIM, ME):
        arrives(world, occupant, to=HERE)
    world.remote.sent.clear()
    return world, alice, phone


def test_the_occupants_of_a_room_go() -> None:
    world, alice, phone = in_a_room()
    assert lose(world, alice, phone) == [[HIM.text, ME.text], []]


def test_directed_presence_is_forgotten() -> None:
    """§4.6.3: nobody is there to hear of its end."""
    world, alice, _ = in_a_room()
    alice.says("<presence to='room@other.example/me'/>")
    lose(world)
    world.remote.sent.clear()
    alice.leaves()
    assert [(each.to, each.type) for each in world.remote.sent] == [(Jid.parse("room@other.example/me"), "unavailable")]


@pytest.mark.parametrize("kicked", [True, False])
def test_the_occupants_of_a_room_that_was_left_do_not_go(kicked: bool) -> None:
    """XEP-0045 §7.14: they do not say goodbye to who leaves."""
    world, alice, _ = in_a_room()
    if kicked:
        arrives(world, ME, "unavailable", to=HERE)
    else:
        alice.says(f"<presence to='{ME}' type='unavailable'/>")
    assert lose(world, alice) == [[]]


def test_who_changes_the_nickname_is_still_in_the_room() -> None:
    """XEP-0045 §7.6."""
    world, alice, _ = in_a_room()
    alice.says(f"<presence to='{ROOM}/I'/>")
    arrives(world, ME, "unavailable", to=HERE)
    arrives(world, ROOM.with_resource("I"), to=HERE)
    assert lose(world, alice) == [[HIM.text, f"{ROOM}/I"]]


def test_a_contact_whom_presence_was_directed_to_is_still_a_contact() -> None:
    world = federated(Subscription.TO)
    alice, *_ = meet(world)
    alice.says(f"<presence to='{DESK}'/>")
    arrives(world, DESK, to=HERE)
    alice.says(f"<presence to='{DESK}' type='unavailable'/>")
    assert lose(world, alice) == [[DESK.text]]


# -- what is remembered has a bound


def test_so_many_resources_of_a_contact_are_remembered() -> None:
    world = federated()
    alice, *_ = meet(world)
    for number in range(70):
        arrives(world, BOB.with_resource(str(number)))
    assert [len(each) for each in lose(world, alice)] == [64]


def test_so_many_addresses_are_remembered() -> None:
    seen = Seen()
    for number in range(4000):
        seen.add(HIM.with_resource(str(number)), 5000)
    assert len(seen.lose("elsewhere.example")) == 3000
    seen.add(DESK, 1)
    seen.add(DESK, 1)
    seen.discard(DESK.with_resource("never seen"))
    seen.discard(BOB)
    seen.discard(BOB)
    for number in range(4000):
        seen.add(HIM.with_resource(str(number)), 5000)
    assert len(seen.lose("elsewhere.example")) == 3000


# -- when the domain is back


@pytest.mark.parametrize("sign", ["", "unavailable", "probe"])
def test_what_was_missed_is_asked_for(sign: str) -> None:
    """Who was there all the time does not say so again; who came meanwhile was not heard."""
    world = federated()
    world.add("carol")
    give(world, "carol", RosterItem(DESK.bare, subscription=Subscription.TO))
    give(world, "carol", RosterItem(Jid.parse("dave@elsewhere.example"), subscription=Subscription.TO))
    give(world, "carol", RosterItem(Jid.parse("erin@elsewhere.example"), subscription=Subscription.FROM))
    give(world, "carol", RosterItem(Jid.parse("bob@other.example"), subscription=Subscription.TO))
    carol = come(world, "carol")
    alice, *_ = meet(world)
    arrives(world, DESK, to=carol.session.account.jid)
    lose(world, alice, carol)
    arrives(world, DESK, sign)
    assert [(str(e.sender), str(e.to)) for e in world.remote.sent if e.type == "probe"] == [
        ("carol@example.net", "bob@elsewhere.example"),
        ("carol@example.net", "dave@elsewhere.example"),
    ]
    world.remote.sent.clear()
    arrives(world, DESK)
    assert world.remote.sent == []


def test_who_has_gone_meanwhile_asks_nothing() -> None:
    world = federated()
    alice, phone, _ = meet(world)
    arrives(world, DESK)
    lose(world)
    alice.leaves()
    phone.leaves()
    world.remote.sent.clear()
    arrives(world, DESK)
    assert world.remote.sent == []
