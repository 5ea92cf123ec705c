"""RFC 6120 §7: resource binding."""

from __future__ import annotations

from vrxmpp import dom, ns, xml
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.negotiation.feature import Channel, Have, Request, answer, in_iq
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting


class Bind:
    """The last feature of a stream; with it the session begins."""

    needs = Have.IDENTITY
    until = Have.RESOURCE
    answers = frozenset((in_iq(ns.BIND, "bind"),))

    def offer(self, channel: Channel) -> bytes:
        """RFC 6120 §7.4."""
        return f"<bind xmlns='{ns.BIND}'/>".encode()

    def take(self, request: Request, channel: Channel) -> Waiting | None:
        """RFC 6120 §7.6, §7.7."""
        assert isinstance(request, Stanza)
        return answer(request, channel, self._bind(request, channel))

    async def _bind(self, request: Stanza, channel: Channel) -> bytes:
        if request.type != "set":
            raise StanzaError(Condition.BAD_REQUEST)
        wanted = dom.child(dom.children(request.element())[0], ns.BIND, "resource")
        jid = await channel.bind(dom.text(wanted) if wanted is not None else "")
        return f"<bind xmlns='{ns.BIND}'><jid>{xml.text(jid)}</jid></bind>".encode()
