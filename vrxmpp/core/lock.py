"""A lock: whoever asks first has it first."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred


class Lock:
    """``async with lock:``, and ``locked`` says whether somebody has it.

    Those who wait are woken one after the other from one loop. A ``DeferredLock`` wakes each inside the release of the
    one before, and a hundred of them are too many for the stack.
    """

    __slots__ = ("_waiting", "_waking", "locked")

    def __init__(self) -> None:
        self.locked = False
        self._waiting: deque[Deferred[None]] = deque()
        self._waking = False

    async def __aenter__(self) -> None:
        if self.locked or self._waiting:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        else:
            self.locked = True

    async def __aexit__(self, *_: object) -> None:
        self.locked = False
        if self._waking:
            return
        self._waking = True
        while self._waiting and not self.locked:
            self.locked = True
            self._waiting.popleft().callback(None)
        self._waking = False
