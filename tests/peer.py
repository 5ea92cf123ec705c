"""Another server that says what a test wants it to, whoever has called (RFC 6120 §4.3, XEP-0178, XEP-0220)."""

# ruff: noqa: N802 - Twisted calls us

from __future__ import annotations

from itertools import count
from typing import Any, cast
from xml.etree.ElementTree import Element

from OpenSSL import SSL
from twisted.internet import protocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from tests.internet import DIRECT_TLS, STARTTLS, Internet, Site
from tests.network import Loop, Pipe, TlsPipe
from tests.streams import Client, Reader, encode, show
from vrxmpp import ns
from vrxmpp.net.resolve import Address
from vrxmpp.net.servers import ServerFactory
from vrxmpp.net.tls import CertificateFiles, DirectTls

PEER = "peer.example"
REQUIRED = f"<starttls xmlns='{ns.TLS}'><required/></starttls>"
EXTERNAL = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
DIALBACK = f"<dialback xmlns='{ns.DIALBACK_FEATURE}'><errors/></dialback>"
MANAGEMENT = f"<sm xmlns='{ns.STREAM_MANAGEMENT}'/>"

_hosts = count(1)


def header(to: str, sender: str, /, **attributes: str) -> str:
    """Return what one server begins a stream with; what is empty is left out, and names may be replaced."""
    values = {
        "xmlns": ns.SERVER,
        "xmlns_stream": ns.STREAM,
        "xmlns_db": ns.DIALBACK,
        "to": to,
        "from": sender,
        "version": "1.0",
    } | attributes
    written = "".join(f" {key.replace('_', ':')}='{value}'" for key, value in values.items() if value)
    return f"<?xml version='1.0'?><stream:stream{written}>"


def result(sender: str, to: str, key: str = "a key") -> str:
    """Ask to be believed (XEP-0220 §2.2.1)."""
    return f"<db:result from='{sender}' to='{to}'>{key}</db:result>"


def verify(sender: str, to: str, id: str, key: str) -> str:
    """Ask whether a key is theirs (XEP-0220 §2.3.1)."""
    return f"<db:verify from='{sender}' to='{to}' id='{id}'>{key}</db:verify>"


def message(sender: str = f"juliet@{PEER}", to: str = "romeo@one.example", body: str = "Ay me") -> str:
    """Return a stanza; what is empty is left out."""
    addresses = f" from='{sender}'" * bool(sender) + f" to='{to}'" * bool(to)
    return f"<message{addresses}><body>{body}</body></message>"


class Line(protocol.Protocol):
    """One end of a cable, for who speaks by hand: a ``tests.network.Pipe``."""

    def __init__(self, loop: Loop) -> None:
        self.is_open = True
        self._loop = loop
        self._received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_open = False

    def write(self, data: bytes) -> None:
        cast(Any, self.transport).write(data)
        self._loop.settle()

    def read(self) -> bytes:
        self._loop.settle()
        received = bytes(self._received)
        self._received.clear()
        return received

    def wait(self, seconds: float) -> None:
        self._loop.wait(seconds)

    def close(self) -> None:
        cast(Any, self.transport).loseConnection()
        self._loop.settle()


class _Tls(TlsPipe):
    """TLS of a server, on either side: it shows what certificate it likes, and believes whatever it is shown."""

    def __init__(self, pipe: Pipe, files: CertificateFiles | None, server_name: str) -> None:
        """With a ``server_name`` it is the one who has called."""
        self.pipe = pipe
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        if files is not None:
            context.use_certificate_chain_file(str(files.certificate))
            context.use_privatekey_file(str(files.key))
        self.tls = SSL.Connection(context, None)
        if server_name:
            self.tls.set_tlsext_host_name(server_name.encode())
            self.tls.set_connect_state()
        else:
            self.tls.set_accept_state()
        self.is_secure = False


class Peer(Client):
    """A scripted server on one connection. ``domain`` is who it says it is."""

    def __init__(self, pipe: Pipe, domain: str = PEER) -> None:
        super().__init__(pipe)
        self.domain = domain

    def hears(self) -> list[str]:
        return [show(element, ns.SERVER) for element in self.elements()]

    def use_tls(self, files: CertificateFiles | None, server_name: str = "") -> None:
        """Go through a handshake; with a ``server_name`` as the one who has called."""
        tls = _Tls(self.pipe, files, server_name)
        self.pipe = tls
        tls.shake_hands()
        self.reader = Reader()

    # -- as the one who has called

    def begin(self, to: str = "one.example", **attributes: str) -> None:
        self.reader = Reader()
        self.send(header(to, attributes.pop("sender", self.domain), **attributes))

    def start_tls(self, files: CertificateFiles | None, to: str = "one.example") -> None:
        self.send(f"<starttls xmlns='{ns.TLS}'/>")
        assert self.hears() == [f"<proceed xmlns='{ns.TLS}'/>"]
        self.use_tls(files, to)

    def open_securely(self, files: CertificateFiles | None, to: str = "one.example", **attributes: str) -> Element:
        """Return the features that are offered behind TLS."""
        self.open(to, **attributes)
        self.start_tls(files, to)
        return self.open(to, **attributes)

    def auth(self, authzid: str = "=", mechanism: str = "EXTERNAL") -> str:
        """Return the answer to SASL EXTERNAL, with an encoded initial response, or none."""
        self.send(f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{authzid}</auth>")
        return show(self.answer(), ns.SERVER)

    def log_in(self, files: CertificateFiles, to: str = "one.example", *, bidirectional: bool = False) -> Element:
        """Go all the way to where stanzas may be sent; return the last features."""
        self.open_securely(files, to)
        if bidirectional:
            self.send(f"<bidi xmlns='{ns.BIDI}'/>")
        assert self.auth(encode(self.domain)) == f"<success xmlns='{ns.SASL}'/>"
        self.begin(to)
        return self.next_elements(1)[0]

    # -- as the one who was called

    def welcome(self, *features: str, **attributes: str) -> None:
        """Answer a header that has come."""
        self.elements()
        assert self.reader.header is not None
        to, id = attributes.pop("to", self.reader.header["from"]), attributes.pop("id", "an-id")
        sender = attributes.pop("sender", self.domain)
        self.send(header(to, sender, id=id, **attributes))
        self.send(f"<stream:features>{''.join(features)}</stream:features>")

    def accept_tls(self, files: CertificateFiles | None) -> None:
        """Answer the request to change to TLS, which is the one thing that has come."""
        assert self.hears() == [f"<starttls xmlns='{ns.TLS}'/>"]
        self.send(f"<proceed xmlns='{ns.TLS}'/>")
        self.use_tls(files)

    def welcome_securely(self, files: CertificateFiles | None, *features: str, id: str = "an-id") -> None:
        """Go to the features behind TLS."""
        self.welcome(REQUIRED)
        self.accept_tls(files)
        self.welcome(*features, id=id)

    def believe_certificate(self, *features: str) -> None:
        """Take their certificate for a proof."""
        assert self.element().tag == f"{{{ns.SASL}}}auth"
        self.send(f"<success xmlns='{ns.SASL}'/>")
        self.reader = Reader()
        self.welcome(*features)

    def believe_key(self, outcome: str = "valid") -> Element:
        """Answer a dialback key, which is the one thing that has come, and return it."""
        element = self.element()
        assert element.tag == f"{{{ns.DIALBACK}}}result"
        self.send(f"<db:result from='{element.get('to')}' to='{element.get('from')}' type='{outcome}'/>")
        return element

    def vouch(self, outcome: str = "valid") -> Element:
        """Answer the question whether a key is ours, which is the one thing that has come, and return it."""
        element = self.element()
        assert element.tag == f"{{{ns.DIALBACK}}}verify"
        to, sender, id = element.get("from"), element.get("to"), element.get("id")
        self.send(f"<db:verify from='{sender}' to='{to}' id='{id}' type='{outcome}'/>")
        return element


def call(internet: Internet, site: Site, domain: str = PEER, *, direct_tls: bool = False) -> Peer:
    """Connect to a server."""
    line = Line(internet.loop)
    listener: Any = ServerFactory(site.servers, direct_tls=direct_tls)
    if direct_tls:
        listener = DirectTls(site.servers.certificates, listener, internet.loop)  # type: ignore[arg-type]
    internet._plug(_Telephone(line), listener, Address("192.0.2.1", STARTTLS, direct_tls, "its.host"))
    return Peer(line, domain)


class _Telephone(protocol.Factory):
    noisy = False

    def __init__(self, line: Line) -> None:
        self._line = line

    def buildProtocol(self, addr: object) -> Line:
        return self._line


class Host(protocol.Factory):
    """Where a scripted server waits for others; its name leads there."""

    noisy = False

    def __init__(self, internet: Internet, domain: str = PEER, *, direct_tls: bool = False) -> None:
        ip = f"198.51.100.{next(_hosts) % 250 + 1}"
        port = DIRECT_TLS if direct_tls else STARTTLS
        internet.zone.srv(domain, f"host.{domain}", port, direct_tls=direct_tls)
        internet.zone.a(f"host.{domain}", ip)
        internet._listeners[ip, port] = self
        self._internet = internet
        self._domain = domain
        self._calls: list[Line] = []

    def buildProtocol(self, addr: object) -> Line:
        line = Line(self._internet.loop)
        self._calls.append(line)
        return line

    @property
    def is_called(self) -> bool:
        """Whether somebody has called whom nobody has answered."""
        self._internet.wait(1)
        return bool(self._calls)

    def answer(self) -> Peer:
        """Answer the first who has called."""
        assert self.is_called
        return Peer(self._calls.pop(0), self._domain)
