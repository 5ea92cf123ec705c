"""XEP-0199: XMPP Ping. Are you there?"""

from __future__ import annotations

from vrxmpp import ns
from vrxmpp.core.module import At, Module, Request, Xep, iq


class Ping(Module):
    """The domain answers everybody, an account its owner (§4.2)."""

    implements = (Xep(199, "2.0.1"),)
    features = (ns.PING,)

    @iq("get", ns.PING, "ping", at=At.HOST)
    @iq("get", ns.PING, "ping", at=At.ACCOUNT)
    def pong(self, request: Request) -> None:
        """§4.2: the empty result is the pong."""
