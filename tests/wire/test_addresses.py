"""How many connections one address may have, and how fast."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import House
from tests.streams import END, Client

Build = Callable[..., House]
FEW = {"connections": {"per_address": 3, "unauthenticated_per_address": 2, "new_per_second": 100}}


def logged_in(house: House, address: str = "192.0.2.1") -> Client:
    return house.connect(address).login("romeo")


def test_so_many_strangers_and_no_more(build: Build) -> None:
    house = build(limits=FEW)
    first = house.connect()
    house.connect()
    assert house.tries_to_connect() is None
    assert house.tries_to_connect("192.0.2.2") is not None
    first.pipe.close()
    assert house.tries_to_connect() is not None


def test_who_has_logged_in_is_a_stranger_no_longer(build: Build) -> None:
    house = build(limits=FEW)
    users = [logged_in(house), logged_in(house)]
    house.connect()
    assert house.tries_to_connect() is None
    users[0].send(END)
    assert house.tries_to_connect() is not None
    assert house.tries_to_connect() is None


def test_so_many_new_ones_a_second(build: Build) -> None:
    house = build(limits={"connections": {"new_per_second": 5}})
    clients = [house.tries_to_connect() for _ in range(6)]
    assert [client is not None for client in clients] == [True] * 5 + [False]
    assert house.tries_to_connect("192.0.2.2") is not None
    house.wait(1)
    assert house.tries_to_connect() is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("2001:db8:1:2::1", "2001:0DB8:0001:0002:0000:0000:0000:0002"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
    ],
)
def test_these_are_one(build: Build, one: str, other: str) -> None:
    """RFC 6177 §2: a /64 is one customer's; an IPv4 address may come through an IPv6 listener."""
    house = build(limits=FEW)
    house.connect(one)
    house.connect(other)
    assert house.tries_to_connect(one) is None
    assert house.tries_to_connect(other) is None


@pytest.mark.parametrize(
    ("one", "other"), [("2001:db8:1:2::1", "2001:db8:1:3::1"), ("::ffff:192.0.2.1", "::ffff:192.0.2.2")]
)
def test_these_are_two(build: Build, one: str, other: str) -> None:
    house = build(limits=FEW)
    for address in (one, other):
        house.connect(address)
        house.connect(address)
        assert house.tries_to_connect(address) is None


def test_direct_tls_is_counted_with_the_others(build: Build) -> None:
    house = build(limits=FEW)
    house.connect()
    house.connect(direct_tls=True)
    assert house.tries_to_connect(direct_tls=True) is None
    assert house.tries_to_connect() is None


def test_nothing_is_left_of_who_has_gone(build: Build) -> None:
    house = build(limits=FEW)
    for number in range(50):
        client = house.connect(f"198.51.100.{number}")
        client.login("romeo") if number % 2 else client.open()
        client.pipe.close()
    addresses = house.clients.addresses
    assert not addresses._all
    assert not addresses._strangers
    house.wait(1)
    assert not addresses._new
