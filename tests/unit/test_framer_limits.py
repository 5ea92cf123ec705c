"""The framer's limits (RFC 6120 §13.12): each holds in what is complete and in what is not. And its parsers' lives."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from tests.framing import LIMITS, PLAIN, RICH, fact, feed, read, refusal
from vrxmpp.errors import StreamCondition
from vrxmpp.stanza import Stanza
from vrxmpp.wire.events import End, Header
from vrxmpp.wire.framer import Framer, FramerLimits

POLICY_VIOLATION = StreamCondition.POLICY_VIOLATION


def stanza_of(size: int, written: str) -> str:
    return written.replace("*", "a" * (size - len(written) + 1))


@pytest.mark.parametrize(
    "written",
    [
        "<message><b>*</b></message>",
        "<message><*/></message>",
        "<message><b c='*'/></message>",
        "<message><![CDATA[*]]></message>",
    ],
)
def test_limits_the_bytes(written: str) -> None:
    limits = replace(LIMITS, stanza_bytes=12_000)
    fitting = stanza_of(12_000, written)
    assert isinstance(read(fitting, limits=limits), Stanza)
    assert refusal(PLAIN + stanza_of(12_001, written), limits=limits) == POLICY_VIOLATION
    assert feed(PLAIN + fitting[:-1], limits=limits) == feed(PLAIN)
    unfinished = stanza_of(14_000, written)[:12_001]
    assert refusal(PLAIN + unfinished, limits=limits) == POLICY_VIOLATION


@pytest.mark.parametrize(
    "written", ["<message a='*'/>", "<message *=''/>", "<message xmlns:a='*'/>", "<a b='*'/>", "<*/>"]
)
def test_limits_the_start_tag_of_a_stanza(written: str) -> None:
    assert refusal(PLAIN + stanza_of(10_001, written)) == POLICY_VIOLATION
    assert refusal(PLAIN + stanza_of(20_000, written)[:10_001]) == POLICY_VIOLATION


@pytest.mark.parametrize("written", ["<!--*", "<?a *", "<![CDATA[*"])
def test_limits_what_is_between_stanzas(written: str) -> None:
    assert refusal(PLAIN + stanza_of(10_001, written)) == POLICY_VIOLATION


def test_limits_the_header() -> None:
    fitting = PLAIN[:-1] + " a='" + "b" * (10_000 - len(PLAIN) - 5) + "'>"
    assert isinstance(feed(fitting)[0], Header)
    assert refusal(fitting.replace("b'>", "bb'>")) == POLICY_VIOLATION
    assert refusal(PLAIN[:-1] + " " * 10_000) == POLICY_VIOLATION
    assert refusal("\n" * 10_001) == POLICY_VIOLATION
    assert refusal("<!DOCTYPE " + "a" * 10_000) == POLICY_VIOLATION


def nested(depth: int) -> str:
    """The stanza is at depth 1."""
    return "<message>" + "<a>" * (depth - 1) + "</a>" * (depth - 1) + "</message>"


def test_limits_the_depth() -> None:
    assert isinstance(read(nested(9)), Stanza)
    assert refusal(PLAIN + nested(10)) == POLICY_VIOLATION


def test_limits_the_elements_of_one_stanza() -> None:
    assert len(feed(PLAIN + f"<message>{'<a/>' * 99}</message>" * 3)) == 4
    assert refusal(PLAIN + f"<message>{'<a/>' * 100}</message>") == POLICY_VIOLATION


def test_limits_the_attributes_of_one_element() -> None:
    def attributes(count: int) -> str:
        return "".join(f" a{n}=''" for n in range(count))

    assert isinstance(read(f"<message><a{attributes(20)}/></message>"), Stanza)
    assert refusal(PLAIN + f"<message><a{attributes(21)}/></message>") == POLICY_VIOLATION
    # With the five of its own a stanza must not exceed the limit when it leaves.
    assert isinstance(read(f"<message{attributes(15)}/>"), Stanza)
    assert refusal(PLAIN + f"<message{attributes(16)}/>") == POLICY_VIOLATION


def test_limits_the_namespaces_of_one_element() -> None:
    def declarations(count: int) -> str:
        return "".join(f" xmlns:p{n}='urn:{n}'" for n in range(count))

    assert isinstance(read(f"<message{declarations(10)}><a{declarations(10)}/></message>"), Stanza)
    assert refusal(PLAIN + f"<message{declarations(11)}/>") == POLICY_VIOLATION
    assert refusal(PLAIN + f"<message><a{declarations(11)}/></message>") == POLICY_VIOLATION
    assert refusal(PLAIN[:-1] + declarations(9) + ">") == POLICY_VIOLATION
    # With those of the header that it uses, a stanza must not exceed the limit when it leaves.
    assert refusal(RICH + f"<message{declarations(10)}><x:a/></message>") == POLICY_VIOLATION


def test_limits_the_length_of_a_namespace() -> None:
    """Else a stanza of 100 kB makes 300 MB of names."""
    assert isinstance(read(f"<message><a xmlns='{'u' * 512}'/></message>"), Stanza)
    assert refusal(PLAIN + f"<message><a xmlns='{'u' * 513}'/></message>") == POLICY_VIOLATION
    assert refusal(PLAIN + f"<message xmlns:a='{'u' * 513}'/>") == POLICY_VIOLATION


def test_limits_the_work_on_a_tag_that_trickles_in() -> None:
    limits = replace(LIMITS, stanza_bytes=1_000_000)
    framer = Framer(limits)
    framer.feed(PLAIN.encode() + b"<message><a b='")
    pieces = 0
    while framer.feed(b"c" * 100) == []:
        pieces += 1
    assert 500 < pieces < 2000
    text = PLAIN + "<message>" + "c" * 20_000
    assert len(feed(text, *range(len(text)), limits=limits)) == 1


def test_reads_deep_nesting_without_recursion() -> None:
    deep = FramerLimits(stanza_bytes=100_000, depth=10_000, elements=10_000)
    assert isinstance(read(nested(5_001), limits=deep), Stanza)


# --- Parsers are replaced; nobody must notice


MESSAGE = "<message id='{}' to='a@b'><x:y z='{}'>text \u00e9</x:y>" + " " * 80 + "</message>"


@pytest.mark.parametrize("piece", [997, 65_536])
def test_goes_on_after_the_parser_was_replaced(piece: int) -> None:
    """Many times in two megabytes, mostly in the middle of a stanza: prefixes, bytes and counts stay right."""
    stanzas = 13_000
    script = RICH + "".join(MESSAGE.format(n, n) for n in range(stanzas)) + "</stream:stream>"
    events = feed(script, *range(0, len(script), piece))
    assert isinstance(events[-1], End)
    assert len(events) == stanzas + 2
    for number, event in enumerate(events[1:-1]):
        assert isinstance(event, Stanza)
        assert (event.id, event.extra) == (str(number), b" xmlns:x='urn:x'")
        assert event.inner.startswith(f"<x:y z='{number}'>text ".encode())
        assert event.payloads == ("urn:x y",)


def test_goes_on_after_a_rest() -> None:
    framer = Framer(LIMITS)
    framer.feed(RICH.encode())
    for _ in range(3):
        framer.rest()
        assert framer.feed(b"<message><x:") == []
        framer.rest()
        (stanza,) = framer.feed(b"y/></message>")
        assert fact(stanza) == (b"<message xmlns:x='urn:x'><x:y/></message>", ("urn:x y",))
    framer.rest()
    assert framer.feed(b"</stream:stream>") == [End()]


def test_forgets_names() -> None:
    """A peer that invents names, and always stops inside a stanza, does not fill the memory."""
    framer = Framer(replace(LIMITS, stanza_bytes=250_000, elements=10_000))
    framer.feed(PLAIN.encode() + b"<message>")
    held = []
    tracemalloc.start()
    for stanza in range(8):
        names = b"".join(b"<n%dx%d/>" % (stanza, number) for number in range(9_000))
        assert len(framer.feed(names + b"</message><message>")) == 1
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(held) < 3_000_000
