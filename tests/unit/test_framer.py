"""The framer: what it reads, however the bytes are cut, and what it refuses (RFC 6120 §4, §11)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.framing import LIMITS, PLAIN, RICH, fact, facts, feed, read, read_stanza, refusal
from vrxmpp import dom, ns
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.stanza import Stanza
from vrxmpp.wire import writer
from vrxmpp.wire.events import End, Header, Malformed, Nonza
from vrxmpp.wire.framer import Framer

BAD_FORMAT = StreamCondition.BAD_FORMAT
BAD_NAMESPACE_PREFIX = StreamCondition.BAD_NAMESPACE_PREFIX
INVALID_NAMESPACE = StreamCondition.INVALID_NAMESPACE
NOT_WELL_FORMED = StreamCondition.NOT_WELL_FORMED
RESTRICTED_XML = StreamCondition.RESTRICTED_XML


# --- One reading, however the bytes are cut

SCRIPTS = {
    "everything": RICH
    + "\n<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq> \r\n\t"
    + "<message to='juliet@example.net/balcony' id='2'><body>a &gt; b, \u00e9\U0001f600 <![CDATA[</body>]]></body>"
    + "<active xmlns='http://jabber.org/protocol/chatstates'></active></message  ><presence/><presence ></presence>"
    + "<message x:a='&#10;&apos;\"' b = \"it's > \"><x:y/></message>"
    + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldA==</auth>"
    + "<iq to='@' type='get' id='3'><a/></iq></stream:stream>",
    "white space": PLAIN + " " * 300 + "<presence/>" + "\n" * 300 + "</stream:stream>",
    "text": PLAIN + "<presence/>text<presence/>",
    "text at the end": PLAIN + "text</stream:stream>",
    "a character reference": PLAIN + "&#32;<presence/>",
    "comment": PLAIN + "<message><!-- no --></message>",
    "mismatch": PLAIN + "<message><a></b></message>",
    "after the end": PLAIN + "<presence/></stream:stream><!-- no -->",
    "junk after the end": PLAIN + "</stream:stream>\0\xff<",
    "an empty stream": PLAIN.replace(">", "/>"),
    "too big": PLAIN + "<message><a b='" + "c" * 10 + "'/>" + "d" * 20_000 + "</message>",
    "as big as can be": PLAIN + "  <message><body>" + "d" * (20_000 - 32) + "</body></message>",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_reads_byte_by_byte_what_it_reads_whole(script: str) -> None:
    assert facts(feed(script, *range(len(script.encode())))) == facts(feed(script))


@given(st.sampled_from(list(SCRIPTS.values())), st.lists(st.integers(0, 1500)), st.booleans())
def test_reads_the_same_wherever_it_is_cut(script: str, cuts: list[int], rests: bool) -> None:
    assert facts(feed(script, *cuts, rests=rests)) == facts(feed(script))


TAGS = ["<message>", "</message>", "<iq type='get'>", "</iq>", "<presence/>", "<a>", "</a>", "</stream:stream>"]
ODD_TAGS = ["<x:a b='>'/>", "<a xmlns:x='y'>", "<!DOCTYPE a>", "<![CDATA[", "]]>", "<!--", "-->", "<?", "?>"]
TEXTS = ["text", " ", "&amp;", "&nope;", "'", '"', ">", "<", "xmlns=''", "\u00e9", "\0", "\ufffe"]


@given(
    st.lists(st.sampled_from(TAGS + ODD_TAGS + TEXTS), max_size=12).map("".join),
    st.lists(st.integers(0, 400)),
    st.booleans(),
)
@example("text<!---->", [len(RICH) + 4], False)
def test_junk_cannot_confuse_it(junk: str, cuts: list[int], rests: bool) -> None:
    """Which of several violations is named may depend on the cuts; whether there is one, and after what, may not."""
    whole = facts(feed(RICH + junk))
    cut = facts(feed(RICH + junk, *cuts, rests=rests))
    assert [isinstance(one, StreamCondition) or one for one in whole] == [
        isinstance(one, StreamCondition) or one for one in cut
    ]


@given(st.binary(max_size=60), st.sampled_from([b"", PLAIN.encode(), PLAIN.encode() + b"<message>"]))
def test_any_bytes_at_all_give_events(junk: bytes, before: bytes) -> None:
    events = feed(before + junk)
    assert not any(isinstance(event, StreamError | End) for event in events[:-1])


# --- What it reads


def test_the_header_gives_its_attributes() -> None:
    assert feed(RICH) == [Header("example.net", "romeo@example.net", "s1", "it", "1.0")]
    assert feed(PLAIN) == [Header("", "", "", "", "")]


def test_the_header_can_come_with_a_byte_order_mark_and_junk_attributes() -> None:
    odd = PLAIN.replace(">", " a:to='evil' junk='&lt;' xmlns:a='urn:a' to='a&amp;b'>")
    assert feed(b"\xef\xbb\xbf" + odd.encode()) == [Header("a&b", "", "", "", "")]


def test_a_stanza_gives_its_facts() -> None:
    stanza = read_stanza(
        "<message type='chat' id='m&lt;1' xml:lang='de' from='Romeo@example.net/x' to='JULIET@Example.Net'>"
        "<body>hi</body><x xmlns='urn:x'><y/></x>\n</message>"
    )
    assert (stanza.kind, stanza.type, stanza.id, stanza.lang) == ("message", "chat", "m<1", "de")
    assert (str(stanza.sender), str(stanza.to)) == ("romeo@example.net/x", "juliet@example.net")
    assert stanza.payloads == ("jabber:client body", "urn:x x")
    assert stanza.has("urn:x", "x")
    assert not stanza.has("urn:x", "y")
    assert stanza.inner == b"<body>hi</body><x xmlns='urn:x'><y/></x>\n"
    assert stanza.extra == b""


@pytest.mark.parametrize(
    "written", ["<presence/>", "<presence />", "<presence></presence>", "<presence\n>\n</presence\t>"]
)
def test_presence_can_be_empty(written: str) -> None:
    stanza = read_stanza(written)
    assert stanza.kind == "presence"
    assert stanza.inner.strip() == b""
    assert stanza.payloads == ()


@pytest.mark.parametrize(("content", "version"), [(ns.CLIENT, "1.0"), (ns.SERVER, "1.0"), (ns.COMPONENT_ACCEPT, "")])
def test_reads_the_headers_that_the_server_writes(content: str, version: str) -> None:
    written = writer.header(sender="a.example", to="'<&", id="\t1", content=content)
    assert feed(written, content=content) == [Header("'<&", "a.example", "\t1", "en", version)]


def test_who_opens_a_stream_gives_it_no_id() -> None:
    """RFC 6120 §4.7.3."""
    assert writer.header(sender="a.example", to="b.example", id="", content=ns.SERVER) == (
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"
        b" xmlns:db='jabber:server:dialback' from='a.example' to='b.example' xml:lang='en' version='1.0'>"
    )


def test_a_server_stream_has_its_own_content_namespace() -> None:
    header = PLAIN.replace(ns.CLIENT, ns.SERVER)
    framer = Framer(LIMITS, ns.SERVER)
    _, stanza, nonza = framer.feed(f"{header}<presence/><presence xmlns='jabber:client'/>".encode())
    assert isinstance(stanza, Stanza)
    assert nonza == Nonza("jabber:client presence", {}, b"")


def test_other_elements_are_given_as_they_are() -> None:
    assert read("<a xmlns='urn:a' b='c'>text<d/></a>") == Nonza("urn:a a", {"b": "c"}, b"text<d/>")
    assert read("<message xmlns=''/>") == Nonza("message", {}, b"")


def test_an_address_that_is_none_is_told_apart() -> None:
    event = read("<message to='@example.net' from='romeo@example.net' id='1'><body/></message>")
    assert isinstance(event, Malformed)
    assert event.stanza.to is None
    assert str(event.stanza.sender) == "romeo@example.net"
    assert event.stanza.id == "1"
    assert event.reason.startswith("'to'")


def test_white_space_between_stanzas_is_nothing() -> None:
    framer = Framer(LIMITS)
    framer.feed(PLAIN.encode())
    for _ in range(30_000):
        assert framer.feed(b" \r\n\t") == []
    assert not framer.unfinished


def test_tells_whether_something_is_unfinished() -> None:
    framer = Framer(LIMITS)
    framer.feed(PLAIN.encode())
    assert not framer.unfinished
    for piece, unfinished in ((b"<", True), (b"message>", True), (b"</message>\n", False), (b"<a/><", True)):
        framer.feed(piece)
        assert framer.unfinished == unfinished


def test_a_restart_forgets_and_expects_a_header() -> None:
    framer = Framer(LIMITS)
    framer.feed(RICH.encode() + b"<auth/><mess")
    framer.restart()
    assert not framer.unfinished
    assert framer.feed(PLAIN.encode() + b"<presence/>")[0] == Header("", "", "", "", "")
    framer.restart()
    *_, error = framer.feed(b"<presence/>")
    assert fact(error) == BAD_FORMAT


def test_after_the_end_or_an_error_nothing_is_read() -> None:
    for last in ("</stream:stream>", "text<a/>"):
        framer = Framer(LIMITS)
        framer.feed(PLAIN.encode() + last.encode())
        assert framer.feed(b"<presence/>") == []
        framer.rest()
        framer.restart()
        assert framer.feed(PLAIN.encode()) == []


# --- Prefixes and attributes that are not the stanza's own


def test_a_prefix_of_the_header_is_declared_where_it_is_used() -> None:
    assert read_stanza("<message><x:y/></message>", RICH).extra == b" xmlns:x='urn:x'"
    assert read_stanza("<message><y x:a=''/></message>", RICH).extra == b" xmlns:x='urn:x'"
    assert read_stanza("<message><y/></message>", RICH).extra == b""


def test_a_prefix_of_one_stanza_is_not_the_next_ones() -> None:
    _, one, two = feed(PLAIN + "<message xmlns:y='urn:y'/><message/>")
    assert isinstance(one, Stanza)
    assert isinstance(two, Stanza)
    assert (one.extra, two.extra) == (b" xmlns:y='urn:y'", b"")


def test_a_prefix_that_the_stanza_declares_itself_is_left_alone() -> None:
    assert read_stanza("<message xmlns:x='urn:other'><x:y/></message>", RICH).raw == (
        b"<message xmlns:x='urn:other'><x:y/></message>"
    )
    within = read_stanza("<message><x:y xmlns:x='urn:other'/></message>", RICH)
    assert within.payloads == ("urn:other y",)
    assert within.inner == b"<x:y xmlns:x='urn:other'/>"


@pytest.mark.parametrize(
    ("written", "raw"),
    [
        ("<message a='1'/>", "<message a='1'/>"),
        ("<message xml:base='b'/>", "<message xml:base='b'/>"),
        ("<message xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:base='b'/>", None),
        ("<message x:a='1' x:b='2'/>", "<message xmlns:x='urn:x' x:a='1' x:b='2'/>"),
        ("<message x:to='1' to='a@b'/>", "<message to='a@b' xmlns:x='urn:x' x:to='1'/>"),
        ("<message xmlns:y='urn:&apos;&lt;' y:a=''/>", "<message xmlns:y='urn:&apos;&lt;' y:a=''/>"),
        ("<message xmlns:x='urn:z' x:a='1'/>", "<message xmlns:x='urn:z' x:a='1'/>"),
        ("<message xmlns:y='urn:>'><y:b/></message>", "<message xmlns:y='urn:&gt;'><y:b/></message>"),
        ("<message a='a&#10;b&#9;c&#13;d\te\r\nf'/>", "<message a='a&#10;b&#9;c&#13;d e f'/>"),
        (
            "<message a='&quot;&apos;&lt;&gt;&amp;' b=\"'>\"/>",
            "<message a='&quot;&apos;&lt;&gt;&amp;' b='&apos;&gt;'/>",
        ),
        ("<message xmlns='jabber:client'><b/></message>", "<message><b/></message>"),
        ("<message id='&amp;lt;a/&gt;'/>", "<message id='&amp;lt;a/&gt;'/>"),
    ],
)
def test_what_else_a_start_tag_carries_survives(written: str, raw: str | None) -> None:
    assert read_stanza(written, RICH).raw.decode() == (raw or written)


def test_a_long_namespace_is_not_written_out_for_each_attribute() -> None:
    attributes = "".join(f" y:a{n}=''" for n in range(12))
    stanza = read_stanza(f"<message xmlns:y='{'u' * 500}'{attributes}/>")
    assert len(stanza.raw) < 1000


# --- What RFC 6120 §11.1 and §4 forbid


@pytest.mark.parametrize(
    ("script", "condition"),
    [
        ("<!DOCTYPE stream>" + PLAIN, RESTRICTED_XML),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + PLAIN, RESTRICTED_XML),
        ("<!-- a -->" + PLAIN, RESTRICTED_XML),
        ("<?a b?>" + PLAIN, RESTRICTED_XML),
        (PLAIN + "<!-- a -->", RESTRICTED_XML),
        (PLAIN + "<?a b?>", RESTRICTED_XML),
        (PLAIN + "<message><a><!-- a --></a></message>", RESTRICTED_XML),
        (PLAIN + "<message><?a b?></message>", RESTRICTED_XML),
        (PLAIN + "<message>&nbsp;</message>", RESTRICTED_XML),
        (PLAIN + "<message a='&nbsp;'></message>", RESTRICTED_XML),
        (PLAIN + "<!DOCTYPE a>", NOT_WELL_FORMED),
        (PLAIN + "<message><!DOCTYPE a></message>", NOT_WELL_FORMED),
        (PLAIN + "<message><?xml version='1.0'?></message>", NOT_WELL_FORMED),
        (PLAIN + "<?xml version='1.0'?>", NOT_WELL_FORMED),
        (" <?xml version='1.0'?>" + PLAIN, NOT_WELL_FORMED),
        ("hello" + PLAIN, NOT_WELL_FORMED),
        (PLAIN + "<message><x:a/></message>", NOT_WELL_FORMED),
        (PLAIN + "<message x:a=''/>", NOT_WELL_FORMED),
        (PLAIN + "<message><a xmlns:x='urn:x'/><x:a/></message>", NOT_WELL_FORMED),
        (PLAIN + "<message xmlns:x=''/>", NOT_WELL_FORMED),
        (PLAIN + "<message xmlns:xmlns='urn:a'/>", NOT_WELL_FORMED),
        (PLAIN + "<message xmlns:xml='urn:a'/>", NOT_WELL_FORMED),
        (PLAIN + "<message xmlns:a='http://www.w3.org/XML/1998/namespace'/>", NOT_WELL_FORMED),
        (PLAIN + "<message xmlns:a='http://www.w3.org/2000/xmlns/'/>", NOT_WELL_FORMED),
        (PLAIN + "<message><a b='1' b='2'/></message>", NOT_WELL_FORMED),
        (PLAIN + "<message xmlns:a='u' xmlns:b='u' a:c='' b:c=''/>", NOT_WELL_FORMED),
        (PLAIN + "<message></iq>", NOT_WELL_FORMED),
        (PLAIN + "</stream>", NOT_WELL_FORMED),
        (PLAIN + "<message a=b/>", NOT_WELL_FORMED),
        (PLAIN + "<message a='<'/>", NOT_WELL_FORMED),
        (PLAIN + "<message>]]></message>", NOT_WELL_FORMED),
        (PLAIN + "<message>\0</message>", NOT_WELL_FORMED),
        (PLAIN + "<message>\x01</message>", NOT_WELL_FORMED),
        (PLAIN + "<message>&#1;</message>", NOT_WELL_FORMED),
        (PLAIN + "<message id='&#0;'/>", NOT_WELL_FORMED),
        (PLAIN + "<message id='&#xD800;'/>", NOT_WELL_FORMED),
        (PLAIN + "<message>&#xFFFE;</message>", NOT_WELL_FORMED),
        (PLAIN + "<message>\ufffe</message>", NOT_WELL_FORMED),
        (PLAIN + "<message>\uffff</message>", NOT_WELL_FORMED),
        (PLAIN.encode() + b"<message>\xed\xa0\x80\xed\xb0\x80</message>", NOT_WELL_FORMED),
        (PLAIN.encode() + b"<message>\xc0\xbc</message>", NOT_WELL_FORMED),
        (PLAIN.encode() + b"<message>\xff</message>", NOT_WELL_FORMED),
        (PLAIN.encode() + b"<message to='\xe9'/>", NOT_WELL_FORMED),
        (PLAIN.encode() + b"<\xe9/>", NOT_WELL_FORMED),
        (PLAIN + "\0", NOT_WELL_FORMED),
        (PLAIN + "text<presence/>", BAD_FORMAT),
        (PLAIN + "<presence/>text<presence/>", BAD_FORMAT),
        (PLAIN + "&amp;<presence/>", BAD_FORMAT),
        (PLAIN + "<![CDATA[ ]]><presence/>", BAD_FORMAT),
        (PLAIN + "\ufeff<presence/>", BAD_FORMAT),
        (PLAIN + "\u00a0<presence/>", BAD_FORMAT),
        (PLAIN + "text</stream:stream>", BAD_FORMAT),
        (PLAIN + "<![CDATA[a]]></stream:stream>", BAD_FORMAT),
        (PLAIN.replace("stream:stream", "stream:streams"), BAD_FORMAT),
        ("<presence/>", BAD_FORMAT),
        ("<stream:stream xmlns:stream='urn:a' xmlns='jabber:client'>", INVALID_NAMESPACE),
        ("<stream xmlns='jabber:client'>", INVALID_NAMESPACE),
        (PLAIN.replace("jabber:client", "jabber:server"), INVALID_NAMESPACE),
        (PLAIN.replace("xmlns='jabber:client'", ""), INVALID_NAMESPACE),
        ("<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>", BAD_NAMESPACE_PREFIX),
        ("<stream xmlns='http://etherx.jabber.org/streams'>", BAD_NAMESPACE_PREFIX),
        (PLAIN + "<c:message xmlns:c='jabber:client'/>", BAD_NAMESPACE_PREFIX),
        # The prefix is named like the stanza, and what is inside is in another namespace than it would seem later.
        (PLAIN + "<iq:iq xmlns:iq='jabber:client' xmlns='urn:a'><b/></iq:iq>", BAD_NAMESPACE_PREFIX),
        (PLAIN + "<iq-:iq xmlns:iq-='jabber:client'/>", BAD_NAMESPACE_PREFIX),
    ],
)
def test_refuses(script: str | bytes, condition: StreamCondition) -> None:
    assert refusal(script) == condition


@pytest.mark.parametrize("declared", ["ISO-8859-1", "UTF-16", "US-ASCII", "utf8"])
def test_refuses_a_declaration_of_another_encoding(declared: str) -> None:
    assert refusal(f"<?xml version='1.0' encoding='{declared}'?>" + PLAIN) == StreamCondition.UNSUPPORTED_ENCODING


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_refuses_what_is_written_in_another_encoding(encoding: str) -> None:
    """RFC 6120 §11.6; expat would read UTF-16 unasked."""
    assert refusal(PLAIN.encode(encoding)) == StreamCondition.UNSUPPORTED_ENCODING


def test_accepts_utf_8_by_name() -> None:
    assert len(feed("<?xml version='1.0' encoding='utf-8'?>" + PLAIN)) == 1


def test_other_elements_can_be_read_with_the_prefixes_around_them() -> None:
    header = PLAIN.replace(">", " xmlns:a='urn:a'>")
    [_, nonza] = feed(header + "<x xmlns='urn:x' xmlns:b='urn:b'><y/><a:y/><b:y/></x>")
    assert isinstance(nonza, Nonza)
    assert [(child.uri, child.name) for child in dom.children(nonza.content())] == [
        ("urn:x", "y"),
        ("urn:a", "y"),
        ("urn:b", "y"),
    ]
