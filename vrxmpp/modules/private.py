"""XEP-0049: Private XML Storage. What a user's clients put down for themselves."""

from __future__ import annotations

from vrxmpp import dom, ns, xml
from vrxmpp.core.module import At, Module, Request, Xep, iq
from vrxmpp.dom import Element
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.store.interfaces import PrivateStorage

_RESERVED = ("jabber:", "http://jabber.org/")


class PrivateXmlStorage(Module):
    """Keeps one element of each name; all of an account's together have at most ``limit`` bytes."""

    implements = (Xep(49, "1.2", "one element at a time"),)
    features = (ns.PRIVATE,)

    def __init__(self, private: PrivateStorage, limit: int) -> None:
        self._private = private
        self._limit = limit

    @iq("get", ns.PRIVATE, "query", at=At.ACCOUNT)
    async def get(self, request: Request) -> bytes:
        """§2.3: what was never stored comes back as empty as it was asked for."""
        assert request.account is not None
        element = _the_element(request)
        stored = await self._private.get(request.account.id, ns.qname(element.uri, element.name))
        if stored is None:
            stored = f"<{element.name} xmlns='{xml.attribute(element.uri)}'/>".encode()
        return b"<query xmlns='%b'>%b</query>" % (ns.PRIVATE.encode(), stored)

    @iq("set", ns.PRIVATE, "query", at=At.ACCOUNT)
    async def set(self, request: Request) -> None:
        """§2.3: the element of the same name is replaced."""
        assert request.account is not None
        element = _the_element(request)
        name = ns.qname(element.uri, element.name)
        if not await self._private.put(request.account.id, name, dom.serialise(element), self._limit):
            raise StanzaError(Condition.POLICY_VIOLATION, f"private storage has at most {self._limit} bytes")


def _the_element(request: Request) -> Element:
    """§2.3: there must be one, in a namespace of its own that is not reserved."""
    elements = dom.children(request.payload())
    if len(elements) != 1:
        raise StanzaError(Condition.BAD_REQUEST, "not exactly one element")
    element = elements[0]
    if not element.uri or element.uri.startswith(_RESERVED) or element.uri == ns.VCARD:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "a reserved namespace")
    return element
