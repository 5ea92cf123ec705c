"""How payloads are sealed and opened: AES-256-GCM under a key of their own (docs/audit-format.md, NIST SP 800-38D)."""

from __future__ import annotations

from hashlib import sha256
from os import urandom
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
RANDOM_BYTES = NONCE_BYTES + SALT_BYTES  # that each record takes

_BLOCK = 64  # bytes that SHA-256 takes at a time
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

_INDEX = Struct(">Q")
_WHERE = Struct(">QB")  # what the ciphertext is bound to


class SealError(Exception):
    """What was sealed cannot be opened: the wrong key, or not what was written."""


Key = tuple[bytes, bytes]
"""A key for HMAC: the blocks that go before the message, and before its hash (RFC 2104 §2)."""


def prepare(key: bytes) -> Key:
    """Make a key ready for HMAC; it is at most of one block."""
    block = key.ljust(_BLOCK, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


def record_key(conversation_key: Key, index: int) -> bytes:
    """Return the key of one record."""
    return _mac(conversation_key, b"vrxmpp record key" + _INDEX.pack(index))


def commit(plaintext: bytes) -> bytes:
    """Return the commitment to a plaintext, which begins with its salt."""
    return _mac(prepare(plaintext[:SALT_BYTES]), plaintext)


def _mac(key: Key, message: bytes) -> bytes:
    """Return the HMAC-SHA-256."""
    # OpenSSL looks its HMAC up anew for each call, which costs as much as the hashing of a message.
    inner, outer = key
    return sha256(outer + sha256(inner + message).digest()).digest()


def seal(
    conversation_key: Key | None, index: int, type: int, envelope: bytes, random: bytes
) -> tuple[bytes, bytes, bytes]:
    """Seal an envelope; without a key it stays public. Return the payload, its commitment and its hash.

    ``random`` are RANDOM_BYTES that nothing else has used.
    """
    payload = plaintext = random[NONCE_BYTES:] + envelope
    if conversation_key is not None:
        payload = _encrypt(conversation_key, index, type, plaintext, random[:NONCE_BYTES])
    return payload, commit(plaintext), sha256(payload).digest()


def reseal(conversation_key: bytes, index: int, type: int, plaintext: bytes) -> bytes:
    """Seal a plaintext, whose commitment stays, under another key; return the payload."""
    return _encrypt(prepare(conversation_key), index, type, plaintext, urandom(NONCE_BYTES))


def _encrypt(conversation_key: Key, index: int, type: int, plaintext: bytes, nonce: bytes) -> bytes:
    key = record_key(conversation_key, index)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, _WHERE.pack(index, type))


def open_payload(conversation_key: bytes | None, index: int, type: int, payload: bytes) -> bytes:
    """Return the plaintext: the salt, and the envelope behind it. Raises SealError."""
    if conversation_key is None:
        return payload
    try:
        cipher = AESGCM(record_key(prepare(conversation_key), index))
        return cipher.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], _WHERE.pack(index, type))
    except (InvalidTag, ValueError):
        raise SealError(f"record {index} cannot be opened with this key") from None


def wrap(key: bytes, secret: bytes, context: bytes) -> bytes:
    """Encrypt a secret that is stored under another key; ``context`` says what it is."""
    nonce = urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, secret, context)


def unwrap(key: bytes, wrapped: bytes, context: bytes) -> bytes:
    """Decrypt what was wrapped. Raises SealError."""
    try:
        return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise SealError("this cannot be opened with this key") from None
