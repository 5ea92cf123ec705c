"""XEP-0030: Service Discovery. What an address is, what it can do, and what belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vrxmpp import dom, ns, xml
from vrxmpp.core.info import Identity, Info, Item
from vrxmpp.core.module import At, Module, Request, Xep, iq
from vrxmpp.errors import Condition, StanzaError


class ServiceDiscovery(Module):
    """Answers for the domain and its accounts from what all the modules declare.

    ``services`` returns the other addresses of the house that a client should find now. An account answers its owner
    and those who see its presence (§8).
    """

    implements = (Xep(30, "2.5.0"),)
    identities = (Identity("server", "im"),)
    features = (ns.DISCO_INFO, ns.DISCO_ITEMS)
    account_identities = (Identity("account", "registered"),)
    account_features = (ns.DISCO_INFO, ns.DISCO_ITEMS)

    def __init__(self, services: Callable[[], tuple[Item, ...]] = tuple) -> None:
        self._services = services

    @iq("get", ns.DISCO_INFO, "query", at=At.HOST)
    def host_info(self, request: Request) -> bytes:
        """§3.1."""
        node = _node(request)
        return _write_info(self._node_info(request, node) if node else self.host.info, node)

    @iq("get", ns.DISCO_ITEMS, "query", at=At.HOST)
    def host_items(self, request: Request) -> bytes:
        """§4.1."""
        node = _node(request)
        return _write_items(self._node_items(request, node) if node else self._services(), node)

    @iq("get", ns.DISCO_INFO, "query", at=At.ACCOUNT, shared=True)
    def account_info(self, request: Request) -> bytes:
        """§3.1; §8: who may not know of the account hears the same as if there were none."""
        if not _is_trusted(request):
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        node = _node(request)
        if node:
            return _write_info(self._node_info(request, node), node)
        info = self.host.account_info
        if request.account is not None and request.account.is_guest:
            info = replace(info, identities=(Identity("account", "anonymous"),))
        return _write_info(info, node)

    @iq("get", ns.DISCO_ITEMS, "query", at=At.ACCOUNT, shared=True)
    def account_items(self, request: Request) -> bytes:
        """§4.1: the available resources; §8: nothing for who may not know of them, or if there is no account."""
        node = _node(request)
        if request.account is None or not _is_trusted(request):
            return _write_items((), node)
        if node:
            return _write_items(self._node_items(request, node), node)
        return _write_items(tuple(Item(session.jid) for session in request.account.present), node)

    def _node_info(self, request: Request, node: str) -> Info:
        for module in self.host.modules:
            info = module.node_info(request, node)
            if info is not None:
                return info
        raise StanzaError(Condition.ITEM_NOT_FOUND)

    def _node_items(self, request: Request, node: str) -> tuple[Item, ...]:
        for module in self.host.modules:
            items = module.node_items(request, node)
            if items is not None:
                return items
        raise StanzaError(Condition.ITEM_NOT_FOUND)


def _node(request: Request) -> str:
    return str(request.payload().attributes.get("node", ""))


def _is_trusted(request: Request) -> bool:
    return request.account is not None and request.account.is_seen_by(request.sender)


def _write_info(info: Info, node: str) -> bytes:
    identities = (
        f"<identity{_attributes(category=i.category, type=i.type, name=i.name, **{'xml:lang': i.lang})}/>"
        for i in info.identities
    )
    features = (f"<feature{_attributes(var=feature)}/>" for feature in info.features)
    forms = (dom.serialise(form.toElement(), ns.DISCO_INFO).decode() for form in info.forms)
    return _write_query(ns.DISCO_INFO, node, "".join((*identities, *features, *forms)))


def _write_items(items: tuple[Item, ...], node: str) -> bytes:
    content = "".join(f"<item{_attributes(jid=i.jid.text, node=i.node, name=i.name)}/>" for i in items)
    return _write_query(ns.DISCO_ITEMS, node, content)


def _write_query(namespace: str, node: str, content: str) -> bytes:
    """§3.2: the answer mirrors the node of the question."""
    return f"<query xmlns='{namespace}'{_attributes(node=node)}>{content}</query>".encode()


def _attributes(**values: str) -> str:
    return "".join(f" {name}='{xml.attribute(value)}'" for name, value in values.items() if value)
