"""One connection with an XML stream on it: bytes in and out, waiting, time limits, the end (RFC 6120 §4).

Input is held back (``Hold``) while something waits for a store, while the peer has sent more than its rate, and while
it does not read what it is sent: order and back-pressure need no other care. What the stream is for, its kinds know:
a client's, another server's, a component's.
"""

from __future__ import annotations

import json
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from OpenSSL import SSL
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vrxmpp import ns
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.net.limits import Bucket
from vrxmpp.stanza import PENDING, UNARCHIVED, UNSEEN, Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire import writer
from vrxmpp.wire.events import End, Event, Header, Malformed, Nonza
from vrxmpp.wire.framer import Framer
from vrxmpp.wire.stream import Phase, Sign, Stream

if TYPE_CHECKING:
    from vrxmpp.net.connections import Connections

_PIECE = 8192  # bytes of one peer before others have their turn
_TURN_SECONDS = 0.005  # the same, in time
# A peer that has silently vanished is found out after seven minutes; the kernel's own idea is two hours.
_LATE_SECONDS = 15.0  # for what was recorded to go its way when the connection is gone; then nobody waits for it
_KEEPALIVE = {"TCP_KEEPIDLE": 300, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 4}
_NOT_RECORDED = (UNSEEN, UNARCHIVED)
_STREAM_ERROR = ns.qname(ns.STREAM, "error")


class Hold:
    """Why a peer's input is held back: bits in a plain number, for those of ``enum`` cost a call or two each time."""

    NOT = 0
    WORK = 1  # something waits
    RECORD = 2  # a message is being written into the archive
    RATE = 4  # it has sent too fast
    OUTPUT = 8  # it does not read
    TURN = 16  # it is somebody else's turn
    OVER = 32  # the stream has ended: nothing more is read from it, or written to it


@implementer(IHandshakeListener, IPushProducer)
class Connection(protocol.Protocol, ABC):
    """One connection, from the first byte to the last."""

    log = Logger()
    transport: Any  # TCP or TLS, which Twisted has no one type for
    is_incoming = True  # we have been called; such connections are counted by address

    def __init__(
        self, connections: Connections, address: str, *, phase: Phase = Phase.OPENING, content: str = ns.CLIENT
    ) -> None:
        self._connections = connections
        self.address = address
        self.is_known = False  # who this is
        self.reason = ""  # why the stream has ended, once it has
        self.stream = Stream(phase)
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
        self._is_producer = False
        self._is_lost = False
        self._backlog: deque[bytes] | None = None  # what waits for a peer that does not read; None: it reads
        self._backlog_bytes = 0
        self._stalled_at = 0.0
        self._drained: list[Deferred[None]] = []  # who waits for the peer to read
        self._unfinished_at = 0.0  # since when a stanza is incomplete, as far as the sweep has seen
        now = connections.clock.seconds()
        rate, timeouts = policy.rate, policy.timeouts
        self._bytes = Bucket(rate.bytes_per_second, rate.burst_bytes, now)
        self._stanzas = Bucket(rate.stanzas_per_second, rate.burst_stanzas, now)
        self._login_by = now + timeouts.login
        self._deadline = now + timeouts.handshake if phase is Phase.SECURING else self._login_by  # 0.0: none

    # -- what each kind of stream knows itself

    @abstractmethod
    def negotiate(self, event: Header | Nonza | Stanza) -> Waiting | None:
        """Deal with whatever is not a stanza in its time; return the rest of the work, if it must wait."""

    @abstractmethod
    def refuse_malformed(self, event: Malformed) -> None:
        """Deal with a stanza that has an address which is none."""

    @abstractmethod
    def secured(self) -> None:
        """TLS is there, by STARTTLS or from the start."""

    def describe(self) -> dict[str, str]:
        """Return what the archive notes of the connection: where it comes from, and how it is protected."""
        tls = self.tls()
        security = f"{tls.get_protocol_version_name()} {tls.get_cipher_name()}" if tls is not None else ""
        return {"address": self.address, "tls": security}

    def receive_late(self, stanza: Stanza) -> Waiting | None:
        """Take a stanza that was given to the archive before the stream ended."""
        assert self._receive is not None
        return self._receive(stanza)

    @abstractmethod
    def show_header(self) -> None:
        """RFC 6120 §4.9.1.2: before an error there is a header; send one, if there was none."""

    @abstractmethod
    def ended(self) -> None:
        """The stream is over, for which reason ever; may be told more than once."""

    # -- Twisted's side

    def connectionMade(self) -> None:
        """There is a connection."""
        transport = self.transport
        if hasattr(transport, "setTcpNoDelay"):
            # Otherwise the kernel holds the end of a TLS 1.3 handshake back for 40 ms.
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
            if hasattr(transport, "socket"):
                _notice_silence(transport.socket)
        self._connections.connections.add(self)

    def handshakeCompleted(self) -> None:
        """TLS is there, by STARTTLS or from the start."""
        if not self.is_known:
            self._deadline = self._login_by
        self.secured()

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

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, however that came."""
        self.reason = self.reason or "the connection was lost"
        self._stop()
        self.stream.phase = Phase.CLOSED
        self.ended()
        self._let_go()
        self._is_lost = True
        self._deadline = self._connections.clock.seconds() + _LATE_SECONDS
        self._leave()

    def _leave(self) -> None:
        """Be gone, when the connection is and all that was recorded has gone its way."""
        if self._is_lost and not self._events and not self._held & (Hold.WORK | Hold.RECORD):
            self._connections.left(self)

    def pauseProducing(self) -> None:
        """The peer does not read; what is for it is kept here."""
        self._backlog = deque()
        self._stalled_at = self._connections.clock.seconds()

    def resumeProducing(self) -> None:
        """The peer has read what the transport had; give it more, until it pauses again."""
        backlog, self._backlog = self._backlog, None
        while backlog:
            raw = backlog.popleft()
            self._backlog_bytes -= len(raw)
            self.transport.write(raw)
            if self._backlog is not None:
                self._backlog = backlog
                return
        self._let_go()
        self._release(Hold.OUTPUT)
        self.flowing()

    def stopProducing(self) -> None:
        """The transport is done; ``connectionLost`` follows."""

    # -- input

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
                self._hold(Hold.TURN)
                self._connections.clock.callLater(0, self._release, Hold.TURN)

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
                    self._negotiate(event)
                if index + 1 < len(events) and seconds() > until and not self._held:
                    self._hold(Hold.TURN)
                    self._connections.clock.callLater(0, self._release, Hold.TURN)
                if self._held:
                    self._events = events[index + 1 :]
                    break
        except Exception:
            self._events = events[index + 1 :]
            self._fail(Failure())
        if self._held & Hold.OVER:
            self._keep_recorded()

    def _negotiate(self, event: Event) -> None:
        """Deal with whatever is not a stanza in its time."""
        match event:
            case StreamError():
                raise event
            case End():
                self._end()
            case Nonza() if event.name == _STREAM_ERROR:
                self.reason = self.reason or "the peer has reported an error"
                self.peer_failed(event)
                self._end()  # RFC 6120 §4.9.1.1: it has closed its stream with that
            case Malformed():
                self.refuse_malformed(event)
            case Header() | Nonza() | Stanza():
                waiting = self.negotiate(event)
                if waiting is not None:
                    self._work(waiting)

    def peer_failed(self, error: Nonza) -> None:
        """The peer has ended its stream with an error."""

    def _end(self) -> None:
        """RFC 6120 §4.4: the peer has closed its stream; close ours, if it is not closed."""
        last = b"" if self.stream.phase is Phase.CLOSING else self.last_words() + writer.CLOSE
        self.reason = self.reason or "ended by the peer"
        self.stream.move(Sign.END)
        self._hang_up(last)
        self.ended()

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

    # -- waiting

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

    # -- output

    def send(self, raw: bytes) -> None:
        """Write; hold back, and in the end cut off, a peer that does not read."""
        if self._backlog is not None:
            self._put_aside(raw, self._backlog)
        else:
            self.transport.write(raw)

    def _put_aside(self, raw: bytes, backlog: deque[bytes]) -> None:
        if self._held & Hold.OVER:
            return
        backlog.append(raw)
        self._backlog_bytes += len(raw)
        output = self._connections.policy.output
        if self._backlog_bytes > output.cut_bytes:
            self._cut_off()
        elif self._backlog_bytes > output.pause_bytes:
            self._hold(Hold.OUTPUT)

    async def drain(self) -> None:
        """Wait while the peer has much left to read, for as long as there is a connection."""
        if self._backlog is not None and not self._held & Hold.OVER:
            drained: Deferred[None] = Deferred()
            self._drained.append(drained)
            await drained

    def _let_go(self) -> None:
        waiting, self._drained = self._drained, []
        for drained in waiting:
            drained.callback(None)

    def close(self, error: StreamError) -> None:
        """End the stream with an error, and the connection with it (RFC 6120 §4.9.1.1)."""
        if self._held & Hold.OVER:
            return
        self.reason = self.reason or str(error)
        if self.stream.phase in (Phase.SECURING, Phase.CLOSING):
            self.abort()  # nothing can be said in the middle of a handshake, or after the last word
            return
        self.show_header()
        self.stream.move(Sign.CLOSE)
        self._hang_up(self.last_words() + writer.error(error))
        self.ended()

    def finish(self) -> None:
        """RFC 6120 §4.4: end our stream; what the peer still sends before it ends its own is taken."""
        self.reason = self.reason or "ended in order"
        self.stream.move(Sign.CLOSE)
        self.send(self.last_words() + writer.CLOSE)
        self._deadline = self._connections.clock.seconds() + self._connections.policy.timeouts.close

    def last_words(self) -> bytes:
        """Return what is said before the end of the stream."""
        return b""

    def _hang_up(self, last: bytes) -> None:
        """Say the last words; the connection ends when they are read, or at its deadline."""
        transport = self.transport
        self._go_on()  # if it was held: TLS ends with a word from the other side
        if self._is_producer:
            transport.unregisterProducer()  # or the transport would wait for it to finish
        transport.write(b"".join((*(self._backlog or ()), last)))
        transport.loseConnection()
        self._stop()
        self._deadline = self._connections.clock.seconds() + self._connections.policy.timeouts.close

    def _cut_off(self) -> None:
        self.log.info("{address} does not read: cut off", address=self.address)
        self.reason = "the peer does not read"
        self.abort()

    @property
    def takes_output(self) -> bool:
        """Whether the peer reads, so that what is sent now need not wait here."""
        return self._backlog is None

    def flowing(self) -> None:
        """The peer reads again."""

    def abort(self) -> None:
        self._stop()
        self.transport.abortConnection()

    def _stop(self) -> None:
        """Neither read nor write from now on."""
        self._held |= Hold.OVER
        self._unparsed = b""
        self._backlog = deque()
        self._keep_recorded()

    # -- what negotiations ask for

    @property
    def is_over(self) -> bool:
        """Whether the stream has ended."""
        return bool(self._held & Hold.OVER)

    @property
    def is_followed(self) -> bool:
        """Whether more has come behind what is being dealt with, a part of an element or more."""
        return self.framer.unfinished or bool(self._unparsed) or self._more

    def allow(self, seconds: float) -> None:
        """Set how long the next step may take."""
        self._deadline = self._connections.clock.seconds() + seconds
        if not self.is_known:
            self._deadline = min(self._deadline, self._login_by)

    def renew(self, sign: Sign, last: bytes) -> None:
        """End one stream with its last words; another follows. What was pipelined behind this one is a violation."""
        if self.is_followed:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "data behind the end of a negotiation")
        self.stream.move(sign)
        self.send(last)
        self.framer.restart()

    def tls(self) -> SSL.Connection | None:
        """Return the TLS side of the connection, if there is one."""
        handle = self.transport.getHandle()
        return handle if isinstance(handle, SSL.Connection) else None

    def know(self) -> None:
        """From now on it is known who this is: the limits of the known hold."""
        self.is_known = True
        self.framer.limits = self._connections.policy.after_login
        if self.is_incoming:
            self._connections.addresses.logged_in(self.address)

    def begin(self, receive: Callable[[Stanza], Waiting | None], accept: Callable[[Stanza], None]) -> None:
        """From now on stanzas come and go; ``accept`` raises StreamError for those that must not come."""
        self._receive = receive
        self._accept = accept
        self._facts = json.dumps(self.describe(), ensure_ascii=False).encode()
        self._deadline = 0.0
        if not self._is_producer:
            self._is_producer = True
            self.transport.registerProducer(self, True)

    # -- time

    def sweep(self, now: float) -> None:
        """Look after time limits, once a second."""
        if self._deadline and now >= self._deadline:
            self._expire()
        elif self._backlog and now - self._stalled_at > self._connections.policy.output.stalled_seconds:
            self._cut_off()
        elif not self.framer.unfinished:
            self.framer.rest()
        elif self._held or not self._unfinished_at:
            self._unfinished_at = now
        elif now - self._unfinished_at > self._connections.policy.timeouts.stanza:
            self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT))

    def _expire(self) -> None:
        if self._is_lost:
            self._connections.left(self)
        elif self._held & Hold.OVER:
            self.abort()
        else:
            self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT))


def _notice_silence(connected: socket.socket) -> None:
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
