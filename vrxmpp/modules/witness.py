"""urn:vrxmpp:witness:0, a protocol of our own: cosign the checkpoints of other servers (C2SP tlog-witness)."""

from __future__ import annotations

from vrxmpp.core import witnessing
from vrxmpp.core.module import At, Module, Request, iq
from vrxmpp.core.witnessing import Cosigner
from vrxmpp.errors import Condition, StanzaError


class Witness(Module):
    """Serves the domains that are listed: each for itself, and none of its users."""

    features = (witnessing.NAMESPACE,)

    def __init__(self, cosigner: Cosigner, domains: frozenset[str]) -> None:
        self._cosigner = cosigner
        self._domains = domains

    @iq("set", witnessing.NAMESPACE, witnessing.REQUEST, at=At.HOST)
    async def add_checkpoint(self, request: Request) -> bytes:
        """tlog-witness, add-checkpoint. Who asks was proven by its stream."""
        domain = request.sender.text
        if domain not in self._domains:
            raise StanzaError(Condition.FORBIDDEN)
        answer = await self._cosigner.cosign(domain, witnessing.read(request.payload()))
        return witnessing.write(witnessing.ANSWER, answer)
