"""What the framer sees on a stream (RFC 6120 §4): headers, stanzas, other elements, the end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vrxmpp import dom, xml
from vrxmpp.dom import Element
from vrxmpp.errors import StreamError
from vrxmpp.stanza import Stanza

_VERSION = re.compile(r"0*[1-9][0-9]*\.[0-9]+")


@dataclass(frozen=True, slots=True)
class Header:
    """The opening of a stream (RFC 6120 §4.7), its attributes as they came, empty where absent.

    ``dialback``: it declares the namespace of server dialback, which is how a server says that it speaks it (XEP-0220
    §2.4.1).
    """

    to: str
    sender: str
    id: str
    lang: str
    version: str

    @property
    def is_modern(self) -> bool:
        """Whether the version is 1.0 or above, so that there are stream features (RFC 6120 §4.7.5)."""
        return _VERSION.fullmatch(self.version) is not None


@dataclass(frozen=True, slots=True)
class Nonza:
    """A first-level element that is no stanza: STARTTLS, SASL and the like. ``inner`` stands between its tags.

    ``prefixes`` are those that may be used there without being declared, each with its namespace; None is the default.
    """

    name: str
    attributes: dict[str, str]
    inner: bytes
    prefixes: tuple[tuple[str | None, str], ...] = field(default=(), compare=False)

    def content(self) -> Element:
        """Return an element with the same children; ValueError if they cannot be read."""
        declared = {f"xmlns:{prefix}" if prefix else "xmlns": xml.attribute(uri) for prefix, uri in self.prefixes}
        written = "".join(f" {name}='{uri}'" for name, uri in declared.items()).encode()
        return dom.parse(b"<_%b>%b</_>" % (written, self.inner))


@dataclass(frozen=True, slots=True)
class Malformed:
    """A stanza with an address that is none; ``stanza.to`` is empty (RFC 6120 §8.3.3.8)."""

    stanza: Stanza
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """The peer has closed its stream (RFC 6120 §4.4)."""


Event = Header | Stanza | Malformed | Nonza | End | StreamError
