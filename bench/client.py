"""A client of the load generator: logs in (RFC 6120; SASL PLAIN and SCRAM, RFC 5802 and RFC 7677), then talks."""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator
from functools import cache

from bench.transport import STREAM_PREFIX, Connection, Loop, Stanza, Target

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
IQ = "jabber:client iq"
MESSAGE = "jabber:client message"
PRESENCE = "jabber:client presence"
BODY = "jabber:client body"
STATUS = "jabber:client status"

Script = Generator[None, Stanza, None]


@cache
def _scram_keys(algorithm: str, password: str, salt: str, iterations: int) -> tuple[bytes, bytes]:
    """Return ClientKey and ServerKey (RFC 5802 §3), worked out once, as a client keeps them between log-ins."""
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), b64decode(salt), iterations)
    return hmac.digest(salted, b"Client Key", algorithm), hmac.digest(salted, b"Server Key", algorithm)


class LogInRefusedError(Exception):
    """The server does not let the client in, or is not who it should be."""


class Client(Connection):
    """One user's connection. `on_online` is called once it has logged in, `on_traffic` with what comes after."""

    def __init__(self, loop: Loop, target: Target, context: ssl.SSLContext | None, user: str) -> None:
        super().__init__(loop, target, context)
        self.user = user
        self.jid = f"{user}@{target.domain}"
        self.online = False
        self.started = loop.now
        self.on_online: Callable[[], None] = lambda: None
        self.on_traffic: Callable[[Stanza], None] = lambda stanza: None
        self._script = self._log_in()
        next(self._script)

    def on_stanza(self, stanza: Stanza) -> None:
        """Go on with the log-in, or answer the server's requests and pass on the rest."""
        if stanza.name.startswith(STREAM_PREFIX) and stanza.name.endswith(" error"):
            self.fail("stream error: " + ", ".join(stanza.children))
        elif not self.online:
            self._advance(stanza)
        elif stanza.name == IQ and stanza.attributes.get("type") in {"get", "set"}:
            self._acknowledge(stanza)
        else:
            self.on_traffic(stanza)

    def _advance(self, stanza: Stanza) -> None:
        try:
            self._script.send(stanza)
        except StopIteration:
            self.online = True
            self.on_online()
        except LogInRefusedError as refusal:
            self.fail(str(refusal))

    def _acknowledge(self, request: Stanza) -> None:
        sender = request.attributes.get("from")
        to = f" to='{sender}'" if sender else ""
        self.send(f"<iq type='result' id='{request.attributes['id']}'{to}/>")

    def _log_in(self) -> Script:
        """From the first stream header to a bound resource."""
        features = yield
        if self.target.tls == "starttls":
            self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            _expect("urn:ietf:params:xml:ns:xmpp-tls proceed", (yield))
            self.start_tls()
            self.open_stream()
            features = yield
        _expect(f"{STREAM_PREFIX}features", features)
        yield from self._plain() if self.target.mechanism == "PLAIN" else self._scram()
        self.open_stream()
        _expect(f"{STREAM_PREFIX}features", (yield))
        self.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        bound = yield
        if bound.name != IQ or bound.attributes.get("type") != "result":
            raise LogInRefusedError("no resource was bound")

    def _plain(self) -> Script:
        """RFC 4616."""
        response = b64encode(f"\0{self.user}\0{self.target.password}".encode()).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{response}</auth>")
        _expect(f"{SASL} success", (yield))

    def _scram(self) -> Script:
        """RFC 5802 §5, without channel binding."""
        algorithm = self.target.mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        first = f"n={self.user},r={b64encode(os.urandom(18)).decode()}"
        opening = b64encode(f"n,,{first}".encode()).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='{self.target.mechanism}'>{opening}</auth>")
        challenge = b64decode(_expect(f"{SASL} challenge", (yield)).text).decode()
        given = dict(field.split("=", 1) for field in challenge.split(","))
        client_key, server_key = _scram_keys(algorithm, self.target.password, given["s"], int(given["i"]))
        final = f"c=biws,r={given['r']}"
        authentication = f"{first},{challenge},{final}".encode()
        signature = hmac.digest(hashlib.new(algorithm, client_key).digest(), authentication, algorithm)
        proof = bytes(ours ^ theirs for ours, theirs in zip(client_key, signature, strict=True))
        response = b64encode(f"{final},p={b64encode(proof).decode()}".encode()).decode()
        self.send(f"<response xmlns='{SASL}'>{response}</response>")
        success = _expect(f"{SASL} success", (yield))
        expected = b"v=" + b64encode(hmac.digest(server_key, authentication, algorithm))
        if not hmac.compare_digest(b64decode(success.text), expected):
            raise LogInRefusedError("the server does not know the password")


def _expect(name: str, stanza: Stanza) -> Stanza:
    if stanza.name != name:
        raise LogInRefusedError(f"expected {name}, got {stanza.name}: {', '.join(stanza.children)}")
    return stanza
