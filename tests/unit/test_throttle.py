"""Guessing is slow, and only for those who guess."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from vrxmpp.negotiation.throttle import Throttle


def delays(throttle: Throttle, *failures: tuple[str, str]) -> list[float]:
    return [throttle.delay_after_failure(address, account) for address, account in failures]


def test_the_delay_doubles_up_to_a_bound() -> None:
    throttle = Throttle(Clock().seconds)
    assert delays(throttle, *[("192.0.2.1", "romeo")] * 8) == [0.25, 0.5, 1, 2, 4, 5, 5, 5]


def test_the_bound_can_be_set() -> None:
    throttle = Throttle(Clock().seconds, longest=1.5)
    assert delays(throttle, *[("192.0.2.1", "romeo")] * 5) == [0.25, 0.5, 1, 1.5, 1.5]


def test_one_address_trying_many_accounts_is_slowed() -> None:
    throttle = Throttle(Clock().seconds)
    assert delays(throttle, *[("192.0.2.1", name) for name in "abcd"]) == [0.25, 0.5, 1, 2]
    assert throttle.delay_after_failure("192.0.2.2", "a") == 0.5


def test_many_addresses_trying_one_account_are_slowed() -> None:
    throttle = Throttle(Clock().seconds)
    assert delays(throttle, *[(f"192.0.2.{n}", "romeo") for n in range(4)]) == [0.25, 0.5, 1, 2]
    assert throttle.delay_after_failure("192.0.2.0", "juliet") == 0.5


def test_attempts_without_a_name_count_for_the_address_alone() -> None:
    throttle = Throttle(Clock().seconds)
    assert delays(throttle, *[(f"192.0.2.{n}", "") for n in range(3)]) == [0.25] * 3
    assert throttle.delay_after_failure("192.0.2.0", "") == 0.5


def test_failures_are_forgotten_with_time() -> None:
    clock = Clock()
    throttle = Throttle(clock.seconds)
    delays(throttle, *[("192.0.2.1", "romeo")] * 4)
    clock.advance(120)  # of four failures two are left
    assert throttle.delay_after_failure("192.0.2.1", "romeo") == pytest.approx(1)
    clock.advance(86400)
    assert throttle.delay_after_failure("192.0.2.1", "romeo") == pytest.approx(0.25)


def test_a_success_forgives_the_account_but_not_the_address() -> None:
    throttle = Throttle(Clock().seconds)
    delays(throttle, *[("192.0.2.1", "romeo")] * 4)
    throttle.succeeded("romeo")
    throttle.succeeded("never failed")
    assert throttle.delay_after_failure("192.0.2.2", "romeo") == 0.25
    assert throttle.delay_after_failure("192.0.2.1", "juliet") == 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:0db8:0:0::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("unix", "unix", True),
    ],
)
def test_an_address_is_what_one_guesser_has(one: str, other: str, same: bool) -> None:
    throttle = Throttle(Clock().seconds)
    assert delays(throttle, (one, ""), (other, "")) == [0.25, 0.5 if same else 0.25]


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    throttle = Throttle(Clock().seconds, capacity=3)
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    delays(throttle, *[(address, "") for address in addresses])
    assert throttle.delay_after_failure("192.0.2.1", "") == 0.5  # no longer the oldest
    assert throttle.delay_after_failure("192.0.2.4", "") == 0.25
    assert throttle.delay_after_failure("192.0.2.1", "") == 1
    assert throttle.delay_after_failure("192.0.2.3", "") == 0.5
    assert throttle.delay_after_failure("192.0.2.2", "") == 0.25


def test_made_up_accounts_do_not_push_out_addresses() -> None:
    throttle = Throttle(Clock().seconds, capacity=3)
    delays(throttle, *[("192.0.2.1", f"account{n}") for n in range(10)])
    assert throttle.delay_after_failure("192.0.2.1", "") == 5


def test_a_clock_that_is_set_back_multiplies_nothing() -> None:
    clock = Clock()
    clock.advance(1_000_000)
    throttle = Throttle(clock.seconds)
    delays(throttle, ("192.0.2.1", ""))
    clock.rightNow = 0
    assert throttle.delay_after_failure("192.0.2.1", "") == 0.5


def test_endless_guessing_breaks_no_arithmetic() -> None:
    throttle = Throttle(Clock().seconds)
    assert delays(throttle, *[("192.0.2.1", "romeo")] * 3000)[-1] == 5
