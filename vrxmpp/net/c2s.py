"""A client's connection: stanzas go to its session, all else to its beginning, before there is one (RFC 6120 §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vrxmpp.core.session import Session
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.net.beginning import Beginning
from vrxmpp.net.connection import Connection
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire.events import Header, Malformed, Nonza
from vrxmpp.wire.stream import Phase

if TYPE_CHECKING:
    from vrxmpp.net.clients import Clients


class ClientConnection(Connection):
    """One client's connection, the outlet of its session."""

    def __init__(self, clients: Clients, address: str, *, direct_tls: bool) -> None:
        super().__init__(clients, address, phase=Phase.SECURING if direct_tls else Phase.OPENING)
        self._beginning: Beginning | None = Beginning(self, clients)  # until there is a session
        self._session: Session | None = None

    def negotiate(self, event: Header | Nonza | Stanza) -> Waiting | None:
        """Bring what belongs to the beginning there; after it there are only stanzas."""
        if self._beginning is None:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)
        return self._beginning.take(event)

    def refuse_malformed(self, event: Malformed) -> None:
        """RFC 6120 §8.3.3.8: an address that is none is answered; before the log-in it is a stanza too early."""
        if self._session is None:
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        stanza = event.stanza.with_sender(self._session.jid)
        self._session.host.router.refuse(stanza, StanzaError(Condition.JID_MALFORMED, event.reason))

    def secured(self) -> None:
        """TLS is there."""
        if self._beginning is not None:
            self._beginning.secured()

    def show_header(self) -> None:
        """RFC 6120 §4.9.1.2."""
        if self._beginning is not None:
            self._beginning.show_header()

    def begin_session(self, session: Session) -> None:
        """A resource is bound: from now on there is a session."""
        self._session = session
        self._beginning = None
        self.begin(session.receive, session.accept)

    def describe(self) -> dict[str, str]:
        """What the archive notes of the client."""
        return super().describe() | {"session": self._session.jid.text if self._session is not None else ""}

    def ended(self) -> None:
        """The session ends with the stream."""
        beginning, self._beginning = self._beginning, None
        if self._session is not None:
            self._session.host.end(self._session, reason=self.reason)
        elif beginning is not None:
            beginning.ended()
