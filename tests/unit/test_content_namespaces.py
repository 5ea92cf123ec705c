"""One form of a stanza's content: by whichever stream it comes and leaves, nobody sees another body (RFC 6120 §4.8)."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framing import LIMITS, fact, feed, header_of, refusal
from vrxmpp import dom, ns
from vrxmpp.errors import StreamCondition
from vrxmpp.stanza import Stanza
from vrxmpp.wire import framer as framer_module
from vrxmpp.wire.events import Malformed
from vrxmpp.wire.framer import FramerLimits

CONTENTS = (ns.CLIENT, ns.SERVER, ns.COMPONENT_ACCEPT)
EVERY_STREAM = pytest.mark.parametrize("content", CONTENTS)
BODY = (b"<message><body>hi</body></message>", ("jabber:client body",))
# A peer's own prefixes: one for each of the three namespaces, and others.
DECLARATIONS = f" xmlns:c='{ns.CLIENT}' xmlns:v='jabber&#58;server' xmlns:k='{ns.COMPONENT_ACCEPT}' xmlns:u='urn:u'"


def read(written: str | bytes, content: str, declarations: str = DECLARATIONS, limits: FramerLimits = LIMITS) -> Stanza:
    data = written.encode() if isinstance(written, str) else written
    _, stanza = feed(header_of(content, declarations).encode() + data, content=content, limits=limits)
    assert isinstance(stanza, Stanza), stanza
    return stanza


# --- What it says of the usual stanza


@EVERY_STREAM
def test_children_are_named_as_in_the_house(content: str) -> None:
    inner = b"<body>hi</body><x xmlns='urn:x'/><b xmlns=''/><u:y/>"
    stanza = read(b"<message>%b</message>" % inner, content)
    assert stanza.payloads == ("jabber:client body", "urn:x x", "b", "urn:u y")
    assert stanza.inner == inner
    assert stanza.extra == b" xmlns:u='urn:u'"


@EVERY_STREAM
@pytest.mark.parametrize(
    "start", ["<message>", "<message xmlns='*'>", "<message xmlns:x='urn:x'>", "<message id='c:'>"]
)
def test_the_usual_stanza_is_not_written_anew(content: str, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(framer_module, "rewrite")
    inner = b"<body>c: s:&#33;<![CDATA[<]]></body  ><active xmlns = 'http://jabber.org/protocol/chatstates'/>"
    stanza = read(start.replace("*", content).encode() + inner + b"</message>", content, " xmlns:db='urn:db'")
    assert stanza.inner == inner
    assert stanza.payloads == ("jabber:client body", "http://jabber.org/protocol/chatstates active")


# --- What becomes of a namespace that is named


@EVERY_STREAM
@pytest.mark.parametrize("named", CONTENTS)
@pytest.mark.parametrize(
    "written",
    [
        "<message><body xmlns='*'>hi</body></message>",
        "<message><a:body xmlns:a='*'>hi</a:body></message>",
        "<message xmlns:a='*'><a:body>hi</a:body></message>",
        '<message><body xmlns\n= "*">&#104;i</body></message>',
    ],
)
def test_a_content_namespace_is_inherited_and_not_named(content: str, named: str, written: str) -> None:
    for way in (named, named.replace(":", "&#58;"), named.replace("j", "&#x6A;")):
        stanza = read(written.replace("*", way), content)
        assert (stanza.raw, stanza.payloads) == BODY


@EVERY_STREAM
@pytest.mark.parametrize("prefix", ["c", "v", "k"])
def test_nor_is_it_named_by_the_header(content: str, prefix: str) -> None:
    script = header_of(content, DECLARATIONS) + f"<message><{prefix}:body>hi</{prefix}:body></message>"
    for cuts in ((), range(len(script))):
        assert fact(feed(script, *cuts, rests=True, content=content)[1]) == BODY


def test_the_next_stanza_has_nothing_of_it() -> None:
    *_, stanza = feed(header_of(ns.CLIENT) + "<message><body xmlns='jabber:server'/></message><message>&#33;</message>")
    assert fact(stanza) == (b"<message>&#33;</message>", ())


FORWARDED = "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>hi</body></message></forwarded>"


@EVERY_STREAM
@pytest.mark.parametrize(
    "written",
    [
        FORWARDED,
        FORWARDED.replace(ns.CLIENT, ns.SERVER),
        "<forwarded xmlns='urn:xmpp:forward:0'><v:message><c:body>hi</c:body></v:message></forwarded>",
    ],
)
def test_a_forwarded_stanza_says_that_it_is_a_client_s(content: str, written: str) -> None:
    """XEP-0297 §3."""
    stanza = read(f"<message>{written}</message>", content)
    assert stanza.payloads == ("urn:xmpp:forward:0 forwarded",)
    assert stanza.inner == FORWARDED.encode()


@EVERY_STREAM
@pytest.mark.parametrize(
    ("written", "raw"),
    [
        # What is unprefixed inside keeps its namespace when the prefix outside goes, and the reverse.
        ("<v:a xmlns='urn:d'><b/><c:d/></v:a>", "<a><b xmlns='urn:d'/><d/></a>"),
        (
            "<a xmlns='urn:d'><v:b><a/></v:b></a>",
            "<a xmlns='urn:d'><b xmlns='jabber:client'><a xmlns='urn:d'/></b></a>",
        ),
        ("<v:a xmlns=''><b/></v:a>", "<a><b xmlns=''/></a>"),
        ("<v:a u:b=''/>", "<a xmlns:ns1='urn:u' ns1:b=''/>"),
        # The text stays what it was.
        (" <v:a>&#13;&lt;&amp;<![CDATA[]]]]>&gt;\u00e9</v:a>\n", " <a>&#13;&lt;&amp;]]&gt;\u00e9</a>\n"),
    ],
)
def test_what_is_around_a_named_namespace_survives(content: str, written: str, raw: str) -> None:
    assert read(f"<message>{written}</message>", content).raw.decode() == f"<message>{raw}</message>"


@EVERY_STREAM
def test_a_prefix_of_the_start_tag_stays_for_an_attribute_only(content: str) -> None:
    written = "<message xmlns:p='urn:p' xmlns:q='urn:q' p:a='1' b='2'><q:x/><v:y p:c=''/></message>"
    stanza = read(written, content)
    assert stanza.extra == b" xmlns:p='urn:p' p:a='1' b='2'"
    assert stanza.inner == b"<x xmlns='urn:q'/><y xmlns:ns1='urn:p' ns1:c=''/>"
    stanza = read("<message xmlns:p='jabber:server' p:to='a@b'><p:x/></message>", content)
    assert stanza.raw == b"<message xmlns:p='jabber:server' p:to='a@b'><x/></message>"
    assert stanza.to is None


def test_what_has_no_namespace_is_named_as_ever() -> None:
    assert read("<message><v:a/><b xmlns=''/></message>", ns.CLIENT).payloads == ("jabber:client a", "b")


def test_a_stanza_with_a_bad_address_is_written_anew_too() -> None:
    _, event = feed(header_of(ns.CLIENT) + "<message to='@'><body xmlns='jabber:server'>hi</body></message>")
    assert isinstance(event, Malformed)
    assert fact(event.stanza) == BODY


# --- Limits


def test_what_is_written_anew_has_the_same_limits() -> None:
    """A prefix can stand for a long namespace very often, and an element can use the prefixes of all around it."""
    policy_violation = StreamCondition.POLICY_VIOLATION
    start = header_of(ns.CLIENT)
    long = f"<message xmlns:p=\"{'&apos;' * 500}\"><body xmlns='jabber:client'/>*</message>"
    assert len(read(long.replace("*", "<p:a/>" * 5), ns.CLIENT).raw) < LIMITS.stanza_bytes
    assert refusal(start + long.replace("*", "<p:a/>" * 10)) == policy_violation
    assert refusal(start + long.replace("*", "<p:a/>" * 60)) == policy_violation
    assert refusal(start + long.replace("*", "<a p:b=''/>" * 60)) == policy_violation

    def declarations(name: str) -> str:
        return "".join(f" xmlns:{name}{n}='urn:{name}{n}'" for n in range(6))

    uses = "".join(f" {name}{n}:a=''" for name in "ab" for n in range(6))
    many = f"<message{declarations('a')}><b{declarations('b')}><c{uses}/></b>*</message>"
    read(many.replace("*", ""), ns.CLIENT)
    assert refusal(start + many.replace("*", "<body xmlns='jabber:client'/>")) == policy_violation


def test_what_would_be_far_too_long_is_not_even_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else half a megabyte could become a hundred."""
    monkeypatch.delattr(dom, "serialise")
    for use in ("<p:a/>", "<a p:b=''/>"):
        stanza = f"<message xmlns:p='{'u' * 500}'><body xmlns='jabber:client'/>{use * 60}</message>"
        assert refusal(header_of(ns.CLIENT) + stanza) == StreamCondition.POLICY_VIOLATION


# --- Whatever goes in

NAMESPACES = st.sampled_from(
    [*CONTENTS, "jabber&#58;server", "&#x6a;abber:client", "urn:u", "urn:&lt;&apos;", "", "jabber:server:dialback"]
)
NAMES = st.sampled_from(["body", "message", "a", "\u00e9"])
TEXTS = st.sampled_from(["", "", "text", " &lt;&#13;", "<![CDATA[c:<]]>", "v:", "\U0001f600"])


@st.composite
def declared(draw: st.DrawFn) -> dict[str, str]:
    return draw(st.dictionaries(st.sampled_from(["c", "v", "u", "ns1"]), NAMESPACES.filter(bool), max_size=2))


@st.composite
def elements(draw: st.DrawFn, known: frozenset[str], depth: int) -> str:
    own = draw(declared())
    known |= own.keys()
    tag = draw(st.sampled_from(["", "", "", *(f"{prefix}:" for prefix in sorted(known))])) + draw(NAMES)
    start = tag + "".join(f" xmlns:{prefix}='{uri}'" for prefix, uri in own.items())
    if draw(st.booleans()):
        start += f' xmlns="{draw(NAMESPACES)}"'
    if draw(st.booleans()):
        start += f" {draw(st.sampled_from(['', *(f'{prefix}:' for prefix in sorted(known))]))}x='1'"
    return f"<{start}>{draw(contents(known, depth))}</{tag}>"


@st.composite
def contents(draw: st.DrawFn, known: frozenset[str], depth: int) -> str:
    children = draw(st.lists(elements(known, depth + 1), max_size=2)) if depth < 3 else []
    return draw(TEXTS) + "".join(child + draw(TEXTS) for child in children)


@st.composite
def stanzas(draw: st.DrawFn) -> str:
    own = draw(declared())
    start = "message" + "".join(f" xmlns:{prefix}='{uri}'" for prefix, uri in own.items())
    known = frozenset({"c", "v", "k", "u"} | own.keys())
    if draw(st.booleans()):
        start += f" {draw(st.sampled_from([*(f'{prefix}:' for prefix in sorted(known))]))}to='a@b'"
    return f"<{start}>{draw(contents(known, 0))}</message>"


def tree(raw: str | bytes, header: str) -> ElementTree.Element:
    """Let another parser read it."""
    data = raw.encode() if isinstance(raw, str) else raw
    (stanza,) = ElementTree.fromstring(header.encode() + data + b"</stream:stream>")
    return stanza


def neutral(tag: str) -> str:
    """Return a name with "content" for each of the three namespaces."""
    namespace, _, name = tag.removeprefix("{").rpartition("}")
    return f"content {name}" if namespace in CONTENTS else tag


def facts(element: ElementTree.Element) -> Any:
    content = [(facts(child), child.tail or "") for child in element]
    return neutral(element.tag), element.attrib, element.text or "", content


def clark(payload: str, content: str) -> str:
    """Return how another parser names this child, on a stream with that content namespace."""
    namespace, _, name = payload.rpartition(" ")
    namespace = content if namespace == ns.CLIENT else namespace
    return f"{{{namespace}}}{name}" if namespace else name


@given(stanzas(), st.sampled_from(CONTENTS))
def test_no_two_readers_see_different_bodies(written: str, content: str) -> None:
    original = tree(written, header_of(content, DECLARATIONS))
    stanza = read(written, content)
    raw = stanza.raw
    for other in CONTENTS:
        seen = tree(raw, header_of(other))
        assert facts(seen) == facts(original)
        assert [child.tag for child in seen] == [clark(name, other) for name in stanza.payloads]
        # Another house, behind any stream, has it exactly so.
        assert fact(read(raw, other, "")) == (raw, stanza.payloads)
    inside = {element.tag.partition("}")[0] for element in tree(raw, header_of(ns.CLIENT)).iter()}
    assert inside.isdisjoint({f"{{{ns.SERVER}", f"{{{ns.COMPONENT_ACCEPT}"})
    elements = dom.children(dom.parse(raw))
    assert [clark(name, ns.CLIENT) for name in stanza.payloads] == [
        f"{{{child.uri}}}{child.name}" if child.uri else child.name for child in elements
    ]
