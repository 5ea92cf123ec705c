"""Server dialback: keys, what is read and written, and that only what was asked is answered (XEP-0220, XEP-0185)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framing import LIMITS
from vrxmpp import ns
from vrxmpp.errors import Condition, StreamCondition, StreamError
from vrxmpp.jid import Jid
from vrxmpp.negotiation.dialback import FEATURE, Answer, Keys, Outcome, Outstanding, Result, Verify, read, write
from vrxmpp.wire import writer
from vrxmpp.wire.events import Nonza
from vrxmpp.wire.framer import Framer

HEADER = writer.header(sender="capulet.example", to="montague.example", id="", content=ns.SERVER)
CAPULET = Keys(b"s3cr3tf0rd14lb4ck")
MONTAGUE = Keys(b"d14lb4ck43v3r")
KEY = "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3"
PAIR = "from='capulet.example' to='montague.example'"
RESULT = Result("capulet.example", "montague.example", KEY)
VERIFY = Verify("capulet.example", "montague.example", "D60000229F", KEY)


def parse(element: str | bytes) -> Result | Verify | Answer:
    data = element if isinstance(element, bytes) else element.encode()
    _, nonza = Framer(LIMITS, ns.SERVER).feed(HEADER + data)
    assert isinstance(nonza, Nonza), nonza
    return read(nonza)


def refusal(element: str) -> StreamCondition:
    with pytest.raises(StreamError) as caught:
        parse(element)
    return caught.value.condition


# --- Keys


def test_makes_the_keys_that_are_published() -> None:
    """XEP-0185 §3, XEP-0220 §2.1.1 and §2.2.2."""
    assert CAPULET.make("xmpp.example.com", "example.org", "D60000229F") == (
        "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"
    )
    assert CAPULET.make("montague.example", "capulet.example", "D60000229F") == KEY
    assert MONTAGUE.make("capulet.example", "montague.example", "417GAF25") == (
        "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d"
    )


def test_a_key_is_good_for_its_domains_and_its_stream_only() -> None:
    assert CAPULET.is_valid(KEY, "montague.example", "capulet.example", "D60000229F")
    assert not MONTAGUE.is_valid(KEY, "montague.example", "capulet.example", "D60000229F")
    assert not CAPULET.is_valid(KEY, "capulet.example", "montague.example", "D60000229F")
    assert not CAPULET.is_valid(KEY, "evil.example", "capulet.example", "D60000229F")
    assert not CAPULET.is_valid(KEY, "montague.example", "rooms.capulet.example", "D60000229F")
    assert not CAPULET.is_valid(KEY, "montague.example", "capulet.example", "D60000229G")
    assert not CAPULET.is_valid(KEY, "montague.example", "capulet.example", "")


@pytest.mark.parametrize("key", ["", KEY.upper(), KEY[:-1], KEY + "0", f" {KEY}", "\u00e9\U0001f600", "\0"])
def test_a_key_that_was_never_made_is_not_valid(key: str) -> None:
    assert not CAPULET.is_valid(key, "montague.example", "capulet.example", "D60000229F")


@given(st.text("ab .", max_size=6), st.text("ab .", max_size=6))
def test_a_stream_id_cannot_stand_for_a_domain(one: str, other: str) -> None:
    """Domains hold no space, so that what is hashed can be taken apart in one way only."""
    assert (CAPULET.make("a", "b", one) == CAPULET.make("a", "b", other)) == (one == other)
    assert CAPULET.make("a", "b", f"c {one}") != CAPULET.make("a", "b.c", one)


# --- Reading and writing


@pytest.mark.parametrize(
    ("element", "written"),
    [
        (RESULT, f"<db:result {PAIR}>{KEY}</db:result>"),
        (
            VERIFY,
            f"<db:verify from='montague.example' to='capulet.example' id='D60000229F'>{KEY}</db:verify>",
        ),
        (
            RESULT.answer(Outcome.VALID),
            "<db:result from='montague.example' to='capulet.example' type='valid'></db:result>",
        ),
        (
            VERIFY.answer(Outcome.INVALID),
            f"<db:verify {PAIR} id='D60000229F' type='invalid'></db:verify>",
        ),
        (
            RESULT.answer(Outcome.ERROR, Condition.ITEM_NOT_FOUND),
            "<db:result from='montague.example' to='capulet.example' type='error'><error type='cancel'>"
            "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
        ),
        (
            VERIFY.answer(Outcome.ERROR, Condition.POLICY_VIOLATION),
            f"<db:verify {PAIR} id='D60000229F' type='error'><error type='modify'>"
            "<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:verify>",
        ),
    ],
)
def test_reads_what_it_writes(element: Result | Verify | Answer, written: str) -> None:
    assert write(element) == written.encode()
    assert parse(written) == element


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=256))
def test_any_key_and_stream_id_survives(value: str) -> None:
    """Other servers make them as they like."""
    odd = Verify("a.example", "b.example", f"'{value[:255]}", f"<{value[:255]}".strip())
    assert parse(write(odd)) == odd


@pytest.mark.parametrize(
    "written",
    [
        f"<db:result {PAIR}>\n  {KEY}\n</db:result>",
        f"<db:result {PAIR}>&#98;<![CDATA[{KEY[1:]}]]></db:result>",
        f"<x:result xmlns:x='jabber:server:dialback' {PAIR}>{KEY}</x:result>",
        f"<result xmlns='jabber:server:dialback' {PAIR} id='ignored'>{KEY}</result>",
        f"<db:result from='CAPULET.example.' to='Montague.Example'>{KEY}</db:result>",
    ],
)
def test_reads_the_ways_of_others(written: str) -> None:
    assert parse(written) == RESULT


def test_domains_are_prepared_on_both_sides() -> None:
    """An A-label is the U-label that we write and sign."""
    domain = "b\u00fccher.example"
    result = parse(f"<db:result from='xn--bcher-kva.example' to='montague.example'>{KEY}</db:result>")
    assert result == Result(domain, "montague.example", KEY)
    assert domain.encode() in write(result)
    verify = parse("<db:verify from='a.example' to='B\u00dcCHER.example' id='1'>key</db:verify>")
    assert isinstance(verify, Verify)
    key = CAPULET.make("a.example", Jid.parse("xn--bcher-kva.example").domain, "1")
    assert CAPULET.is_valid(key, verify.receiving, verify.originating, verify.id)


@pytest.mark.parametrize(
    ("content", "condition"),
    [
        ("<error type='cancel'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", Condition.FORBIDDEN),
        (
            "<error xmlns='jabber:client'>\n<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>why</text>"
            "<e:remote-server-timeout xmlns:e='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
            Condition.REMOTE_SERVER_TIMEOUT,
        ),
        ("<error><forbidden/></error>", Condition.UNDEFINED_CONDITION),
        ("<error><odd xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", Condition.UNDEFINED_CONDITION),
        ("<oops><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></oops>", Condition.UNDEFINED_CONDITION),
        ("<db:error/>", Condition.UNDEFINED_CONDITION),
        ("", Condition.UNDEFINED_CONDITION),
    ],
)
def test_reads_an_error_with_or_without_its_condition(content: str, condition: Condition) -> None:
    answer = Answer("result", "capulet.example", "montague.example", "", Outcome.ERROR, condition)
    assert parse(f"<db:result {PAIR} type='error'>{content}</db:result>") == answer


@pytest.mark.parametrize("kind", ["result", "verify"])
@pytest.mark.parametrize("type", ["", "type='valid'"])
@pytest.mark.parametrize(
    "addresses",
    [
        "",
        "to='a.example'",
        "from='a.example'",
        "from='' to='a.example'",
        "from='romeo@b.example' to='a.example'",
        "from='b.example' to='a.example/orchard'",
        "from='b..example' to='a.example'",
        "from='b.example' to='a b'",
    ],
)
def test_refuses_what_is_no_pair_of_domains(kind: str, type: str, addresses: str) -> None:
    assert refusal(f"<db:{kind} {addresses} {type} id='1'>key</db:{kind}>") == StreamCondition.IMPROPER_ADDRESSING


@pytest.mark.parametrize(
    ("element", "condition"),
    [
        (f"<db:result {PAIR} type='VALID'/>", StreamCondition.BAD_FORMAT),
        (f"<db:result {PAIR} type=''>{KEY}</db:result>", StreamCondition.BAD_FORMAT),
        (f"<db:result {PAIR}/>", StreamCondition.BAD_FORMAT),
        (f"<db:result {PAIR}> \n </db:result>", StreamCondition.BAD_FORMAT),
        (f"<db:result {PAIR}>{KEY}<a/></db:result>", StreamCondition.BAD_FORMAT),
        (f"<db:result {PAIR}><db:a>{KEY}</db:a></db:result>", StreamCondition.BAD_FORMAT),
        (f"<db:verify {PAIR}>{KEY}</db:verify>", StreamCondition.BAD_FORMAT),
        (f"<db:verify {PAIR} id=''>{KEY}</db:verify>", StreamCondition.BAD_FORMAT),
        (f"<db:verify {PAIR} type='valid'/>", StreamCondition.BAD_FORMAT),
        (f"<db:verify {PAIR} id='1'/>", StreamCondition.BAD_FORMAT),
        (f"<db:result {PAIR}>{'k' * 257}</db:result>", StreamCondition.POLICY_VIOLATION),
        (f"<db:verify {PAIR} id='{'i' * 257}'>{KEY}</db:verify>", StreamCondition.POLICY_VIOLATION),
        (f"<db:verify {PAIR} id='{'i' * 257}' type='valid'/>", StreamCondition.POLICY_VIOLATION),
        (f"<db:other {PAIR}/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
    ],
)
def test_refuses(element: str, condition: StreamCondition) -> None:
    assert refusal(element) == condition


def test_the_feature_promises_errors() -> None:
    assert FEATURE == b"<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"


def test_no_key_is_shown() -> None:
    assert KEY not in f"{RESULT} {VERIFY}"


# --- Only what was asked is answered


def test_an_answer_counts_once() -> None:
    outstanding = Outstanding()
    assert outstanding.add(RESULT)
    assert outstanding.add(VERIFY)
    assert outstanding.take(VERIFY.answer(Outcome.INVALID)) is VERIFY
    assert outstanding.take(VERIFY.answer(Outcome.VALID)) is None
    assert outstanding.take(RESULT.answer(Outcome.ERROR, Condition.FORBIDDEN)) is RESULT
    assert outstanding.take(RESULT.answer(Outcome.VALID)) is None


def test_an_answer_to_something_else_does_not_count() -> None:
    """XEP-0220 §3.1."""
    outstanding = Outstanding()
    outstanding.add(VERIFY)
    for other in (
        Verify("evil.example", "montague.example", VERIFY.id, KEY),
        Verify("capulet.example", "evil.example", VERIFY.id, KEY),
        Verify("montague.example", "capulet.example", VERIFY.id, KEY),
        Verify("capulet.example", "montague.example", "417GAF25", KEY),
        Result("capulet.example", "montague.example", KEY),
        Result("montague.example", "capulet.example", KEY),
    ):
        assert outstanding.take(other.answer(Outcome.VALID)) is None
    assert outstanding.take(VERIFY.answer(Outcome.VALID)) is VERIFY


def test_the_same_is_not_asked_twice_at_a_time() -> None:
    """With two keys under way nobody could tell which of them an answer is for."""
    outstanding = Outstanding()
    assert outstanding.add(VERIFY)
    assert not outstanding.add(Verify(VERIFY.originating, VERIFY.receiving, VERIFY.id, "another key"))
    assert outstanding.take(VERIFY.answer(Outcome.INVALID)) is VERIFY
    assert outstanding.add(VERIFY)


def test_little_can_be_outstanding() -> None:
    outstanding = Outstanding()
    requests = [Verify("a.example", "b.example", str(number), "key") for number in range(9)]
    assert [outstanding.add(request) for request in requests] == [True] * 8 + [False]
    assert outstanding.take(requests[8].answer(Outcome.VALID)) is None
    assert outstanding.take(requests[3].answer(Outcome.VALID)) is requests[3]
    assert outstanding.add(requests[8])
