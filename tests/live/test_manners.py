"""Nothing that one client does keeps another from its answer within a second."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from tests.live.client import login
from tests.live.raw import Raw
from tests.live.server import Server

SECONDS = 2.0  # of each nuisance
VCARD = b"<iq type='%s' id='1'><vCard xmlns='vcard-temp'>%s</vCard></iq>"
FLOOD = b"<message to='%s' type='chat'><body>%s</body></message>"


class Nuisance:
    """A client that misbehaves, in a thread, until it is told to stop or is thrown out."""

    def __init__(self, server: Server, victim: str) -> None:
        self.server = server
        self.victim = victim.encode()
        self.stop = False

    def garbage(self) -> None:
        """Bytes that are no XML, on one connection after another, before and after TLS."""
        while not self.stop:
            raw = Raw(random.choice([self.server.starttls, self.server.direct_tls]))
            self.send(raw, random.randbytes(5000))
            raw.close()
            time.sleep(0.05)

    def deep(self) -> None:
        """Stanzas of the greatest depth and number of attributes that are let in, and beyond."""
        raw = self.enter()
        while not self.stop:
            self.send(raw, b"<message>" + b"<x>" * 120 + b"</x>" * 120 + b"</message>")
            self.send(raw, b"<message " + b" ".join(b"a%d=''" % n for n in range(200)) + b"/>")
        self.send(raw, b"<message>" + b"<x>" * 10_000)
        raw.close()

    def trickle(self) -> None:
        """A stanza, byte by byte."""
        raw = self.enter()
        for byte in FLOOD % (self.victim, b"x" * 100_000):
            if self.stop:
                break
            self.send(raw, bytes([byte]))
            time.sleep(0.001)
        raw.close()

    def flood(self) -> None:
        """Messages, as fast as the network takes them."""
        raw = self.enter()
        while not self.stop:
            self.send(raw, FLOOD % (self.victim, b"x" * 1000) * 50)
        raw.close()

    def deaf(self) -> None:
        """Asks for much and reads none of it."""
        raw = self.enter()
        self.send(raw, VCARD % (b"set", b"<NOTE>%s</NOTE>" % (b"x" * 60_000)))
        while not self.stop:
            self.send(raw, VCARD % (b"get", b"") * 20)
        raw.close()

    def enter(self) -> Raw:
        raw = Raw(self.server.starttls, receive_bytes=4096)
        raw.enter(self.server.user("nuisance").partition("@")[0])
        raw.give_up_after(0.5)
        return raw

    @staticmethod
    def send(raw: Raw, data: bytes) -> None:
        try:
            raw.send(data)
        except Exception:
            time.sleep(0.01)  # thrown out, or made to wait: both are what the server should do


@pytest.fixture(scope="module")
def annoyed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("annoyed"))
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("kind", ["garbage", "deep", "trickle", "flood", "deaf"])
async def test_others_are_answered_within_a_second(annoyed_server: Server, kind: str) -> None:
    server = annoyed_server
    alice, victim = await login(server, server.user("alice")), await login(server, server.user("victim"))
    await victim.come()
    nuisances = [Nuisance(server, victim.boundjid.bare) for _ in range(3)]
    annoying = [asyncio.create_task(asyncio.to_thread(getattr(each, kind))) for each in nuisances]

    longest = 0.0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        longest = max(longest, await alice.plugin["xep_0199"].ping("localhost"))
        await asyncio.sleep(0.05)
    for each in nuisances:
        each.stop = True
    await asyncio.gather(*annoying)

    assert longest < 1.0
    assert "Traceback" not in server.log
    await victim.settle()
