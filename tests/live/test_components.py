"""Components beside the real process: one written with slixmpp, that connects (XEP-0114), and one within."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import slixmpp
from slixmpp import JID

from tests.live.client import PATIENCE, Client, error_of, login
from tests.live.server import CONFIG, Server, wait_for
from vrxmpp import ns

GATEWAY, ECHO = "echo.localhost", "ping.localhost"
SECRET = "known to both"
BUDDY = f"buddy@{GATEWAY}"
COMPONENTS = f"""
[[component]]
domain = "{GATEWAY}"
secret = "{SECRET}"

[[component]]
domain = "{ECHO}"
handler = "wokkel.ping:PingHandler"

[components]
listen = ["tcp:0:interface=127.0.0.1"]
"""


class Gateway(slixmpp.ComponentXMPP):
    """Has one user, who is online, accepts everybody, and repeats what is said."""

    def __init__(self, port: int, secret: str = SECRET) -> None:
        super().__init__(GATEWAY, secret, "127.0.0.1", port)  # type: ignore[no-untyped-call]
        self.register_plugin("xep_0030")
        self.plugin["xep_0030"].add_identity("gateway", "x-echo", "Echo")
        self.errors: list[str] = []
        self.ready = asyncio.Event()
        self.gone = asyncio.Event()
        self.add_event_handler("session_start", lambda _: self.ready.set())
        self.add_event_handler("disconnected", lambda _: self.gone.set())
        self.add_event_handler("stream_error", lambda error: self.errors.append(error["condition"]))
        self.add_event_handler("presence_subscribe", self.accept)
        self.add_event_handler("presence_probe", self.show)
        self.add_event_handler("message", self.repeat)

    def accept(self, request: slixmpp.Presence) -> None:
        self.send_presence(pfrom=request["to"], pto=request["from"], ptype="subscribed")
        self.show(request)

    def show(self, asked: slixmpp.Presence) -> None:
        self.send_presence(pfrom=f"{BUDDY}/echo", pto=asked["from"].bare)

    def repeat(self, message: slixmpp.Message) -> None:
        if message["type"] == "chat":
            message.reply(message["body"]).send()  # type: ignore[no-untyped-call]

    async def __aenter__(self) -> Gateway:
        self.connect()
        async with asyncio.timeout(PATIENCE):
            await self.ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.transport is not None:
            await self.disconnect()

    def die(self) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.abort()


class Place(Server):
    """A server whose last listener is for components."""

    components = 0

    def wait_until_ready(self) -> None:
        wait_for(self._is_ready, lambda: f"the server did not start:\n{self.log}")
        ports = [int(address.rpartition(":")[2]) for address in self.ask({"command": "status"})["listeners"]]
        self.starttls, self.direct_tls, self.components = ports


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"), CONFIG + COMPONENTS)
    place.start()
    yield place
    place.kill()


async def found(client: Client) -> set[str]:
    """Return the services that the client's server tells of."""
    items = await client.plugin["xep_0030"].get_items(JID("localhost"))
    return {item[0] for item in items["disco_items"]["items"]}


async def test_a_gateway_is_found_and_used(place: Place) -> None:
    alice = await login(place, place.user("alice"))
    await alice.come()
    assert await found(alice) == {ECHO}
    async with Gateway(place.components):
        assert await found(alice) == {GATEWAY, ECHO}
        info = (await alice.plugin["xep_0030"].get_info(JID(GATEWAY)))["disco_info"]
        assert ("gateway", "x-echo", None, "Echo") in info["identities"]

        alice.send_presence_subscription(pto=BUDDY)
        await alice.expect("presence", sender=BUDDY, type="subscribed")
        await alice.expect("presence", sender=f"{BUDDY}/echo", type="")
        assert await alice.contacts() == {BUDDY: "to"}

        alice.send_message(JID(f"{BUDDY}/echo"), "hello", mtype="chat")
        assert (await alice.expect("message", sender=BUDDY))["body"] == "hello"


async def test_a_gateway_dies_and_comes_back(place: Place) -> None:
    alice = await login(place, place.user("alice"))
    await alice.come()
    async with Gateway(place.components) as gateway:
        alice.send_presence_subscription(pto=BUDDY)
        await alice.expect("presence", sender=f"{BUDDY}/echo", type="")
        gateway.die()
        await alice.expect("presence", sender=BUDDY, type="unavailable")

    assert await found(alice) == {ECHO}
    alice.send_message(JID(BUDDY), "are you there?")
    error = await alice.expect("message", sender=BUDDY, type="error")
    assert error["error"]["condition"] == "remote-server-timeout"
    assert await error_of(alice.plugin["xep_0030"].get_info(JID(GATEWAY))) == "remote-server-timeout"

    async with Gateway(place.components):
        alice.send_message(JID(f"{BUDDY}/echo"), "back again?", mtype="chat")
        assert (await alice.expect("message", sender=BUDDY, type="chat"))["body"] == "back again?"


async def test_who_asks_a_gateway_that_dies_is_answered(place: Place) -> None:
    alice = await login(place, place.user("alice"))
    async with Gateway(place.components) as gateway:
        gateway.add_filter("in", lambda _: gateway.die())
        assert await error_of(alice.plugin["xep_0030"].get_info(JID(GATEWAY))) == "remote-server-timeout"


async def test_nobody_comes_without_the_secret(place: Place) -> None:
    intruder = Gateway(place.components, "guessed")
    intruder.connect()
    async with asyncio.timeout(PATIENCE):
        await intruder.gone.wait()
    assert not intruder.ready.is_set()
    assert "not-authorized" in intruder.errors
    place.wait_for_log(f"127.0.0.1 is not {GATEWAY}: wrong secret")
    assert SECRET not in place.log


async def test_a_handler_of_wokkel_answers(place: Place) -> None:
    alice = await login(place, place.user("alice"))
    await alice.plugin["xep_0199"].send_ping(JID(ECHO))
    info = (await alice.plugin["xep_0030"].get_info(JID(ECHO)))["disco_info"]
    assert ns.PING in info["features"]


def test_a_handler_that_is_not_there_is_told(make_server: Callable[..., Server]) -> None:
    server = make_server(CONFIG + COMPONENTS.replace("wokkel.ping:PingHandler", "no_such.package:Handler"))
    server.start(ready=False)
    assert server.ended() != 0
    assert "no_such.package:Handler cannot be used: ModuleNotFoundError" in server.log
    assert "Traceback" not in server.log
