"""How servers ask each other to be witnesses of their archives: C2SP tlog-witness in IQ stanzas.

The request is the body of ``add-checkpoint``, the answer that of its response, each with its sender's verifier key:

    <add-checkpoint xmlns='urn:vrxmpp:witness:0' key='VKEY'>old 5 ...</add-checkpoint>
    <cosignature xmlns='urn:vrxmpp:witness:0' key='VKEY'>— two.example/witness ...</cosignature>

Where HTTP says 400, 403, 404, 409 and 422, the error is bad-request, not-authorized, item-not-found, conflict with
``<size xmlns='urn:vrxmpp:witness:0'>``, the number of records that are known, and not-acceptable.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from vrxmpp import dom, ns, xml
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.stanza import Stanza

NAMESPACE = "urn:vrxmpp:witness:0"
REQUEST, ANSWER, SIZE = "add-checkpoint", "cosignature", "size"

_LONGEST = 200  # characters of what a witness says, which comes into the log and the status


class Signed(NamedTuple):
    """A text, and the verifier key of who has signed it."""

    key: str
    text: str


class Cosigner(Protocol):
    """Who cosigns for other servers."""

    async def cosign(self, domain: str, submission: Signed) -> Signed:
        """Return the cosignature of the checkpoint of a domain elsewhere. Raises StanzaError."""


class WitnessError(Exception):
    """A witness has refused, or answered something else than a cosignature.

    ``condition`` is that of its error, if it has sent one; ``size`` how many records it knows, for a conflict.
    """

    def __init__(self, text: str, condition: str = "", size: int | None = None) -> None:
        super().__init__(text)
        self.condition = condition
        self.size = size


def write(name: str, content: Signed) -> bytes:
    """Write a request or an answer."""
    key, text = xml.attribute(content.key), xml.text(content.text)
    return f"<{name} xmlns='{NAMESPACE}' key='{key}'>{text}</{name}>".encode()


def refusal(condition: Condition, text: str, size: int | None) -> StanzaError:
    """Return the error that answers a request."""
    application = b"" if size is None else f"<{SIZE} xmlns='{NAMESPACE}'>{size}</{SIZE}>".encode()
    return StanzaError(condition, text, application=application)


def read(element: dom.Element) -> Signed:
    """Read a request or an answer."""
    return Signed(str(element.getAttribute("key", "")), dom.text(element))


def read_answer(answer: Stanza) -> Signed:
    """Return the cosignature. Raises WitnessError."""
    element = answer.element()
    if answer.type == "result":
        cosignature = dom.child(element, NAMESPACE, ANSWER)
        if cosignature is None:
            raise WitnessError("it has not answered with a cosignature")
        return read(cosignature)
    error = dom.child(element, ns.CLIENT, "error")
    told = [] if error is None else dom.children(error)
    names = {child.name: dom.text(child) for child in told if child.uri == ns.STANZA_ERRORS}
    text = _line(names.pop("text", ""))
    condition = _line(next(iter(names), ""))
    sizes = [dom.text(child) for child in told if (child.uri, child.name) == (NAMESPACE, SIZE)]
    size = int(sizes[0]) if sizes and sizes[0].isdecimal() and len(sizes[0]) < 20 else None
    raise WitnessError(text or condition or "it has refused, and not said why", condition, size)


def _line(text: str) -> str:
    """Return the beginning of a text as one line that may be printed."""
    return "".join(each if each.isprintable() else " " for each in text[:_LONGEST])
