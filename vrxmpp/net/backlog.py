"""What waits for a peer that does not read, and who waits for the peer."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred


class Backlog:
    """What is to be written, in order. Its bound is kept by whoever puts something in."""

    def __init__(self) -> None:
        self.bytes = 0
        self.since = 0.0  # when the peer was last seen reading
        self._pieces: deque[bytes] = deque()
        self._waiters: list[Deferred[None]] = []

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def put(self, raw: bytes) -> None:
        """Put something behind the rest."""
        self._pieces.append(raw)
        self.bytes += len(raw)

    def take(self) -> bytes:
        """Take out what has waited longest."""
        raw = self._pieces.popleft()
        self.bytes -= len(raw)
        return raw

    def take_all(self) -> bytes:
        """Take out everything."""
        raw = b"".join(self._pieces)
        self._pieces.clear()
        self.bytes = 0
        return raw

    def wait(self) -> Deferred[None]:
        """Return what fires when nothing waits any more, or will be read."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def let_go(self) -> None:
        """Nobody need wait any longer."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)
