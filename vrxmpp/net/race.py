"""Happy Eyeballs: of several addresses the first that answers, without waiting long for each (RFC 8305 §5)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from twisted.internet import defer, error
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from vrxmpp.net.resolve import Address, Clock

T = TypeVar("T")


class NoConnection(Exception):  # noqa: N818, it is named for the outcome
    """No address could be connected to; ``failures`` says of each why, in plain words."""

    def __init__(self, failures: list[tuple[Address, str]]) -> None:
        self.failures = failures
        reasons = [f"{_name(address)} port {address.port}: {reason}" for address, reason in failures]
        super().__init__("; ".join(reasons) or "there is no address to connect to")


def _name(address: Address) -> str:
    return address.ip if address.host == address.ip else f"{address.host} ({address.ip})"


async def race(
    addresses: Sequence[Address],
    connect: Callable[[Address], Deferred[T]],
    clock: Clock,
    *,
    discard: Callable[[T], None],
    delay: float = 0.25,
) -> tuple[Address, T]:
    """Return the first connection that is made, and its address; raises ``NoConnection``.

    An attempt begins when the one before has failed, or ``delay`` seconds after it. Those that are under way when there
    is a connection, or when the race is cancelled, are cancelled; what one of them connects to all the same is given to
    ``discard``. How long an attempt may take is the business of ``connect``.
    """
    attempts = _Attempts(connect, clock, discard)
    try:
        for address in addresses:
            await attempts.begin(address, delay)
            if attempts.won:
                return attempts.won
        return await attempts.end()
    finally:
        attempts.stop()


class _Attempts(Generic[T]):
    """Those who race."""

    def __init__(self, connect: Callable[[Address], Deferred[T]], clock: Clock, discard: Callable[[T], None]) -> None:
        self.won: tuple[Address, T] | None = None
        self._connect = connect
        self._clock = clock
        self._discard = discard
        self._failures: list[tuple[Address, str]] = []
        self._running: list[Deferred[Any]] = []
        self._stopped = False
        self._news: Deferred[None] = Deferred()

    async def begin(self, address: Address, delay: float) -> None:
        """Begin an attempt; wait until it has failed, another has won, or the delay is over."""
        attempt: Deferred[Any] = maybeDeferred(self._connect, address)
        self._running.append(attempt)
        attempt.addCallbacks(self._connected, self._failed, (address,), {}, (address,), {})
        attempt.addCallback(lambda _: self._ended(attempt))
        timer = self._clock.callLater(delay, self._tell)
        try:
            while attempt in self._running and not self.won and timer.active():
                await self._wait()
        finally:
            if timer.active():
                timer.cancel()

    async def end(self) -> tuple[Address, T]:
        """Wait until one has won or all have failed."""
        while self._running and not self.won:
            await self._wait()
        if self.won:
            return self.won
        raise NoConnection(self._failures)

    def stop(self) -> None:
        """Cancel those that are under way."""
        self._stopped = True
        for attempt in self._running.copy():
            attempt.cancel()

    def _connected(self, connection: T, address: Address) -> None:
        if self._stopped or self.won:
            self._discard(connection)
        else:
            self.won = address, connection

    def _failed(self, failure: Failure, address: Address) -> None:
        self._failures.append((address, _reason(failure.value)))

    def _ended(self, attempt: Deferred[Any]) -> None:
        self._running.remove(attempt)
        self._tell()

    async def _wait(self) -> None:
        self._news = Deferred()
        await self._news

    def _tell(self) -> None:
        if not self._news.called:
            self._news.callback(None)


_REASONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (error.ConnectionRefusedError, "connection refused"),
    ((error.TimeoutError, error.TCPTimedOutError, defer.TimeoutError), "timed out"),
    (error.NoRouteError, "network unreachable"),
)


def _reason(problem: BaseException | None) -> str:
    """Return in plain words why an attempt failed."""
    for kinds, words in _REASONS:
        if isinstance(problem, kinds):
            return words
    if isinstance(problem, error.ConnectError) and problem.osError:
        return os.strerror(problem.osError).lower()
    return str(problem) or type(problem).__name__
