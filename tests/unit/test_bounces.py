"""What comes of a stanza that another server never got: who is told, and who is not (RFC 6120 §8.3.1, §10.4.3)."""

from __future__ import annotations

import pytest

from tests.contacts import come, give, item, make
from tests.world import Client, World, run
from vrxmpp import ns
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import RosterItem, Subscription

AWAY = Jid.parse("bob@elsewhere.example")
ALICE = Jid.parse("alice@example.net")
TIMEOUT = f"<error type='wait'><remote-server-timeout xmlns='{ns.STANZA_ERRORS}'/></error>"
SUBSCRIBE = "<presence id='s' to='bob@elsewhere.example' type='subscribe'/>"
PROBED = f"<presence to='alice@example.net' from='bob@elsewhere.example' type='error'>{TIMEOUT}</presence>"
BROADCAST = f"<presence to='alice@example.net/here' from='bob@elsewhere.example' type='error'>{TIMEOUT}</presence>"


def federated(subscription: Subscription | None = None) -> World:
    """Return a world with Alice, whose roster has a contact at another server that takes everything."""
    world = make("alice")
    world.remote.reachable = True
    if subscription is not None:
        give(world, "alice", RosterItem(AWAY, subscription=subscription))
    return world


def bounce(world: World, condition: Condition = Condition.REMOTE_SERVER_TIMEOUT) -> list[str]:
    """Give back all that went out, as when the other server was not reached in time; return the types it had."""
    sent, world.remote.sent = world.remote.sent, []
    for stanza in sent:
        world.router.refuse(stanza, StanzaError(condition))
    assert world.remote.sent == []  # nothing is answered to the server that cannot be reached
    return [stanza.type for stanza in sent]


def meet(world: World) -> tuple[Client, Client, Client]:
    """Return three clients of Alice's; the last has sent no presence. What their coming has sent is forgotten."""
    clients = come(world, "alice"), come(world, "alice", "phone"), world.login("alice", "mute")
    world.remote.sent.clear()
    for each in clients:
        each.hears()
    return clients


def from_away(world: World, stanza: Stanza) -> None:
    waiting = world.router.route(stanza)
    if waiting is not None:
        run(waiting)


# -- what one client has sent comes back to it alone


@pytest.mark.parametrize("type", ["", "normal", "chat", "groupchat", "headline"])
def test_a_message_comes_back_to_the_client_that_sent_it(type: str) -> None:
    world = federated()
    alice, phone, mute = meet(world)
    alice.says(f"<message id='1' to='bob@elsewhere.example/desk' type='{type}'><body>hi</body></message>")
    bounce(world)
    assert alice.hears() == [
        "<message to='alice@example.net/here' from='bob@elsewhere.example/desk' id='1' type='error'>"
        f"{TIMEOUT}</message>"
    ]
    assert phone.hears() == mute.hears() == []


@pytest.mark.parametrize("type", ["get", "set"])
def test_a_request_gets_its_one_answer(type: str) -> None:
    world = federated()
    alice, phone, mute = meet(world)
    mute.says(f"<iq id='1' to='elsewhere.example' type='{type}'><ping xmlns='{ns.PING}'/></iq>")
    assert bounce(world) == [type]
    assert mute.hears() == [
        f"<iq to='alice@example.net/mute' from='elsewhere.example' id='1' type='error'>{TIMEOUT}</iq>"
    ]
    assert alice.hears() == phone.hears() == []


@pytest.mark.parametrize("type", ["", "unavailable"])
def test_directed_presence_comes_back_to_the_client_that_sent_it(type: str) -> None:
    world = federated()
    alice, phone, mute = meet(world)
    mute.says(f"<presence id='1' to='room@elsewhere.example/me' type='{type}'/>")
    assert bounce(world) == [type]
    assert mute.hears() == [
        "<presence to='alice@example.net/mute' from='room@elsewhere.example/me' id='1' type='error'>"
        f"{TIMEOUT}</presence>"
    ]
    assert alice.hears() == phone.hears() == []


def test_directed_presence_that_came_back_is_still_taken_back_at_the_end() -> None:
    """RFC 6121 §4.6.3: it may have arrived after all."""
    world = federated()
    alice, *_ = meet(world)
    alice.says("<presence to='room@elsewhere.example/me'/>")
    bounce(world)
    alice.leaves()
    assert bounce(world) == ["unavailable"]


def test_a_broadcast_comes_back_to_the_client_that_sent_it() -> None:
    world = federated(Subscription.FROM)
    alice, phone, mute = meet(world)
    alice.says("<presence><show>away</show></presence>")
    for each in (alice, phone):
        each.hears()
    assert bounce(world) == [""]
    assert alice.hears() == [BROADCAST]
    assert phone.hears() == mute.hears() == []
    alice.says("<presence><show>dnd</show></presence>")
    assert [each.type for each in world.remote.sent] == [""]  # RFC 6121 §4.4.2: an error changes nothing


def test_what_a_client_left_behind_is_for_nobody() -> None:
    """The farewell, and all that was under way; least of all for another client of the user."""
    world = federated(Subscription.BOTH)
    alice, phone, mute = meet(world)
    alice.says("<message id='1' to='bob@elsewhere.example'><body>hi</body></message>")
    alice.says(f"<iq id='2' to='elsewhere.example' type='get'><ping xmlns='{ns.PING}'/></iq>")
    alice.leaves()
    phone.hears()
    assert bounce(world) == ["", "get", "unavailable"]
    assert phone.hears() == mute.hears() == []


# -- what the account has asked for is for all who are there


def test_a_subscription_request_comes_back_to_all_available_resources() -> None:
    """RFC 6121 §3.1.2."""
    world = federated()
    alice, phone, mute = meet(world)
    alice.says(SUBSCRIBE)
    for each in (alice, phone):
        each.hears()  # the roster pushes
    assert bounce(world) == ["subscribe"]
    expected = f"<presence to='alice@example.net' from='bob@elsewhere.example' id='s' type='error'>{TIMEOUT}</presence>"
    assert alice.hears() == phone.hears() == [expected]
    assert mute.hears() == []


def test_a_subscription_request_that_came_back_stays_and_is_sent_again() -> None:
    """RFC 6121 §3.1.2: with the next initial presence."""
    world = federated()
    clients = meet(world)
    clients[0].says(SUBSCRIBE)
    bounce(world)
    assert item(world, "alice", AWAY.text) == RosterItem(AWAY, asked=True)
    for each in clients:
        each.leaves()
    world.remote.sent.clear()
    again = come(world, "alice")
    assert bounce(world) == ["subscribe"]
    assert "<remote-server-timeout " in again.hears()[0]


@pytest.mark.parametrize("subscription", [Subscription.NONE, Subscription.FROM])
def test_a_subscription_request_to_a_server_that_does_not_exist_is_taken_back(subscription: Subscription) -> None:
    """RFC 6121 §3.1.2: it is pending after it was routed, which it never was; the user has mistyped the domain."""
    world = federated(subscription)
    alice, phone, mute = meet(world)
    alice.says(SUBSCRIBE)
    for each in (alice, phone, mute):
        each.hears()
    assert bounce(world, Condition.REMOTE_SERVER_NOT_FOUND) == ["subscribe"]
    for each in (alice, phone):
        error, push = each.hears()
        assert "<remote-server-not-found " in error
        assert f"<item jid='{AWAY}' subscription='{subscription}'/>" in push
    assert mute.hears() == []
    assert item(world, "alice", AWAY.text) == RosterItem(AWAY, subscription=subscription)


@pytest.mark.parametrize(
    "inner",
    [
        f"<x xmlns='urn:x'><error><remote-server-not-found xmlns='{ns.STANZA_ERRORS}'/></error></x>",
        "<error><remote-server-not-found xmlns='urn:x'/></error>",
        "<error type='cancel'><text>remote-server-not-found</text></error>",
        "<error/><error/>",
        "",
    ],
)
def test_what_is_not_that_error_takes_nothing_back(inner: str) -> None:
    world = federated()
    give(world, "alice", RosterItem(AWAY, asked=True))
    alice, *_ = meet(world)
    from_away(world, Stanza("presence", to=ALICE, sender=AWAY, type="error", inner=inner.encode()))
    assert len(alice.hears()) == 1
    assert item(world, "alice", AWAY.text) == RosterItem(AWAY, asked=True)


@pytest.mark.parametrize("condition", [Condition.REMOTE_SERVER_TIMEOUT, Condition.REMOTE_SERVER_NOT_FOUND])
def test_an_error_ends_no_subscription(condition: Condition) -> None:
    """RFC 6121 §4.4.2, note: that is what "unsubscribed" is for."""
    world = federated(Subscription.BOTH)
    alice = come(world, "alice")
    assert bounce(world, condition) == ["", "probe"]
    assert len(alice.hears()) == 2
    assert item(world, "alice", AWAY.text) == RosterItem(AWAY, subscription=Subscription.BOTH)


def test_an_unsubscription_comes_back_to_all_available_resources() -> None:
    """RFC 6121 §3.3.2; it counts nevertheless."""
    world = federated(Subscription.TO)
    alice, phone, mute = meet(world)
    alice.says("<presence id='u' to='bob@elsewhere.example' type='unsubscribe'/>")
    for each in (alice, phone):
        each.hears()
    assert bounce(world) == ["unsubscribe"]
    expected = f"<presence to='alice@example.net' from='bob@elsewhere.example' id='u' type='error'>{TIMEOUT}</presence>"
    assert alice.hears() == phone.hears() == [expected]
    assert mute.hears() == []
    assert item(world, "alice", AWAY.text) == RosterItem(AWAY)


def test_a_probe_comes_back_to_all_available_resources() -> None:
    """That is how they learn why a contact is not seen."""
    world = federated(Subscription.TO)
    alice = come(world, "alice")
    assert bounce(world) == ["probe"]
    assert alice.hears() == [PROBED]


def test_a_request_of_somebody_who_has_left_is_for_nobody() -> None:
    world = federated()
    alice, phone, mute = meet(world)
    alice.says(SUBSCRIBE)
    for each in (alice, phone):
        each.leaves()
    bounce(world)
    assert mute.hears() == []


def test_nobody_is_woken_to_hear_that_nobody_was_reached() -> None:
    """An account that sleeps has no client that could be told."""
    world = federated()
    world.router.refuse(
        Stanza("presence", sender=ALICE, to=AWAY, type="subscribe"), StanzaError(Condition.REMOTE_SERVER_TIMEOUT)
    )
    assert "alice" not in world.host.awake


# -- what the server has answered for the user is nobody's


@pytest.mark.parametrize("asked", ["probe", "unsubscribe"])
def test_an_answer_of_the_server_s_own_that_came_back_is_for_nobody(asked: str) -> None:
    """The user has sent nothing, and would see an error from somebody they may never have heard of."""
    world = federated(Subscription.FROM if asked == "unsubscribe" else None)
    alice, phone, _ = meet(world)
    from_away(world, Stanza("presence", to=ALICE, sender=AWAY, type=asked))
    for each in (alice, phone):
        each.hears()
    assert bounce(world)[-1] == "unsubscribed"
    assert not [each for each in (*alice.hears(), *phone.hears()) if " to='alice@example.net' " in each]


def test_an_account_that_is_not_known_is_told_nothing() -> None:
    world = federated()
    from_away(world, Stanza("presence", to=Jid.parse("nobody@example.net"), sender=AWAY, type="probe"))
    assert bounce(world) == ["unsubscribed"]


# -- an answer is never answered


def test_answers_do_not_come_back() -> None:
    """RFC 6120 §8.3.1."""
    world = federated()
    clients = meet(world)
    ping = f"<ping xmlns='{ns.PING}'/>".encode()
    for id in ("1", "2"):
        payloads = (ns.qname(ns.PING, "ping"),)
        to = ALICE.with_resource("here")
        from_away(world, Stanza("iq", to=to, sender=AWAY, type="get", id=id, payloads=payloads, inner=ping))
    clients[0].hears()
    error = f"<error type='cancel'><not-allowed xmlns='{ns.STANZA_ERRORS}'/></error>"
    clients[0].says("<iq id='1' to='bob@elsewhere.example' type='result'/>")
    clients[0].says(f"<iq id='2' to='bob@elsewhere.example' type='error'>{error}</iq>")
    clients[0].says(f"<message id='3' to='bob@elsewhere.example' type='error'>{error}</message>")
    clients[0].says(f"<presence id='4' to='bob@elsewhere.example' type='error'>{error}</presence>")
    assert bounce(world) == ["result", "error", "error", "error"]
    assert [each.hears() for each in clients] == [[], [], []]
