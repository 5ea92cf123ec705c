"""The domain name system of a test: a zone in memory, and a server on loopback for those who ask over a network."""

from __future__ import annotations

import socketserver
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.names import dns
from twisted.names.client import Resolver

from vrxmpp.net.resolve import Sections

_MAX_UDP = 512  # octets (RFC 1035 §2.3.4)


class Zone:
    """All names there are; to be asked like a resolver of ``twisted.names``, and counting what it is asked.

    What it has not been told of does not exist.
    """

    def __init__(self) -> None:
        self.queries: Counter[tuple[str, str]] = Counter()  # by name and type, as ("b.example", "AAAA")
        self.negative_ttl: int | None = None  # in the SOA record of answers that say there is nothing; None: no SOA
        self.answers_at_once = True
        self._held: list[tuple[Deferred[Sections], dns.Message | None]] = []
        self._records: dict[str, list[dns.RRHeader]] = {}
        self._failing: dict[str, int] = {}
        self._silent: set[str] = set()

    def srv(
        self,
        domain: str,
        host: str,
        port: int,
        *,
        direct_tls: bool = False,
        priority: int = 0,
        weight: int = 0,
        ttl: int = 300,
    ) -> None:
        """Serve a domain at a host; "." says that it is not served."""
        service = "_xmpps-server._tcp." if direct_tls else "_xmpp-server._tcp."
        self.add(service + domain, dns.Record_SRV(priority, weight, port, host.removesuffix("."), ttl), ttl)

    def a(self, name: str, ip: str, ttl: int = 300) -> None:
        self.add(name, dns.Record_A(ip, ttl), ttl)

    def aaaa(self, name: str, ip: str, ttl: int = 300) -> None:
        self.add(name, dns.Record_AAAA(ip, ttl), ttl)

    def cname(self, name: str, target: str, ttl: int = 300) -> None:
        self.add(name, dns.Record_CNAME(target, ttl), ttl)

    def add(self, name: str, record: Any, ttl: int = 300) -> None:
        """Add any record."""
        self._records.setdefault(name, []).append(_with_header(name, record, ttl))

    def missing(self, name: str) -> None:
        """Forget all of a name."""
        self._records.pop(name, None)

    def failing(self, name: str, code: int = dns.ESERVER) -> None:
        """Answer for a name and all below it with an error: SERVFAIL, or another; with 0 no longer."""
        self._failing[name] = code

    def silent(self, name: str) -> None:
        """Answer nothing for a name and all below it."""
        self._silent.add(name)

    def query(self, query: dns.Query, timeout: Sequence[int] | None = None) -> Deferred[Sections]:
        """Answer as ``twisted.names.client.Resolver`` does."""
        message = self.answer(query)
        if self.answers_at_once:
            return _result(message)
        held: Deferred[Sections] = Deferred()
        self._held.append((held, message))
        return held

    def release(self, count: int | None = None) -> None:
        """Answer what is held because ``answers_at_once`` is off: all of it, or the first few."""
        released = self._held[:count]
        del self._held[:count]
        for held, message in released:
            _result(message).chainDeferred(held)

    @property
    def held(self) -> int:
        """How many answers are held."""
        return len(self._held)

    def answer(self, query: dns.Query) -> dns.Message | None:
        """Return the answer to a query as a message, or nothing if it is not to be answered."""
        name = query.name.name.decode().lower()
        self.queries[name, dns.QUERY_TYPES.get(query.type, str(query.type))] += 1
        if any(_is_below(name, silent) for silent in self._silent):
            return None
        message = dns.Message(answer=1, recDes=1, recAv=1, rCode=self._failure(name))
        message.queries = [query]
        if message.rCode == dns.OK:
            last = self._follow(name, query, message)
            if not any(_is_below(known, last) for known in self._records):
                message.rCode = dns.ENAME
            if not any(record.type == query.type for record in message.answers) and self.negative_ttl is not None:
                soa = dns.Record_SOA(b"ns.invalid", b"root.invalid", minimum=self.negative_ttl)
                message.authority = [_with_header("", soa, self.negative_ttl)]
        return message

    def _failure(self, name: str) -> int:
        return next((code for failing, code in self._failing.items() if _is_below(name, failing)), dns.OK)

    def _follow(self, name: str, query: dns.Query, message: dns.Message) -> str:
        """Collect the records of a name, and of what it is an alias of; return where that ended."""
        seen: set[str] = set()
        while name not in seen:
            seen.add(name)
            records = self._records.get(name, [])
            message.answers += [record for record in records if record.type in {query.type, dns.CNAME}]
            for record in records:
                if isinstance(record.payload, dns.Record_CNAME):
                    name = record.payload.name.name.decode().lower()
        return name


def _with_header(name: str, record: Any, ttl: int) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), record.TYPE, dns.IN, ttl, record)


def _is_below(name: str, above: str) -> bool:
    return name == above or name.endswith(f".{above}")


def _result(message: dns.Message | None) -> Deferred[Sections]:
    if message is None:
        return Deferred()
    if message.rCode != dns.OK:
        return fail(Resolver._errormap[message.rCode](message))
    return succeed((message.answers, message.authority, message.additional))


@contextmanager
def serve(zone: Zone) -> Iterator[int]:
    """Serve the zone on a port of 127.0.0.1, over UDP and TCP; it may be changed meanwhile."""
    with _TcpServer(("127.0.0.1", 0), _TcpHandler) as tcp, _UdpServer(tcp.server_address, _UdpHandler) as udp:
        tcp.zone = udp.zone = zone
        for server in (tcp, udp):
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield tcp.server_address[1]
        finally:
            tcp.shutdown()
            udp.shutdown()


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False  # a resolver may keep its connection
    zone: Zone


class _UdpServer(socketserver.UDPServer):
    zone: Zone


class _UdpHandler(socketserver.BaseRequestHandler):
    server: _UdpServer

    def handle(self) -> None:
        data, socket = self.request
        if reply := _reply(self.server.zone, data, _MAX_UDP):
            socket.sendto(reply, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    server: _TcpServer

    def handle(self) -> None:
        while len(length := self.rfile.read(2)) == 2:
            if reply := _reply(self.server.zone, self.rfile.read(*struct.unpack("!H", length)), 0):
                self.wfile.write(struct.pack("!H", len(reply)) + reply)


def _reply(zone: Zone, data: bytes, limit: int) -> bytes | None:
    """Return the answer to a message in octets; what is too long is left out, to be asked for over TCP."""
    asked = dns.Message()
    asked.fromStr(data)
    reply = zone.answer(asked.queries[0])
    if reply is None:
        return None
    reply.id, reply.maxSize = asked.id, 0
    encoded = reply.toStr()
    if limit and len(encoded) > limit:
        reply.answers, reply.authority, reply.trunc = [], [], 1
        encoded = reply.toStr()
    return encoded
