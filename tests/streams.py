"""Clients for tests that speak to a server in bytes, and read what it says with an XML parser of their own."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.network import MemoryPipe, Pipe, TlsPipe, Wire
from tests.passwords import Scram
from vrxmpp import ns

DOMAIN = "example.net"
PASSWORD = "wherefore-art-thou"
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
        """Return the one element that comes within some seconds: failures are told late, and networks are slow."""
        [element] = self.next_elements(1)
        return element

    def next_elements(self, count: int) -> list[Element]:
        """Wait for so many elements; leave the others, if there are, for later."""
        self.listen_until(lambda: len(self._heard) >= count)
        heard, self._heard = self._heard[:count], self._heard[count:]
        return heard

    def wait_for(self, id: str) -> None:
        """Wait for the answer to a request, and forget it; keep all else."""
        self.listen_until(lambda: any(element.get("id") == id for element in self._heard))
        self._heard = [element for element in self._heard if element.get("id") != id]

    def listen_until(self, is_enough: Callable[[], bool]) -> None:
        """Let time pass until that is so, but not for ever."""
        for _ in range(40):
            self._heard += self.reader.feed(self.pipe.read())
            if is_enough():
                return
            self.pipe.wait(0.25)

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

    def begin(self, to: str = DOMAIN, **attributes: str) -> None:
        """Open a stream."""
        self.reader = Reader()
        self.send(stream_header(to, **attributes))

    def open(self, to: str = DOMAIN, **attributes: str) -> Element:
        """Open a stream and return its features."""
        self.begin(to, **attributes)
        return self.answer()

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
        return self.answer()

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
