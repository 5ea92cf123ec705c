"""The incoming half of a connection: bytes become events, and wait for whatever must come before them (RFC 6120 §4).

Input is held back (``Hold``) while something waits for a store or for the archive, while the peer has sent more than
its rate, and while it does not read what it is sent: order and back-pressure need no other care.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.net.limits import Bucket
from vrxmpp.stanza import PENDING, UNARCHIVED, UNSEEN, Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire.events import Event
from vrxmpp.wire.framer import Framer

if TYPE_CHECKING:
    from vrxmpp.net.connections import Connections

_PIECE = 8192  # bytes of one peer before others have their turn
_TURN_SECONDS = 0.005  # the same, in time
_NOT_RECORDED = (UNSEEN, UNARCHIVED)


class Hold:
    """Why a peer's input is held back: bits in a plain number, for those of ``enum`` cost a call or two each time."""

    NOT = 0
    WORK = 1  # something waits
    RECORD = 2  # a message is being written into the archive
    RATE = 4  # it has sent too fast
    OUTPUT = 8  # it does not read
    TURN = 16  # it is somebody else's turn
    OVER = 32  # the stream has ended: nothing more is read from it, or written to it


class Intake(protocol.Protocol, ABC):
    """Takes what a peer sends, in order and within its limits; what it means, is dealt with above."""

    log = Logger()
    transport: Any  # TCP or TLS, which Twisted has no one type for

    def __init__(self, connections: Connections, address: str, content: str) -> None:
        self._connections = connections
        self.address = address
        policy = connections.policy
        self.framer = Framer(policy.before_login, content)
        self._receive: Callable[[Stanza], Waiting | None] | None = None  # takes the stanzas, once there may be any
        self._accept: Callable[[Stanza], None] | None = None  # looks at their addresses before that
        self._facts = b""  # what the archive notes of the connection
        self._held = Hold.NOT
        self._is_paused = False  # whether the transport has been told
        self._events: list[Event] = []  # what came and is held back
        self._unparsed = b""  # what came behind that
        self._more = False  # whether others follow the event that is being dealt with
        self._unfinished_at = 0.0  # since when a stanza is incomplete, as far as has been looked
        now, rate = connections.clock.seconds(), policy.rate
        self._bytes = Bucket(rate.bytes_per_second, rate.burst_bytes, now)
        self._stanzas = Bucket(rate.stanzas_per_second, rate.burst_stanzas, now)

    # -- what is known above

    @abstractmethod
    def _deal_with(self, event: Event) -> None:
        """Deal with whatever is not a stanza in its time. Raises StreamError."""

    @abstractmethod
    def receive_late(self, stanza: Stanza) -> Waiting | None:
        """Take a stanza that was given to the archive before the stream ended."""

    @abstractmethod
    def close(self, error: StreamError) -> None:
        """End the stream with an error, and the connection with it."""

    @abstractmethod
    def _leave(self) -> None:
        """Be gone, when the connection is and all that was recorded has gone its way."""

    # -- bytes

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come, decrypted."""
        if self._held or len(data) > _PIECE:
            if not self._held & Hold.OVER:
                self._unparsed += data  # never more than the transport had read when it was told to pause
                if self._held:
                    self._pause()
                self._read_on()
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            events = self.framer.feed(data)
        except Exception:
            self._fail(Failure())
            return
        if events:
            self._unfinished_at = 0.0
        seconds = self._connections.clock.seconds
        wait = self._bytes.take(len(data), seconds) + self._stanzas.take(len(events), seconds)
        self._take(events)
        if wait and not self._held & Hold.OVER:
            self._hold(Hold.RATE)
            self._connections.clock.callLater(wait, self._release, Hold.RATE)

    def _read_on(self) -> None:
        """Read a piece of what has come, and the rest when others have had their turn."""
        if self._unparsed and not self._held:
            piece, self._unparsed = self._unparsed[:_PIECE], self._unparsed[_PIECE:]
            self._read(piece)
            if self._unparsed:
                self._yield_turn()

    def _yield_turn(self) -> None:
        self._hold(Hold.TURN)
        self._connections.clock.callLater(0, self._release, Hold.TURN)

    def _is_stuck(self, now: float) -> bool:
        """Whether a stanza has been incomplete for too long; to be asked again and again."""
        if not self.framer.unfinished:
            self.framer.rest()
        elif self._held or not self._unfinished_at:
            self._unfinished_at = now
        else:
            return now - self._unfinished_at > self._connections.policy.timeouts.stanza
        return False

    @property
    def is_followed(self) -> bool:
        """Whether more has come behind what is being dealt with, a part of an element or more."""
        return self.framer.unfinished or bool(self._unparsed) or self._more

    # -- events

    def _take(self, events: list[Event]) -> None:
        """Deal with events in order, until one of them has to wait, or it is somebody else's turn."""
        seconds = self._connections.clock.seconds
        until = seconds() + _TURN_SECONDS
        try:
            for index, event in enumerate(events):
                if type(event) is Stanza and self._receive is not None:
                    if event.kind == "message" and event.record < 0 and self._is_recording(events, index):
                        self._held |= Hold.RECORD
                        self._events = events[index:]
                        return
                    waiting = self._receive(event)
                    if waiting is not None:
                        self._work(waiting)
                else:
                    self._more = index + 1 < len(events)
                    self._deal_with(event)
                if index + 1 < len(events) and seconds() > until and not self._held:
                    self._yield_turn()
                if self._held:
                    self._events = events[index + 1 :]
                    break
        except Exception:
            self._events = events[index + 1 :]
            self._fail(Failure())
        if self._held & Hold.OVER:
            self._keep_recorded()

    def _work(self, waiting: Waiting) -> None:
        """Run what may wait, with the peer's input held back until it is done."""
        work = Deferred.fromCoroutine(waiting).addErrback(self._fail)
        if not work.called:
            self._hold(Hold.WORK)
            work.addCallback(lambda _: self._release(Hold.WORK))

    def _fail(self, failure: Failure) -> None:
        """End the stream: by the error that was raised, or because of a bug."""
        if isinstance(failure.value, StreamError):
            self.close(failure.value)
        else:
            self.log.failure("the connection from {address} failed", failure, address=self.address)
            self.close(StreamError(StreamCondition.INTERNAL_SERVER_ERROR))

    # -- the archive

    def _is_recording(self, events: list[Event], index: int) -> bool:
        """Whether a message must wait for the archive, which is given it now together with those that follow.

        So what a peer says in one go is written in one go; and still nothing overtakes anything.
        """
        message = events[index]
        assert isinstance(message, Stanza)
        if message.record == UNSEEN:
            self._record(events[index:])
        return message.record == PENDING

    def _record(self, events: list[Event]) -> None:
        audit, accept = self._connections.audit, self._accept
        assert accept is not None
        for event in events:
            if type(event) is not Stanza:
                return  # the end, or a violation: what is behind it may not count
            if event.kind != "message" or event.record != UNSEEN:
                continue
            try:
                accept(event)  # by which alone it is known who has sent it
            except StreamError:
                return  # it ends the stream when its turn comes
            if audit.wants(event):
                audit.record(event, self._facts, self.recorded)
            else:
                event.record = UNARCHIVED

    def recorded(self) -> None:
        """The archive has answered."""
        self._release(Hold.RECORD)

    def _keep_recorded(self) -> None:
        """The stream has ended. What is in the archive goes its way still, and nothing else."""
        self._events = [event for event in self._events if type(event) is Stanza and event.record not in _NOT_RECORDED]
        if self._events and not self._held & (Hold.WORK | Hold.RECORD):
            self._held |= Hold.RECORD
            self._connections.clock.callLater(0, self._release, Hold.RECORD)

    def _take_recorded(self) -> None:
        while self._events and not self._held & (Hold.WORK | Hold.RECORD):
            stanza = cast(Stanza, self._events[0])
            if stanza.record == PENDING:
                self._held |= Hold.RECORD
                return
            del self._events[0]
            waiting = self.receive_late(stanza)
            if waiting is not None:
                self._work(waiting)

    # -- holding back

    def _hold(self, reason: int) -> None:
        self._held |= reason
        if not self._held & Hold.OVER:  # or it would not be noticed that the peer hangs up
            self._pause()

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def _go_on(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resumeProducing()

    def _release(self, reason: int) -> None:
        if not self._held & reason:
            return
        self._held &= ~reason
        if self._held & Hold.OVER:
            self._take_recorded()
            self._leave()
            return
        if self._held:
            return
        events, self._events = self._events, []
        self._take(events)
        self._read_on()
        if not self._held:
            self._go_on()

    def _shut(self) -> None:
        """Take nothing more, but what is in the archive already."""
        self._held |= Hold.OVER
        self._unparsed = b""
        self._keep_recorded()

    @property
    def is_over(self) -> bool:
        """Whether the stream has ended."""
        return bool(self._held & Hold.OVER)

    @property
    def _is_emptied(self) -> bool:
        """Whether nothing that was given to the archive has yet to go its way."""
        return not self._events and not self._held & (Hold.WORK | Hold.RECORD)
