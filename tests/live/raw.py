"""A client without manners: bytes over a socket, TLS as it likes, log-in by scramp."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from scramp import ScramClient
from slixmpp.util.sasl.mechanisms import SCRAM

from tests.live.server import PASSWORD

PATIENCE = 10  # seconds to wait for bytes


class SlixmppScram:
    """slixmpp's SCRAM over TLS 1.3, with the face of scramp's. Only its own transport cannot export what it needs."""

    def __init__(self, mechanism: str, user: str, password: str, exported: bytes) -> None:
        self._scram = SCRAM(
            mechanism,
            {"username": user.encode(), "password": password.encode(), "authzid": b"", "channel_binding": exported},
            {"encrypted": True, "unencrypted_scram": False, "tls_version": "TLSv1.3", "binding_proposed": True},
        )

    def get_client_first(self) -> str:
        return str(self._scram.process(b"").decode())

    def set_server_first(self, message: str) -> None:
        self._final = self._scram.process(message.encode())

    def get_client_final(self) -> str:
        return str(self._final.decode())

    def set_server_final(self, message: str) -> None:
        self._scram.process(message.encode())  # raises if the server does not know the password


class Raw:
    """One connection, from an address that no other has: what it does is not held against anybody else."""

    _addresses = count()

    def __init__(self, port: int, *, receive_bytes: int = 0) -> None:
        """Connect; keep no more than about ``receive_bytes`` unread, if that is said."""
        self._socket = socket.socket()
        if receive_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        network, host = divmod(next(self._addresses), 250)
        self._socket.bind((f"127.0.{1 + network}.{1 + host}", 0))
        self._socket.connect(("127.0.0.1", port))
        self.give_up_after(PATIENCE)
        self.tls: SSL.Connection | None = None
        self._unread = b""

    def send(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        (self.tls or self._socket).sendall(data)

    def receive(self) -> bytes:
        """Return some bytes, or none at the end of the connection."""
        try:
            return (self.tls or self._socket).recv(65536)
        except (SSL.ZeroReturnError, SSL.SysCallError, ConnectionResetError):
            return b""

    def read_to(self, end: str) -> str:
        """Return what comes, up to and including ``end``; what follows stays."""
        while end.encode() not in self._unread:
            data = self.receive()
            assert data, f"the connection has ended: {self._unread!r}"
            self._unread += data
        text, found, self._unread = self._unread.partition(end.encode())
        return (text + found).decode()

    def read_all(self) -> str:
        """Return what comes until the connection ends."""
        while data := self.receive():
            self._unread += data
        text, self._unread = self._unread, b""
        return text.decode()

    def give_up_after(self, seconds: float) -> None:
        """Wait no longer for the other side, neither to speak nor to listen."""
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, limit)

    def close(self) -> None:
        self._socket.close()

    # -- streams

    def header(self, domain: str = "localhost") -> str:
        """Open a stream; return the server's header and features."""
        self.send(
            f"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='{domain}' "
            "version='1.0'>"
        )
        return self.read_to("</stream:features>")

    def encrypt(
        self, name: str | None = "localhost", *, version: int = SSL.TLS1_3_VERSION, alpn: bytes | None = None
    ) -> None:
        """Do the TLS handshake, asking for the certificate of ``name`` if there is one."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        if alpn is not None:
            context.set_alpn_protos([alpn])
        self.tls = SSL.Connection(context, self._socket)
        if name is not None:
            self.tls.set_tlsext_host_name(name.encode())
        self.tls.set_connect_state()
        self.tls.do_handshake()

    def start_tls(self, domain: str = "localhost", name: str | None = None, version: int = SSL.TLS1_3_VERSION) -> None:
        """Open a stream to ``domain`` and secure it; then open it again."""
        self.header(domain)
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.read_to("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.encrypt(name, version=version)

    def common_name(self) -> str:
        """Return whom the server's certificate is for."""
        assert self.tls is not None
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        [name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)

    def binding(self, kind: str) -> bytes:
        """Return the data of a channel binding, as a client computes it (RFC 9266, RFC 5929)."""
        assert self.tls is not None
        if kind == "tls-exporter":
            return self.tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()

    # -- log-in

    def authenticate(self, mechanism: str, user: str, password: str = PASSWORD, binding: str = "") -> str:
        """Do a SCRAM exchange; return what the server says in the end."""
        scram = self._scram(mechanism, user, password, binding)
        self.send(f"<auth xmlns='{_SASL}' mechanism='{mechanism}'>{_encode(scram.get_client_first())}</auth>")
        scram.set_server_first(_decode(self.read_to("</challenge>")))
        self.send(f"<response xmlns='{_SASL}'>{_encode(scram.get_client_final())}</response>")
        answer = self.read_to(">")
        if not answer.startswith("<success"):
            return answer + self.read_to("</failure>")
        scram.set_server_final(_decode(self.read_to("</success>")))
        return "success"

    def _scram(self, mechanism: str, user: str, password: str, binding: str) -> ScramClient | SlixmppScram:
        if binding == "tls-exporter":  # which scramp does not know
            return SlixmppScram(mechanism, user, password, self.binding(binding))
        bound = (binding, self.binding(binding)) if binding else None
        return ScramClient([mechanism], user, password, channel_binding=bound)

    def plain(self, user: str, password: str) -> str:
        """Try PLAIN; return the answer."""
        self.send(f"<auth xmlns='{_SASL}' mechanism='PLAIN'>{_encode(chr(0) + user + chr(0) + password)}</auth>")
        return self.read_to(">") + self.read_to(">") + self.read_to(">")

    def enter(self, user: str) -> str:
        """Secure the stream, log in and bind a resource; return the full JID."""
        self.start_tls()
        self.header()
        assert self.authenticate("SCRAM-SHA-256", user) == "success"
        self.header()
        self.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        return self.read_to("</jid>").rpartition("<jid>")[2].removesuffix("</jid>")


_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(element: str) -> str:
    return base64.b64decode(element.rpartition("</")[0].rpartition(">")[2]).decode()


@contextmanager
def connection(port: int) -> Iterator[Raw]:
    """A connection that is closed in the end."""
    raw = Raw(port)
    try:
        yield raw
    finally:
        raw.close()
