"""One stanza: the facts that routing needs beside the bytes that travel (RFC 6120 §8).

The start tag is always written anew from the parsed attributes, so that inside the house there is one form of it; what
stands between the tags is kept byte for byte and parsed only by who truly reads it. A prefix that was declared on
the stream header and is used inside is declared again on the start tag (``extra``): a stanza can leave by any stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vrxmpp import ns, xml
from vrxmpp.errors import StanzaError
from vrxmpp.jid import Jid

if TYPE_CHECKING:
    from vrxmpp.dom import Element

Kind = Literal["message", "presence", "iq"]

UNSEEN, PENDING, REFUSED, UNARCHIVED = -1, -2, -3, -4
"""Of a stanza's ``record``: nobody has asked the archive yet; it is being written; it could not be, and nobody may have
the stanza; the stanza goes its way without."""


class Stanza:
    """A message, presence or iq. Not changed by anybody once the router has it: ``with_*`` returns a new one.

    ``payloads`` are the qualified names of the direct children, ``inner`` the bytes between the tags, ``extra`` what
    the start tag carries beyond the attributes RFC 6120 §8.1 defines, serialised, with a space before each. ``record``
    is its place in the archive, which alone is set on a stanza that is on its way.
    """

    __slots__ = ("_tail", "extra", "id", "inner", "kind", "lang", "payloads", "record", "sender", "to", "type")

    def __init__(
        self,
        kind: Kind,
        *,
        to: Jid | None = None,
        sender: Jid | None = None,
        type: str = "",
        id: str = "",
        lang: str = "",
        payloads: tuple[str, ...] = (),
        inner: bytes = b"",
        extra: bytes = b"",
    ) -> None:
        self.kind: Kind = kind
        self.to = to
        self.sender = sender
        self.type = type
        self.id = id
        self.lang = lang
        self.payloads = payloads
        self.inner = inner
        self.extra = extra
        self.record = UNSEEN
        self._tail: bytes | None = None

    @property
    def raw(self) -> bytes:
        """The stanza as it goes onto a stream, UTF-8."""
        tail = self._tail
        if tail is None:
            tail = self._tail = self._write_tail()
        to = f" to='{xml.attribute(self.to.text)}'" if self.to is not None else ""
        return f"<{self.kind}{to}".encode() + tail

    def _write_tail(self) -> bytes:
        """Write all that follows the ``to``: copies to many recipients share it."""
        sender, id, type, lang = xml.attributes(
            self.sender.text if self.sender is not None else "", self.id, self.type, self.lang
        )
        head = f" from='{sender}'" if sender else ""
        if id:
            head += f" id='{id}'"
        if type:
            head += f" type='{type}'"
        if lang:
            head += f" xml:lang='{lang}'"
        if not self.inner:
            return head.encode() + self.extra + b"/>"
        return b"%b%b>%b</%b>" % (head.encode(), self.extra, self.inner, self.kind.encode())

    def has(self, namespace: str, name: str) -> bool:
        """Return whether a direct child of that name is there."""
        return ns.qname(namespace, name) in self.payloads

    def element(self) -> Element:
        """Parse the whole stanza; costs more than all of routing, so only for who reads inside."""
        from vrxmpp import dom  # noqa: PLC0415 - the hot path never needs it

        return dom.parse(self.raw)

    def _copy(self) -> Stanza:
        copy = Stanza(
            self.kind,
            to=self.to,
            sender=self.sender,
            type=self.type,
            id=self.id,
            lang=self.lang,
            payloads=self.payloads,
            inner=self.inner,
            extra=self.extra,
        )
        copy.record = self.record
        return copy

    def with_to(self, to: Jid) -> Stanza:
        """Return the same stanza for another recipient."""
        copy = self._copy()
        copy.to = to
        if self._tail is None:
            self._tail = self._write_tail()
        copy._tail = self._tail
        return copy

    def with_sender(self, sender: Jid) -> Stanza:
        """Return the same stanza from another address (RFC 6120 §8.1.2.1)."""
        copy = self._copy()
        copy.sender = sender
        return copy

    def with_payload(self, name: str, payload: bytes) -> Stanza:
        """Return the same stanza with one more child at its end; ``name`` is the qualified name of ``payload``."""
        copy = self._copy()
        copy.payloads = (*self.payloads, name)
        copy.inner = self.inner + payload
        return copy

    def reply(self, payload: bytes = b"") -> Stanza:
        """Return the result of this IQ request, with its payload (RFC 6120 §8.2.3)."""
        return Stanza("iq", to=self.sender, sender=self.to, type="result", id=self.id, inner=payload)

    def refusal(self, error: StanzaError) -> Stanza:
        """Return the error stanza that answers this one (RFC 6120 §8.3.1)."""
        text = f"<text xmlns='{ns.STANZA_ERRORS}' xml:lang='en'>{xml.text(error.text)}</text>" if error.text else ""
        inner = (
            f"<error type='{error.type}'><{error.condition} xmlns='{ns.STANZA_ERRORS}'/>{text}".encode()
            + error.application
            + b"</error>"
        )
        return Stanza(
            self.kind,
            to=self.sender,
            sender=self.to,
            type="error",
            id=self.id,
            payloads=(ns.qname(ns.CLIENT, "error"),),
            inner=inner,
        )
