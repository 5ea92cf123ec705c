"""How long to wait before a failed connection is tried again (RFC 6120 §3.3: exponential back-off, with jitter)."""

from __future__ import annotations

from collections.abc import Callable
from random import random


class Backoff:
    """The waits grow by ``factor``, from ``first`` to ``most`` seconds; each is shortened by a random part of its half.

    Those who have lost a server at the same moment so come back to it one after the other. ``random`` gives numbers
    from 0 to 1.
    """

    def __init__(
        self, *, first: float = 1.0, factor: float = 2.0, most: float = 60.0, random: Callable[[], float] = random
    ) -> None:
        self._first = first
        self._factor = factor
        self._most = most
        self._random = random
        self._next = first

    def failed(self) -> float:
        """Return the seconds to wait before the next attempt."""
        seconds = min(self._next, self._most)
        self._next = seconds * self._factor
        return seconds * (1 + self._random()) / 2

    def succeeded(self) -> None:
        """Begin anew with the next failure."""
        self._next = self._first
