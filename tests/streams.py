"""A whole server in memory, and clients that speak to it in bytes: plain, or over TLS that is real."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from sqlalchemy import Connection
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from tests.network import Loop, MemoryPipe, Pipe, TlsPipe, Wire
from tests.passwords import Scram
from tests.world import NoRemote, run
from vrxmpp import ns
from vrxmpp.assembly import Foundations, assemble, utc_now
from vrxmpp.config import Config
from vrxmpp.core.router import Router
from vrxmpp.negotiation.scram import derive_keys
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.net.clients import ClientFactory, Clients
from vrxmpp.net.tls import CertificateFiles, Certificates, DirectTls, make_self_signed
from vrxmpp.service import _addresses, _policy
from vrxmpp.store import open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import NewAccount, ScramKeys

T = TypeVar("T")
DOMAIN = "example.net"
PASSWORD = "wherefore-art-thou"
ADDRESS = "192.0.2.1"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


# -- XML as a client reads it


class Reader:
    """Reads a stream with an XML parser that is not the server's own."""

    def __init__(self) -> None:
        self._parser = ElementTree.XMLPullParser(("start", "end"))
        self._depth = 0
        self.header: Mapping[str, str] | None = None
        self.ended = False

    def feed(self, data: bytes) -> list[Element]:
        """Return the elements of the first level that are complete now."""
        self._parser.feed(data)
        if hasattr(self._parser, "flush"):
            self._parser.flush()
        found = []
        for event, element in self._parser.read_events():
            if event == "start":
                if self._depth == 0:
                    self.header = dict(element.attrib)
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 1:
                    found.append(element)
                elif self._depth == 0:
                    self.ended = True
        return found


def show(element: Element, outer: str = ns.CLIENT) -> str:
    """Write an element in one form: attributes in order, a namespace where it changes."""
    uri, _, name = element.tag.rpartition("}")
    uri = uri.removeprefix("{")
    attributes = {key.replace(_XML_LANG, "xml:lang"): value for key, value in element.attrib.items()}
    if uri != outer:
        attributes["xmlns"] = uri
    written = "".join(f" {key}='{attributes[key]}'" for key in sorted(attributes))
    inner = (element.text or "") + "".join(show(child, uri) + (child.tail or "") for child in element)
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"


def stream_header(to: str = DOMAIN, sender: str = "", **attributes: str) -> str:
    """Return what a client begins a stream with; ``version=''`` leaves the version out."""
    values = {"to": to, "from": sender, "version": "1.0"} | attributes
    written = "".join(f" {key.replace('_', ':')}='{value}'" for key, value in values.items() if value)
    return f"<?xml version='1.0'?><stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'{written}>"


# -- clients


class Client:
    """Somebody who has connected. What is sent is dealt with at once; ``hears`` is what has come since last asked."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.reader = Reader()
        self.sent = ""
        self.piece = 0  # bytes sent at once; 0: all
        self.jid = ""
        self._heard: list[Element] = []

    @property
    def wire(self) -> Wire:
        pipe = self.pipe
        while isinstance(pipe, TlsPipe):
            pipe = pipe.pipe
        assert isinstance(pipe, MemoryPipe)
        return pipe.wire

    def send(self, xml: str) -> None:
        self.sent += xml
        self.send_bytes(xml.encode())

    def send_bytes(self, data: bytes) -> None:
        step = self.piece or len(data) or 1
        for start in range(0, len(data), step):
            if self.pipe.is_open:
                self.pipe.write(data[start : start + step])

    def elements(self) -> list[Element]:
        """Return the elements that have come since last asked."""
        heard, self._heard = self._heard + self.reader.feed(self.pipe.read()), []
        return heard

    def hears(self) -> list[str]:
        return [show(element) for element in self.elements()]

    def element(self) -> Element:
        """Return the one element that has come."""
        [element] = self.elements()
        return element

    def answer(self) -> Element:
        """Return the one element that comes within some seconds: failures are told late."""
        for _ in range(40):
            heard = self.elements()
            if heard:
                [element] = heard
                return element
            self.pipe.wait(0.25)
        raise AssertionError("no answer")

    @property
    def is_gone(self) -> bool:
        self._heard += self.reader.feed(self.pipe.read())
        return not self.pipe.is_open

    def fails(self) -> str:
        """Return the condition of the stream error that has come last; see that the stream has ended with it."""
        *_, error = self.elements()
        assert self.reader.header is not None
        assert self.reader.header["id"]
        assert error.tag == f"{{{ns.STREAM}}}error", show(error)
        assert self.reader.ended
        assert self.is_gone
        names = [child.tag.removeprefix(f"{{{ns.STREAM_ERRORS}}}") for child in error]
        assert names[1:] in ([], ["text"])
        return names[0]

    # -- what clients do

    def open(self, to: str = DOMAIN, **attributes: str) -> Element:
        """Open a stream and return its features."""
        self.reader = Reader()
        self.send(stream_header(to, **attributes))
        return self.element()

    def secure(self, server_name: str = DOMAIN, *, version: int = 0, protocols: Sequence[bytes] = ()) -> None:
        """Change to TLS on a stream that is open."""
        self.send(f"<starttls xmlns='{ns.TLS}'/>")
        assert self.hears() == [f"<proceed xmlns='{ns.TLS}'/>"]
        self.shake_hands(server_name, version=version, protocols=protocols)

    def shake_hands(self, server_name: str = DOMAIN, *, version: int = 0, protocols: Sequence[bytes] = ()) -> None:
        pipe = TlsPipe(self.pipe, server_name, protocols, version)
        self.pipe = pipe
        pipe.shake_hands()

    def authenticate(self, name: str, password: str = PASSWORD, mechanism: str = "", binding: str = "") -> Element:
        """Log in by SCRAM, bound to the channel where the type of the binding is given; return the last answer."""
        mechanism = mechanism or "SCRAM-SHA-256"
        gs2 = f"p={binding},," if binding else "n,,"
        scram = Scram(mechanism, name, password, gs2, self.binding(binding) if binding else b"")
        self.send(f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{encode(scram.first())}</auth>")
        answer = self.answer()
        if answer.tag == f"{{{ns.SASL}}}challenge":
            self.send(f"<response xmlns='{ns.SASL}'>{encode(scram.final(decode(answer)))}</response>")
            answer = self.answer()
        if answer.tag == f"{{{ns.SASL}}}success":
            scram.verify(decode(answer))
        return answer

    def binding(self, type: str) -> bytes:
        """Return the data of a channel binding, as the client sees it."""
        assert isinstance(self.pipe, TlsPipe)
        if type == "tls-exporter":
            return self.pipe.tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        certificate = self.pipe.tls.get_peer_certificate()
        assert certificate is not None
        return bytes.fromhex(certificate.digest("sha256").decode().replace(":", ""))

    def bind(self, resource: str = "") -> Element:
        """Ask for a resource; return the answer."""
        wanted = f"<resource>{resource}</resource>" if resource else ""
        self.send(f"<iq type='set' id='bind'><bind xmlns='{ns.BIND}'>{wanted}</bind></iq>")
        return self.element()

    def login(self, name: str, resource: str = "", to: str = DOMAIN, **attributes: str) -> Client:
        """Go all the way from the first header to a resource."""
        self.open(to, **attributes)
        assert self.authenticate(name).tag == f"{{{ns.SASL}}}success"
        self.open(to, **attributes)
        answer = self.bind(resource)
        assert answer.get("type") == "result", show(answer)
        self.jid = answer[0][0].text or ""
        return self

    def ping(self) -> list[str]:
        """Return what has come before the answer to a ping that is sent now."""
        self.send(f"<iq type='get' id='ping' to='{DOMAIN}'><ping xmlns='{ns.PING}'/></iq>")
        *others, pong = self.hears()
        assert re.fullmatch(f"<iq from='{DOMAIN}' id='ping' to='[^']*' type='result'/>", pong), pong
        return others


def encode(text: str) -> str:
    return b64encode(text.encode()).decode()


def decode(element: Element) -> str:
    return b64decode(element.text or "").decode()


# -- what clients say

END = "</stream:stream>"


def chat(text: str, to: str = f"juliet@{DOMAIN}") -> str:
    return f"<message type='chat' to='{to}'><body>{text}</body></message>"


def ping(id: str) -> str:
    return f"<iq type='get' id='{id}' to='{DOMAIN}'><ping xmlns='{ns.PING}'/></iq>"


# -- the server


class Slow:
    """Takes the place of what reads the database, or writes: answers, or fails, when it is told to."""

    def __init__(self, house: House, lane: str = "_reader") -> None:
        self._put = partial(setattr, house.database, lane)
        self._real = getattr(house.database, lane)
        self._waiting: list[Deferred[None]] = []
        self._put(self)

    def is_over(self) -> None:
        """Answer at once again; what waits goes on waiting."""
        self._put(self._real)

    async def run(self, work: Callable[[Connection], T]) -> T:
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        await turn
        return await self._real.run(work)

    async def close(self) -> None:
        await self._real.close()

    @property
    def is_asked(self) -> bool:
        return bool(self._waiting)

    def answer(self, failure: Exception | None = None) -> None:
        """Let what waits go on, and what follows from it."""
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if failure is None:
                turn.callback(None)
            else:
                turn.errback(failure)


@lru_cache
def keys_of(password: str) -> tuple[ScramKeys, ScramKeys]:
    return derive_keys(password, 4096)


async def at_once(work: Callable[[], T]) -> T:
    """Take the place of a thread."""
    return work()


def make_certificates(directory: Path, *domains: str) -> list[CertificateFiles]:
    """Make self-signed ones, where they are not there yet."""
    files = [CertificateFiles(domain, directory / f"{domain}.crt", directory / f"{domain}.key") for domain in domains]
    for each in files:
        if not each.certificate.exists():
            make_self_signed(each.domain, each.certificate, each.key)
    return files


class House:
    """One server: assembled as the real one is, but for the network, the disk, the threads and the time."""

    def __init__(
        self,
        directory: Path,
        *,
        domains: Sequence[str] = (DOMAIN,),
        host: Mapping[str, object] | None = None,
        tls: str = "optional",
        run_in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = at_once,
        clock: Any = None,
        **tables: object,
    ) -> None:
        """``host`` adds to the table of each domain; ``tables`` are others of the configuration."""
        self.directory = directory
        self.loop = Loop()
        clock = clock or self.loop
        listener = ["tcp:0:interface=127.0.0.1"]
        hosts = [{"domain": domain, **(host or {})} for domain in domains]
        config = Config.model_validate(
            {"host": hosts, "c2s": {"starttls": listener, "direct_tls": listener, "tls": tls}, **tables}
        )
        self.router = Router(NoRemote())
        self.database = Database.open("sqlite://")
        foundations = Foundations(
            self.database, self.router, Throttle(clock.seconds), b"a secret", run_in_thread, utc_now()
        )
        self.clients = Clients(
            {each.domain: assemble(config, each, foundations) for each in config.hosts},
            _policy(config),
            Certificates(make_certificates(directory, *domains), b"xmpp-client"),
            _addresses(config),
            clock,
        )
        self.clients.start()
        self.factory = ClientFactory(self.clients, direct_tls=False)
        self.direct_factory = DirectTls(self.clients.certificates, ClientFactory(self.clients, direct_tls=True), clock)
        self.visitors: list[Client] = []
        self.journal: list[LogEvent] = []
        globalLogPublisher.addObserver(self.journal.append)  # type: ignore[arg-type]

    @property
    def host(self) -> Any:
        return self.router.hosts[DOMAIN]

    def add(self, *names: str, domain: str = DOMAIN) -> None:
        sha1, sha256 = keys_of(PASSWORD)
        accounts = open_stores(self.database, domain).accounts
        run(accounts.add([NewAccount(name, sha1, sha256) for name in names]))

    def tries_to_connect(self, address: str = ADDRESS, *, direct_tls: bool = False) -> Client | None:
        """Return a client, or None if it is not let in."""
        peer = IPv6Address("TCP", address, 50_000) if ":" in address else IPv4Address("TCP", address, 50_000)
        wire = Wire(self.loop, peer)
        wire.protocol = (self.direct_factory if direct_tls else self.factory).buildProtocol(peer)
        if wire.protocol is None:
            return None
        wire.startReading()  # type: ignore[no-untyped-call]
        wire.protocol.makeConnection(wire)
        client = Client(MemoryPipe(wire, self.loop))
        self.visitors.append(client)
        return client

    def connect(self, address: str = ADDRESS, *, direct_tls: bool = False) -> Client:
        client = self.tries_to_connect(address, direct_tls=direct_tls)
        assert client is not None
        return client

    def login(self, name: str, resource: str = "here") -> Client:
        return self.connect().login(name, resource)

    def wait(self, seconds: float) -> None:
        self.loop.wait(seconds)

    def stop(self, then: Callable[[object], object]) -> None:
        """Let the server go down."""
        Deferred.fromCoroutine(self.clients.stop()).addCallback(then)

    def failures(self) -> list[Any]:
        """Return the exceptions that have been logged, and forget them."""
        failures = [event["log_failure"].value for event in self.journal if "log_failure" in event]
        self.journal[:] = [event for event in self.journal if "log_failure" not in event]
        return failures

    def close(self) -> None:
        """See that the log is fit to be read by anyone, and that nothing is left."""
        globalLogPublisher.removeObserver(self.journal.append)  # type: ignore[arg-type]
        for visitor in self.visitors:
            if visitor.pipe.is_open:
                visitor.wire.connectionLost(Failure(ConnectionDone()))
        self.wait(600)
        logged = repr(self.journal)
        assert self.failures() == []
        assert PASSWORD not in logged
        for body in self._bodies():
            assert body not in logged
        assert not self.clients.connections
        assert not self.clients.addresses._all
        run(self.database.close())

    def _bodies(self) -> Iterator[str]:
        for visitor in self.visitors:
            yield from re.findall("<body>([^<]{4,})</body>", visitor.sent)
