"""Addresses: preparation and refusal (RFC 7622)."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import idna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from precis_i18n import get_profile

from vrxmpp import jid
from vrxmpp.jid import InvalidJid, Jid, prepare_domain, prepare_local, prepare_resource

# RFC 7622 §3.5, table 1, and what each is made of.
RFC_VALID = [
    ("juliet@example.com", "juliet", "example.com", ""),
    ("juliet@example.com/foo", "juliet", "example.com", "foo"),
    ("juliet@example.com/foo bar", "juliet", "example.com", "foo bar"),
    ("juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"),
    ("foo\\20bar@example.com", "foo\\20bar", "example.com", ""),
    ("fussball@example.com", "fussball", "example.com", ""),
    ("fu\u00dfball@example.com", "fu\u00dfball", "example.com", ""),
    ("\u03c0@example.com", "\u03c0", "example.com", ""),
    ("\u03a3@example.com/foo", "\u03c3", "example.com", "foo"),
    ("\u03c3@example.com/foo", "\u03c3", "example.com", "foo"),
    ("\u03c2@example.com/foo", "\u03c2", "example.com", "foo"),
    ("king@example.com/\u265a", "king", "example.com", "\u265a"),
    ("example.com", "", "example.com", ""),
    ("example.com/foobar", "", "example.com", "foobar"),
    ("a.example.com/b@example.net", "", "a.example.com", "b@example.net"),
    # Listed as invalid in table 2; erratum 4560 took that back.
    ("juliet@example.com/ foo", "juliet", "example.com", " foo"),
]

# RFC 7622 §3.5, table 2.
RFC_INVALID = [
    '"juliet"@example.com',
    "foo bar@example.com",
    "@example.com/",
    "henry\u2163@example.com",
    "\u265a@example.com",
    "juliet@",
    "/foobar",
]

CANONICAL = [
    ("Juliet@Example.COM/Balcony", "juliet@example.com/Balcony"),
    ("juliet@example.com./balcony", "juliet@example.com/balcony"),
    ("juliet@xn--fuball-cta.example", "juliet@fu\u00dfball.example"),
    ("juliet@XN--FUBALL-CTA.example", "juliet@fu\u00dfball.example"),
    ("juliet@B\u00dcCHER.example", "juliet@b\u00fccher.example"),
    ("juliet@bu\u0308cher.example", "juliet@b\u00fccher.example"),
    ("juliet@\uff25xample\uff0ecom", "juliet@example.com"),
    ("juliet@\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "juliet@\u4f8b\u3048.\u30c6\u30b9\u30c8"),
    ("\uff2auliet@example.com", "juliet@example.com"),
    ("rene\u0301@example.com", "ren\u00e9@example.com"),
    ("example.com/rene\u0301", "example.com/ren\u00e9"),
    ("example.com/a\u3000b\u00a0c", "example.com/a b c"),
    ("192.0.2.1/x", "192.0.2.1/x"),
    ("juliet@[2001:DB8:0:0::1]/x", "juliet@[2001:db8::1]/x"),
    ("example.com/a/b//c@d", "example.com/a/b//c@d"),
]

INVALID = [
    "",
    "@",
    "/",
    ".",
    "juliet@/balcony",
    "juliet@example.com/",
    "juliet@romeo@example.com",
    "juliet@example..com",
    "juliet@.example.com",
    "juliet@example.com..",
    "juliet@-example.com",
    "juliet@example-.com",
    "juliet@ex_ample.com",
    "juliet@exa mple.com",
    "juliet@ab--cd.com",
    "juliet@xn--.com",
    "juliet@xn--\u00fc.com",
    "juliet@xn--a.com",
    "juliet@\u2665.example",
    "juliet@\u0301a.example",
    "juliet@a\u05d0.example",
    "juliet@example.com:5222",
    "juliet@[2001:db8::1",
    "juliet@[fe80::1%eth0]",
    "juliet@[192.0.2.1]",
    "juliet@2001:db8::1",
    *(f"a{character}b@example.com" for character in "\"&':<> \t\n\x00\x7f"),
    "a\uff20b@example.com",
    "a\uff0fb@example.com",
    "juliet@example.com\uff0fx",
    "juliet@example.com/a\nb",
    "juliet@example.com/a\x00",
    "juliet@example.com/a\u200b",
    "\ud800@example.com",
    "juliet@\ud800",
    "juliet@example.com/\ud800",
]


@pytest.mark.parametrize(("text", "local", "domain", "resource"), RFC_VALID)
def test_accepts_the_examples_of_the_standard(text: str, local: str, domain: str, resource: str) -> None:
    address = Jid.parse(text)
    assert (address.local, address.domain, address.resource) == (local, domain, resource)


@pytest.mark.parametrize("text", RFC_INVALID + INVALID)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidJid):
        Jid.parse(text)


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_has_one_canonical_text(text: str, canonical: str) -> None:
    address = Jid.parse(text)
    assert address.text == str(address) == canonical
    assert address == Jid.parse(canonical)
    assert hash(address) == hash(Jid.parse(canonical))


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\uac00"])
def test_each_part_holds_1023_octets_and_no_more(letter: str) -> None:
    longest = letter * (1023 // len(letter.encode()))
    assert Jid.parse(f"{longest}@example.com/{longest}").resource == longest
    for text in (f"{longest}{letter}@example.com", f"example.com/{longest}{letter}"):
        with pytest.raises(InvalidJid, match="too long"):
            Jid.parse(text)


def test_a_domain_holds_1023_octets_and_a_label_63() -> None:
    label = "a" * 63
    longest = ".".join([label] * 16)
    assert len(longest) == 1023
    assert prepare_domain(longest) == longest
    assert prepare_domain(longest.replace("a", "A") + ".") == longest
    # Sixty octets as a U-label, and too many as an A-label.
    for domain in (f"{longest}.a", f"{longest}.a".replace("a", "\u00e9", 1), f"{label}a.example", "\u00e9" * 60):
        with pytest.raises(InvalidJid):
            prepare_domain(domain)


def test_bare_is_the_address_without_its_resource() -> None:
    full = Jid.parse("romeo@example.net/balcony")
    assert full.bare == Jid.parse("romeo@example.net")
    assert full.bare.resource == ""
    assert full.bare.bare is full.bare
    assert full != full.bare
    assert Jid.parse("example.net/x").bare.text == "example.net"


def test_takes_another_resource() -> None:
    full = Jid.parse("romeo@example.net/balcony")
    assert full.with_resource("rene\u0301") == Jid.parse("romeo@example.net/ren\u00e9")
    assert full.with_resource("orchard").bare == full.bare
    for resource in ("", "a\nb", "a" * 1024):
        with pytest.raises(InvalidJid):
            full.with_resource(resource)


def test_is_immutable_and_shown_plainly() -> None:
    address = Jid.parse("romeo@example.net")
    with pytest.raises(FrozenInstanceError):
        address.local = "tybalt"  # type: ignore[misc]
    assert repr(address) == "Jid('romeo@example.net')"
    assert address != "romeo@example.net"


def test_says_why_and_quotes_little() -> None:
    with pytest.raises(InvalidJid) as refusal:
        Jid.parse("y" * 500 + "\u265a@example.com")
    assert "localpart" in str(refusal.value)
    assert "y" * 61 not in str(refusal.value)


def test_keeps_short_texts_only() -> None:
    assert Jid.parse("hamlet@example.net/a") is Jid.parse("hamlet@example.net/a")
    long = "hamlet@example.net/" + "a" * 200
    assert Jid.parse(long) is not Jid.parse(long)
    assert jid._parse_cached.cache_info().maxsize == 20_000


ascii_text = st.text(st.characters(max_codepoint=0x7F), max_size=20)
# Mostly what preparation lets through, with what it maps or composes.
words = st.text(
    st.one_of(
        st.characters(categories=["Ll", "Lu", "Lo", "Nd", "Mn"]),
        st.sampled_from("aAzZ09.-\u00df\u0130\u03a3\u03c2\u0301\u0308\uff21\uff76\uff9e\u05d0\u200d\u094d"),
    ),
    min_size=1,
    max_size=12,
)


def outcome(prepare: object, value: str) -> str | None:
    """What the function makes of the value; nothing if it refuses."""
    try:
        return prepare(value)  # type: ignore[operator, no-any-return]
    except ValueError:
        return None


@settings(deadline=None)
@given(ascii_text)
def test_quick_answers_are_those_of_precis(value: str) -> None:
    local = outcome(get_profile("UsernameCaseMapped").enforce, value)
    assert outcome(prepare_local, value) == (None if local and set(local) & set("\"&'/:<>@") else local)
    assert outcome(prepare_resource, value) == outcome(get_profile("OpaqueString").enforce, value)


@settings(deadline=None, max_examples=400)
@given(st.text("aZ09.-", max_size=12) | st.from_regex(r"[a-z]{1,3}(-{0,2}[a-z0-9.]{1,60}){1,3}", fullmatch=True))
def test_quick_answers_are_those_of_idna(domain: str) -> None:
    assert outcome(prepare_domain, domain) == outcome(
        lambda value: idna.decode(idna.encode(value, uts46=True, std3_rules=True)).removesuffix("."), domain
    )


@settings(deadline=None)
@given(words)
def test_preparing_again_changes_nothing(value: str) -> None:
    for prepare in (prepare_local, prepare_domain, prepare_resource):
        once = outcome(prepare, value)
        assert once is None or prepare(once) == once
    try:
        address = Jid.parse(f"{value}@{value}/{value}")
    except InvalidJid:
        return
    again = Jid.parse(address.text)
    assert again == address
    assert (again.local, again.domain, again.resource) == (address.local, address.domain, address.resource)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=[]), max_size=40))
def test_answers_anything_with_an_address_or_a_refusal(text: str) -> None:
    for candidate in (text, f"{text}@example.com", f"a@{text}", f"example.com/{text}", f"a@[{text}]", f"xn--{text}"):
        outcome(Jid.parse, candidate)
