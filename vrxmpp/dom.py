"""Elements for those who read inside a stanza: the only door to domish and wokkel (XML 1.0, Namespaces in XML 1.0)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import NoReturn
from xml.parsers import expat

import constantly  # type: ignore[import-untyped]
from twisted.python import compat
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import STREAM_AUTHD_EVENT, STREAM_CONNECTED_EVENT, STREAM_END_EVENT
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from vrxmpp import ns, xml

# wokkel 18.0.0 asks for two names that Twisted has since removed, and for others that it will.
vars(compat)["_PY3"] = True
sys.modules["twisted.python.constants"] = constantly
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from wokkel.data_form import Error as FormError
    from wokkel.data_form import Field, Form, findForm
    from wokkel.disco import (
        DISCO_INFO,
        DISCO_ITEMS,
        DiscoFeature,
        DiscoHandler,
        DiscoIdentity,
        DiscoInfo,
        DiscoItem,
        DiscoItems,
    )
    from wokkel.iwokkel import IDisco
    from wokkel.subprotocols import StreamManager, XMPPHandler

__all__ = [
    "DISCO_INFO",
    "DISCO_ITEMS",
    "JID",
    "STREAM_AUTHD_EVENT",
    "STREAM_CONNECTED_EVENT",
    "STREAM_END_EVENT",
    "DiscoFeature",
    "DiscoHandler",
    "DiscoIdentity",
    "DiscoInfo",
    "DiscoItem",
    "DiscoItems",
    "Element",
    "EventDispatcher",
    "Field",
    "Form",
    "FormError",
    "IDisco",
    "StreamManager",
    "XMPPHandler",
    "append",
    "child",
    "children",
    "element",
    "findForm",
    "parse",
    "serialise",
    "text",
]


def element(namespace: str, name: str, /, *content: Element | str, **attributes: str) -> Element:
    """Return a new element with this content, in this order, and these attributes."""
    new = Element((namespace, name))
    new.attributes.update(attributes)
    for node in content:
        append(new, node)
    return new


def append(parent: Element, node: Element | str) -> None:
    """Add ``node`` as the last child."""
    if isinstance(node, Element):
        node.parent = parent
    parent.children.append(node)


def child(parent: Element, namespace: str, name: str) -> Element | None:
    """Return the first child element of that name, if there is one."""
    return next((node for node in children(parent) if node.name == name and node.uri == namespace), None)


def children(parent: Element) -> list[Element]:
    """Return the child elements, without the character data between them."""
    return [node for node in parent.children if isinstance(node, Element)]


def text(parent: Element) -> str:
    """Return the character data directly inside the element."""
    return "".join(node for node in parent.children if isinstance(node, str))


def parse(raw: bytes, default_namespace: str = ns.CLIENT) -> Element:
    """Return the one element that ``raw`` holds, in UTF-8; ``ValueError`` if it is anything else.

    A name without a prefix is in ``default_namespace`` until the XML says otherwise.
    """
    # What is put around it carries the default namespace, and leaves no place for a DTD or an XML declaration.
    document = b"<_ xmlns='%b'>%b</_>" % (xml.attribute(default_namespace).encode(), raw)
    top = element("", "")
    open_elements = [top]

    def start(name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        new = element(namespace, local)
        new.attributes.update((_attribute_key(key), value) for key, value in attributes.items())
        append(open_elements[-1], new)
        open_elements.append(new)

    parser = expat.ParserCreate("UTF-8", " ")
    parser.buffer_text = True
    parser.buffer_size = len(document)  # so that no text comes in pieces
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: open_elements.pop()
    parser.CharacterDataHandler = lambda data: append(open_elements[-1], data)
    parser.CommentHandler = parser.ProcessingInstructionHandler = _refuse
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise ValueError(f"not well-formed XML: {expat.ErrorString(error.code)}") from None
    content = top.children[0].children
    if len(content) != 1 or not isinstance(content[0], Element):
        raise ValueError("not exactly one XML element")
    content[0].parent = None
    return content[0]


def serialise(root: Element, default_namespace: str = ns.CLIENT) -> bytes:
    """Return the element in UTF-8, to stand where ``default_namespace`` is in force.

    ``ValueError`` if XML cannot hold one of its strings. An element without a namespace (``None``) takes the one in
    force around it, as in domish.
    """
    output: list[str] = []
    prefixes = {ns.XML: "xml"}  # in force, in the order they were declared
    # Of each element begun: its children still to write, its end, its default namespace, the prefixes before it.
    begun: list[tuple[Iterator[Element | str], str, str, int]] = [(iter([root]), "", default_namespace, 1)]
    while begun:
        nodes, end, namespace, before = begun[-1]
        node = next(nodes, None)
        if node is None:
            output.append(end)
            while len(prefixes) > before:
                prefixes.popitem()
            begun.pop()
        elif isinstance(node, str):
            output.append(xml.text(node))
        else:
            before = len(prefixes)
            name, inner = _start_tag(node, namespace, prefixes, output)
            output.append(">" if node.children else "/>")
            begun.append((iter(node.children), f"</{name}>" if node.children else "", inner, before))
    return "".join(output).encode()


def _start_tag(node: Element, namespace: str, prefixes: dict[str, str], output: list[str]) -> tuple[str, str]:
    """Write the start tag but for its end; return the name written and the default namespace inside."""
    name: str = node.name
    if node.uri is None or node.uri == namespace:
        output.append(f"<{name}")
    elif node.uri in prefixes:  # of which "xml" is never written in any other way (Namespaces in XML §3)
        name = f"{prefixes[node.uri]}:{name}"
        output.append(f"<{name}")
    else:
        namespace = node.uri
        output.append(f"<{name} xmlns='{xml.attribute(namespace)}'")
    for key, value in node.attributes.items():
        written = key if isinstance(key, str) else _prefixed(key, prefixes, output)
        output.append(f" {written}='{xml.attribute(value)}'")
    return name, namespace


def _prefixed(key: tuple[str, str], prefixes: dict[str, str], output: list[str]) -> str:
    """Return an attribute's name with its prefix, which is declared here unless it is in force."""
    namespace, name = key
    if namespace not in prefixes:
        prefixes[namespace] = f"ns{len(prefixes)}"
        output.append(f" xmlns:{prefixes[namespace]}='{xml.attribute(namespace)}'")
    return f"{prefixes[namespace]}:{name}"


def _attribute_key(qualified: str) -> str | tuple[str, str]:
    """Return the attribute's name as domish has it: with its namespace, if it has one."""
    namespace, _, name = qualified.rpartition(" ")
    return (namespace, name) if namespace else name


def _refuse(*_: str) -> NoReturn:
    raise ValueError("XML that XMPP does not allow")  # RFC 6120 §11.1
