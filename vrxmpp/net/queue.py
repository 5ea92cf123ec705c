"""The stanzas that wait for one remote domain while no stream leads there (RFC 6120 §10.4)."""

from __future__ import annotations

from collections import deque

from vrxmpp.errors import Condition, StanzaError
from vrxmpp.stanza import Stanza


class Queue:
    """First in, first out; bounded in stanzas, bytes and the seconds each may wait.

    ``now`` is in seconds, of any one clock. A stanza larger than ``bytes`` never fits.
    """

    def __init__(self, *, stanzas: int, bytes: int, seconds: float) -> None:
        self._most_stanzas = stanzas
        self._most_bytes = bytes
        self._seconds = seconds
        self._waiting: deque[tuple[Stanza, int, float]] = deque()  # with its size, and since when; oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """The size of all that waits."""
        return self._bytes

    def put(self, stanza: Stanza, now: float) -> None:
        """Let a stanza wait behind the others; ``StanzaError`` if there is no room for it."""
        size = len(stanza.raw)
        if len(self._waiting) >= self._most_stanzas or self._bytes + size > self._most_bytes:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too much waits for that server already")
        self._waiting.append((stanza, size, now))
        self._bytes += size

    def take(self) -> Stanza | None:
        """Return the stanza that is next, if there is one; it waits no longer."""
        if not self._waiting:
            return None
        stanza, size, _ = self._waiting.popleft()
        self._bytes -= size
        return stanza

    def expired(self, now: float) -> list[Stanza]:
        """Return those that have waited for too long, in order; they wait no longer."""
        too_old: list[Stanza] = []
        while self._waiting and now - self._waiting[0][2] > self._seconds:
            stanza, size, _ = self._waiting.popleft()
            self._bytes -= size
            too_old.append(stanza)
        return too_old

    def clear(self) -> list[Stanza]:
        """Return all, in order; none waits any longer."""
        stanzas = [stanza for stanza, _, _ in self._waiting]
        self._waiting.clear()
        self._bytes = 0
        return stanzas
