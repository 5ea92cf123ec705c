"""RFC 6120 §5: STARTTLS."""

from __future__ import annotations

from vrxmpp import ns
from vrxmpp.negotiation.feature import Channel, Have, Request
from vrxmpp.waiting import Waiting


class StartTls:
    """Offered first and alone where TLS is required: the other features need a secure stream."""

    needs = Have.NOTHING
    until = Have.SECURE | Have.IDENTITY
    answers = frozenset((ns.qname(ns.TLS, "starttls"),))

    def __init__(self, required: bool) -> None:
        self._required = required

    def offer(self, channel: Channel) -> bytes:
        """RFC 6120 §5.4.1."""
        return f"<starttls xmlns='{ns.TLS}'>{'<required/>' if self._required else ''}</starttls>".encode()

    def take(self, request: Request, channel: Channel) -> Waiting | None:
        """RFC 6120 §5.4.2.3: proceed, then the handshake."""
        channel.start_tls(f"<proceed xmlns='{ns.TLS}'/>".encode())
        return None
