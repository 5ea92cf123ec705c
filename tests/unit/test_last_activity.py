"""XEP-0012: Last Activity."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.world import Client, World, run
from vrxmpp.modules.last_activity import LastActivity
from vrxmpp.modules.presence import Presence
from vrxmpp.store import interfaces
from vrxmpp.store.interfaces import StorageError

QUERY = "<query xmlns='jabber:iq:last'/>"


@pytest.fixture
def world() -> World:
    world = World(Presence())
    world.mount(LastActivity(world.stores.accounts, world.now))
    world.add("alice", "bob", "mallory")
    world.befriend("alice", "bob")
    return world


def ask(client: Client, to: str) -> str:
    client.hears()
    client.says(f"<iq type='get' id='1' to='{to}'>{QUERY}</iq>")
    [answer] = client.hears()
    return answer


def answer(seconds: int, status: str = "") -> str:
    return f"<query xmlns='jabber:iq:last' seconds='{seconds}'>{status}</query>"


def noted(world: World) -> interfaces.LastActivity | None:
    state = run(world.stores.accounts.wake("bob"))
    assert state is not None
    return state.last_activity


def test_uptime(world: World) -> None:
    """§5."""
    world.advance(123_456)
    assert answer(123_456) in ask(world.login("mallory"), "example.net")


def test_the_status_of_who_has_gone(world: World) -> None:
    """§3: how long ago, and the last words."""
    bob = world.login("bob")
    bob.says("<presence/>")
    bob.says("<presence type='unavailable'><status>Heading &lt;Home&gt;</status></presence>")
    world.advance(300)
    bob.leaves()
    world.advance(603)
    assert answer(903, "Heading &lt;Home&gt;") in ask(world.login("alice"), "bob@example.net")


def test_who_is_cut_off_leaves_no_status(world: World) -> None:
    bob = world.login("bob")
    bob.says("<presence><status>here</status></presence>")
    world.advance(10)
    bob.leaves()
    world.advance(5)
    assert answer(5) in ask(world.login("alice"), "bob@example.net")


def test_it_is_counted_from_the_last_session(world: World) -> None:
    one, two = world.login("bob", "one"), world.login("bob", "two")
    one.says("<presence/>")
    two.says("<presence/>")
    three = world.login("bob", "three")
    three.says("<presence/>")
    one.says("<presence type='unavailable'><status>first</status></presence>")
    three.leaves()
    assert noted(world) is None
    world.advance(10)
    two.leaves()
    world.advance(10)
    assert answer(10) in ask(world.login("alice"), "bob@example.net")


def test_it_is_kept_in_the_store(world: World) -> None:
    bob = world.login("bob")
    bob.says("<presence/><presence type='unavailable'><status>bye</status></presence>")
    assert noted(world) == interfaces.LastActivity(datetime(2026, 1, 1, 12, tzinfo=UTC), "bye")


def test_who_never_was_available_does_not_leave(world: World) -> None:
    bob = world.login("bob")
    bob.says("<presence type='unavailable'><status>bye</status></presence>")
    bob.leaves()
    assert noted(world) is None


def test_nothing_is_noted_of_a_guest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """XEP-0175: a guest has no account."""
    noted: list[object] = []

    async def note(*activity: object) -> None:
        noted.append(activity)

    monkeypatch.setattr(world.stores.accounts, "set_last_activity", note)
    guest = Client()
    guest.session = run(world.host.bind("guest", "", guest, guest=True))
    guest.says("<presence/>")
    guest.leaves()
    assert noted == []


def test_a_clock_that_was_set_back(world: World) -> None:
    world.advance(-60)
    assert answer(0) in ask(world.login("alice"), "example.net")


def test_a_long_status_is_cut(world: World) -> None:
    bob = world.login("bob")
    bob.says(f"<presence/><presence type='unavailable'><status>{'a' * 2000}</status></presence>")
    assert answer(0, "a" * 1000) in ask(world.login("alice"), "bob@example.net")


def test_a_failing_store_harms_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(world.stores.accounts, "set_last_activity", fail)
    bob = world.login("bob")
    bob.says("<presence/>")
    bob.leaves()
    assert answer(0) in ask(world.login("alice"), "bob@example.net")


def test_somebody_available_was_last_active_now(world: World) -> None:
    """§3: 0 seconds, and no words."""
    bob = world.login("bob")
    bob.says("<presence><status>here</status></presence>")
    world.advance(60)
    assert answer(0) in ask(world.login("alice"), "bob@example.net")


def test_directed_presence_is_no_leaving(world: World) -> None:
    bob = world.login("bob")
    bob.says("<presence/>")
    bob.says("<presence type='unavailable' to='mallory@example.net'/>")
    assert noted(world) is None


def test_somebody_never_seen(world: World) -> None:
    assert "<item-not-found" in ask(world.login("alice"), "bob@example.net")


def test_strangers_cannot_tell_an_account_from_none(world: World) -> None:
    """§3, §8; security.md 12."""
    mallory = world.login("mallory")
    world.login("alice").says("<presence/>")
    real, made_up = ask(mallory, "alice@example.net"), ask(mallory, "nobody@example.net")
    assert "<forbidden" in real
    assert real == made_up.replace("nobody", "alice")


def test_strangers_do_not_reach_a_client(world: World) -> None:
    """§4."""
    alice, mallory = world.login("alice"), world.login("mallory")
    answers = [
        ask(mallory, f"{jid}") for jid in ("alice@example.net/here", "alice@example.net/x", "nobody@example.net/x")
    ]
    assert alice.hears() == []
    assert all("<service-unavailable" in answer for answer in answers)
    assert len({re.sub("from='[^']+'", "", answer) for answer in answers}) == 1


def test_friends_reach_a_client(world: World) -> None:
    """§4: it answers for itself."""
    alice, bob = world.login("alice"), world.login("bob")
    bob.says(f"<iq type='get' id='1' to='alice@example.net/here'>{QUERY}</iq>")
    [question] = alice.hears()
    assert QUERY in question
