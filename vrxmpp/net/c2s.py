"""A client's connection: bytes to the framer, stanzas to the session, or to its beginning before there is one.

RFC 6120 §4. Input is held back (``Hold``) while something waits for a store, while the client has sent more than its
rate, and while it does not read what it is sent: order and back-pressure need no other care.
"""

from __future__ import annotations

import socket
from collections import deque
from enum import IntFlag, auto
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vrxmpp import ns
from vrxmpp.core.session import Session
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.net.beginning import Beginning
from vrxmpp.net.limits import Bucket
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire import writer
from vrxmpp.wire.events import End, Event, Header, Malformed, Nonza
from vrxmpp.wire.framer import Framer
from vrxmpp.wire.stream import Phase, Sign, Stream

if TYPE_CHECKING:
    from vrxmpp.net.clients import Clients

_PIECE = 8192  # bytes of one client before others have their turn
_TURN_SECONDS = 0.005  # the same, in time
# A client that has silently vanished is found out after seven minutes; the kernel's own idea is two hours.
_KEEPALIVE = {"TCP_KEEPIDLE": 300, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 4}
_STREAM_ERROR = ns.qname(ns.STREAM, "error")


class Hold(IntFlag):
    """Why a client's input is held back."""

    NOT = 0
    WORK = auto()  # something waits
    RATE = auto()  # it has sent too fast
    OUTPUT = auto()  # it does not read
    TURN = auto()  # it is somebody else's turn
    OVER = auto()  # the stream has ended: nothing more is read from it, or written to it


@implementer(IHandshakeListener, IPushProducer)
class ClientConnection(protocol.Protocol):
    """One client's connection, from the first byte to the last; the outlet of its session."""

    log = Logger()

    def __init__(self, clients: Clients, address: str, *, direct_tls: bool) -> None:
        self._clients = clients
        self.address = address
        self.is_known = False  # who this is
        self.stream = Stream(Phase.SECURING if direct_tls else Phase.OPENING)
        self.framer = Framer(clients.policy.before_login)
        self._held = Hold.NOT
        self._events: list[Event] = []  # what came and is held back
        self._unparsed = b""  # what came behind that
        self._more = False  # whether others follow the event that is being dealt with
        self._beginning: Beginning | None = Beginning(self, clients)  # until there is a session
        self._session: Session | None = None
        self._backlog: deque[bytes] | None = None  # what waits for a client that does not read; None: it reads
        self._backlog_bytes = 0
        self._stalled_at = 0.0
        self._drained: list[Deferred[None]] = []  # who waits for the client to read
        self._unfinished_at = 0.0  # since when a stanza is incomplete, as far as the sweep has seen
        now = clients.clock.seconds()
        rate, timeouts = clients.policy.rate, clients.policy.timeouts
        self._bytes = Bucket(rate.bytes_per_second, rate.burst_bytes, now)
        self._stanzas = Bucket(rate.stanzas_per_second, rate.burst_stanzas, now)
        self._login_by = now + timeouts.login
        self._deadline = now + timeouts.handshake if direct_tls else self._login_by  # 0.0: none

    # -- Twisted's side

    def connectionMade(self) -> None:
        """A client has connected."""
        transport = cast(Any, self.transport)
        if hasattr(transport, "setTcpNoDelay"):
            # Otherwise the kernel holds the end of a TLS 1.3 handshake back for 40 ms.
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
            if hasattr(transport, "socket"):
                _notice_silence(transport.socket)
        self._clients.connections.add(self)

    def handshakeCompleted(self) -> None:
        """TLS is there, by STARTTLS or from the start."""
        if self._beginning is not None:
            self._deadline = self._login_by
            self._beginning.secured()

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come, decrypted."""
        if self._held or len(data) > _PIECE:
            if Hold.OVER not in self._held:
                self._unparsed += data  # never more than the transport had read when it was told to pause
                self._read_on()
        else:
            self._read(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, however that came."""
        self._stop()
        self.stream.phase = Phase.CLOSED
        self._end_session()
        self._let_go()
        self._clients.addresses.left(self.address, logged_in=self.is_known)
        self._clients.left(self)

    def pauseProducing(self) -> None:
        """The client does not read; what is for it is kept here."""
        self._backlog = deque()
        self._stalled_at = self._clients.clock.seconds()

    def resumeProducing(self) -> None:
        """The client has read what the transport had; give it more, until it pauses again."""
        backlog, self._backlog = self._backlog, None
        while backlog:
            raw = backlog.popleft()
            self._backlog_bytes -= len(raw)
            cast(Any, self.transport).write(raw)
            if self._backlog is not None:
                self._backlog = backlog
                return
        self._let_go()
        self._release(Hold.OUTPUT)

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
        seconds = self._clients.clock.seconds
        wait = self._bytes.take(len(data), seconds) + self._stanzas.take(len(events), seconds)
        self._take(events)
        if wait and Hold.OVER not in self._held:
            self._hold(Hold.RATE)
            self._clients.clock.callLater(wait, self._release, Hold.RATE)

    def _read_on(self) -> None:
        """Read a piece of what has come, and the rest when others have had their turn."""
        if self._unparsed and not self._held:
            piece, self._unparsed = self._unparsed[:_PIECE], self._unparsed[_PIECE:]
            self._read(piece)
            if self._unparsed:
                self._hold(Hold.TURN)
                self._clients.clock.callLater(0, self._release, Hold.TURN)

    def _take(self, events: list[Event]) -> None:
        """Deal with events in order, until one of them has to wait, or it is somebody else's turn."""
        seconds = self._clients.clock.seconds
        until = seconds() + _TURN_SECONDS
        try:
            for index, event in enumerate(events):
                if type(event) is Stanza and self._session is not None:
                    waiting = self._session.receive(event)
                    if waiting is not None:
                        self._work(waiting)
                else:
                    self._more = index + 1 < len(events)
                    self._negotiate(event)
                if index + 1 < len(events) and seconds() > until and not self._held:
                    self._hold(Hold.TURN)
                    self._clients.clock.callLater(0, self._release, Hold.TURN)
                if self._held:
                    self._events = events[index + 1 :]
                    return
        except Exception:
            self._fail(Failure())

    def _negotiate(self, event: Event) -> None:
        """Deal with whatever is not a stanza of a session."""
        match event:
            case StreamError():
                raise event
            case End():
                self._end()
            case Nonza() if event.name == _STREAM_ERROR:
                self._end()  # RFC 6120 §4.9.1.1: it has closed its stream with that
            case Malformed():
                self._refuse_malformed(event)
            case Header() | Nonza() | Stanza():
                if self._beginning is None:
                    raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)
                waiting = self._beginning.take(event)
                if waiting is not None:
                    self._work(waiting)

    def _refuse_malformed(self, event: Malformed) -> None:
        """RFC 6120 §8.3.3.8: an address that is none is answered; before the log-in it is a stanza too early."""
        if self._session is None:
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        stanza = event.stanza.with_sender(self._session.jid)
        if stanza.type not in {"error", "result"}:
            self.send(stanza.refusal(StanzaError(Condition.JID_MALFORMED, event.reason)).raw)

    def _end(self) -> None:
        """RFC 6120 §4.4: the client has closed its stream; close ours."""
        self.stream.move(Sign.END)
        self._hang_up(writer.CLOSE)
        self._end_session()

    # -- waiting

    def _work(self, waiting: Waiting) -> None:
        """Run what may wait, with the client's input held back until it is done."""
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

    def _hold(self, reason: Hold) -> None:
        if not self._held:
            cast(Any, self.transport).pauseProducing()
        self._held |= reason

    def _release(self, reason: Hold) -> None:
        if not self._held & reason:
            return
        self._held &= ~reason
        if self._held:
            return
        events, self._events = self._events, []
        self._take(events)
        self._read_on()
        if not self._held:
            cast(Any, self.transport).resumeProducing()

    # -- output

    def send(self, raw: bytes) -> None:
        """Write; hold back, and in the end cut off, a client that does not read."""
        if self._backlog is not None:
            self._put_aside(raw, self._backlog)
        else:
            cast(Any, self.transport).write(raw)

    def _put_aside(self, raw: bytes, backlog: deque[bytes]) -> None:
        if Hold.OVER in self._held:
            return
        backlog.append(raw)
        self._backlog_bytes += len(raw)
        output = self._clients.policy.output
        if self._backlog_bytes > output.cut_bytes:
            self._cut_off()
        elif self._backlog_bytes > output.pause_bytes:
            self._hold(Hold.OUTPUT)

    async def drain(self) -> None:
        """Wait while the client has much left to read, for as long as there is a connection."""
        if self._backlog is not None and Hold.OVER not in self._held:
            drained: Deferred[None] = Deferred()
            self._drained.append(drained)
            await drained

    def _let_go(self) -> None:
        waiting, self._drained = self._drained, []
        for drained in waiting:
            drained.callback(None)

    def close(self, error: StreamError) -> None:
        """End the stream with an error, and the connection with it (RFC 6120 §4.9.1.1)."""
        if Hold.OVER in self._held:
            return
        if self.stream.phase is Phase.SECURING:
            self._abort()  # nothing can be said in the middle of a handshake
            return
        if self._beginning is not None:
            self._beginning.show_header()
        self.stream.move(Sign.CLOSE)
        self._hang_up(writer.error(error))
        self._end_session()

    def _hang_up(self, last: bytes) -> None:
        """Say the last words; the connection ends when they are read, or at its deadline."""
        transport = cast(Any, self.transport)
        if self._held:
            transport.resumeProducing()  # TLS ends with a word from the other side
        if self._session is not None:
            transport.unregisterProducer()  # or the transport would wait for it to finish
        transport.write(b"".join((*(self._backlog or ()), last)))
        transport.loseConnection()
        self._stop()
        self._deadline = self._clients.clock.seconds() + self._clients.policy.timeouts.close

    def _cut_off(self) -> None:
        self.log.info("{address} does not read: cut off", address=self.address)
        self._abort()

    def _abort(self) -> None:
        self._stop()
        cast(Any, self.transport).abortConnection()

    def _stop(self) -> None:
        """Neither read nor write from now on."""
        self._held |= Hold.OVER
        self._events = []
        self._unparsed = b""
        self._backlog = deque()

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.host.end(self._session)

    # -- what its beginning asks for

    @property
    def is_over(self) -> bool:
        """Whether the stream has ended."""
        return Hold.OVER in self._held

    @property
    def is_followed(self) -> bool:
        """Whether more has come behind what is being dealt with, a part of an element or more."""
        return self.framer.unfinished or bool(self._unparsed) or self._more

    def allow(self, seconds: float) -> None:
        """Set how long the next step may take."""
        self._deadline = self._clients.clock.seconds() + seconds
        if not self.is_known:
            self._deadline = min(self._deadline, self._login_by)

    def begin(self, session: Session) -> None:
        """From now on there is a session."""
        self._session = session
        self._beginning = None
        self._deadline = 0.0
        cast(Any, self.transport).registerProducer(self, True)

    # -- time

    def sweep(self, now: float) -> None:
        """Look after time limits, once a second."""
        if self._deadline and now >= self._deadline:
            self._expire()
        elif self._backlog and now - self._stalled_at > self._clients.policy.output.stalled_seconds:
            self._cut_off()
        elif not self.framer.unfinished:
            self.framer.rest()
        elif self._held or not self._unfinished_at:
            self._unfinished_at = now
        elif now - self._unfinished_at > self._clients.policy.timeouts.stanza:
            self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT))

    def _expire(self) -> None:
        if Hold.OVER in self._held or self.stream.phase is Phase.SECURING:
            self._abort()
        else:
            self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT))


def _notice_silence(connected: socket.socket) -> None:
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
