"""Token buckets and counts of addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from vrxmpp.net.limits import Addresses, Bucket, Sample


def test_a_burst_costs_nothing() -> None:
    bucket = Bucket(10, 100, 0.0)
    assert [bucket.take(25, lambda: 0.0) for _ in range(4)] == [0.0] * 4


def test_an_empty_bucket_says_how_long_to_wait() -> None:
    bucket = Bucket(10, 100, 0.0)
    assert bucket.take(120, lambda: 0.0) == 2.0
    assert bucket.take(10, lambda: 0.0) == 3.0


def test_after_that_long_it_is_filled_again() -> None:
    bucket = Bucket(10, 100, 0.0)
    wait = bucket.take(150, lambda: 0.0)
    assert bucket.take(10, lambda: wait) == 1.0
    assert bucket.take(10, lambda: wait + 2.0) == 0.0


def test_it_does_not_look_at_the_clock_while_there_is_something_in_it() -> None:
    def seconds() -> float:
        raise AssertionError("a clock is slow")

    bucket = Bucket(10, 100, 0.0)
    assert bucket.take(100, seconds) == 0.0


def test_it_is_never_fuller_than_full() -> None:
    bucket = Bucket(10, 100, 0.0)
    bucket.take(101, lambda: 1_000_000.0)
    assert bucket.take(101, lambda: 1_000_000.0) == pytest.approx(0.1)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 200)), max_size=50))
def test_nobody_gets_more_than_two_bursts_and_the_rate(steps: list[tuple[float, int]]) -> None:
    """Whoever waits as long as told has sent no more than that at any time."""
    clock = Clock()
    bucket = Bucket(10, 100, 0.0)
    total = 0
    for pause, tokens in steps:
        clock.advance(pause)
        wait = bucket.take(tokens, clock.seconds)
        total += tokens
        clock.advance(wait)
        assert total <= 200 + 10 * clock.seconds() + 1e-6


def test_each_network_has_its_own_count() -> None:
    addresses = Addresses(per_address=2, unauthenticated=2, new_per_second=100)
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "unix"):
        assert addresses.admit(address)
        assert addresses.admit(address)
        assert not addresses.admit(address)


def test_a_refusal_is_not_counted() -> None:
    addresses = Addresses(per_address=1, unauthenticated=1, new_per_second=100)
    assert addresses.admit("192.0.2.1")
    for _ in range(10):
        assert not addresses.admit("192.0.2.1")
    addresses.left("192.0.2.1", logged_in=False)
    assert addresses.admit("192.0.2.1")


def test_strangers_have_fewer() -> None:
    addresses = Addresses(per_address=3, unauthenticated=1, new_per_second=100)
    for _ in range(3):
        assert addresses.admit("192.0.2.1")
        assert not addresses.admit("192.0.2.1")
        addresses.logged_in("192.0.2.1")
    assert not addresses.admit("192.0.2.1")
    addresses.left("192.0.2.1", logged_in=True)
    assert addresses.admit("192.0.2.1")
    assert not addresses.admit("192.0.2.1")


def test_new_ones_are_counted_by_the_second() -> None:
    addresses = Addresses(per_address=100, unauthenticated=100, new_per_second=2)
    assert [addresses.admit("192.0.2.1") for _ in range(3)] == [True, True, False]
    addresses.next_second()
    assert [addresses.admit("192.0.2.1") for _ in range(3)] == [True, True, False]


@given(st.lists(st.tuples(st.sampled_from(["come", "log in", "go"]), st.sampled_from("ab"))))
def test_nothing_is_left_when_all_have_gone(steps: list[tuple[str, str]]) -> None:
    addresses = Addresses(per_address=5, unauthenticated=3, new_per_second=1000)
    here: list[tuple[str, bool]] = []
    for step, address in steps:
        if step == "come" and addresses.admit(address):
            here.append((address, False))
        elif step == "log in" and (address, False) in here:
            here.remove((address, False))
            here.append((address, True))
            addresses.logged_in(address)
        elif step == "go" and here:
            gone, logged_in = here.pop()
            addresses.left(gone, logged_in=logged_in)
        for each in "ab":
            assert sum(name == each for name, _ in here) <= 5
            assert sum(name == each and not known for name, known in here) <= 3
    for gone, logged_in in here:
        addresses.left(gone, logged_in=logged_in)
    addresses.next_second()
    assert not addresses._all
    assert not addresses._strangers


def test_the_first_of_each_second_are_taken_and_the_rest_is_counted() -> None:
    sample = Sample()
    assert [sample.takes("failed") for _ in range(12)] == [True] * 10 + [False] * 2
    assert sample.takes("another")
    assert sample.next_second() == {"failed": 2}
    assert sample.takes("failed")
    assert sample.next_second() == {}
