"""SASLprep: one form for passwords that look alike, so that every keyboard makes the same key (RFC 4013)."""

from __future__ import annotations

import stringprep
import unicodedata

_MAXIMUM_CHARACTERS = 1024

# RFC 4013 §2.3, but for the spaces that have been mapped by then, and with the code points without a meaning, which
# a stored string must not have (RFC 4013 §2.5).
_PROHIBITED = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def prepare_password(password: str) -> str:
    """Return the password as SCRAM derives keys from it (RFC 5802 §2.2, RFC 4013).

    It is SASLprep and not its successor OpaqueString (RFC 8265), because clients prepare with SASLprep and both ends
    must make the same key. Printable ASCII stays as it is. Raises ValueError for a password that is empty, longer
    than 1024 characters or has characters that SASLprep forbids.
    """
    if len(password) > _MAXIMUM_CHARACTERS:
        raise ValueError(f"the password is longer than {_MAXIMUM_CHARACTERS} characters")
    prepared = _map(password)
    if not prepared:
        raise ValueError("the password is empty")
    if any(prohibits(character) for character in prepared for prohibits in _PROHIBITED):
        raise ValueError("the password has a character that SASLprep forbids")
    if not _reads_one_way(prepared):
        raise ValueError("the password mixes writing directions")
    return prepared


def _map(text: str) -> str:
    """RFC 4013 §2.1 and §2.2."""
    mapped = (
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    # RFC 3454 §4: stringprep is fixed to Unicode 3.2.
    return unicodedata.ucd_3_2_0.normalize("NFKC", "".join(mapped))


def _reads_one_way(text: str) -> bool:
    """RFC 3454 §6: right-to-left text begins and ends so, and has nothing left-to-right in it."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(map(stringprep.in_table_d2, text))
