"""Rosters, subscriptions and presence between real clients (RFC 6121 §2 to §4)."""

from __future__ import annotations

from tests.live.client import Client, login
from tests.live.server import Server


async def make_friends(server: Server) -> tuple[Client, Client]:
    """Return two who are online and see each other, with nothing left in their inboxes."""
    alice, bob = [await login(server, server.user(name)) for name in ("alice", "bob")]
    for client in (alice, bob):
        await client.come()
    for one, other in ((alice, bob), (bob, alice)):
        one.send_presence_subscription(pto=other.boundjid.bare)
        await other.expect("presence", sender=one.boundjid.bare, type="subscribe")
        other.send_presence_subscription(pto=one.boundjid.bare, ptype="subscribed")
        await one.expect("presence", sender=other.boundjid.bare, type="subscribed")
        await one.expect("presence", sender=other.boundjid.full, type="")
    for client in (alice, bob):
        await client.settle()
        client.inbox.clear()
    return alice, bob


async def test_a_roster_is_the_same_on_every_client(server: Server) -> None:
    jid = server.user("alice")
    phone, desk = await login(server, jid), await login(server, jid)
    for client in (phone, desk):
        await client.get_roster()

    await phone.update_roster("bob@localhost", name="Bob", groups=["Friends", "Work"])

    for client in (phone, desk):
        contact, item = await client.push()
        assert contact == "bob@localhost"
        assert (item["name"], sorted(item["groups"]), item["subscription"]) == ("Bob", ["Friends", "Work"], "none")
    assert await desk.contacts() == {"bob@localhost": "none"}

    await desk.update_roster("bob@localhost", name="Robert", groups=[])
    for client in (phone, desk):
        contact, item = await client.push()
        assert (item["name"], item["groups"]) == ("Robert", [])

    await desk.del_roster_item("bob@localhost")
    for client in (phone, desk):
        contact, item = await client.push()
        assert (contact, item["subscription"]) == ("bob@localhost", "remove")
    assert await phone.contacts() == {}


async def test_a_client_that_has_not_asked_for_the_roster_gets_no_pushes(server: Server) -> None:
    jid = server.user("alice")
    phone, robot = await login(server, jid), await login(server, jid)
    await phone.get_roster()

    await phone.update_roster("bob@localhost", name="Bob")

    await phone.push()
    await robot.hears_nothing()


async def test_the_roster_survives_a_new_log_in(server: Server) -> None:
    jid = server.user("alice")
    alice = await login(server, jid)
    await alice.update_roster("bob@localhost", name="Bob")
    await alice.leave()

    assert await (await login(server, jid)).contacts() == {"bob@localhost": "none"}


async def test_two_people_subscribe_to_each_other(server: Server) -> None:
    alice, bob = [await login(server, server.user(name)) for name in ("alice", "bob")]
    for client in (alice, bob):
        await client.come()

    alice.send_presence_subscription(pto=bob.boundjid.bare)
    contact, item = await alice.push()
    assert (contact, item["subscription"], item["ask"]) == (bob.boundjid.bare, "none", "subscribe")
    await bob.expect("presence", sender=alice.boundjid.bare, type="subscribe")

    bob.send_presence_subscription(pto=alice.boundjid.bare, ptype="subscribed")
    await alice.expect("presence", sender=bob.boundjid.bare, type="subscribed")
    await alice.expect("presence", sender=bob.boundjid.full, type="")
    assert (await alice.push())[1]["subscription"] == "to"
    assert (await bob.push())[1]["subscription"] == "from"

    bob.send_presence_subscription(pto=alice.boundjid.bare)
    await alice.expect("presence", sender=bob.boundjid.bare, type="subscribe")
    alice.send_presence_subscription(pto=bob.boundjid.bare, ptype="subscribed")
    await bob.expect("presence", sender=alice.boundjid.full, type="")

    for one, other in ((alice, bob), (bob, alice)):
        assert await one.contacts() == {other.boundjid.bare: "both"}


async def test_a_request_waits_for_one_who_is_away(server: Server) -> None:
    alice, jid = await login(server, server.user("alice")), server.user("bob")
    await alice.come()
    alice.send_presence_subscription(pto=jid)
    await alice.settle()

    for _ in range(2):  # as long as it is not answered, at every log-in
        bob = await login(server, jid)
        await bob.come()
        await bob.expect("presence", sender=alice.boundjid.bare, type="subscribe")
        await bob.leave()

    bob = await login(server, jid)
    await bob.come()
    bob.send_presence_subscription(pto=alice.boundjid.bare, ptype="unsubscribed")
    await alice.expect("presence", sender=jid, type="unsubscribed")
    assert await alice.contacts() == {jid: "none"}


async def test_to_unsubscribe_ends_what_one_sees(server: Server) -> None:
    alice, bob = await make_friends(server)

    alice.send_presence_subscription(pto=bob.boundjid.bare, ptype="unsubscribe")

    await alice.expect("presence", sender=bob.boundjid.full, type="unavailable")
    await bob.expect("presence", sender=alice.boundjid.bare, type="unsubscribe")
    assert await alice.contacts() == {bob.boundjid.bare: "from"}
    assert await bob.contacts() == {alice.boundjid.bare: "to"}


async def test_to_remove_a_contact_ends_both_subscriptions(server: Server) -> None:
    alice, bob = await make_friends(server)

    await alice.del_roster_item(bob.boundjid.bare)

    await bob.expect("presence", sender=alice.boundjid.full, type="unavailable")
    await alice.expect("presence", sender=bob.boundjid.full, type="unavailable")
    assert await alice.contacts() == {}
    assert await bob.contacts() == {alice.boundjid.bare: "none"}


async def test_friends_see_each_other_come_and_go(server: Server) -> None:
    alice, bob = await make_friends(server)

    bob.send_presence(pshow="away", pstatus="Lunch")
    presence = await alice.expect("presence", sender=bob.boundjid.full, type="")
    assert (presence["show"], presence["status"]) == ("away", "Lunch")

    await bob.leave()
    await alice.expect("presence", sender=bob.boundjid.full, type="unavailable")

    bob = await login(server, bob.boundjid.bare)
    await bob.come()
    await alice.expect("presence", sender=bob.boundjid.full, type="")
    await bob.expect("presence", sender=alice.boundjid.full, type="")


async def test_friends_see_one_go_whose_connection_is_cut(server: Server) -> None:
    alice, bob = await make_friends(server)

    bob.cut()

    await alice.expect("presence", sender=bob.boundjid.full, type="unavailable")


async def test_strangers_see_nothing_but_what_is_sent_to_them(server: Server) -> None:
    alice, bob = [await login(server, server.user(name)) for name in ("alice", "bob")]
    for client in (alice, bob):
        await client.come()
    await alice.hears_nothing()

    bob.send_presence(pto=alice.boundjid.bare)
    await alice.expect("presence", sender=bob.boundjid.full, type="")
    bob.cut()

    await alice.expect("presence", sender=bob.boundjid.full, type="unavailable")
