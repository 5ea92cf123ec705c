"""Our users and those of Prosody, of ejabberd and of another vrxmpp (RFC 6120 §4.4, RFC 6121, XEP-0220, XEP-0368)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import pytest

from tests.live.client import PATIENCE
from tests.peers.federation import KINDS, Federation, Means, federation
from tests.peers.peer import Peer
from tests.peers.person import Person, enter, newcomer
from tests.peers.vrxmpp import Vrxmpp

MISSING = [name for name, kind in KINDS.items() if not kind.installed()]


@dataclass(frozen=True)
class Case:
    """Our server, another one, and the means by which they talk."""

    ours: Peer
    theirs: Peer
    our_domain: str
    their_domain: str

    async def people(self) -> tuple[Person, Person]:
        """Return one of our users and one of theirs, both online."""
        return await newcomer(self.ours, "alice", self.our_domain), await newcomer(
            self.theirs, "bob", self.their_domain
        )


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with federation(tmp_path_factory.mktemp("federation")) as members:
        members.add_for_all_means(Vrxmpp, "ours")
        for name, kind in KINDS.items():
            if name not in MISSING:
                members.add_for_all_means(kind, name)
        members.start()
        yield members


def case_of(members: Federation, name: str, means: Means) -> Case:
    if name in MISSING:
        pytest.skip(f"{name} is not installed; as root: sh tests/peers/install.sh")
    ours, theirs = members.peer("ours", means.policy), members.peer(name, means.policy)
    return Case(ours, theirs, f"{means}.ours.example", f"{means}.{name}.example")


@pytest.fixture(params=[(name, means) for name in KINDS for means in Means], ids="-".join)
def case(request: pytest.FixtureRequest, members: Federation) -> Case:
    """Each other server, by each means."""
    return case_of(members, *request.param)


async def make_friends(one: Person, other: Person) -> None:
    """Let both subscribe to each other; nothing is left in their inboxes."""
    for subscriber, contact in ((one, other), (other, one)):
        subscriber.send_presence_subscription(pto=contact.boundjid.bare)
        await contact.expect("presence", sender=subscriber.boundjid.bare, type="subscribe")
        contact.send_presence_subscription(pto=subscriber.boundjid.bare, ptype="subscribed")
        await subscriber.expect("presence", sender=contact.boundjid.bare, type="subscribed")
        await subscriber.expect("presence", sender=contact.boundjid.full, type="")
    for person, contact in ((one, other), (other, one)):
        assert await person.contacts() == {contact.boundjid.bare: "both"}
        person.inbox.clear()


async def test_people_talk(case: Case) -> None:
    alice, bob = await case.people()

    for one, other in ((alice, bob), (bob, alice)) * 2:
        one.send_message(other.boundjid.full, f"a < b & c, said {one.boundjid.user} \N{GRINNING FACE}", mtype="chat")
        message = await other.expect("message", sender=one.boundjid.full, type="chat")
        assert message["body"] == f"a < b & c, said {one.boundjid.user} \N{GRINNING FACE}"
    for one, other in ((alice, bob), (bob, alice)):
        await one.plugin["xep_0199"].send_ping(other.boundjid.domain, timeout=PATIENCE)
        one.send_message(f"nobody@{other.boundjid.domain}", "are you there?", mtype="chat")
        error = await one.expect("message", sender=f"nobody@{other.boundjid.domain}", type="error")
        assert error["error"]["condition"] in {"service-unavailable", "item-not-found"}


async def test_many_messages_arrive_once_and_in_order(case: Case) -> None:
    alice, bob = await case.people()
    texts = [str(number) for number in range(50)]

    for one, other in ((alice, bob), (bob, alice)):
        for text in texts:
            one.send_message(other.boundjid.full, text, mtype="chat")
    for one, other in ((alice, bob), (bob, alice)):
        messages = [await one.expect("message", sender=other.boundjid.full) for _ in texts]
        assert [message["body"] for message in messages] == texts
        await one.settle()
        assert one.inbox == []


async def test_people_add_each_other_and_see_each_other_come_and_go(case: Case) -> None:
    alice, bob = await case.people()
    await make_friends(alice, bob)

    for one, other in ((alice, bob), (bob, alice)):
        one.send_presence(pshow="away", pstatus="Lunch")
        presence = await other.expect("presence", sender=one.boundjid.full, type="")
        while not presence["show"]:  # ejabberd tells a new subscriber more than once
            presence = await other.expect("presence", sender=one.boundjid.full, type="")
        assert (presence["show"], presence["status"]) == ("away", "Lunch")

    await bob.leave()
    await alice.expect("presence", sender=bob.boundjid.full, type="unavailable")
    bob = await enter(case.theirs, bob.boundjid.bare)
    await bob.come()
    await alice.expect("presence", sender=bob.boundjid.full, type="")
    await bob.expect("presence", sender=alice.boundjid.full, type="")  # an answer to a probe

    alice.cut()
    await bob.expect("presence", sender=alice.boundjid.full, type="unavailable")
    alice = await enter(case.ours, alice.boundjid.bare)
    await alice.come()
    await bob.expect("presence", sender=alice.boundjid.full, type="")
    await alice.expect("presence", sender=bob.boundjid.full, type="")


async def test_to_remove_a_contact_ends_both_subscriptions(case: Case) -> None:
    """Only what our server has to do is looked at: Prosody does not send that somebody is unavailable."""
    for we_remove in (True, False):
        alice, bob = await case.people()
        await make_friends(alice, bob)
        one, other = (alice, bob) if we_remove else (bob, alice)

        await one.del_roster_item(other.boundjid.bare)

        for type in ("unsubscribe", "unsubscribed"):
            await other.expect("presence", sender=one.boundjid.bare, type=type)
        await bob.expect("presence", sender=alice.boundjid.full, type="unavailable")
        assert await one.contacts() == {}
        assert await other.contacts() == {one.boundjid.bare: "none"}


async def test_a_request_is_answered_while_who_has_asked_is_away(case: Case) -> None:
    for asker in (0, 1):
        people = await case.people()
        one, other = people[asker], people[1 - asker]
        where, elsewhere = (case.ours, case.theirs) if one is people[0] else (case.theirs, case.ours)
        await other.leave()

        one.send_presence_subscription(pto=other.boundjid.bare)
        await one.push()
        await one.plugin["xep_0199"].send_ping(other.boundjid.domain, timeout=PATIENCE)
        await one.leave()
        other = await enter(elsewhere, other.boundjid.bare)
        await other.come()
        await other.expect("presence", sender=one.boundjid.bare, type="subscribe")
        other.send_presence_subscription(pto=one.boundjid.bare, ptype="subscribed")
        await other.plugin["xep_0199"].send_ping(one.boundjid.domain, timeout=PATIENCE)

        one = await enter(where, one.boundjid.bare)
        await one.come()
        await one.expect("presence", sender=other.boundjid.full, type="")
        assert await one.contacts() == {other.boundjid.bare: "to"}
        assert await other.contacts() == {one.boundjid.bare: "from"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_messages_sent_while_the_other_server_is_away_arrive_once_or_come_back(
    members: Federation, name: str, end: str
) -> None:
    case = case_of(members, name, Means.EXTERNAL)
    alice, bob = await case.people()
    bob_bare = bob.boundjid.bare
    await until(lambda: case.theirs.keeps(bob.boundjid.user))
    for one, other in ((alice, bob), (bob, alice)):
        one.send_message(other.boundjid.full, "before", mtype="chat")
        await other.expect("message", sender=one.boundjid.full)

    await asyncio.to_thread(getattr(case.theirs, end))
    await alice.settle()
    ids = [f"during {number}" for number in range(5)]
    for id in ids:
        say(alice, bob_bare, id)
    await alice.settle()
    await asyncio.to_thread(case.theirs.start)
    bobs = [await enter(case.theirs, bob_bare)]
    await bobs[0].come()

    for number in count():  # until they are heard of again
        say(alice, bob_bare, f"after {number}")
        while not (fate := fates(alice, bobs, f"after {number}")):
            await asyncio.sleep(0.05)
        if fate == ["arrived"]:
            break
        await asyncio.sleep(1)
    while len(fates(alice, bobs, *ids)) < len(ids):
        await bobs[-1].leave()
        bobs.append(await enter(case.theirs, bob_bare))  # ejabberd may store one just after it was asked what it stores
        await bobs[-1].come()
        await asyncio.sleep(0.5)

    for person in (alice, bobs[-1]):
        await person.settle()
    for id in ids:
        assert len(fates(alice, bobs, id)) == 1
    bobs[-1].send_message(alice.boundjid.full, "again", mtype="chat")
    assert (await alice.expect("message", sender=bob_bare, type="chat"))["body"] == "again"


async def test_who_is_on_a_server_that_does_not_come_back_goes_offline(members: Federation) -> None:
    case = case_of(members, "other", Means.EXTERNAL)
    alice, bob = await case.people()
    await make_friends(alice, bob)

    await asyncio.to_thread(case.theirs.kill)
    try:
        await until(lambda: any(stanza["type"] == "unavailable" for stanza in alice.inbox))
        await alice.expect("presence", sender=bob.boundjid.full, type="unavailable")
        alice.send_message(bob.boundjid.bare, "are you there?", mtype="chat")
        error = await alice.expect("message", sender=bob.boundjid.bare, type="error")
        assert error["error"]["condition"] == "remote-server-timeout"
    finally:
        await asyncio.to_thread(case.theirs.start)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, at most as long as a test may take."""
    while not condition():
        await asyncio.sleep(0.05)


def say(person: Person, to: str, id: str) -> None:
    """Send a message that is known by its id."""
    message = person.make_message(to, id, mtype="chat")
    message["id"] = id
    message.send()


def fates(alice: Person, bobs: Sequence[Person], *ids: str) -> list[str]:
    """Return what has become of what Alice has sent to Bob, as often as it has."""
    messages = [
        (stanza["id"], fate)
        for person, fate in ((alice, "came back"), *((bob, "arrived") for bob in bobs))
        for stanza in person.inbox
        if stanza.name == "message"
    ]
    return [fate for id, fate in messages if id in ids]
