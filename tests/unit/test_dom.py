"""Elements and character data: reading, writing, and what is refused (XML 1.0, Namespaces in XML 1.0)."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vrxmpp import dom, ns, xml
from vrxmpp.dom import Element, element, parse, serialise

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wokkel's own

FORBIDDEN = ["\x00", "\x08", "\x0b", "\x1f", "\ud800", "\udfff", "\ufffe", "\uffff"]
ALLOWED = "\t\n\r \x7f\x85\ud7ff\ue000\ufffd\U00010000\U0010ffff"


def test_escapes_text() -> None:
    assert xml.text("plain \t\n'\"") == "plain \t\n'\""
    assert xml.text("<a b='&amp;'>]]>\r") == "&lt;a b='&amp;amp;'&gt;]]&gt;&#13;"


def test_escapes_attributes() -> None:
    assert xml.attribute("plain") == "plain"
    assert xml.attribute("<'&\">\t\n\r") == "&lt;&apos;&amp;&quot;&gt;&#9;&#10;&#13;"


@pytest.mark.parametrize("character", FORBIDDEN)
def test_refuses_what_xml_cannot_hold(character: str) -> None:
    assert not xml.is_allowed(f"a{character}")
    for write in (
        xml.text,
        xml.attribute,
        lambda value: serialise(element(ns.CLIENT, "a", value)),
        lambda value: serialise(element(ns.CLIENT, "a", b=value)),
    ):
        with pytest.raises(ValueError, match=f"U\\+{ord(character):04X}"):
            write(f"<{character}")


def test_allows_every_other_character() -> None:
    assert xml.is_allowed(ALLOWED)
    assert dom.text(parse(serialise(element(ns.CLIENT, "a", ALLOWED)))) == ALLOWED
    assert parse(serialise(element(ns.CLIENT, "a", b=ALLOWED)))["b"] == ALLOWED


def test_reads_names_attributes_and_text() -> None:
    message = parse(
        b"<message to='juliet@example.com' xml:lang='en'><body>a &lt; <![CDATA[b]]>&#x21;</body> "
        b"<p:x xmlns:p='urn:p' xmlns:q='urn:q' q:a='1' a='2'><y xmlns=''/><p:z xmlns='urn:d'><z/></p:z></p:x></message>"
    )
    assert (message.uri, message.name) == (ns.CLIENT, "message")
    assert message.attributes == {"to": "juliet@example.com", (ns.XML, "lang"): "en"}
    body = dom.child(message, ns.CLIENT, "body")
    assert body is not None
    assert body.parent is message
    assert body.children == ["a < b!"]
    x = dom.child(message, "urn:p", "x")
    assert x is not None
    assert x.attributes == {("urn:q", "a"): "1", "a": "2"}
    y, z = dom.children(x)
    assert [(node.uri, node.name) for node in (y, z, *z.children)] == [("", "y"), ("urn:p", "z"), ("urn:d", "z")]
    assert message.parent is None


def test_reads_the_default_namespace_it_is_given() -> None:
    assert parse(b"<a/>", ns.SERVER).uri == ns.SERVER
    assert parse(b"<a/>", "").uri == ""
    assert parse(b"<a/>", "urn:'&\"<").uri == "urn:'&\"<"
    assert parse(b"<a xmlns='urn:a'/>").uri == "urn:a"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"text",
        b"<a/> ",
        b"<a/>text",
        b"<a/><b/>",
        b"<a>",
        b"</a>",
        b"<a></b>",
        b"<a/></_><_>",
        b"<a b='1' b='2'/>",
        b"<a xmlns:p='urn:p' xmlns:q='urn:p' p:b='1' q:b='2'/>",
        b"<p:a/>",
        b"<a>&nbsp;</a>",
        b"<a>\xff</a>",
        b"<a>\x00</a>",
        b"<a>&#0;</a>",
        b"<a>\xed\xa0\x80</a>",
        b"<a><!-- b --></a>",
        b"<a><?b c?></a>",
        b"<?xml version='1.0'?><a/>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<a/>".encode("utf-16"),
    ],
)
def test_refuses_what_is_not_one_element(raw: bytes) -> None:
    with pytest.raises(ValueError, match="XML"):
        parse(raw)


def test_text_is_one_node_whatever_its_length() -> None:
    long = "\u00e9&" * 100_000
    assert parse(serialise(element(ns.CLIENT, "a", long))).children == [long]


def test_writes_each_namespace_where_it_is_needed() -> None:
    tree = element(
        ns.CLIENT,
        "iq",
        element("urn:a", "query", "text", element("urn:a", "item"), element("", "bare"), node="n"),
        element(ns.CLIENT, "body"),
        id="1",
    )
    written = (
        b"<iq%b id='1'><query xmlns='urn:a' node='n'>text<item/><bare xmlns=''/></query><body%b/></iq>"  # not again
    )
    assert serialise(tree) == written % (b"", b"")
    assert serialise(tree, ns.SERVER) == written % (b" xmlns='jabber:client'", b"")


def test_writes_a_prefix_while_it_is_in_force() -> None:
    tree = parse(
        b"<a xmlns:p='urn:p'><b p:c='1' xml:lang='en'><p:d p:e='2'/></b><b p:c='3' xmlns:q='urn:q' q:c='4'/></a>"
    )
    assert serialise(tree) == (
        b"<a><b xmlns:ns1='urn:p' ns1:c='1' xml:lang='en'><ns1:d ns1:e='2'/></b>"
        b"<b xmlns:ns1='urn:p' ns1:c='3' xmlns:ns2='urn:q' ns2:c='4'/></a>"
    )


def test_an_element_of_no_namespace_takes_the_one_around_it() -> None:
    inner = Element((None, "inner"))  # type: ignore[no-untyped-call]
    assert serialise(element("urn:a", "outer", inner)) == b"<outer xmlns='urn:a'><inner/></outer>"


def test_depth_costs_no_stack() -> None:
    deep = b"<a>" * 5_000 + b"<b/>" + b"</a>" * 5_000
    assert serialise(parse(deep)) == deep


def test_finds_children() -> None:
    first, other = element("urn:a", "x", "1"), element("urn:b", "x", "2")
    tree = element(ns.CLIENT, "a", "text", first, "more", other)
    assert dom.children(tree) == [first, other]
    assert dom.child(tree, "urn:b", "x") is other
    assert dom.child(tree, "urn:c", "x") is None
    assert dom.text(tree) == "textmore"
    assert first.parent is tree
    dom.append(tree, "!")
    assert dom.text(tree) == "textmore!"


names = st.sampled_from(["a", "body", "x-1", "\u00e9t\u00e9"])
namespaces = st.sampled_from(["", ns.CLIENT, ns.XML, "urn:a", "urn:b?c=<'&\">"])
strings = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
        st.sampled_from("\t\n\r<>&'\"\x85\u2028"),
    ),
    max_size=10,
)
texts = strings.filter(bool)
attribute_names = names | st.tuples(namespaces.filter(bool), names)


@st.composite
def elements(draw: st.DrawFn, content: st.SearchStrategy[Element | str]) -> Element:
    drawn = element(draw(namespaces), draw(names), *draw(st.lists(content, max_size=4)))
    drawn.attributes.update(draw(st.dictionaries(attribute_names, strings, max_size=3)))
    return drawn


trees = elements(st.recursive(texts, lambda content: texts | elements(content), max_leaves=15))


def facts(node: Element) -> tuple[object, ...]:
    """What must survive: names, attributes, and content with the text between two elements as one."""
    content: list[object] = [""]
    for inner in node.children:
        if isinstance(inner, Element):
            content += [facts(inner), ""]
        else:
            content[-1] = f"{content[-1]}{inner}"
    return (node.uri, node.name, node.attributes, content)


def facts_of_another_parser(node: ElementTree.Element) -> tuple[object, ...]:
    content: list[object] = [node.text or ""]
    for inner in node:
        content += [facts_of_another_parser(inner), inner.tail or ""]
    uri, name = split(node.tag)
    attributes = {split(key) if key.startswith("{") else key: value for key, value in node.items()}
    return (uri, name, attributes, content)


def split(tag: str) -> tuple[str, str]:
    namespace, _, name = tag.removeprefix("{").rpartition("}")
    return namespace, name


@settings(deadline=None)
@given(trees)
def test_what_is_written_is_read_back(tree: Element) -> None:
    written = serialise(tree)
    assert facts(parse(written)) == facts(tree)
    assert serialise(parse(written)) == written


@settings(deadline=None)
@given(trees)
def test_another_parser_reads_the_same(tree: Element) -> None:
    assert facts_of_another_parser(ElementTree.fromstring(serialise(tree, ""))) == facts(tree)


@settings(deadline=None)
@given(st.binary(max_size=30) | st.text("<>/a:='\"& !?-[]", max_size=30).map(str.encode))
def test_answers_anything_with_an_element_or_a_refusal(raw: bytes) -> None:
    with suppress(ValueError):
        assert serialise(parse(raw))


def test_wokkel_builds_and_reads_disco_info() -> None:
    form = dom.Form("result", formNamespace="urn:xmpp:dataforms:softwareinfo")
    form.addField(dom.Field(var="os", value="a & b"))
    info = dom.DiscoInfo()
    for item in (dom.DiscoIdentity("server", "im", "<vrxmpp>"), dom.DiscoFeature(ns.PING), form):
        info.append(item)
    query = parse(serialise(info.toElement()))
    read = dom.DiscoInfo.fromElement(query)
    assert read.identities == {("server", "im"): "<vrxmpp>"}
    assert read.features == {ns.PING}
    assert read.extensions["urn:xmpp:dataforms:softwareinfo"]["os"] == "a & b"
    assert dom.findForm(query, "urn:other") is None


def test_wokkel_builds_and_reads_disco_items() -> None:
    query = parse(
        b"<query xmlns='http://jabber.org/protocol/disco#items' node='n'><item jid='room.example' name='R'/></query>"
    )
    items = dom.DiscoItems.fromElement(query)
    assert [(item.entity.full(), item.name) for item in items] == [("room.example", "R")]
    assert serialise(items.toElement()) == serialise(query)


def test_wokkel_refuses_a_field_given_twice() -> None:
    form = parse(b"<x xmlns='jabber:x:data' type='submit'><field var='a'/><field var='a'/></x>")
    with pytest.raises(dom.FormError):
        dom.Form.fromElement(form)


@pytest.mark.parametrize("module", ["muc", "component", "server"])
def test_the_rest_of_wokkel_can_be_imported(module: str) -> None:
    assert import_module(f"wokkel.{module}")


def test_importing_chooses_no_reactor() -> None:
    code = "import sys, vrxmpp.dom; sys.exit('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
