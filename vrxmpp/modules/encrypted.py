"""XEP-0380, XEP-0384, XEP-0373, XEP-0027, XEP-0364: messages that are encrypted end to end, where none may be.

An archive keeps only what it is given. Where the domain has to be able to read what it keeps, such messages go back to
their sender, in both directions. Nobody can find out in this way what somebody has encrypted by hand.
"""

from __future__ import annotations

from vrxmpp import dom, ns
from vrxmpp.core.module import Module, Xep, stage
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.stanza import Stanza

_BODY = ns.qname(ns.CLIENT, "body")
_ENCRYPTED = frozenset(
    (
        *(ns.qname(namespace, "encrypted") for namespace in ns.OMEMO),
        ns.qname(ns.OPENPGP, "openpgp"),
        ns.qname(ns.OPENPGP_LEGACY, "x"),
        ns.qname(ns.EME, "encryption"),
    )
)
_OTR = "?OTR"  # XEP-0364 §3
_REWRITTEN = (b"&#", b"<![CDATA[")  # by which the same text can be written in other ways
_TEXT = "encrypted messages are not accepted here: what is said is archived; send it without end-to-end encryption"


class EncryptedMessages(Module):
    """Refuses them; to be mounted where that is the policy."""

    implements = (
        Xep(27, "1.4", "refused, where the policy says so"),
        Xep(364, "0.3.2", "refused, where the policy says so"),
        Xep(373, "0.7.0", "refused, where the policy says so"),
        Xep(380, "0.4.0", "refused, where the policy says so"),
        Xep(384, "0.9.1", "refused, where the policy says so"),
    )

    @stage(Stage.SCREEN, Side.SENDER, "message")
    @stage(Stage.SCREEN, Side.RECIPIENT, "message")
    def refuse(self, walk: Walk) -> None:
        """By the names of what it carries; inside is looked only where OTR is possible, which has no name."""
        stanza = walk.stanza
        if not _ENCRYPTED.isdisjoint(stanza.payloads) or (_BODY in stanza.payloads and _is_otr(stanza)):
            raise StanzaError(Condition.NOT_ACCEPTABLE, _TEXT)


def _is_otr(stanza: Stanza) -> bool:
    inner = stanza.inner
    if _OTR.encode() not in inner and not any(each in inner for each in _REWRITTEN):
        return False
    bodies = (child for child in dom.children(stanza.element()) if (child.uri, child.name) == (ns.CLIENT, "body"))
    return any(dom.text(body).lstrip().startswith(_OTR) for body in bodies)
