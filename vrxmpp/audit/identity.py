"""The keys of the officers who read the archive, and what is sealed to them (X25519, RFC 7748, as age does it)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32decode, b32encode
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vrxmpp.audit.seal import SealError

PUBLIC_PREFIX = "vrxmpp-officer-1"
SECRET_PREFIX = "vrxmpp-identity-1"

_KEY_BYTES = 32
_CHECK_BYTES = 4
_NONCE = bytes(12)  # each key is used once


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An officer's public key: what is sealed to it only the officer's identity opens."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read a public key as people write it, with dashes and spaces or without; ValueError if it is none."""
        if _plain(text).startswith(_plain(SECRET_PREFIX)):
            raise ValueError("this is an identity, which is secret; the public key is wanted")
        raw = _read(PUBLIC_PREFIX, text, "public key")
        X25519PrivateKey.generate().exchange(_point(raw))  # ValueError: everybody would know the shared secret
        return cls(raw)

    @property
    def text(self) -> str:
        """The key in one word."""
        return _write(PUBLIC_PREFIX, self.raw)

    def seal(self, secret: bytes) -> bytes:
        """Seal a secret to the officer."""
        once = X25519PrivateKey.generate()
        ephemeral = once.public_key().public_bytes_raw()
        key = _derive(once.exchange(_point(self.raw)), ephemeral, self.raw)
        return ephemeral + ChaCha20Poly1305(key).encrypt(_NONCE, secret, None)


class Identity:
    """An officer's secret key."""

    __slots__ = ("_key", "public")

    def __init__(self, raw: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(raw)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Identity:
        """Make a new one."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read an identity as people write it, with dashes and spaces or without; ValueError if it is none."""
        return cls(_read(SECRET_PREFIX, text, "identity"))

    @property
    def text(self) -> str:
        """The identity in one word: a secret."""
        return _write(SECRET_PREFIX, self._key.private_bytes_raw())

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed to this officer. Raises SealError."""
        ephemeral = sealed[:_KEY_BYTES]
        try:
            key = _derive(self._key.exchange(_point(ephemeral)), ephemeral, self.public.raw)
            return ChaCha20Poly1305(key).decrypt(_NONCE, sealed[_KEY_BYTES:], None)
        except (InvalidTag, ValueError):
            raise SealError("this was not sealed to this identity, or it is damaged") from None


def _derive(shared: bytes, ephemeral: bytes, officer: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=ephemeral + officer, info=b"vrxmpp officer").derive(shared)


def _point(raw: bytes) -> X25519PublicKey:
    return X25519PublicKey.from_public_bytes(raw)


def _write(prefix: str, raw: bytes) -> str:
    checked = raw + hashlib.sha256(raw).digest()[:_CHECK_BYTES]
    return prefix + b32encode(checked).decode().lower().rstrip("=")


def _plain(text: str) -> str:
    return "".join(text.split()).replace("-", "").lower()


def _read(prefix: str, text: str, what: str) -> bytes:
    """Read a key behind its prefix; the error does not repeat the text, which may be a secret."""
    plain, start = _plain(text), _plain(prefix)
    if not plain.startswith(start):
        raise ValueError(f"this is no {what}: it does not begin with {prefix}")
    digits = plain.removeprefix(start).upper()
    try:
        checked = b32decode(digits + "=" * (-len(digits) % 8))
    except ValueError:
        raise ValueError(f"this {what} has letters missing, or some that none has") from None
    raw = checked[:_KEY_BYTES]
    if len(checked) != _KEY_BYTES + _CHECK_BYTES or not hmac.compare_digest(_plain(_write(prefix, raw)), plain):
        raise ValueError(f"this {what} is mistyped or incomplete")
    return raw
