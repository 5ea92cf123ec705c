"""XEP-0202: Entity Time. What time the server has."""

from __future__ import annotations

from vrxmpp import ns
from vrxmpp.core.module import At, Module, Request, Xep, iq


class EntityTime(Module):
    """The server lives in UTC: its time zone would only tell where it stands (§6)."""

    implements = (Xep(202, "2.0"),)
    features = (ns.TIME,)

    @iq("get", ns.TIME, "time", at=At.HOST)
    def time(self, request: Request) -> bytes:
        """§2."""
        now = self.host.clock()
        return f"<time xmlns='{ns.TIME}'><tzo>+00:00</tzo><utc>{now:%Y-%m-%dT%H:%M:%SZ}</utc></time>".encode()
