"""Passwords in one form: the examples of RFC 4013 §3, and scramp as an oracle."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scramp import ScramException
from scramp.utils import saslprep

from vrxmpp.negotiation.saslprep import prepare_password


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", "IX"),  # soft hyphen mapped to nothing
        ("user", "user"),  # no change
        ("USER", "USER"),  # case is kept
        ("\u00aa", "a"),  # feminine ordinal, by NFKC
        ("\u2168", "IX"),  # Roman numeral, by NFKC
        ("a\u00a0b", "a b"),  # no-break space
        ("caf\u0065\u0301", "caf\u00e9"),  # composed
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),  # right-to-left with a digit inside
        (" spaces are kept ", " spaces are kept "),
    ],
)
def test_prepares_as_the_rfc_says(password: str, prepared: str) -> None:
    assert prepare_password(password) == prepared


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "empty"),
        ("\u00ad", "empty"),
        ("\u0007", "forbids"),  # control character
        ("a\x00b", "forbids"),
        ("\u0085", "forbids"),  # control character beyond ASCII
        ("\ue000", "forbids"),  # private use
        ("\ufffe", "forbids"),  # not a character
        ("\ufffd", "forbids"),  # not plain text
        ("\u2ff0", "forbids"),  # not canonical
        ("\u200e", "forbids"),  # changes the display
        ("\U000e0041", "forbids"),  # tagging
        ("\U0001f511", "forbids"),  # not assigned in Unicode 3.2
        ("pass\udcff", "forbids"),  # what a terminal with another encoding gives us
        ("\u0627\u0031", "directions"),
        ("\u0627a\u0628", "directions"),
        ("x" * 1025, "longer"),
    ],
)
def test_refuses_what_the_rfc_forbids(password: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        prepare_password(password)


def test_takes_a_password_of_the_greatest_length() -> None:
    assert prepare_password("x" * 1024) == "x" * 1024


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_printable_ascii_stays_as_it_is(password: str) -> None:
    assert prepare_password(password) == password


@given(st.text(alphabet=st.characters(exclude_categories=())))
@example("\u0627\u0031\u0628")
@example("\u0340")
def test_agrees_with_another_implementation(password: str) -> None:
    try:
        expected = saslprep(password)
    except ScramException:
        expected = ""
    if expected:
        assert prepare_password(password) == expected
    else:
        with pytest.raises(ValueError, match="password"):
            prepare_password(password)


@given(st.text(min_size=1))
def test_a_prepared_password_prepares_to_itself(password: str) -> None:
    try:
        prepared = prepare_password(password)
    except ValueError:
        return
    assert prepare_password(prepared) == prepared
