"""How much one peer and one address may ask of the server; times in seconds, sizes in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from vrxmpp.negotiation.throttle import network

_NOTED = 10  # events of a kind each second


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a peer may take for each step."""

    handshake: float
    login: float
    bind: float
    stanza: float
    close: float


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast one connection may send."""

    bytes_per_second: int
    burst_bytes: int
    stanzas_per_second: int
    burst_stanzas: int


@dataclass(frozen=True, slots=True)
class Output:
    """What is held for a client that does not read, and for how long."""

    pause_bytes: int
    cut_bytes: int
    stalled_seconds: float


class Bucket:
    """A token bucket that looks at the clock only when it has run dry; after a rest it may give two bursts."""

    __slots__ = ("_burst", "_rate", "_since", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._since = now

    def take(self, tokens: float, seconds: Callable[[], float]) -> float:
        """Take tokens that are used already; return how long to wait until there are some again."""
        self._tokens -= tokens
        if self._tokens >= 0:
            return 0.0
        now = seconds()
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
        self._since = now
        return max(0.0, -self._tokens / self._rate)


class Addresses:
    """Who is connected from where. An IPv6 address counts with its /64, which one customer has as a whole."""

    def __init__(self, per_address: int, unauthenticated: int, new_per_second: int) -> None:
        self._per_address = per_address
        self._unauthenticated = unauthenticated
        self._new_per_second = new_per_second
        self._all: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._new: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a new connection, or refuse it."""
        key = network(address)
        if (
            self._all[key] >= self._per_address
            or self._strangers[key] >= self._unauthenticated
            or self._new[key] >= self._new_per_second
        ):
            return False
        self._all[key] += 1
        self._strangers[key] += 1
        self._new[key] += 1
        return True

    def logged_in(self, address: str) -> None:
        """A connection is a stranger's no longer."""
        _decrease(self._strangers, network(address))

    def left(self, address: str, *, logged_in: bool) -> None:
        """A connection is gone."""
        key = network(address)
        _decrease(self._all, key)
        if not logged_in:
            _decrease(self._strangers, key)

    def next_second(self) -> None:
        """Forget who is new; to be called each second."""
        self._new.clear()


class Sample:
    """The first events of each kind in a second; the rest is counted. So strangers cannot fill the archive."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def takes(self, kind: str) -> bool:
        """Count an event; return whether it is one of the first."""
        self._counts[kind] += 1
        return self._counts[kind] <= _NOTED

    def next_second(self) -> dict[str, int]:
        """Begin anew, to be called each second; return how many more there were, of the kinds of which there were."""
        more = {kind: count - _NOTED for kind, count in self._counts.items() if count > _NOTED}
        self._counts.clear()
        return more


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
