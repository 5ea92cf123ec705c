"""XEP-0092: Software Version. What runs here."""

from __future__ import annotations

from vrxmpp import ns, xml
from vrxmpp.core.module import At, Module, Request, Xep, iq


class SoftwareVersion(Module):
    """Tells name and version, and not the operating system (§5)."""

    implements = (Xep(92, "1.1"),)
    features = (ns.VERSION,)

    def __init__(self, name: str, version: str) -> None:
        self._answer = (
            f"<query xmlns='{ns.VERSION}'><name>{xml.text(name)}</name><version>{xml.text(version)}</version></query>"
        ).encode()

    @iq("get", ns.VERSION, "query", at=At.HOST)
    def version(self, request: Request) -> bytes:
        """§2."""
        return self._answer
