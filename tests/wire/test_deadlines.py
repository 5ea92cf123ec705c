"""How long each step may take: nobody holds a connection for nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import House, Slow
from tests.streams import DOMAIN, END, Client, chat, ping, stream_header
from vrxmpp import ns

Build = Callable[..., House]


def lasts(house: House, client: Client, seconds: float) -> bool:
    """Whether the connection is there until then, and not for long after."""
    house.wait(seconds - 1)
    was_open = client.wire.connected
    house.wait(2.5)
    return bool(was_open) and client.is_gone


@pytest.mark.parametrize("says", ["", "  ", "<?xml", stream_header()])
def test_a_log_in_takes_thirty_seconds(house: House, says: str) -> None:
    client = house.connect()
    client.send(says)
    assert lasts(house, client, 30)
    assert client.fails() == "connection-timeout"


def test_whatever_is_done_in_them(house: House) -> None:
    """In all: neither white space, nor failures, nor TLS give more time."""
    client = house.connect()
    client.open()
    for _ in range(20):
        client.send("\n")
        house.wait(1)
    client.secure()
    client.open()
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='NONE'/>")
    assert client.wire.connected
    house.wait(8)
    assert client.wire.connected
    house.wait(3)
    assert client.fails() == "connection-timeout"


def test_a_handshake_takes_ten_seconds(house: House) -> None:
    client = house.connect()
    client.open()
    client.send(f"<starttls xmlns='{ns.TLS}'/>")
    assert client.hears() == [f"<proceed xmlns='{ns.TLS}'/>"]
    assert lasts(house, client, 10)
    assert client.pipe.read() == b""


def test_a_handshake_gives_no_more_time_to_log_in(house: House) -> None:
    client = house.connect()
    client.open()
    house.wait(25)
    client.send(f"<starttls xmlns='{ns.TLS}'/>")
    assert lasts(house, client, 5)


def test_a_handshake_takes_ten_seconds_from_the_start(house: House) -> None:
    client = house.connect(direct_tls=True)
    assert lasts(house, client, 10)
    assert client.pipe.read() == b""


def test_after_the_handshake_there_is_time_to_log_in(house: House) -> None:
    client = house.connect(direct_tls=True)
    client.shake_hands()
    assert lasts(house, client, 30)


def test_a_resource_is_bound_within_thirty_seconds(house: House) -> None:
    client = house.connect()
    client.open()
    house.wait(20)
    client.authenticate("romeo")
    client.open()
    assert lasts(house, client, 30)


def test_a_stanza_is_whole_within_a_minute(house: House) -> None:
    client = house.login("romeo")
    client.send("<message>")
    house.wait(58)
    assert client.wire.connected
    house.wait(5)
    assert client.fails() == "connection-timeout"


def test_a_stanza_that_trickles_must_be_whole_too(house: House) -> None:
    client = house.login("romeo")
    client.send("<message><body>")
    for _ in range(58):
        client.send("x")
        house.wait(1)
    assert client.wire.connected
    for _ in range(5):
        client.send("x")
        house.wait(1)
    assert client.fails() == "connection-timeout"


def test_each_stanza_has_its_own_minute(house: House) -> None:
    """A client that is slow is not one that stalls."""
    client = house.login("romeo")
    for _ in range(5):
        client.send("<presence>")
        house.wait(50)
        client.send("</presence><presence>")
        house.wait(50)
        client.send("</presence>")
    client.hears()
    assert client.ping() == []


def test_while_the_server_is_slow_the_clock_stands_still(house: House) -> None:
    client = house.login("romeo")
    slow = Slow(house)
    client.send(f"<iq type='get' id='v'><vCard xmlns='{ns.VCARD}'/></iq><message>")
    house.wait(100)
    slow.is_over()
    slow.answer()
    house.wait(50)
    client.send("</message>")
    assert client.elements()[0].get("id") == "v"
    assert client.ping() == []


def test_a_client_answers_the_end_of_its_stream_within_five_seconds(house: House) -> None:
    """Over TLS the last word is the client's."""
    client = house.connect()
    client.open()
    client.secure()
    client.login("romeo")
    client.pipe.write(b"<unknown/>")
    house.wait(4)
    assert client.wire.connected
    house.wait(2)
    assert not client.wire.connected


def test_a_client_reads_the_end_of_its_stream_within_five_seconds(house: House) -> None:
    client = house.login("romeo")
    client.wire.client_reads = False
    client.send(END)
    house.wait(4)
    assert client.wire.connected
    house.wait(2)
    assert not client.wire.connected


def test_the_limits_are_configured(build: Build) -> None:
    house = build(limits={"timeout": {"login": 3, "handshake": 2}})
    client, direct = house.connect(), house.connect(direct_tls=True)
    house.wait(1.5)
    assert client.wire.connected
    assert direct.wire.connected
    house.wait(2.5)
    assert not direct.wire.connected
    assert client.fails() == "connection-timeout"


def test_nobody_else_is_disturbed(house: House) -> None:
    juliet = house.login("juliet")
    for _ in range(10):
        house.connect().send("<")
    romeo = house.login("romeo")
    romeo.send("<message")
    house.wait(120)
    assert juliet.ping() == []


def test_an_answer_may_take_its_time(house: House) -> None:
    """There is no deadline for a session that waits for the server."""
    client = house.login("romeo")
    slow = Slow(house)
    client.send(f"<iq type='get' id='v'><vCard xmlns='{ns.VCARD}'/></iq>" + ping("p") + chat("late", f"romeo@{DOMAIN}"))
    house.wait(500)
    slow.is_over()
    slow.answer()
    assert [element.get("id") for element in client.elements()] == ["v", "p"]
