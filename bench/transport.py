"""Sockets, TLS and the cutting of XML streams into stanzas for the load generator: one thread, one epoll."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from xml.parsers import expat

STREAM_PREFIX = "http://etherx.jabber.org/streams "
_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_RECORD = 65_536  # more than a TLS record holds, so that nothing is left waiting inside OpenSSL


@dataclass(slots=True)
class Stanza:
    """A child of the stream: names are "namespace name"; `children` holds the text of its direct children only."""

    name: str
    attributes: dict[str, str]
    children: dict[str, str]
    text: str


class Reader:
    """One XML stream coming in."""

    def __init__(self, on_stanza: Callable[[Stanza], None], on_end: Callable[[], None]) -> None:
        self._on_stanza = on_stanza
        self._on_end = on_end
        self._depth = 0
        self._text = ""
        self._stanza = Stanza("", {}, {}, "")
        parser = expat.ParserCreate("UTF-8", " ")
        parser.buffer_text = True
        if hasattr(parser, "SetReparseDeferralEnabled"):  # a tag cut between two reads must be seen with the second
            parser.SetReparseDeferralEnabled(False)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        self.feed = parser.Parse

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._text = ""
        if self._depth == 2:
            self._stanza = Stanza(name, attributes, {}, "")

    def _characters(self, data: str) -> None:
        self._text += data

    def _end(self, name: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        if depth == 3:
            self._stanza.children[name] = self._text
        elif depth == 2:
            self._stanza.text = self._text
            self._on_stanza(self._stanza)
        elif depth == 1:
            self._on_end()
        self._text = ""


class Loop:
    """The epoll loop all connections of a run share. `failures` names each connection that broke."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._unsent: list[Connection] = []
        self.failures: list[str] = []
        self.now = time.monotonic_ns()

    def watch(self, connection: Connection, number: int, events: int) -> None:
        """Serve a new connection, whose socket has this file number."""
        self._connections[number] = connection
        self._epoll.register(number, events)

    def change(self, number: int, events: int) -> None:
        """Wait for other events than before."""
        self._epoll.modify(number, events)

    def forget(self, number: int) -> None:
        """Serve a connection no more."""
        if self._connections.pop(number, None):
            self._epoll.unregister(number)

    def flush_later(self, connection: Connection) -> None:
        """Send what the connection has to say after the event at hand."""
        self._unsent.append(connection)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.flush()

    def turn(self, timeout: float) -> None:
        """Serve what is ready, after waiting for it up to `timeout` seconds."""
        self._flush()
        if 0 < timeout < 0.01:  # epoll counts in milliseconds, and the open loop needs less
            select.select((self._epoll,), (), (), timeout)
            timeout = 0
        for number, events in self._epoll.poll(timeout):
            connection = self._connections.get(number)
            if connection:
                self.now = time.monotonic_ns()
                connection.on_event(events)
                self._flush()
        self.now = time.monotonic_ns()


@dataclass(frozen=True)
class Target:
    """The server under load and the way to talk to it."""

    host: str
    port: int
    domain: str
    tls: str  # "none", "starttls" or "direct"
    mechanism: str  # "PLAIN", "SCRAM-SHA-1" or "SCRAM-SHA-256"
    password: str

    def __post_init__(self) -> None:
        if not ip_address(self.host).is_loopback:
            raise ValueError(f"{self.host} is not a loopback address; this load stays on this machine")

    def context(self) -> ssl.SSLContext | None:
        """Return how to speak TLS. The bench's certificate is its own, so there is nobody to verify it by."""
        if self.tls == "none":
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if self.tls == "direct":
            context.set_alpn_protocols(["xmpp-client"])  # XEP-0368
        return context


class Connection:
    """One client connection: opened, secured and read without ever blocking."""

    def __init__(self, loop: Loop, target: Target, context: ssl.SSLContext | None) -> None:
        self.loop = loop
        self.target = target
        self.closed = False
        self._writable = False
        self.on_event: Callable[[int], None] = self._connected
        self._context = context
        self._outgoing = bytearray()
        self._queued = False
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._events = _READ | _WRITE
        loop.watch(self, self._socket.fileno(), self._events)
        self._socket.connect_ex((target.host, target.port))

    def on_stanza(self, stanza: Stanza) -> None:
        """Take a stanza or another child of the stream."""
        raise NotImplementedError

    def open_stream(self) -> None:
        """Begin an XML stream (RFC 6120 §4.2), the first or one after a restart."""
        self._reader = Reader(self.on_stanza, self._stream_ended)
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{self.target.domain}' version='1.0' xml:lang='en' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )

    def start_tls(self) -> None:
        """Begin the TLS handshake; what is sent meanwhile waits for its end."""
        assert self._context
        self._socket = self._context.wrap_socket(
            self._socket, do_handshake_on_connect=False, server_hostname=self.target.domain
        )
        self.on_event = self._handshake
        self._writable = False
        self._wait_for(_READ | _WRITE)

    def send(self, data: str) -> None:
        """Queue text; it leaves after the event at hand."""
        self._outgoing += data.encode()
        if not self._queued:
            self._queued = True
            self.loop.flush_later(self)

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""
        self._queued = False
        if not self._writable:
            return
        try:
            sent = self._socket.send(self._outgoing)
        except _WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self.fail(str(error))
            return
        del self._outgoing[:sent]
        self._wait_for(_READ | _WRITE if self._outgoing else _READ)

    def close(self) -> None:
        """End the stream politely, then the connection."""
        if not self.closed:
            self.send("</stream:stream>")
            self.flush()
            self._drop()

    def fail(self, reason: str) -> None:
        """Note that the connection broke, and drop it."""
        if not self.closed:
            self.loop.failures.append(reason)
            self._drop()

    def _drop(self) -> None:
        self.closed = True
        self._writable = False
        self.loop.forget(self._socket.fileno())
        self._socket.close()

    def _wait_for(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self.loop.change(self._socket.fileno(), events)

    def _stream_ended(self) -> None:
        self.fail("the server closed the stream")

    def _connected(self, _events: int) -> None:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.fail(f"cannot connect: {os.strerror(error)}")
            return
        self._serve()
        if self.target.tls == "direct":
            self.start_tls()
        self.open_stream()

    def _handshake(self, _events: int) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._wait_for(_READ)
        except ssl.SSLWantWriteError:
            self._wait_for(_READ | _WRITE)
        except OSError as error:
            self.fail(f"TLS handshake: {error}")
        else:
            self._serve()
            self.flush()

    def _serve(self) -> None:
        self.on_event = self._ready
        self._writable = True

    def _ready(self, events: int) -> None:
        if events != _WRITE:
            self._read()
        if events & _WRITE and not self.closed:
            self.flush()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_RECORD)
            if data:
                self._reader.feed(data, False)
            else:
                self.fail("the server closed the connection")
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            self.fail(str(error))
        except expat.ExpatError as error:
            self.fail(f"not well-formed XML: {error}")
