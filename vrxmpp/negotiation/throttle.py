"""Slows down those who guess passwords, and nobody else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from math import exp2

_FIRST_DELAY = 0.25  # seconds; doubles with each further failure
_HALF_LIFE = 120.0  # seconds in which half of the failures are forgotten


class Throttle:
    """Tells how long to hold back the answer to a failed login.

    A success is never held back, so that an attacker cannot lock anyone out. Failures are counted for each address and
    for each account, whether there is such an account or not; of either at most ``capacity`` are remembered.
    ``clock_seconds`` tells the time, ``longest`` is in seconds.
    """

    def __init__(self, clock_seconds: Callable[[], float], longest: float = 5.0, capacity: int = 10_000) -> None:
        self._longest = longest
        self._addresses = _Failures(clock_seconds, capacity)
        self._accounts = _Failures(clock_seconds, capacity)

    def delay_after_failure(self, address: str, account: str) -> float:
        """Count a failed login and return the seconds to wait with the answer. ``account`` is empty if unknown."""
        failures = self._addresses.add(network(address))
        if account:
            failures = max(failures, self._accounts.add(account))
        doublings = min(failures - 1, 64)  # enough for any bound, few enough for a float
        return min(self._longest, _FIRST_DELAY * exp2(doublings))

    def succeeded(self, account: str) -> None:
        """Forget the failures of an account whose owner has just logged in.

        Those of the address stay: an attacker may have an account too.
        """
        self._accounts.forget(account)


class _Failures:
    """Counts that decay with time; the one that has been left alone for longest makes room for a new one."""

    def __init__(self, clock_seconds: Callable[[], float], capacity: int) -> None:
        self._clock_seconds = clock_seconds
        self._capacity = capacity
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def add(self, key: str) -> float:
        now = self._clock_seconds()
        count, since = self._counts.pop(key, (0.0, now))
        age = max(0.0, now - since)  # clocks are set back sometimes
        count = count * exp2(-age / _HALF_LIFE) + 1
        self._counts[key] = (count, now)
        if len(self._counts) > self._capacity:
            self._counts.popitem(last=False)
        return count

    def forget(self, key: str) -> None:
        self._counts.pop(key, None)


def network(address: str) -> str:
    """Return what one guesser has at least: an IPv4 address or a /64 of IPv6 (RFC 6177 §2)."""
    try:
        parsed = ip_address(address)
    except ValueError:  # a Unix socket, a host name
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()
