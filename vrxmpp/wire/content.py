"""The content of a stanza in one form, whichever stream it came by (RFC 6120 §4.8.2, §4.8.3).

Inside the house the content namespace is "jabber:client", inherited and not named: so the bytes of a body are the same
for clients, servers and components, and each reads its own namespace into them. Where a peer has named one of the
three, they would not all see the same body. That is rare, and such a stanza is written anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from vrxmpp import dom, ns, xml
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.stanza import Stanza

CONTENT_NAMESPACES = frozenset((ns.CLIENT, ns.SERVER, ns.COMPONENT_ACCEPT))


def payloads_of(names: Iterable[str], content: str) -> tuple[str, ...]:
    """Return the names of the children on a stream with that content namespace as they are in the house."""
    inherited = f"{content} "
    client = f"{ns.CLIENT} "
    return tuple(client + name.removeprefix(inherited) if name.startswith(inherited) else name for name in names)


def rewrite(stanza: Stanza, content: str, longest: int, namespaces: int) -> None:
    """Write what stands between its tags anew, with all three namespaces taken as one and no prefix of the start tag.

    ``StreamError`` if that would have more than ``longest`` bytes, or an element more than so many ``namespaces``.
    """
    root = dom.parse(b"<_%b>%b</_>" % (stanza.extra, stanza.inner), content)
    elements = [root]
    declared = 0  # characters: a prefix can stand for a long namespace very often, so look before it is written out
    for element in elements:
        if element.uri in CONTENT_NAMESPACES:
            element.uri = ns.CLIENT
        needed = {key[0] for key in element.attributes if not isinstance(key, str)}
        if element.parent is not None and element.uri != element.parent.uri:
            needed.add(element.uri)
        declared += sum(map(len, needed))
        if len(needed) > namespaces or declared > longest:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many namespaces, or too long ones")
        elements += dom.children(element)
    written = b"".join(
        xml.text(node).encode() if isinstance(node, str) else dom.serialise(node) for node in root.children
    )
    if len(written) > longest:
        raise StreamError(StreamCondition.POLICY_VIOLATION, "stanza too big")
    stanza.inner = written
    stanza.payloads = tuple(ns.qname(child.uri, child.name).lstrip() for child in dom.children(root))
