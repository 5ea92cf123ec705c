"""XEP-0077 §3.2, §3.3: the password of an account, and its end."""

from __future__ import annotations

import pytest

from tests.world import NO_KEYS, Client, World, run
from vrxmpp.errors import StreamCondition
from vrxmpp.jid import Jid
from vrxmpp.modules.password import PasswordChange
from vrxmpp.modules.presence import Presence
from vrxmpp.store.interfaces import RosterItem, ScramKeys, StorageError, Subscription

NEW_SHA1 = ScramKeys(b"new", 4096, b"sha1", b"sha1")
NEW_SHA256 = ScramKeys(b"new", 4096, b"sha256", b"sha256")


async def derive(password: str) -> tuple[ScramKeys, ScramKeys]:
    if password != "new":
        raise ValueError("no such password")
    return NEW_SHA1, NEW_SHA256


@pytest.fixture
def world() -> World:
    world = World(Presence())
    world.mount(PasswordChange(world.stores.accounts, derive))
    world.add("alice", "bob")
    world.befriend("alice", "bob")
    return world


def login(world: World, name: str = "alice", resource: str = "here") -> Client:
    client = world.login(name, resource)
    client.session.security = "TLSv1.3"
    return client


def query(client: Client, content: str, to: str = "example.net", type: str = "set") -> str:
    to = f" to='{to}'" if to else ""
    client.says(f"<iq type='{type}' id='1'{to}><query xmlns='jabber:iq:register'>{content}</query></iq>")
    [answer] = client.hears()
    return answer


def credentials(username: str, password: str) -> str:
    return f"<username>{username}</username><password>{password}</password>"


def keys(world: World, name: str = "alice") -> tuple[ScramKeys, ScramKeys]:
    found = run(world.stores.accounts.credentials(name))
    assert found is not None
    return found.sha1, found.sha256


OLD = (NO_KEYS, NO_KEYS)


@pytest.mark.parametrize("to", ["example.net", "alice@example.net", ""])
def test_the_password_is_changed(world: World, to: str) -> None:
    """§3.3."""
    assert "type='result'/>" in query(login(world), credentials("Alice", "new"), to)
    assert keys(world) == (NEW_SHA1, NEW_SHA256)
    assert keys(world, "bob") == OLD


def test_only_over_a_secure_connection(world: World) -> None:
    """§3.3."""
    assert "<not-authorized" in query(world.login("alice"), credentials("alice", "new"))
    assert keys(world) == OLD


@pytest.mark.parametrize(
    ("content", "condition"),
    [
        (credentials("alice", ""), "not-acceptable"),
        (credentials("alice", "forbidden"), "not-acceptable"),
        (credentials("bob", "new"), "not-allowed"),
        (credentials("a@b", "new"), "not-allowed"),
        ("<username>alice</username>", "bad-request"),
        ("<password>new</password>", "bad-request"),
        ("<username xmlns='x'>alice</username><password>new</password>", "bad-request"),
        ("", "bad-request"),
        ("<remove/>" + credentials("alice", "new"), "bad-request"),
    ],
)
def test_what_is_refused(world: World, content: str, condition: str) -> None:
    """§3.2, §3.3: nothing is changed, and no password is repeated."""
    answer = query(login(world), content)
    assert f"<{condition}" in answer
    assert "<password" not in answer
    assert keys(world) == OLD
    assert keys(world, "bob") == OLD


def test_only_for_the_own_account(world: World) -> None:
    """Neither the account of another user, nor with another domain of the same server."""
    other = World(domain="other.net", router=world.router)
    other.add("alice")
    for client, to in ((login(world, "bob"), "alice@example.net"), (login(other), "example.net")):
        for content in (credentials("alice", "new"), "<remove/>"):
            assert "<service-unavailable" in query(client, content, to)
    assert keys(world) == OLD


def test_who_asks_is_registered(world: World) -> None:
    """§3.1."""
    assert "<query xmlns='jabber:iq:register'><registered/><username>alice</username><password/></query>" in query(
        login(world), "", type="get"
    )


def test_the_account_is_removed(world: World) -> None:
    """§3.2: after the result all its sessions end, and its subscriptions."""
    alice, other, bob = login(world), login(world, resource="other"), world.login("bob")
    bob.says("<presence/>")
    alice.says("<presence/>")
    other.hears()
    alice.hears()
    bob.hears()
    assert "type='result'/>" in query(alice, "<remove/>", "")
    for client in (alice, other):
        assert client.closed is not None
        assert client.closed.condition is StreamCondition.NOT_AUTHORIZED
    assert run(world.stores.accounts.wake("alice")) is None
    assert run(world.host.wake("alice")) is None
    assert "type='unavailable'" in bob.hears()[0]


def test_contacts_elsewhere_are_told(world: World) -> None:
    """§3.2: "the server SHOULD also cancel all existing presence subscriptions"."""
    world.remote.reachable = True
    alice = login(world)
    bob = Jid.parse("bob@far.net")
    alice.session.account.roster = {bob.text: RosterItem(bob, subscription=Subscription.BOTH)}
    query(alice, "<remove/>", "")
    assert [stanza.raw for stanza in world.remote.sent] == [
        b"<presence to='bob@far.net' from='alice@example.net' type='unsubscribed'/>",
        b"<presence to='bob@far.net' from='alice@example.net' type='unsubscribe'/>",
    ]


def test_a_failing_store_removes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> bool:
        raise StorageError("the disk is full")

    monkeypatch.setattr(world.stores.accounts, "remove", fail)
    alice = login(world)
    assert "type='error'" in query(alice, "<remove/>")
    assert alice.closed is None


def test_a_session_that_goes_while_its_account_is_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written to who is not there."""
    alice, remove = login(world), world.stores.accounts.remove

    async def leave_and_remove(local: str) -> bool:
        alice.leaves()
        return await remove(local)

    monkeypatch.setattr(world.stores.accounts, "remove", leave_and_remove)
    alice.says("<iq type='set' id='1'><query xmlns='jabber:iq:register'><remove/></query></iq>")
    assert alice.hears() == []
    assert run(world.host.wake("alice")) is None


def test_an_account_that_is_gone(world: World) -> None:
    """§3.2: not registered; it was removed by an administrator a moment ago."""
    alice = login(world)
    run(world.stores.accounts.remove("alice"))
    for content in ("<remove/>", credentials("alice", "new")):
        assert "<registration-required" in query(alice, content)
