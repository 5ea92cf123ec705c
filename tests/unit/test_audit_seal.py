"""How records are sealed, against the formulas of docs/audit-format.md, and that nothing random is used twice."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.audit_log import CHAT, TODAY, Archive, message
from vrxmpp.audit.ledger import Ledger
from vrxmpp.audit.seal import NONCE_BYTES, RANDOM_BYTES, SALT_BYTES, open_payload, prepare, reseal, seal, wrap

KEY = bytes(range(32))
RANDOM = bytes(range(100, 100 + RANDOM_BYTES))
NONCE, SALT = RANDOM[:NONCE_BYTES], RANDOM[NONCE_BYTES:]


def test_a_payload_is_what_the_format_says() -> None:
    payload, commitment, digest = seal(prepare(KEY), 7, 3, b"words", RANDOM)
    key = hmac.digest(KEY, b"vrxmpp record key" + (7).to_bytes(8, "big"), "sha256")
    where = (7).to_bytes(8, "big") + b"\x03"
    assert payload == NONCE + AESGCM(key).encrypt(NONCE, SALT + b"words", where)
    assert commitment == hmac.digest(SALT, SALT + b"words", "sha256")
    assert digest == sha256(payload).digest()
    for elsewhere in ((8).to_bytes(8, "big") + b"\x03", where[:-1] + b"\x04"):  # another place, another type
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(NONCE, payload[NONCE_BYTES:], elsewhere)


def test_what_is_public_has_a_salt_as_well() -> None:
    payload, commitment, _ = seal(None, 7, 3, b"words", RANDOM)
    assert payload == SALT + b"words"
    assert commitment == hmac.digest(SALT, payload, "sha256")


def test_the_same_words_are_never_sealed_alike(archive: Archive, ledger: Ledger) -> None:
    for _ in range(2):
        ledger.append([message("the same")] * 20)
    payloads = [payload for (payload,) in archive.rows("SELECT payload FROM records ORDER BY idx")]
    key = archive.day_keys("staff", TODAY)
    conversation_key = key.conversation_key(key.conversation_id(CHAT))
    types = [leaf.type for leaf in archive.leaves()]
    salts = {
        open_payload(conversation_key, index, types[index], payload)[:SALT_BYTES]
        for index, payload in enumerate(payloads)
    }
    assert len({payload[:NONCE_BYTES] for payload in payloads}) == len(salts) == 40


def test_nor_are_they_when_they_are_sealed_anew_or_a_key_is_wrapped() -> None:
    assert len({reseal(KEY, 7, 3, SALT + b"words")[:NONCE_BYTES] for _ in range(20)}) == 20
    assert len({wrap(KEY, b"a key", b"context")[:NONCE_BYTES] for _ in range(20)}) == 20
