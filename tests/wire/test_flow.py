"""Who sends too fast is read more slowly, who does not read is not written to for ever, and nobody else notices."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.house import House, Slow
from tests.network import MemoryPipe
from tests.streams import DOMAIN, Client, chat, ping
from vrxmpp import ns

Build = Callable[..., House]
SLOW = {"rate": {"stanzas_per_second": 10, "burst_stanzas": 20, "bytes_per_second": 1000, "burst_bytes": 10_000}}
NARROW = {"output": {"pause_bytes": 16_384, "cut_bytes": 65_536, "stalled_seconds": 30}}
KERNEL = 70_000  # bytes that the transport takes before it says that the client does not read


def come(house: House, name: str) -> Client:
    client = house.login(name)
    client.send("<presence/>")
    client.hears()
    return client


def ids(heard: list[str]) -> list[int]:
    return [int(number) for text in heard for number in re.findall(r"id='n(\d+)'", text)]


def numbered(count: int, start: int = 0) -> str:
    return "".join(ping(f"n{number}") for number in range(start, start + count))


def message(number: int, size: int) -> str:
    return f"<message to='juliet@{DOMAIN}/here' id='n{number}'><body>{'x' * size}</body></message>"


# -- who sends too fast


def test_a_burst_is_answered_at_once(house: House) -> None:
    romeo = house.login("romeo")
    romeo.send(numbered(400))
    assert ids(romeo.hears()) == list(range(400))


def test_too_many_stanzas_are_read_more_slowly_and_none_is_lost(build: Build) -> None:
    house = build(limits=SLOW | {"rate": SLOW["rate"] | {"burst_bytes": 1_000_000}})
    romeo = house.login("romeo")
    heard: list[int] = []
    romeo.send(numbered(10))
    heard += ids(romeo.hears())
    romeo.send(numbered(30, start=10))
    assert not romeo.wire.is_read
    assert ids(romeo.hears()) == list(range(10, 40))
    romeo.pipe.wire.incoming.append(numbered(10, start=40).encode())  # type: ignore[attr-defined]
    house.wait(1)
    assert not romeo.wire.is_read
    assert romeo.wire.incoming
    house.wait(2.5)
    assert ids(romeo.hears()) == list(range(40, 50))
    house.wait(10)
    assert romeo.wire.is_read


def test_in_the_long_run_the_rate_is_kept(build: Build) -> None:
    house = build(limits=SLOW | {"rate": SLOW["rate"] | {"burst_bytes": 1_000_000, "bytes_per_second": 1_000_000}})
    romeo = house.login("romeo")
    start = house.loop.seconds()
    heard: list[int] = []
    pipe = romeo.pipe
    assert isinstance(pipe, MemoryPipe)
    for number in range(0, 200, 5):
        pipe.wire.incoming.append(numbered(5, start=number).encode())
    while len(heard) < 200:
        house.wait(0.25)
        heard += ids(romeo.hears())
    assert heard == list(range(200))
    assert 15 <= house.loop.seconds() - start <= 21


def test_too_many_bytes_are_read_more_slowly(build: Build) -> None:
    house = build(limits=SLOW)
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    romeo.send(message(1, 7000) + message(2, 7000) + message(3, 7000))
    assert ids(juliet.hears()) == [1, 2]
    assert not romeo.wire.is_read
    house.wait(5)
    assert ids(juliet.hears()) == []
    house.wait(20)
    assert ids(juliet.hears()) == [3]
    assert romeo.wire.is_read


def test_white_space_has_its_price_too(build: Build) -> None:
    house = build(limits=SLOW)
    romeo = house.login("romeo")
    romeo.send(" " * 8000 + "\n" * 8000)
    assert not romeo.wire.is_read


def test_who_waits_may_be_thrown_out_or_go(build: Build) -> None:
    house = build(limits=SLOW)
    romeo, juliet = house.login("romeo"), house.login("juliet")
    for client in (romeo, juliet):
        client.send(numbered(100))
        assert not client.wire.is_read
    house.login("romeo")
    assert romeo.fails() == "conflict"
    juliet.wire.abortConnection()
    house.wait(60)


def test_a_slow_down_before_the_log_in(build: Build) -> None:
    """Failures of log-ins are slow anyway; white space is not."""
    house = build(limits=SLOW)
    romeo = house.connect()
    romeo.open()
    romeo.send(" " * 15_000)
    assert not romeo.wire.is_read
    house.wait(10)
    assert romeo.authenticate("romeo").tag == f"{{{ns.SASL}}}success"


# -- whose turn it is


def test_a_great_many_stanzas_do_not_keep_others_waiting(build: Build) -> None:
    """At most some milliseconds of work for one client in each turn of the reactor."""
    house = build(limits={"rate": {"burst_stanzas": 1_000_000, "burst_bytes": 100_000_000}})
    romeo, juliet = house.login("romeo"), house.login("juliet")
    for client in (romeo, juliet):
        assert isinstance(client.pipe, MemoryPipe)
        client.pipe.delivers = False
    romeo.send(numbered(600))
    house.loop.turn()
    juliet.send(numbered(1))
    for _ in range(2):
        house.loop.turn()
    assert ids(juliet.hears()) == [0]
    answered = len(ids(romeo.hears()))
    assert 0 < answered < 400
    house.loop.settle()
    assert len(ids(romeo.hears())) == 600 - answered


@pytest.mark.parametrize("element", ["<a/>", "<presence/>", "<message/>"])
def test_thousands_of_elements_before_the_log_in_are_not_even_read(house: House, element: str) -> None:
    """The first one ends the stream."""
    fed = []
    romeo = house.connect()
    romeo.open()
    [connection] = house.clients.connections
    framer = connection.framer
    feed = framer.feed

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(framer, name)

        def feed(self, data: bytes) -> object:
            fed.append(len(data))
            return feed(data)

    connection.framer = Counting()  # type: ignore[assignment]
    romeo.send(element * (65_536 // len(element)))
    assert romeo.fails() in {"unsupported-stanza-type", "not-authorized"}
    assert sum(fed) <= 8192
    assert len(house.loop.getDelayedCalls()) == 1, "the sweep, and nothing that remembers this client"


def test_a_long_stanza_comes_in_many_turns(house: House) -> None:
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    romeo.send(message(1, 200_000))
    assert ids(juliet.hears()) == [1]


# -- who does not read


def fill(romeo: Client, count: int, *, start: int = 0, size: int = 10_000) -> None:
    for number in range(start, start + count):
        romeo.send(message(number, size))


def test_what_is_not_read_now_is_read_later(build: Build) -> None:
    """And in order."""
    house = build(limits=NARROW)
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    juliet.wire.client_reads = False
    fill(romeo, KERNEL // 10_000 + 3)
    assert juliet.wire.connected
    juliet.wire.client_reads = True
    assert ids(juliet.hears()) == list(range(KERNEL // 10_000 + 3))
    assert juliet.ping() == []


def test_who_does_not_read_is_not_read(build: Build) -> None:
    """A client that asks and asks, and takes no answer."""
    house = build(limits=NARROW)
    romeo = house.login("romeo")
    romeo.wire.client_reads = False
    asked = 0
    while romeo.wire.is_read and asked < 100:
        romeo.send(f"<iq type='get' id='n{asked}' to='{DOMAIN}'><x xmlns='urn:{'x' * 400}'/></iq>" * 10)
        asked += 1
    assert not romeo.wire.is_read
    assert romeo.wire.connected
    romeo.wire.client_reads = True
    romeo.hears()
    assert romeo.wire.is_read
    assert romeo.ping() == []


def test_who_does_not_read_is_cut_off(build: Build) -> None:
    house = build(limits=NARROW)
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    juliet.wire.client_reads = False
    fill(romeo, (KERNEL + 65_536) // 10_000 + 2)
    house.wait(1)
    assert not juliet.wire.connected
    assert not house.host.awake["juliet"].sessions
    romeo.hears()
    assert romeo.ping() == []


def test_to_be_cut_off_is_worth_one_line_in_the_log(build: Build) -> None:
    house = build(limits=NARROW)
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    juliet.wire.client_reads = False
    romeo.send("".join(message(number, 1000) for number in range(200)))
    house.wait(1)
    assert sum("does not read" in event.get("log_format", "") for event in house.journal) == 1


def test_who_stalls_is_cut_off(build: Build) -> None:
    house = build(limits=NARROW)
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    house.wait(100)
    juliet.wire.client_reads = False
    fill(romeo, KERNEL // 10_000 + 2)
    house.wait(28)
    assert juliet.wire.connected
    house.wait(4)
    assert not juliet.wire.connected


def test_who_reads_slowly_is_not_cut_off(build: Build) -> None:
    """More than the bound goes to it in all, but never waits at once."""
    house = build(limits=NARROW)
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    heard: list[int] = []
    for number in range(0, 200, 10):
        juliet.wire.client_reads = False
        fill(romeo, 10, start=number)
        assert juliet.wire.producerPaused  # type: ignore[attr-defined]
        juliet.wire.client_reads = True
        juliet.wire.give()  # what the transport has
        juliet.wire.give()  # what waited behind it
        juliet.wire.client_reads = False
        heard += ids(juliet.hears())
        house.wait(1)
    assert juliet.wire.connected
    juliet.wire.client_reads = True
    heard += ids(juliet.hears())
    assert heard == list(range(200))


def test_over_tls_it_is_the_same(build: Build) -> None:
    house = build(limits=NARROW)
    juliet = house.connect()
    juliet.open()
    juliet.secure()
    juliet.login("juliet", "here")
    romeo = house.login("romeo")
    juliet.wire.client_reads = False
    fill(romeo, KERNEL // 10_000 + 3)
    juliet.wire.client_reads = True
    assert ids(juliet.hears()) == list(range(KERNEL // 10_000 + 3))
    juliet.wire.client_reads = False
    fill(romeo, (KERNEL + 65_536) // 10_000 + 2)
    house.wait(1)
    assert not juliet.wire.connected


def test_the_end_comes_behind_what_waits(build: Build) -> None:
    """Nothing is skipped when the stream ends."""
    house = build(limits=NARROW)
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    juliet.wire.client_reads = False
    fill(romeo, KERNEL // 10_000 + 3)
    house.login("juliet")
    juliet.wire.client_reads = True
    *_, error = heard = juliet.hears()
    assert ids(heard) == list(range(KERNEL // 10_000 + 3))
    assert "conflict" in error
    assert juliet.reader.ended


def test_a_closing_client_that_does_not_read_is_not_written_to(build: Build) -> None:
    """Not a byte more is kept for it."""
    house = build(limits=NARROW)
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    juliet.wire.client_reads = False
    fill(romeo, KERNEL // 10_000 + 3)
    juliet.send("<unknown/>")
    waiting = len(juliet.wire.dataBuffer) + juliet.wire._tempDataLen
    fill(romeo, 20)
    assert len(juliet.wire.dataBuffer) + juliet.wire._tempDataLen == waiting


# -- who catches up


def wait_for_juliet(house: House, count: int, size: int) -> None:
    romeo = house.login("romeo")
    for number in range(count):
        romeo.send(message(number, size).replace("/here", ""))
    assert romeo.hears() == []


def test_offline_messages_wait_for_a_slow_reader(build: Build) -> None:
    """They are forgotten only when they are read: a connection that breaks loses none of those that are left."""
    house = build(limits=NARROW)
    wait_for_juliet(house, 30, 10_000)
    juliet = house.login("juliet")
    juliet.wire.client_reads = False
    juliet.send("<presence/>")
    juliet.wire.abortConnection()
    house.wait(1)
    again = house.login("juliet", "again")
    again.send("<presence/>")
    heard = ids(again.hears())
    assert heard == list(range(30))


def test_offline_messages_come_in_order_before_new_ones(build: Build) -> None:
    house = build(limits=NARROW)
    wait_for_juliet(house, 30, 10_000)
    juliet = house.login("juliet")
    juliet.wire.client_reads = False
    juliet.send("<presence/>")
    romeo = house.login("romeo", "again")
    romeo.send(message(30, 10).replace("/here", ""))
    juliet.wire.client_reads = True
    assert ids(juliet.hears()) == list(range(31))


@pytest.mark.parametrize("is_slow", [False, True])
def test_everything_is_done_in_order(house: House, is_slow: bool) -> None:
    """What can be done at once, what has to wait, and what comes in later pieces (RFC 6120 §10.1)."""
    romeo = house.login("romeo")
    slow = Slow(house)
    if not is_slow:
        slow.is_over()
    vcard = "<iq type='get' id='n{}'><vCard xmlns='" + ns.VCARD + "'/></iq>"
    both = "".join(vcard.format(number) + numbered(3, number + 1) for number in range(0, 400, 4))
    assert len(both) > 3 * 8192
    romeo.send(both)
    while slow.is_asked:
        slow.answer()
        house.loop.settle()
    assert ids(romeo.hears()) == list(range(400))


def test_a_slow_database_holds_back_the_client_that_asked(house: House) -> None:
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    slow = Slow(house)
    romeo.send(f"<iq type='get' id='v'><vCard xmlns='{ns.VCARD}'/></iq>")
    romeo.send(chat("later"))
    assert not romeo.wire.is_read
    assert juliet.ping() == []
    slow.answer()
    assert len(juliet.hears()) == 1
    assert romeo.wire.is_read
