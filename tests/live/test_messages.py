"""Messages between real clients: to one, to all, and to those who are away (RFC 6121 §8.5, XEP-0160, XEP-0203)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.live.client import error_of, login
from tests.live.server import Server


async def test_a_message_to_a_person_reaches_every_client_of_the_highest_priority(server: Server) -> None:
    alice, jid = await login(server, server.user("alice")), server.user("bob")
    phone, desk, robot = [await login(server, jid) for _ in range(3)]
    for client, priority in ((phone, 1), (desk, 1), (robot, -1)):
        client.send_presence(ppriority=priority)
        await client.settle()

    alice.send_message(jid, "hello", mtype="chat")

    for client in (phone, desk):
        message = await client.expect("message", sender=alice.boundjid.full, type="chat")
        assert message["body"] == "hello"
    await robot.settle()
    assert not [stanza for stanza in robot.inbox if stanza.name == "message"]


async def test_a_message_to_one_client_reaches_that_one(server: Server) -> None:
    alice, jid = await login(server, server.user("alice")), server.user("bob")
    phone, desk = await login(server, jid), await login(server, jid)
    await phone.come()
    await desk.come()

    alice.send_message(desk.boundjid.full, "hello", mtype="chat")

    assert (await desk.expect("message"))["body"] == "hello"
    await phone.settle()
    assert not [stanza for stanza in phone.inbox if stanza.name == "message"]


async def test_what_is_odd_in_a_text_arrives_as_it_was_sent(server: Server) -> None:
    alice, bob = [await login(server, server.user(name)) for name in ("alice", "bob")]
    await bob.come()
    text = "a < b & c > d \"quoted\" 'too' ]]> \N{GRINNING FACE} naïve\n\ttabs and lines"

    alice.send_message(bob.boundjid.bare, text, mtype="chat")

    assert (await bob.expect("message"))["body"] == text


async def test_who_is_away_finds_every_message_in_order(server: Server) -> None:
    alice, jid = await login(server, server.user("alice")), server.user("bob")
    for number in range(40):
        alice.send_message(jid, str(number), mtype="chat")
    await alice.settle()
    now = datetime.now(UTC)

    bob = await login(server, jid)
    await bob.hears_nothing()  # nobody is there before initial presence
    bob.send_presence()

    messages = [await bob.expect("message", sender=alice.boundjid.full) for _ in range(40)]
    assert [message["body"] for message in messages] == [str(number) for number in range(40)]
    for message in messages:
        assert message["delay"]["from"] == "localhost"
        assert abs(message["delay"]["stamp"] - now) < timedelta(seconds=60)

    await bob.leave()
    again = await login(server, jid)
    await again.come()
    await again.hears_nothing()


async def test_a_message_to_nobody_is_answered_like_one_that_cannot_be_kept(server: Server) -> None:
    alice = await login(server, server.user("alice"))

    alice.send_message("nobody@localhost", "are you there?", mtype="chat")
    alice.send_message("nobody@elsewhere.example", "and you?", mtype="chat")

    assert (await alice.expect("message", sender="nobody@localhost", type="error"))["error"]["condition"] == (
        "service-unavailable"
    )
    answer = await alice.expect("message", sender="nobody@elsewhere.example", type="error")
    assert answer["error"]["condition"] == "not-allowed"  # federation is off


async def test_a_blocked_person_neither_writes_nor_sees(server: Server) -> None:
    alice, jid = await login(server, server.user("alice")), server.user("mallory")
    phone = await login(server, alice.boundjid.bare)
    mallory = await login(server, jid)
    for client in (alice, phone, mallory):
        await client.come()
    await phone.plugin["xep_0191"].get_blocked()
    for client in (alice, phone):
        await client.settle()
        client.inbox.clear()

    await alice.plugin["xep_0191"].block(jid)
    push = await phone.expect("iq")
    assert [item["jid"] for item in push["block"]["items"]] == [jid]

    mallory.send_message(alice.boundjid.bare, "hello", mtype="chat")
    error = await mallory.expect("message", sender=alice.boundjid.bare, type="error")
    assert error["error"]["condition"] == "service-unavailable"
    mallory.send_presence(pto=alice.boundjid.full)
    mallory.send_presence_subscription(pto=alice.boundjid.bare)
    await mallory.settle()
    await alice.hears_nothing()

    alice.send_message(jid, "go away", mtype="chat")
    error = await alice.expect("message", sender=jid, type="error")
    assert error["error"]["condition"] == "not-acceptable"
    assert await alice.plugin["xep_0191"].get_blocked_jids() == {jid}

    await alice.plugin["xep_0191"].unblock(jid)
    mallory.send_message(alice.boundjid.bare, "hello again", mtype="chat")
    assert (await alice.expect("message", sender=jid))["body"] == "hello again"


async def test_a_request_to_a_client_that_is_gone_is_answered(server: Server) -> None:
    alice, bob = [await login(server, server.user(name)) for name in ("alice", "bob")]
    await bob.leave()

    assert await error_of(alice.plugin["xep_0092"].get_version(bob.boundjid)) == "service-unavailable"
