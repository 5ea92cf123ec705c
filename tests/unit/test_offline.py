"""XEP-0160: Offline Messages, with the stamps of XEP-0203 and the hints of XEP-0334."""

from __future__ import annotations

import re
from typing import cast

import pytest
from twisted.internet.defer import Deferred

from tests.world import Client, World, parse, run
from vrxmpp.core.account import Account
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.modules.offline import OfflineMessages
from vrxmpp.modules.presence import Presence
from vrxmpp.store.interfaces import AccountId, Offline, OfflineMessage, StorageError

CHAT_STATE = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
NO_STORE = "<no-store xmlns='urn:xmpp:hints'/>"
STORE = "<store xmlns='urn:xmpp:hints'/>"


class SlowOffline:
    """A store that takes its time: each call waits until it is let go."""

    def __init__(self, store: Offline) -> None:
        self._store = store
        self.calls: list[tuple[str, Deferred[None]]] = []
        self.is_slow = True

    async def _wait(self, name: str) -> None:
        if self.is_slow:
            call: Deferred[None] = Deferred()
            self.calls.append((name, call))
            await call

    def let_go(self) -> str:
        name, call = self.calls.pop(0)
        call.callback(None)
        return name

    async def add(self, account: AccountId, stamp: object, stanza: bytes, limit: int) -> bool:
        await self._wait("add")
        return await self._store.add(account, stamp, stanza, limit)  # type: ignore[arg-type]

    async def waiting(self, account: AccountId) -> list[OfflineMessage]:
        await self._wait("waiting")
        return await self._store.waiting(account)

    async def discard(self, account: AccountId, up_to: int) -> None:
        await self._wait("discard")
        await self._store.discard(account, up_to)


class SlowClient(Client):
    """A client that reads only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.drains: list[Deferred[None]] = []

    async def drain(self) -> None:
        drained: Deferred[None] = Deferred()
        self.drains.append(drained)
        await drained

    def reads(self) -> None:
        self.drains.pop(0).callback(None)

    def leaves(self) -> None:
        super().leaves()
        while self.drains:
            self.reads()


@pytest.fixture
def world() -> World:
    world = World(Presence())
    world.mount(OfflineMessages(world.stores.offline, limit=100))
    world.add("alice", "bob")
    return world


def start(client: Client, xml: str) -> Deferred[None] | None:
    """Send a stanza without waiting until it is dealt with."""
    [stanza] = parse(xml)
    waiting = client.session.receive(stanza)  # type: ignore[arg-type]
    return None if waiting is None else Deferred.fromCoroutine(waiting)


def bodies(client: Client) -> list[str]:
    """Return the bodies of the messages that have come."""
    return [match for raw in client.hears() for match in re.findall("<body>(.*)</body>", raw)]


def account(world: World, name: str = "bob") -> Account:
    found = run(world.host.wake(name))
    assert found is not None
    return found


def stored(world: World) -> list[str]:
    return [m.stanza.decode() for m in run(world.stores.offline.waiting(account(world).id))]


def join(world: World, client: Client, name: str = "bob", resource: str = "here") -> None:
    client.session = run(world.host.bind(name, resource, client))


def message(body: str, to: str = "bob@example.net", type: str = "chat") -> str:
    return f"<message type='{type}' to='{to}'><body>{body}</body></message>"


# -- what is kept


def test_a_message_waits_and_comes_with_its_time(world: World) -> None:
    """XEP-0160 §2; XEP-0203 §2."""
    alice = world.login("alice")
    alice.says("<message id='1' type='chat' to='bob@example.net'><body>hello</body></message>")
    assert alice.hears() == []
    world.advance(60)
    bob = world.login("bob")
    assert bob.hears() == []
    bob.says("<presence/>")
    assert bob.hears()[1:] == [
        "<message to='bob@example.net' from='alice@example.net/here' id='1' type='chat'><body>hello</body>"
        "<delay xmlns='urn:xmpp:delay' from='example.net' stamp='2026-01-01T12:00:00Z'/></message>"
    ]


def test_it_is_on_the_disk_before_the_sender_goes_on() -> None:
    """security.md 6: nothing is acknowledged before it is committed."""
    world = World(Presence())
    slow = SlowOffline(world.stores.offline)
    world.mount(OfflineMessages(slow, 100))
    world.add("alice", "bob")
    accepted = start(world.login("alice"), message("hello"))
    assert accepted is not None
    assert not accepted.called
    slow.let_go()
    assert accepted.called


@pytest.mark.parametrize(
    ("type", "inner", "kept"),
    [
        ("chat", "<body>a</body>", True),
        ("normal", "<body>a</body>", True),
        ("", "<body>a</body>", True),
        ("", "<subject>a</subject>", True),
        ("chat", f"<body>a</body>{CHAT_STATE}", True),
        ("chat", CHAT_STATE, False),
        ("chat", f"{CHAT_STATE}<thread>a</thread>{NO_STORE}", False),
        ("chat", "", False),
        ("chat", "<received xmlns='urn:xmpp:receipts' id='a'/>", True),
        ("chat", f"{CHAT_STATE}{STORE}", True),
        ("chat", f"<received xmlns='urn:xmpp:receipts' id='a'/>{NO_STORE}", False),
        ("headline", "<body>a</body>", False),
        ("headline", f"<body>a</body>{STORE}", False),
        ("groupchat", "<body>a</body>", False),
        ("error", "<body>a</body>", False),
    ],
)
def test_what_is_kept(world: World, type: str, inner: str, kept: bool) -> None:
    """XEP-0160 §3, XEP-0334 §4.2, §4.4."""
    alice = world.login("alice")
    attribute = f" type='{type}'" if type else ""
    alice.says(f"<message{attribute} to='bob@example.net'>{inner}</message>")
    assert bool(stored(world)) is kept
    if type != "groupchat":
        assert alice.hears() == []


def test_a_message_that_must_not_be_stored_is_refused(world: World) -> None:
    """XEP-0334 §4.2, RFC 6121 §8.5.2.2.1: it is either kept or answered."""
    alice = world.login("alice")
    alice.says(f"<message type='chat' to='bob@example.net'><body>a</body>{NO_STORE}</message>")
    [answer] = alice.hears()
    assert "<service-unavailable" in answer
    assert stored(world) == []


def test_a_chat_message_for_a_resource_that_has_gone_is_kept(world: World) -> None:
    """RFC 6121 §8.5.3.2.1."""
    world.login("alice").says(message("hello", "bob@example.net/gone"))
    assert len(stored(world)) == 1


def test_a_full_store_is_told_to_the_sender(world: World) -> None:
    """XEP-0160 §2."""
    alice = world.login("alice")
    for number in range(101):
        alice.says(message(str(number)))
    [answer] = alice.hears()
    assert "<service-unavailable" in answer
    assert len(stored(world)) == 100


def test_a_failing_store_is_told_to_the_sender(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> bool:
        raise StorageError("the disk is full")

    monkeypatch.setattr(world.stores.offline, "add", fail)
    alice = world.login("alice")
    alice.says(message("hello"))
    [answer] = alice.hears()
    assert "<resource-constraint" in answer
    assert not account(world).lock.locked


def test_a_negative_priority_gets_nothing(world: World) -> None:
    """XEP-0160 §2, note on RFC 6121: it waits until the priority is not negative."""
    bob = world.login("bob")
    bob.says("<presence><priority>-1</priority></presence>")
    world.login("alice").says(message("hello"))
    assert bodies(bob) == []
    bob.says("<presence/>")
    assert bodies(bob) == ["hello"]


def test_a_client_cannot_forge_the_servers_stamp(world: World) -> None:
    """XEP-0203 §5."""
    alice = world.login("alice")
    delay = "<delay xmlns='urn:xmpp:delay' from='{}' stamp='2002-09-10T23:08:25Z'/>"
    alice.says(f"<message to='bob@example.net'><body>a</body>{delay.format('Example.NET')}</message>")
    assert "<not-acceptable" in alice.hears()[0]
    alice.says(f"<message to='bob@example.net'><body>b</body>{delay.format('room@rooms.example.net')}</message>")
    alice.says(f"<message to='bob@example.net'><body>c</body>{delay.format('not@an@address')}</message>")
    assert alice.hears() == []
    assert len(stored(world)) == 2


# -- how it is delivered


def test_all_are_delivered_in_order_and_once(world: World) -> None:
    alice = world.login("alice")
    for number in range(10):
        alice.says(message(str(number)))
    bob = world.login("bob")
    bob.says("<presence/>")
    assert bodies(bob) == [str(number) for number in range(10)]
    assert stored(world) == []
    bob.says("<presence><show>away</show></presence>")
    other = world.login("bob", "there")
    other.says("<presence/>")
    assert bodies(bob) == bodies(other) == []


def test_live_again_afterwards(world: World) -> None:
    """Nothing of the catching up is left: the next message is delivered at once, without a stamp."""
    alice, bob = world.login("alice"), world.login("bob")
    alice.says(message("old"))
    bob.says("<presence/>")
    bob.hears()
    alice.says(message("new"))
    [heard] = bob.hears()
    assert "<delay" not in heard
    assert stored(world) == []


@pytest.fixture
def slow() -> tuple[World, SlowOffline]:
    """A world with two waiting messages, whose store is slow from here on."""
    world = World(Presence())
    store = SlowOffline(world.stores.offline)
    world.mount(OfflineMessages(store, 100))
    world.add("alice", "bob")
    store.is_slow = False
    alice = world.login("alice")
    alice.says(message("1") + message("2"))
    alice.leaves()
    store.is_slow = True
    return world, store


def test_two_sessions_that_come_together_get_no_message_twice(slow: tuple[World, SlowOffline]) -> None:
    world, store = slow
    one, two = world.login("bob", "one"), world.login("bob", "two")
    start(one, "<presence/>")
    start(two, "<presence/>")
    while store.calls:
        store.let_go()
    assert bodies(one) + bodies(two) == ["1", "2"]


@pytest.mark.parametrize("to", ["bob@example.net", "bob@example.net/here"])
def test_a_new_message_does_not_overtake(slow: tuple[World, SlowOffline], to: str) -> None:
    """RFC 6120 §10.1: not even one that is for the very resource."""
    world, store = slow
    alice, bob = world.login("alice"), world.login("bob")
    start(bob, "<presence/>")
    start(alice, message("3", to))
    while store.calls:
        store.let_go()
    assert bodies(bob) == ["1", "2", "3"]
    assert stored_now(world, store) == []


@pytest.mark.parametrize("when", range(5))
def test_a_message_for_one_resource_goes_to_no_other(slow: tuple[World, SlowOffline], when: int) -> None:
    """RFC 6121 §8.5.3.1, at any moment of the delivery."""
    world, store = slow
    alice, one, two = world.login("alice"), world.login("bob", "one"), world.login("bob", "two")
    start(two, "<presence/>")
    start(one, "<presence/>")
    for _ in range(when):
        if store.calls:
            store.let_go()
    start(alice, message("3", "bob@example.net/two"))
    while store.calls:
        store.let_go()
    assert (bodies(one), bodies(two)) == ([], ["1", "2", "3"])


@pytest.mark.parametrize("when", range(5))
def test_a_message_at_any_moment_comes_once_and_in_order(slow: tuple[World, SlowOffline], when: int) -> None:
    """A message is sent after any number of steps of the delivery."""
    world, store = slow
    alice, bob = world.login("alice"), world.login("bob")
    start(bob, "<presence/>")
    for _ in range(when):
        if store.calls:
            store.let_go()
    start(alice, message("3"))
    while store.calls:
        store.let_go()
    assert bodies(bob) == ["1", "2", "3"]
    assert stored_now(world, store) == []


def test_a_message_that_was_on_its_way_into_the_store_is_not_left_there(slow: tuple[World, SlowOffline]) -> None:
    """The session comes while the message is being written."""
    world, store = slow
    alice, bob = world.login("alice"), world.login("bob")
    start(alice, message("3"))
    start(bob, "<presence/>")
    while store.calls:
        store.let_go()
    assert bodies(bob) == ["1", "2", "3"]


def test_a_message_that_waited_for_the_lock_is_delivered(slow: tuple[World, SlowOffline]) -> None:
    """A session comes and gets everything while the message still waits to be written."""
    world, store = slow
    bob = world.login("bob")
    bobs = account(world)
    gate: Deferred[None] = Deferred()

    async def hold() -> None:
        async with bobs.lock:
            await gate

    Deferred.fromCoroutine(hold())
    start(bob, "<presence/>")  # waits for the lock first
    bobs.catching_up, catching_up = None, bobs.catching_up
    bobs.available, available = (), bobs.available
    start(world.login("alice"), message("3"))  # behind it, as it was before the presence
    bobs.catching_up, bobs.available = catching_up, available
    gate.callback(None)
    while store.calls:
        store.let_go()
    assert bodies(bob) == ["1", "2", "3"]
    assert stored_now(world, store) == []


def test_small_talk_and_headlines_need_not_queue(slow: tuple[World, SlowOffline]) -> None:
    """What is not kept for the absent is not kept for who is catching up either: it is delivered."""
    world, _ = slow
    alice, bob = world.login("alice"), world.login("bob")
    start(bob, "<presence/>")
    bob.hears()
    alice.says(f"<message type='chat' to='bob@example.net'>{CHAT_STATE}</message>")
    alice.says(f"<message type='chat' to='bob@example.net/here'><body>a</body>{NO_STORE}</message>")
    alice.says(message("b", type="headline"))
    assert len(bob.hears()) == 3
    assert alice.hears() == []


def test_a_message_for_another_resource_does_not_queue(slow: tuple[World, SlowOffline]) -> None:
    world, _ = slow
    other = world.login("bob", "other")
    start(world.login("bob"), "<presence/>")
    start(world.login("alice"), message("3", "bob@example.net/other"))
    assert bodies(other) == ["3"]


def stored_now(world: World, store: SlowOffline) -> list[str]:
    store.is_slow = False
    return stored(world)


# -- a client that reads slowly, or not to the end


def big(number: int) -> str:
    """A message that fills a batch by itself."""
    return message(f"{number}{'.' * 65_536}")


def numbers(client: Client) -> list[str]:
    return [body[0] for body in bodies(client)]


def test_no_more_is_sent_than_is_read(world: World) -> None:
    """security.md 9: what waits must not cut off the client it waits for."""
    alice, bob = world.login("alice"), SlowClient()
    alice.says("".join(big(number) for number in range(3)))
    join(world, bob)
    start(bob, "<presence/>")
    assert numbers(bob) == ["0"]
    assert len(stored(world)) == 3
    bob.reads()
    assert numbers(bob) == ["1"]
    assert len(stored(world)) == 2
    bob.reads()
    bob.reads()
    assert numbers(bob) == ["2"]
    assert stored(world) == []
    assert account(world).catching_up is None


def test_the_sender_does_not_wait_for_a_slow_reader(world: World) -> None:
    alice, bob = world.login("alice"), SlowClient()
    alice.says(message("1"))
    join(world, bob)
    start(bob, "<presence/>")
    accepted = start(alice, message("2"))
    assert accepted is not None
    assert accepted.called
    bob.reads()
    bob.reads()
    assert numbers(bob) == ["1", "2"]


def test_a_session_that_dies_on_the_way_loses_nothing(world: World) -> None:
    """What it was not seen to read is kept, and comes to the next one, in order."""
    alice, bob = world.login("alice"), SlowClient()
    alice.says("".join(big(number) for number in range(3)))
    join(world, bob)
    start(bob, "<presence/>")
    bob.reads()
    assert numbers(bob) == ["0", "1"]
    bob.leaves()
    assert account(world).catching_up is None
    alice.says(big(3))
    again = world.login("bob")
    again.says("<presence/>")
    assert numbers(again) == ["1", "2", "3"]


def test_the_rest_goes_to_another_session_that_is_there(world: World) -> None:
    alice, bob = world.login("alice"), SlowClient()
    alice.says("".join(big(number) for number in range(3)))
    join(world, bob, resource="slow")
    start(bob, "<presence/>")
    other = world.login("bob", "other")
    other.says("<presence/>")
    assert numbers(other) == []
    bob.reads()
    bob.leaves()
    assert numbers(other) == ["1", "2"]
    assert stored(world) == []


def test_a_session_that_goes_back_to_a_negative_priority_gets_no_more(world: World) -> None:
    alice, bob = world.login("alice"), SlowClient()
    alice.says("".join(big(number) for number in range(3)))
    join(world, bob)
    start(bob, "<presence/>")
    start(bob, "<presence><priority>-1</priority></presence>")
    bob.reads()
    assert numbers(bob) == ["0"]
    assert len(stored(world)) == 2
    assert account(world).catching_up is None


def test_a_session_of_the_same_name_takes_over(world: World) -> None:
    """RFC 6120 §7.7.2.2: the older one is ended while it reads."""
    alice, bob = world.login("alice"), SlowClient()
    alice.says("".join(big(number) for number in range(3)))
    join(world, bob)
    start(bob, "<presence/>")
    newer = world.login("bob")
    assert cast(StreamError, bob.closed).condition is StreamCondition.CONFLICT
    newer.says("<presence/>")
    bob.reads()
    assert numbers(newer) == ["0", "1", "2"]


def test_a_failing_store_ends_the_delivery_and_not_the_account(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> list[OfflineMessage]:
        raise StorageError("the disk is gone")

    alice, bob = world.login("alice"), world.login("bob")
    alice.says(message("1"))
    with monkeypatch.context() as patch:
        patch.setattr(world.stores.offline, "waiting", fail)
        bob.says("<presence/>")
    assert account(world).catching_up is None
    alice.says(message("2"))
    assert bodies(bob) == ["2"]
