"""All connections of one kind: what holds for every one of them, their time limits, how they end together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from vrxmpp.core.peers import Audit, NoAudit
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.net.connection import Connection
from vrxmpp.net.limits import Addresses, Output, Rate, Sample, Timeouts
from vrxmpp.wire.framer import FramerLimits

REFUSED = "stream refused"
"""Under which the archive files who was not let in, as they may be anybody."""


class Timer(Protocol):
    """The part of a reactor that tells the time, in seconds, and calls later."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> object: ...


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """What holds for every connection of a kind."""

    before_login: FramerLimits
    after_login: FramerLimits
    timeouts: Timeouts
    rate: Rate
    output: Output


class Connections:
    """All connections of one kind, and what they have in common."""

    log = Logger()
    note_type = "stream"  # of what the archive learns of strangers

    def __init__(self, policy: StreamPolicy, addresses: Addresses, clock: Timer) -> None:
        self.policy = policy
        self.addresses = addresses
        self.clock = clock
        self.audit: Audit = NoAudit()
        self.connections: set[Connection] = set()
        self._strangers = Sample()
        self._all_gone: Deferred[None] | None = None
        self._sweeper = LoopingCall(self.sweep)
        self._sweeper.clock = cast(Any, clock)

    def start(self) -> None:
        """Begin to look after time limits."""
        self._sweeper.start(1.0, now=False)

    async def stop(self) -> None:
        """End every stream, the server goes down (RFC 6120 §4.9.3.22).

        Return when all connections are gone, and what was recorded of theirs has gone its way.
        """
        for connection in list(self.connections):
            connection.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
        if self.connections:
            self._all_gone = Deferred()
            await self._all_gone  # the sweep cuts off who takes too long
        if self._sweeper.running:
            self._sweeper.stop()

    def left(self, connection: Connection) -> None:
        """A connection is gone; may be told more than once."""
        if connection not in self.connections:
            return
        if connection.is_incoming:
            self.addresses.left(connection.address, logged_in=connection.is_known)
        self.connections.discard(connection)
        if self._all_gone is not None and not self.connections:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    def note_stranger(self, conversation: str, event: str, **facts: object) -> None:
        """Let the archive know what somebody has done who has not proven who they are.

        Strangers cannot fill it: the rest of a second is counted.
        """
        if self._strangers.takes(event):
            self.audit.note(self.note_type, conversation, event=event, **facts)

    def note_more(self, event: str, more: int) -> None:
        """Let the archive know how many more there were."""
        self.audit.note(self.note_type, REFUSED, event=event, direction="from", more=more)

    def sweep(self) -> None:
        """Do what is due each second."""
        self.addresses.next_second()
        for event, more in self._strangers.next_second().items():
            self.note_more(event, more)
        now = self.clock.seconds()
        for connection in list(self.connections):
            try:
                connection.sweep(now)
            except Exception:
                self.log.failure("{address} could not be looked after", address=connection.address)
