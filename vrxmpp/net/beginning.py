"""How a client's connection begins: headers, features, TLS, the log-in, a resource (RFC 6120 §4.3 to §7, RFC 7590)."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.negotiation.feature import Have, Request
from vrxmpp.negotiation.mechanism import ChannelBindings
from vrxmpp.negotiation.negotiator import Negotiator
from vrxmpp.net.tls import channel_bindings
from vrxmpp.waiting import Waiting
from vrxmpp.wire import writer
from vrxmpp.wire.events import Header
from vrxmpp.wire.stream import Sign

if TYPE_CHECKING:
    from vrxmpp.net.c2s import ClientConnection
    from vrxmpp.net.clients import Clients, Served

_LANG_LENGTH = 35  # of a language tag (RFC 5646 §4.4.1); it is repeated on each stanza


class Beginning:
    """All that is known of a connection before there is a session; ``negotiation.feature.Channel`` for features."""

    def __init__(self, connection: ClientConnection, clients: Clients) -> None:
        self._connection = connection
        self._clients = clients
        self.have = Have.NOTHING
        self._served: Served | None = None
        self._negotiator: Negotiator | None = None
        self._local = ""
        self._is_guest = False
        self._mechanism = self._security = ""
        self._lang = ""
        self._header_sent = False

    @property
    def address(self) -> str:
        """The client's network address."""
        return self._connection.address

    def take(self, event: Header | Request) -> Waiting | None:
        """Deal with what the client has sent; return the rest of the work, if it must wait."""
        if isinstance(event, Header):
            self._open(event)
            return None
        assert self._negotiator is not None, "the framer lets nothing by before a header"
        return self._negotiator.take(event, self)

    def _open(self, header: Header) -> None:
        """RFC 6120 §4.3: answer the client's header with ours and the features."""
        self.move(Sign.HEADER)
        self._lang = header.lang if len(header.lang) <= _LANG_LENGTH else ""
        served = self._clients.served(header.to)
        self._send_header(served.host.domain if served else header.to, header.sender)
        if served is None or (self._served is not None and served.host is not self._served.host):
            raise StreamError(StreamCondition.HOST_UNKNOWN)
        if not header.is_modern:
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION)
        self._served = served
        if self._negotiator is None:
            self._negotiator = Negotiator(served.features())
        self.send(self._negotiator.offers(self))

    def show_header(self) -> None:
        """RFC 6120 §4.9.1.2: before an error there is a header; send one, if there was none."""
        if not self._header_sent:
            self._send_header(next(iter(self._clients.domains)))

    def _send_header(self, sender: str, to: str = "") -> None:
        try:
            to = Jid.parse(to).text if to else ""
        except InvalidJid:
            to = ""
        self.send(writer.header(sender=sender, to=to, id=token_hex(16), lang="en"))
        self._header_sent = True

    def secured(self) -> None:
        """The TLS handshake is done."""
        self.move(Sign.SECURED)
        self.have |= Have.SECURE
        self._security = self._connection.describe()["tls"]

    def ended(self) -> None:
        """The stream is over, and there was no session."""
        if Have.IDENTITY in self.have:
            self.note("session", self._local, "logged in without a session", mechanism=self._mechanism)

    # -- negotiation.feature.Channel

    def send(self, raw: bytes) -> None:
        """Write."""
        self._connection.send(raw)

    def move(self, sign: Sign) -> None:
        """Change the stream's state."""
        self._connection.stream.move(sign)

    def start_tls(self, proceed: bytes) -> None:
        """RFC 6120 §5.4.2.3, §5.4.3.3."""
        assert self._served is not None
        self._renew(Sign.STARTTLS, proceed)
        self._connection.allow(self._clients.policy.timeouts.handshake)
        certificates = self._clients.certificates.for_domain(self._served.host.domain)
        self._connection.transport.startTLS(certificates)

    def bindings(self) -> ChannelBindings:
        """The channel bindings of this connection, none without TLS."""
        tls = self._connection.tls()
        return channel_bindings(tls) if tls is not None else ChannelBindings()

    def identify(self, local: str, success: bytes, *, mechanism: str, guest: bool = False) -> None:
        """RFC 6120 §6.4.6: the user is known; a new stream begins, under the limits of the known."""
        self._renew(Sign.AUTHENTICATED, success)
        self._local = local
        self._mechanism = mechanism
        self._is_guest = guest
        self.have |= Have.IDENTITY
        self._connection.know()
        self._connection.allow(self._clients.policy.timeouts.bind)

    def _renew(self, sign: Sign, last: bytes) -> None:
        """End one stream with its last words; another follows."""
        self._connection.renew(sign, last)
        self._header_sent = False

    async def bind(self, resource: str) -> str:
        """RFC 6120 §7: the session begins."""
        assert self._served is not None
        host, tls = self._served.host, self._connection.tls()
        session = await host.bind(
            self._local,
            resource,
            self._connection,
            guest=self._is_guest,
            lang=self._lang,
            address=self.address,
            security=tls.get_protocol_version_name() if tls is not None else "",
            cipher=(tls.get_cipher_name() or "") if tls is not None else "",
            mechanism=self._mechanism,
        )
        if self._connection.is_over:  # it has gone while the account was read
            host.end(session, reason=self._connection.reason)
            raise StanzaError(Condition.RECIPIENT_UNAVAILABLE)
        self.move(Sign.BOUND)
        self.have |= Have.RESOURCE
        self._connection.begin_session(session)
        return session.jid.text

    async def pause(self, seconds: float) -> None:
        """Wait; the client's input is held, as what calls this is work."""
        pause: Deferred[None] = Deferred()
        self._clients.clock.callLater(seconds, pause.callback, None)
        await pause

    def note(self, type: str, local: str, event: str, **facts: object) -> None:
        """Let the archive know what has happened to an account, or to the domain where none was named."""
        assert self._served is not None
        domain = self._served.host.domain
        account = f"{local}@{domain}" if local else domain
        facts |= {"address": self.address, "tls": self._security}
        if type == "session":
            self._clients.note_stranger(account, event, account=account, **facts)
        else:
            self._clients.audit.note(type, account, event=event, account=account, **facts)
