"""Racing for a connection, with a clock that is moved by hand."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from vrxmpp.net.race import NoConnection, race
from vrxmpp.net.resolve import Address


def address(number: int) -> Address:
    return Address(f"192.0.2.{number}", 5269, False, "xmpp.b.example")


class Course:
    """A race to some addresses; a connection is the number of its address."""

    def __init__(self, length: int, at_once: dict[int, Deferred[int]] | None = None, delay: float = 0.25) -> None:
        self.clock = Clock()
        self.attempts: dict[int, Deferred[int]] = {}
        self.cancelled: list[int] = []
        self.succeeds_when_cancelled: set[int] = set()
        self.discarded: list[int] = []
        self.outcome: Any = None
        self._at_once = at_once or {}
        self.work = Deferred.fromCoroutine(
            race(
                [address(number) for number in range(length)],
                self.connect,
                self.clock,
                discard=self.discarded.append,
                delay=delay,
            )
        )
        self.work.addBoth(self._ended)

    def connect(self, to: Address) -> Deferred[int]:
        number = int(to.ip.rpartition(".")[2])
        self.attempts[number] = self._at_once.get(number) or Deferred(lambda _: self._cancel(number))
        return self.attempts[number]

    def _cancel(self, number: int) -> None:
        self.cancelled.append(number)
        if number in self.succeeds_when_cancelled:
            self.attempts[number].callback(number)

    def _ended(self, outcome: object) -> None:
        assert self.outcome is None
        self.outcome = outcome

    def refuse(self, number: int) -> None:
        self.attempts[number].errback(error.ConnectionRefusedError())

    @property
    def begun(self) -> list[int]:
        return list(self.attempts)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left: no attempt, no timer."""
        running = [number for number, attempt in self.attempts.items() if not attempt.called]
        return self.outcome is not None and not running and not self.clock.getDelayedCalls()


def test_the_first_that_connects_has_won() -> None:
    course = Course(3)
    assert course.begun == [0]
    course.attempts[0].callback(0)
    assert course.outcome == (address(0), 0)
    assert course.begun == [0]
    assert course.is_over


def test_the_next_begins_after_the_delay_and_the_loser_is_cancelled() -> None:
    course = Course(3)
    course.clock.advance(0.24)
    assert course.begun == [0]
    course.clock.advance(0.02)
    assert course.begun == [0, 1]
    course.attempts[1].callback(1)
    assert course.outcome == (address(1), 1)
    assert course.cancelled == [0]
    assert course.is_over


def test_the_first_may_still_win_after_the_delay() -> None:
    course = Course(3)
    course.clock.advance(0.3)
    course.attempts[0].callback(0)
    assert course.outcome == (address(0), 0)
    assert course.cancelled == [1]
    assert course.is_over


def test_after_a_failure_the_next_begins_at_once() -> None:
    course = Course(3)
    course.refuse(0)
    assert course.begun == [0, 1]
    course.clock.advance(0.2)
    assert course.begun == [0, 1]
    course.clock.advance(0.1)
    assert course.begun == [0, 1, 2]


def test_only_the_failure_of_the_one_before_hastens_the_next() -> None:
    course = Course(4)
    course.clock.advance(0.25)
    course.clock.advance(0.1)
    course.refuse(0)
    assert course.begun == [0, 1]
    course.clock.advance(0.15)
    assert course.begun == [0, 1, 2]


def test_the_last_has_all_the_time_it_needs() -> None:
    course = Course(2)
    course.refuse(0)
    course.clock.advance(1000)
    assert course.outcome is None
    course.attempts[1].callback(1)
    assert course.outcome == (address(1), 1)
    assert course.is_over


def test_when_all_have_failed_each_reason_is_told() -> None:
    course = Course(3)
    course.clock.advance(0.25)
    course.refuse(1)
    course.attempts[2].errback(error.TimeoutError())
    assert not course.outcome
    course.refuse(0)
    failure = course.outcome
    assert isinstance(failure.value, NoConnection)
    assert failure.value.failures == [
        (address(1), "connection refused"),
        (address(2), "timed out"),
        (address(0), "connection refused"),
    ]
    assert str(failure.value).startswith("xmpp.b.example (192.0.2.1) port 5269: connection refused; ")
    assert course.is_over


def test_without_addresses_there_is_no_connection() -> None:
    course = Course(0)
    failure = course.outcome
    assert failure.check(NoConnection)
    assert failure.value.failures == []
    assert "no address" in str(failure.value)


def test_a_loser_that_connects_all_the_same_is_discarded() -> None:
    course = Course(3)
    course.succeeds_when_cancelled = {0}
    course.clock.advance(0.25)
    course.attempts[1].callback(1)
    assert course.outcome == (address(1), 1)
    assert course.discarded == [0]
    assert course.is_over


def test_of_two_that_connect_at_one_moment_one_is_discarded() -> None:
    first: Deferred[str] = Deferred()

    def connect(to: Address) -> Deferred[str]:
        if to == address(0):
            return first
        first.callback("first")
        return succeed("second")

    clock = Clock()
    discarded: list[str] = []
    work = Deferred.fromCoroutine(race([address(0), address(1)], connect, clock, discard=discarded.append))
    outcomes: list[object] = []
    work.addBoth(outcomes.append)
    clock.advance(0.25)
    assert outcomes == [(address(0), "first")]
    assert discarded == ["second"]


def test_a_race_that_is_called_off_cancels_all() -> None:
    course = Course(5)
    course.succeeds_when_cancelled = {1}
    course.clock.advance(0.25)
    course.clock.advance(0.25)
    course.work.cancel()
    assert course.outcome.check(CancelledError)
    assert course.cancelled == [0, 1, 2]
    assert course.discarded == [1]
    assert course.begun == [0, 1, 2]
    assert course.is_over


def test_a_race_that_waits_for_the_last_can_be_called_off() -> None:
    course = Course(1)
    course.clock.advance(10)
    course.work.cancel()
    assert course.outcome.check(CancelledError)
    assert course.is_over


def test_what_comes_at_once_is_taken() -> None:
    course = Course(3, {0: fail(Failure(error.NoRouteError())), 1: succeed(1)})
    assert course.outcome == (address(1), 1)
    assert course.begun == [0, 1]
    assert course.is_over


def test_many_failures_that_come_at_once_are_not_too_many() -> None:
    course = Course(250, {number: fail(Failure(error.ConnectionRefusedError())) for number in range(250)})
    assert len(course.outcome.value.failures) == 250


def test_one_address_twice_is_tried_twice() -> None:
    tried: list[Deferred[str]] = []

    def connect(to: Address) -> Deferred[str]:
        tried.append(Deferred())
        return tried[-1]

    work = Deferred.fromCoroutine(race([address(1)] * 2, connect, Clock(), discard=print))
    outcomes: list[object] = []
    work.addBoth(outcomes.append)
    tried[0].errback(error.ConnectionRefusedError())
    tried[1].callback("connected")
    assert outcomes == [(address(1), "connected")]


def test_a_connect_that_raises_has_failed() -> None:
    def connect(to: Address) -> Deferred[int]:
        raise ValueError("not an address")

    outcomes: list[Any] = []
    Deferred.fromCoroutine(race([address(1)], connect, Clock(), discard=print)).addBoth(outcomes.append)
    assert outcomes[0].value.failures == [(address(1), "not an address")]


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (error.ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (error.TCPTimedOutError(errno.ETIMEDOUT, "x"), "timed out"),
        (error.TimeoutError(), "timed out"),
        (DeferredTimeout(30), "timed out"),
        (error.NoRouteError(errno.ENETUNREACH, "x"), "network unreachable"),
        (error.ConnectError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (ValueError("the certificate is for c.example"), "the certificate is for c.example"),
        (ValueError(), "ValueError"),
    ],
)
def test_reasons_are_in_plain_words(problem: Exception, words: str) -> None:
    course = Course(1)
    course.attempts[0].errback(problem)
    assert course.outcome.value.failures == [(address(0), words)]


@given(st.integers(1, 6), st.lists(st.tuples(st.sampled_from(["wait", "win", "lose"]), st.integers(0, 5)), max_size=15))
def test_every_connection_is_taken_discarded_or_cancelled(length: int, events: Sequence[tuple[str, int]]) -> None:
    course = Course(length)
    for event, number in events:
        if event == "wait":
            course.clock.advance(0.25)
        elif number in course.attempts and not course.attempts[number].called:
            if event == "win":
                course.attempts[number].callback(number)
            else:
                course.refuse(number)
    if course.outcome is None:
        course.work.cancel()
    assert course.is_over
    assert course.begun == list(range(len(course.begun)))
    assert course.discarded == []
