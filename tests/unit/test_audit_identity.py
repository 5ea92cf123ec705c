"""Officers' keys: how they are written, and what is sealed to them."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vrxmpp.audit.identity import PUBLIC_PREFIX, SECRET_PREFIX, Identity, PublicKey
from vrxmpp.audit.seal import SealError

RAW = bytes(range(32))
JANE = Identity(RAW)
LOW_ORDER = [  # points with which everybody has the same secret
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    b"\xec" + b"\xff" * 30 + b"\x7f",
]


def written(prefix: str, raw: bytes) -> str:
    """Write a key as docs/audit-format.md says."""
    return prefix + b32encode(raw + hashlib.sha256(raw).digest()[:4]).decode().lower().rstrip("=")


def test_a_key_is_written_as_the_format_says() -> None:
    assert JANE.text == written("vrxmpp-identity-1", RAW)
    public = X25519PrivateKey.from_private_bytes(RAW).public_key().public_bytes_raw()
    assert JANE.public.text == written("vrxmpp-officer-1", public)
    assert JANE.public.raw == public


@pytest.mark.parametrize(
    "spelling",
    [
        str,
        str.upper,
        lambda text: text.replace("-", ""),
        lambda text: f"  {text}\n",
        lambda text: text[:20] + "-" + "-".join(text[20:][i : i + 4] for i in range(0, 60, 4)),
        lambda text: text[:40] + "\n   " + text[40:],
    ],
)
def test_dashes_spaces_and_case_do_not_matter(spelling: Callable[[str], str]) -> None:
    assert Identity.parse(spelling(JANE.text)).public == JANE.public
    assert PublicKey.parse(spelling(JANE.public.text)) == JANE.public


def test_every_wrong_letter_is_found() -> None:
    text = JANE.text
    for place in range(len(SECRET_PREFIX), len(text)):
        other = "a" if text[place] != "a" else "b"
        with pytest.raises(ValueError, match="mistyped"):
            Identity.parse(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "does not begin with"),
        ("age1" + "q" * 58, "does not begin with"),
        (JANE.public.text, "does not begin with vrxmpp-identity-1"),
        (SECRET_PREFIX, "mistyped or incomplete"),
        (JANE.text[:-1], "letters missing|mistyped"),
        (JANE.text + "a", "letters missing|mistyped"),
        (JANE.text + "=", "letters missing|mistyped"),
        (JANE.text[:-1] + "1", "some that none has"),
        (JANE.text[:-1] + "é", "some that none has"),
        (written(SECRET_PREFIX, RAW[:-1]), "mistyped or incomplete"),
        (written(SECRET_PREFIX, RAW + b"\0"), "mistyped or incomplete"),
    ],
)
def test_what_is_no_identity_is_refused_without_repeating_it(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match) as raised:
        Identity.parse(text)
    assert len(str(raised.value).splitlines()) == 1
    assert JANE.text[20:40] not in str(raised.value)
    assert JANE.text[20:40] not in repr(JANE)


def test_an_identity_is_not_taken_for_a_public_key() -> None:
    with pytest.raises(ValueError, match="this is an identity, which is secret") as raised:
        PublicKey.parse(JANE.text.upper())
    assert JANE.text[20:40] not in str(raised.value).lower()


@pytest.mark.parametrize("raw", LOW_ORDER)
def test_a_public_key_to_which_nothing_can_be_sealed_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, its words are the library's
        PublicKey.parse(written(PUBLIC_PREFIX, raw))


def test_what_is_sealed_is_opened_by_the_identity_alone() -> None:
    secret = b"the key of a day"
    sealed = JANE.public.seal(secret)
    assert secret not in sealed
    assert JANE.public.seal(secret) != sealed
    assert JANE.open(sealed) == secret
    with pytest.raises(SealError):
        Identity.generate().open(sealed)


def test_the_seal_is_what_the_format_says() -> None:
    sealed = JANE.public.seal(b"W" * 32)
    ephemeral, ciphertext = sealed[:32], sealed[32:]
    shared = X25519PrivateKey.from_private_bytes(RAW).exchange(X25519PublicKey.from_public_bytes(ephemeral))
    key = HKDF(SHA256(), 32, salt=ephemeral + JANE.public.raw, info=b"vrxmpp officer").derive(shared)
    assert ChaCha20Poly1305(key).decrypt(bytes(12), ciphertext, None) == b"W" * 32


def test_no_changed_bit_is_opened() -> None:
    sealed = JANE.public.seal(b"secret")
    for place in range(len(sealed)):
        with pytest.raises(SealError):
            JANE.open(sealed[:place] + bytes((sealed[place] ^ 4,)) + sealed[place + 1 :])


@pytest.mark.parametrize("sealed", [b"", b"\x01" * 31, *(raw + bytes(48) for raw in LOW_ORDER), RAW])
def test_what_was_never_sealed_is_refused(sealed: bytes) -> None:
    with pytest.raises(SealError):
        JANE.open(sealed)
