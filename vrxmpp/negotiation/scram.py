"""SCRAM: a login that proves the password without sending it (RFC 5802, RFC 7677)."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from vrxmpp.negotiation.saslprep import prepare_password
from vrxmpp.store.interfaces import ScramKeys

SALT_BYTES = 16


def derive_keys(password: str, iterations: int) -> tuple[ScramKeys, ScramKeys]:
    """Return what to store of a password, for SHA-1 and for SHA-256, each with a new salt (RFC 5802 §3).

    Slow on purpose: it belongs into a worker thread. Raises ValueError for a password that cannot be prepared.
    """
    prepared = prepare_password(password).encode()
    return _keys("sha1", prepared, iterations), _keys("sha256", prepared, iterations)


def _keys(hash_name: str, password: bytes, iterations: int) -> ScramKeys:
    salt = secrets.token_bytes(SALT_BYTES)
    salted = hashlib.pbkdf2_hmac(hash_name, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    return ScramKeys(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(hash_name, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", hash_name),
    )
