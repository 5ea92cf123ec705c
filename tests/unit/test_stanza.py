"""Stanzas as bytes: two readers never disagree on one, whoever wrote it (RFC 6120 §8), and answers to it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framing import PLAIN, RICH, fact, read_stanza
from vrxmpp import dom, ns
from vrxmpp.dom import Element
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza

ROMEO = Jid.parse("romeo@example.net/orchard")
JULIET = Jid.parse("juliet@example.net/balcony")
HOSTILE = PLAIN.replace(">", " xmlns:x='urn:evil' xmlns:p='urn:evil' xmlns:a0='urn:evil'>")

Tree = tuple[str, dict[str, str], list[Any]]

# --- Stanzas as a peer may write them

CHARACTERS = st.sampled_from(
    [*"<>&'\"/=:;#[]!-? \t\n\rax0", "\u00e9", "\u2028", "\ufffd", "\U0001f600", "x:", "p:", "a0:"]
)
NAMES = st.sampled_from(["a", "to", "body", "message", "iq", "a0", "xmlns-x", "\u00e9"])
NAMESPACES = st.sampled_from(["urn:x", "urn:p", "urn:&lt;&apos;", "jabber:client", ns.STREAM, "x:"])
ADDRESSES = st.sampled_from(["Juliet@Example.NET", "example.net", "a@b/'<&>\"", "a@b/&\U0001f600", "a@b/x:p:a0:"])


@st.composite
def written(draw: st.DrawFn, characters: str, forbidden: str) -> str:
    """Write characters in one of the ways that XML has for them."""
    named = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "'": "&apos;", '"': "&quot;"}
    output = []
    for character in characters:
        ways = [f"&#{ord(character)};", f"&#x{ord(character):X};"]
        if character in named:
            ways.append(named[character])
        if character not in forbidden:
            ways = [character, character, character, *ways]
        output.append(draw(st.sampled_from(ways)))
    return "".join(output)


@st.composite
def attributes(draw: st.DrawFn, values: dict[str, str]) -> str:
    output = []
    for name in draw(st.permutations(list(values))):
        quote = draw(st.sampled_from("'\""))
        equals = draw(st.sampled_from(["=", " = ", "\n=\t"]))
        value = values[name] if name.partition(":")[0] == "xmlns" else draw(written(values[name], "<&" + quote))
        output.append(draw(st.sampled_from([" ", "\n", "  "])) + name + equals + quote + value + quote)
    return "".join(output)


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, str]:
    declared = draw(st.dictionaries(st.sampled_from(["x", "p", "a0", "stream", "xmlns-x"]), NAMESPACES, max_size=3))
    return {f"xmlns:{prefix}": uri for prefix, uri in declared.items()}


@st.composite
def others(draw: st.DrawFn, prefixes: list[str]) -> dict[str, str]:
    """Attributes of any name: no local name twice, for two prefixes can stand for one namespace."""
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    values = {}
    for name in names:
        prefix = draw(st.sampled_from(["", "xml:", *(f"{prefix}:" for prefix in prefixes)]))
        values[prefix + name] = draw(st.lists(CHARACTERS, max_size=5).map("".join))
    return values


@st.composite
def contents(draw: st.DrawFn, prefixes: list[str], depth: int) -> str:
    output = []
    for what in draw(st.lists(st.sampled_from(["text", "cdata", "element", "element"]), max_size=3)):
        if what == "text":
            text = draw(st.lists(CHARACTERS, max_size=8).map("".join))
            output.append(draw(written(text, "<&>")))
        elif what == "cdata":
            text = draw(st.lists(CHARACTERS, max_size=8).map("".join))
            output.append("<![CDATA[" + text.replace("]]>", "") + "]]>")
        elif depth < 3:
            output.append(draw(elements(prefixes, depth + 1)))
    return "".join(output)


@st.composite
def elements(draw: st.DrawFn, prefixes: list[str], depth: int) -> str:
    declared = draw(declarations())
    if draw(st.booleans()):
        declared["xmlns"] = draw(st.one_of(st.just(""), NAMESPACES))
    known = sorted({*prefixes, *(name.removeprefix("xmlns:") for name in declared if name != "xmlns")})
    prefix = draw(st.sampled_from(["", "", *(f"{prefix}:" for prefix in known)]))
    name = prefix + draw(NAMES)
    start = name + draw(attributes(declared | draw(others(known))))
    inner = draw(contents(known, depth))
    return f"<{start}>{inner}</{name} >" if inner or draw(st.booleans()) else f"<{start}/>"


@st.composite
def stanzas(draw: st.DrawFn) -> str:
    """A stanza on a stream that has the prefixes of RICH."""
    kind = draw(st.sampled_from(["message", "presence", "iq"]))
    declared = draw(declarations())
    known = sorted({"x", "stream", *(name.removeprefix("xmlns:") for name in declared)})
    own = {"to": ADDRESSES, "from": ADDRESSES, "id": st.text(CHARACTERS.filter(lambda c: len(c) == 1), max_size=5)}
    values = {name: draw(strategy) for name, strategy in own.items() if draw(st.booleans())}
    values |= {"type": "chat"} if draw(st.booleans()) else {}
    values |= {"xml:lang": draw(st.sampled_from(["", "de", "'"]))} if draw(st.booleans()) else {}
    foreign = {name: value for name, value in draw(others(known)).items() if name != "to"}
    if draw(st.booleans()):
        declared["xmlns"] = ns.CLIENT
    start = kind + draw(attributes(declared | foreign | values))
    inner = draw(contents(known, 1))
    return f"<{start}>{inner}</{kind}\n>" if inner or draw(st.booleans()) else f"<{start} />"


# --- Readers


def by_element_tree(stanza: str | bytes, header: str) -> Tree:
    data = stanza.encode() if isinstance(stanza, str) else stanza
    root = ElementTree.fromstring(header.encode() + data + b"</stream:stream>")
    (element,) = root
    return tree_of(element)


def tree_of(element: ElementTree.Element) -> Tree:
    content: list[Any] = [element.text] if element.text else []
    for child in element:
        content.append(tree_of(child))
        content += [child.tail] if child.tail else []
    return element.tag, dict(element.attrib), content


def by_dom(raw: bytes) -> Tree:
    return tree_of_dom(dom.parse(raw))


def tree_of_dom(element: Element) -> Tree:
    values = {name if isinstance(name, str) else clark(*name): value for name, value in element.attributes.items()}
    content = [node if isinstance(node, str) else tree_of_dom(node) for node in element.children]
    return clark(element.uri, element.name), values, content


def clark(namespace: str, name: str) -> str:
    return f"{{{namespace}}}{name}" if namespace else name


def prepared(tree: Tree) -> Tree:
    """Return the stanza as it travels: addresses prepared, and empty what says nothing left out."""
    name, values, content = tree
    values = {key: Jid.parse(value).text if key in {"to", "from"} else value for key, value in values.items()}
    silent = {"id", "type", clark(ns.XML, "lang")}
    return name, {key: value for key, value in values.items() if value or key not in silent}, content


@given(stanzas())
def test_two_readers_never_disagree(source: str) -> None:
    original = prepared(by_element_tree(source, RICH))
    stanza = read_stanza(source, RICH)
    raw = stanza.raw
    assert by_element_tree(raw, PLAIN) == original
    assert by_element_tree(raw, HOSTILE) == original
    assert by_dom(raw) == original
    children = [node for node in original[2] if not isinstance(node, str)]
    assert [clark(*qualified(name)) for name in stanza.payloads] == [child[0] for child in children]
    assert fact(read_stanza(raw)) == (raw, stanza.payloads)


def qualified(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(" ")
    return namespace, local


@given(stanzas())
def test_a_copy_differs_in_nothing_else(source: str) -> None:
    stanza = read_stanza(source, RICH)
    name, values, content = by_element_tree(stanza.raw, PLAIN)
    to_juliet, from_romeo = stanza.with_to(JULIET), stanza.with_sender(ROMEO)
    marked = stanza.with_payload("urn:d d", b"<d xmlns='urn:d'/>")
    assert by_element_tree(to_juliet.raw, PLAIN) == (name, {**values, "to": JULIET.text}, content)
    assert by_element_tree(from_romeo.raw, PLAIN) == (name, {**values, "from": ROMEO.text}, content)
    assert by_element_tree(marked.raw, PLAIN) == (name, values, [*content, ("{urn:d}d", {}, [])])
    assert (to_juliet.payloads, from_romeo.payloads) == (stanza.payloads, stanza.payloads)
    assert marked.payloads == (*stanza.payloads, "urn:d d")
    assert by_element_tree(stanza.raw, PLAIN) == (name, values, content)


# --- Stanzas of the server's own


def test_what_the_server_writes_is_escaped() -> None:
    odd = "'\"<>&\t\n\r"
    stanza = Stanza("message", to=Jid.parse("a@b/'<&>\""), sender=ROMEO, type=odd, id=odd, lang=odd)
    assert by_element_tree(stanza.raw, PLAIN) == (
        "{jabber:client}message",
        {"to": "a@b/'<&>\"", "from": ROMEO.text, "type": odd, "id": odd, clark(ns.XML, "lang"): odd},
        [],
    )


def test_what_xml_cannot_hold_is_not_written() -> None:
    for character in "\0\x1f\ud800\ufffe":
        with pytest.raises(ValueError, match="not allowed"):
            Stanza("message", id=character).raw  # noqa: B018


def test_a_reply_goes_back() -> None:
    request = Stanza("iq", to=JULIET, sender=ROMEO, type="get", id="1", lang="de", inner=b"<query/>")
    assert request.reply().raw == (
        b"<iq to='romeo@example.net/orchard' from='juliet@example.net/balcony' id='1' type='result'/>"
    )
    assert request.reply(b"<query xmlns='a'/>").raw.endswith(b" type='result'><query xmlns='a'/></iq>")


@pytest.mark.parametrize("condition", Condition)
def test_a_refusal_says_why(condition: Condition) -> None:
    """RFC 6120 §8.3.2."""
    message = Stanza("message", to=JULIET, sender=ROMEO, type="chat", id="1", inner=b"<body>secret</body>")
    error = StanzaError(condition, "<why>", application=b"<more xmlns='urn:m'/>")
    assert by_element_tree(message.refusal(error).raw, PLAIN) == (
        "{jabber:client}message",
        {"to": ROMEO.text, "from": JULIET.text, "id": "1", "type": "error"},
        [
            (
                "{jabber:client}error",
                {"type": error.type},
                [
                    (clark(ns.STANZA_ERRORS, condition), {}, []),
                    (clark(ns.STANZA_ERRORS, "text"), {clark(ns.XML, "lang"): "en"}, ["<why>"]),
                    ("{urn:m}more", {}, []),
                ],
            )
        ],
    )


def test_a_refusal_needs_no_text() -> None:
    raw = Stanza("presence", sender=ROMEO).refusal(StanzaError(Condition.GONE, type="wait")).raw
    assert b"<error type='wait'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>" in raw


def test_an_element_is_parsed_on_demand() -> None:
    stanza = read_stanza("<message id='1'><x:y a='b'/></message>", RICH)
    child = dom.child(stanza.element(), "urn:x", "y")
    assert child is not None
    assert child["a"] == "b"
    assert stanza.has("urn:x", "y")
