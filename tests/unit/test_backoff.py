"""Waiting before the next attempt: longer and longer, bounded, and not all at once."""

from __future__ import annotations

import pytest

from vrxmpp.net.backoff import Backoff


def waits(backoff: Backoff, attempts: int) -> list[float]:
    return [backoff.failed() for _ in range(attempts)]


@pytest.mark.parametrize(
    ("random", "expected"),
    [(0.0, [0.5, 1, 2, 4, 5, 5]), (1.0, [1, 2, 4, 8, 10, 10]), (0.5, [0.75, 1.5, 3, 6, 7.5, 7.5])],
)
def test_the_wait_doubles_up_to_a_bound_and_half_of_it_is_chance(random: float, expected: list[float]) -> None:
    assert waits(Backoff(first=1, factor=2, most=10, random=lambda: random), 6) == expected


def test_a_success_begins_anew() -> None:
    backoff = Backoff(random=lambda: 1.0)
    waits(backoff, 5)
    backoff.succeeded()
    assert waits(backoff, 2) == [1, 2]


def test_a_server_that_never_comes_back_is_still_asked() -> None:
    """A float would overflow after a thousand doublings."""
    assert waits(Backoff(most=60, random=lambda: 1.0), 5000)[-1] == 60


def test_the_first_wait_is_bounded_too() -> None:
    assert Backoff(first=100, most=60, random=lambda: 1.0).failed() == 60


def test_two_who_failed_together_do_not_come_back_together() -> None:
    assert len({Backoff().failed() for _ in range(20)}) > 10
