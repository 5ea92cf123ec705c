"""A server that is killed loses nothing it has accepted, and gives nothing twice (RFC 6120 §10.1, XEP-0160)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.live.client import Client, login
from tests.live.server import CONFIG, Server

ROUNDS = 3
SENDERS = 3
UNHURRIED = """
[limits.rate]
stanzas_per_second = 100_000
burst_stanzas = 100_000
bytes_per_second = 100_000_000

[limits.account]
offline_messages = 100_000
"""


@pytest.fixture
def busy_server(make_server: Callable[..., Server]) -> Server:
    server = make_server(CONFIG + UNHURRIED)
    server.start()
    return server


class Sender:
    """Sends numbered messages for ever. All up to ``accepted`` are, as the answers to its pings have proved."""

    def __init__(self, client: Client, to: str) -> None:
        self.name = client.boundjid.bare
        self.accepted = 0
        self.sent = 0
        self._client = client
        self._to = to

    async def work(self) -> None:
        while not self._client.gone.is_set():
            for _ in range(random.randint(1, 20)):
                self.sent += 1
                self._client.send_message(self._to, str(self.sent), mtype="chat")
            ping = asyncio.ensure_future(self._client.plugin["xep_0199"].send_ping("localhost"))
            gone = asyncio.ensure_future(self._client.gone.wait())
            await asyncio.wait([ping, gone], return_when=asyncio.FIRST_COMPLETED)
            if ping.done() and not ping.exception():
                self.accepted = self.sent
            for waiting in (ping, gone):
                waiting.cancel()


async def test_every_accepted_message_survives_a_kill_exactly_once_and_in_order(busy_server: Server) -> None:
    names = [busy_server.user("sender") for _ in range(SENDERS)]
    for _ in range(ROUNDS):
        absent = busy_server.user("absent")
        senders = [Sender(await login(busy_server, name), absent) for name in names]
        work = asyncio.gather(*(sender.work() for sender in senders))
        moment = random.randint(1, 300)
        while min(sender.accepted for sender in senders) < moment:
            assert not work.done(), "a sender was let down"
            await asyncio.sleep(random.random() / 50)

        busy_server.kill()
        await work
        busy_server.start()

        reader = await login(busy_server, absent)
        reader.send_presence()
        await reader.settle()
        await reader.settle()  # messages that waited in the store come behind the first answer
        for sender in senders:
            kept = [int(m["body"]) for m in reader.inbox if m.name == "message" and m["from"].bare == sender.name]
            assert kept == list(range(1, len(kept) + 1)), "once each, in order, without a gap"
            assert sender.accepted <= len(kept) <= sender.sent
        await reader.leave()


async def test_what_was_delivered_before_a_kill_is_not_delivered_again(busy_server: Server) -> None:
    alice, jid = await login(busy_server, busy_server.user("alice")), busy_server.user("bob")
    for number in range(500):
        alice.send_message(jid, str(number), mtype="chat")
    await alice.settle()
    bob = await login(busy_server, jid)
    bob.send_presence()
    while len([stanza for stanza in bob.inbox if stanza.name == "message"]) < 500:
        await bob.settle()
    while busy_server.ask({"command": "user show", "jid": jid})["offline_messages"]:
        await asyncio.sleep(0.01)

    busy_server.kill()
    busy_server.start()

    again = await login(busy_server, jid)
    await again.come()
    await again.hears_nothing()


async def test_a_roster_and_an_account_survive_a_kill(busy_server: Server) -> None:
    jid = busy_server.user("alice")
    alice = await login(busy_server, jid)
    await alice.update_roster("bob@localhost", name="Bob")

    busy_server.kill()
    busy_server.start()

    assert await (await login(busy_server, jid)).contacts() == {"bob@localhost": "none"}


def test_it_starts_again_even_if_its_old_process_number_is_in_use(make_server: Callable[..., Server]) -> None:
    """As in a container, where every process has the same number, or after a power cut."""
    server = make_server()
    server.start()
    server.kill()
    lock = server.state / "control.sock.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to("1")

    server.start()
