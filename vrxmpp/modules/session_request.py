"""RFC 3921 §3: session establishment, of no effect since RFC 6121, for clients that still ask for it."""

from __future__ import annotations

from vrxmpp import ns
from vrxmpp.core.module import At, Module, Request, Rfc, iq


class SessionRequest(Module):
    """Answers the request; the session has begun with the resource."""

    implements = (Rfc(3921, "3"),)

    def stream_feature(self) -> bytes:
        """Announced as optional, so that newer clients need not ask."""
        return f"<session xmlns='{ns.SESSION}'><optional/></session>".encode()

    @iq("set", ns.SESSION, "session", at=At.HOST)
    @iq("set", ns.SESSION, "session", at=At.ACCOUNT)
    def establish(self, request: Request) -> None:
        """RFC 3921 §3, example 3."""
