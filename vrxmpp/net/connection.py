"""One connection with an XML stream on it: its beginning, what is written, time limits, its end (RFC 6120 §4).

What is read is the business of the intake. What the stream is for, its kinds know: a client's, another server's, a
component's.
"""

from __future__ import annotations

import json
import socket
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from vrxmpp import ns
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.net.backlog import Backlog
from vrxmpp.net.intake import Hold, Intake
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire import writer
from vrxmpp.wire.events import End, Event, Header, Malformed, Nonza
from vrxmpp.wire.stream import Phase, Sign, Stream

if TYPE_CHECKING:
    from vrxmpp.net.connections import Connections

_LATE_SECONDS = 15.0  # for what was recorded to go its way when the connection is gone; then nobody waits for it
# A peer that has silently vanished is found out after seven minutes; the kernel's own idea is two hours.
_KEEPALIVE = {"TCP_KEEPIDLE": 300, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 4}
_STREAM_ERROR = ns.qname(ns.STREAM, "error")


@implementer(IHandshakeListener, IPushProducer)
class Connection(Intake):
    """One connection, from the first byte to the last."""

    is_incoming = True  # we have been called; such connections are counted by address

    def __init__(
        self, connections: Connections, address: str, *, phase: Phase = Phase.OPENING, content: str = ns.CLIENT
    ) -> None:
        super().__init__(connections, address, content)
        self.is_known = False  # who this is
        self.reason = ""  # why the stream has ended, once it has
        self.stream = Stream(phase)
        self._is_lost = False
        self._is_producer = False
        self._is_stalled = False  # the peer does not read, or is not to read anything more
        self._backlog = Backlog()
        timeouts = connections.policy.timeouts
        now = connections.clock.seconds()
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

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, however that came."""
        self.reason = self.reason or "the connection was lost"
        self._stop()
        self.stream.phase = Phase.CLOSED
        self.ended()
        self._backlog.let_go()
        self._is_lost = True
        self._deadline = self._connections.clock.seconds() + _LATE_SECONDS
        self._leave()

    def _leave(self) -> None:
        """Be gone, when the connection is and all that was recorded has gone its way."""
        if self._is_lost and self._is_emptied:
            self._connections.left(self)

    def pauseProducing(self) -> None:
        """The peer does not read; what is for it is kept here."""
        self._is_stalled = True
        self._backlog.since = self._connections.clock.seconds()

    def resumeProducing(self) -> None:
        """The peer has read what the transport had; give it more, until it pauses again."""
        self._is_stalled = False
        while self._backlog:
            self.transport.write(self._backlog.take())
            if self._is_stalled:
                return
        self._backlog.let_go()
        self._release(Hold.OUTPUT)
        self.flowing()

    def stopProducing(self) -> None:
        """The transport is done; ``connectionLost`` follows."""

    # -- input

    def _deal_with(self, event: Event) -> None:
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

    # -- output

    def send(self, raw: bytes) -> None:
        """Write; hold back, and in the end cut off, a peer that does not read."""
        if self._is_stalled:
            self._put_aside(raw)
        else:
            self.transport.write(raw)

    def _put_aside(self, raw: bytes) -> None:
        if self._held & Hold.OVER:
            return
        self._backlog.put(raw)
        output = self._connections.policy.output
        if self._backlog.bytes > output.cut_bytes:
            self._cut_off()
        elif self._backlog.bytes > output.pause_bytes:
            self._hold(Hold.OUTPUT)

    async def drain(self) -> None:
        """Wait while the peer has much left to read, for as long as there is a connection."""
        if self._is_stalled and not self._held & Hold.OVER:
            await self._backlog.wait()

    @property
    def takes_output(self) -> bool:
        """Whether the peer reads, so that what is sent now need not wait here."""
        return not self._is_stalled

    def flowing(self) -> None:
        """The peer reads again."""

    def _cut_off(self) -> None:
        self.log.info("{address} does not read: cut off", address=self.address)
        self.reason = "the peer does not read"
        self.abort()

    # -- the end

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
        transport.write(self._backlog.take_all() + last)
        transport.loseConnection()
        self._stop()
        self._deadline = self._connections.clock.seconds() + self._connections.policy.timeouts.close

    def abort(self) -> None:
        self._stop()
        self.transport.abortConnection()

    def _stop(self) -> None:
        """Neither read nor write from now on."""
        self._backlog.take_all()
        self._is_stalled = True
        self._shut()

    # -- what negotiations ask for

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
        elif self._backlog and now - self._backlog.since > self._connections.policy.output.stalled_seconds:
            self._cut_off()
        elif self._is_stuck(now):
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
