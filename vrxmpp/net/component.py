"""A component's connection: a header, a handshake, then stanzas from and for all of its domain (XEP-0114)."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING

from vrxmpp import ns
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.net.connection import Connection
from vrxmpp.net.connections import REFUSED
from vrxmpp.net.intake import Hold
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire import writer
from vrxmpp.wire.events import Header, Malformed, Nonza
from vrxmpp.wire.stream import Phase, Sign

if TYPE_CHECKING:
    from vrxmpp.net.components import Component, Components

_HANDSHAKE = ns.qname(ns.COMPONENT_ACCEPT, "handshake")


class ComponentConnection(Connection):
    """One component's connection."""

    def __init__(self, components: Components, address: str) -> None:
        super().__init__(components, address, content=ns.COMPONENT_ACCEPT)
        self._components = components
        self._component: Component | None = None  # who it says it is, proven when ``is_known``
        self._id = token_hex(16)
        self._header_sent = False

    def negotiate(self, event: Header | Nonza | Stanza) -> Waiting | None:
        """Deal with what comes before there are stanzas."""
        match event:
            case Header():
                self._open(event)
            case Nonza(name=name) if name == _HANDSHAKE and self.stream.phase is Phase.NEGOTIATING:
                self._shake_hands(event)
            case Stanza():
                raise StreamError(StreamCondition.NOT_AUTHORIZED)  # RFC 6120 §4.9.3.12
            case _:
                raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)
        return None

    def _open(self, header: Header) -> None:
        """XEP-0114 §3: the header names the component."""
        self.stream.move(Sign.HEADER)
        self._component = self._components.expected(header.to)
        self.show_header()
        if self._component is None:
            raise StreamError(StreamCondition.HOST_UNKNOWN)

    def _shake_hands(self, handshake: Nonza) -> None:
        """XEP-0114 §3: who knows the secret is the component."""
        component = self._component
        assert component is not None, "there is no stream for anybody else"
        if not component.is_proven(self._id, handshake.inner.strip()):
            self.log.warn("{address} is not {domain}: wrong secret", address=self.address, domain=component.jid)
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        component.join(self)
        self.stream.move(Sign.BOUND)
        self.know()
        self.begin(component.receive, component.accept)
        self.send(b"<handshake/>")
        component.came()

    def refuse_malformed(self, event: Malformed) -> None:
        """RFC 6120 §8.3.3.8: an address that is none is answered; before the handshake it is a stanza too early."""
        stanza, component = event.stanza, self._component
        if not self.is_known or component is None:
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        if stanza.sender is None:
            stanza = stanza.with_sender(component.jid)
        elif stanza.sender.domain != component.jid.domain:
            raise StreamError(StreamCondition.INVALID_FROM)
        if stanza.type not in {"error", "result"}:
            self.send(stanza.refusal(StanzaError(Condition.JID_MALFORMED, event.reason)).raw)

    def describe(self) -> dict[str, str]:
        """What the archive notes of the component."""
        return super().describe() | {"component": self._component.jid.text if self._component is not None else ""}

    def close(self, error: StreamError) -> None:
        """End the stream with an error; who has not proven itself is refused."""
        if not self.is_known and not self.is_over:
            domain = self._component.jid.text if self._component is not None else ""
            facts = {"direction": "from", "component": domain, "address": self.address, "reason": str(error)}
            self._connections.note_stranger(REFUSED, "refused", **facts)
        super().close(error)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the component to read it that it cannot be given more."""
        return bool(self._held & Hold.OUTPUT)

    def secured(self) -> None:
        """There is no TLS in XEP-0114."""

    def show_header(self) -> None:
        """RFC 6120 §4.9.1.2: before an error there is a header; send one, if there was none."""
        if not self._header_sent:
            self._header_sent = True
            sender = self._component.jid.text if self._component is not None else ""
            self.send(writer.header(sender=sender, to="", id=self._id, lang="", content=ns.COMPONENT_ACCEPT))

    def ended(self) -> None:
        """The component is gone with the stream."""
        if self._component is not None:
            self._component.leave(self)
