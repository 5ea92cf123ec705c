"""The client's side of SCRAM for tests (RFC 5802, RFC 7677), fit to tell lies."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from functools import lru_cache


class Scram:
    """One login: ``first``, ``final``, ``verify``. ``binding`` is the type of the channel binding and its data."""

    def __init__(self, mechanism: str, name: str, password: str, gs2: str, binding: bytes) -> None:
        self._hash = "sha256" if "256" in mechanism else "sha1"
        self._password = password
        self._gs2 = gs2
        self._binding = binding
        self._bare = f"n={name},r={secrets.token_hex(12)}"
        self._message = b""
        self._salted = b""

    def first(self) -> str:
        return f"{self._gs2}{self._bare}"

    def final(self, challenge: str) -> str:
        fields = dict(field.split("=", 1) for field in challenge.split(","))
        self._salted = _salt(self._hash, self._password, fields["s"], int(fields["i"]))
        without_proof = f"c={b64encode(self._gs2.encode() + self._binding).decode()},r={fields['r']}"
        self._message = f"{self._bare},{challenge},{without_proof}".encode()
        client_key = hmac.digest(self._salted, b"Client Key", self._hash)
        signature = hmac.digest(hashlib.new(self._hash, client_key).digest(), self._message, self._hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{without_proof},p={b64encode(proof).decode()}"

    def verify(self, server_final: str) -> None:
        """See that the server knows the password, too."""
        server_key = hmac.digest(self._salted, b"Server Key", self._hash)
        signature = hmac.digest(server_key, self._message, self._hash)
        assert b64decode(server_final.removeprefix("v=")) == signature


@lru_cache
def _salt(hash_name: str, password: str, salt: str, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac(hash_name, password.encode(), b64decode(salt), iterations)
