"""A network in memory for tests: Twisted's buffers and OpenSSL's records, with neither sockets nor time."""

# ruff: noqa: N802 - Twisted calls us

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol
from unittest import mock

from OpenSSL import SSL
from twisted.internet._newtls import ConnectionMixin, ServerMixin
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.internet.tcp import _AbortingMixin
from twisted.python.failure import Failure

_MANY_TURNS = 100_000
_MANY_READS = 20


class Loop(Clock):
    """A reactor without a network: time passes when it is told to, and bytes move when nothing else does."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._readers: dict[Wire, None] = {}
        self._writers: dict[Wire, None] = {}

    def addReader(self, wire: Wire) -> None:
        self._readers[wire] = None

    def removeReader(self, wire: Wire) -> None:
        self._readers.pop(wire, None)

    def addWriter(self, wire: Wire) -> None:
        self._writers[wire] = None

    def removeWriter(self, wire: Wire) -> None:
        self._writers.pop(wire, None)

    def turn(self) -> bool:
        """Do what can be done now, each thing once; return whether there was any."""
        calls: list[Any] = [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]
        for call in calls:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
        readers = [wire for wire in self._readers if wire.incoming]
        writers = [wire for wire in self._writers if wire.client_reads or wire.is_empty]
        for wire in readers:
            if wire in self._readers:
                wire.take()
        for wire in writers:
            if wire in self._writers:
                wire.give()
        return bool(calls or readers or writers)

    def settle(self) -> None:
        """Go on until nothing is left to do."""
        for _ in range(_MANY_TURNS):
            if not self.turn():
                return
        raise AssertionError("it never comes to rest")

    def wait(self, seconds: float) -> None:
        """Let time pass, no faster than the server looks at it."""
        self.settle()
        while seconds > 0:
            self.advance(min(seconds, 0.25))  # type: ignore[no-untyped-call]
            self.settle()
            seconds -= 0.25


class Wire(ServerMixin, ConnectionMixin, FileDescriptor, _AbortingMixin):
    """The server's side of a connection, as Twisted has it, buffers and all; the client's side is in lists."""

    protocol: Any

    def __init__(self, loop: Loop, peer: IPv4Address | IPv6Address) -> None:
        super().__init__(loop)  # type: ignore[arg-type]
        self._loop = loop
        self._peer = peer
        self.incoming: deque[bytes | None] = deque()  # None: the end
        self.received = bytearray()
        self.client_reads = True
        self.connected = 1

    @property
    def is_empty(self) -> bool:
        return not self._tempDataLen and self.offset == len(self.dataBuffer)

    @property
    def is_read(self) -> bool:
        """Whether the server reads what comes."""
        return self in self._loop._readers

    def take(self) -> None:
        data = self.incoming.popleft()
        if data is None:
            self.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
        else:
            self.protocol.dataReceived(data)

    def give(self) -> None:
        if self.doWrite() is CONNECTION_DONE:
            self.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

    def writeSomeData(self, data: bytes) -> int:
        self.received += data
        return len(data)

    def startTLS(self, ctx: object, normal: bool = True) -> None:
        with mock.patch("twisted.protocols.tls._get_default_clock", return_value=self._loop):
            super().startTLS(ctx, normal)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        if self.connected:
            super().connectionLost(reason)  # type: ignore[no-untyped-call]
            self.protocol.connectionLost(reason)

    def getHandle(self) -> object:
        return None

    def getPeer(self) -> IPv4Address | IPv6Address:
        return self._peer


class Pipe(Protocol):
    """A client's way to a server: written to and read from at once."""

    @property
    def is_open(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def read(self) -> bytes:
        """Return what has come since it was last asked."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""

    def close(self) -> None: ...


class MemoryPipe:
    """A client's end of a wire."""

    def __init__(self, wire: Wire, loop: Loop) -> None:
        self.wire = wire
        self.loop = loop
        self.delivers = True  # at once, or when the test says so
        self.segment = 0  # bytes that arrive together; 0: as they are sent

    @property
    def is_open(self) -> bool:
        return bool(self.wire.connected)

    def write(self, data: bytes) -> None:
        step = self.segment or len(data)
        self.wire.incoming.extend(data[start : start + step] for start in range(0, len(data), step))
        if self.delivers:
            self.loop.settle()

    def read(self) -> bytes:
        if self.delivers:
            self.loop.settle()
        received = bytes(self.wire.received)
        self.wire.received.clear()
        return received

    def wait(self, seconds: float) -> None:
        self.loop.wait(seconds)

    def close(self) -> None:
        self.wire.incoming.append(None)
        self.loop.settle()


class TlsPipe:
    """TLS over another pipe, by the client's side of OpenSSL."""

    def __init__(self, pipe: Pipe, server_name: str, protocols: Sequence[bytes] = (), version: int = 0) -> None:
        self.pipe = pipe
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        if version:
            context.set_max_proto_version(version)
        if protocols:
            context.set_alpn_protos(list(protocols))
        self.tls = SSL.Connection(context, None)
        self.tls.set_tlsext_host_name(server_name.encode())
        self.tls.set_connect_state()
        self.is_secure = False

    def shake_hands(self) -> None:
        """Go through the handshake; raises SSL.Error if it fails."""
        for _ in range(_MANY_READS):
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                data = self.pipe.read()
                if data:
                    self.tls.bio_write(data)
                else:
                    self.pipe.wait(0.25)
            else:
                self.is_secure = True
                self._flush()
                return
        raise AssertionError("the handshake goes no further")

    def _flush(self) -> None:
        while True:
            try:
                data = self.tls.bio_read(65_536)
            except SSL.WantReadError:
                return
            self.pipe.write(data)

    @property
    def is_open(self) -> bool:
        return self.pipe.is_open

    def write(self, data: bytes) -> None:
        self.tls.sendall(data)
        self._flush()

    def wait(self, seconds: float) -> None:
        self.pipe.wait(seconds)

    def read(self) -> bytes:
        data = self.pipe.read()
        if not self.is_secure:
            return b""  # an alert, or nothing
        if data:
            self.tls.bio_write(data)
        read = b""
        while True:
            try:
                read += self.tls.recv(65_536)
            except SSL.WantReadError:
                return read
            except SSL.ZeroReturnError:
                self._say_goodbye()
                return read

    def _say_goodbye(self) -> None:
        if self.pipe.is_open:
            self.tls.shutdown()
            self._flush()

    def close(self) -> None:
        self._say_goodbye()
        self.pipe.close()
