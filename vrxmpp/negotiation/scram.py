"""SCRAM: a login that proves the password without sending it (RFC 5802, RFC 7677), bound to its TLS (RFC 9266)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from vrxmpp.negotiation.mechanism import ChannelBindings, SaslCondition, SaslFailure, decode_base64, decode_text
from vrxmpp.negotiation.saslprep import prepare_password
from vrxmpp.store.interfaces import ScramKeys

HashName = Literal["sha1", "sha256"]

_ALGORITHMS: dict[HashName, HashAlgorithm] = {"sha1": SHA1(), "sha256": SHA256()}
_SALT_BYTES = 16
_NONCE_BYTES = 18

# RFC 5802 §7. Attributes it defines are no extensions, so "m=" fits nowhere (§5.1).
_SASLNAME = r"(?:[^\x00,=]|=2C|=3D)+"
_NONCE = r"[!-+\--~]+"
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_EXTENSIONS = r"(?:,(?![aceimnprsv])[A-Za-z]=[^\x00,]+)*"
_CLIENT_FIRST = re.compile(
    rf"(?P<gs2_header>(?P<flag>[ny]|p=(?P<binding_type>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>{_SASLNAME}))?,)"
    rf"(?P<bare>n=(?P<username>{_SASLNAME}),r=(?P<nonce>{_NONCE}){_EXTENSIONS})"
)
_CLIENT_FINAL = re.compile(
    rf"(?P<without_proof>c=(?P<binding>{_BASE64}),r=(?P<nonce>{_NONCE}){_EXTENSIONS}),p=(?P<proof>{_BASE64})"
)


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The client's first message (RFC 5802 §7). ``flag`` is n, y or p; what the client left out is empty."""

    gs2_header: str
    flag: str
    binding_type: str
    authzid: str
    username: str
    nonce: str
    bare: str

    @staticmethod
    def parse(data: bytes) -> ClientFirst:
        """Read the message, or raise SaslFailure."""
        match = _CLIENT_FIRST.fullmatch(decode_text(data))
        if match is None:
            raise _malformed("not a SCRAM client-first-message")
        return ClientFirst(
            gs2_header=match["gs2_header"],
            flag=match["flag"][0],
            binding_type=match["binding_type"] or "",
            authzid=_unescape(match["authzid"] or ""),
            username=_unescape(match["username"]),
            nonce=match["nonce"],
            bare=match["bare"],
        )


@dataclass(frozen=True, slots=True)
class ClientFinal:
    """The client's final message (RFC 5802 §7)."""

    binding: bytes
    nonce: str
    proof: bytes
    without_proof: str

    @staticmethod
    def parse(data: bytes) -> ClientFinal:
        """Read the message, or raise SaslFailure."""
        match = _CLIENT_FINAL.fullmatch(decode_text(data))
        if match is None:
            raise _malformed("not a SCRAM client-final-message")
        return ClientFinal(
            binding=decode_base64(match["binding"]),
            nonce=match["nonce"],
            proof=decode_base64(match["proof"]),
            without_proof=match["without_proof"],
        )


class Conversation:
    """The server's side of one SCRAM login: ``read_first``, ``challenge``, ``read_final``, each once, in this order.

    ``bindings`` are those of the connection, given also where the client chose a mechanism without -PLUS: a client
    that was told of none is then found out (RFC 5802 §6).
    """

    def __init__(self, hash_name: HashName, plus: bool, bindings: ChannelBindings, nonce: str = "") -> None:
        self.hash_name = hash_name
        self._plus = plus
        self._bindings = bindings
        self._nonce = nonce or secrets.token_urlsafe(_NONCE_BYTES)
        self._binding = b""
        self._client_first_bare = ""
        self._server_first = ""

    def read_first(self, data: bytes) -> ClientFirst:
        """Take the client's first message; raises SaslFailure."""
        first = ClientFirst.parse(data)
        if self._plus != (first.flag == "p"):
            raise _malformed("only a -PLUS mechanism binds to a channel, and it always does")
        if first.flag == "y" and self._bindings:
            raise _malformed("channel binding was offered, but the client was told otherwise")
        if first.binding_type and first.binding_type not in self._bindings:
            raise _malformed("this type of channel binding is not offered")
        self._binding = first.gs2_header.encode() + self._bindings.get(first.binding_type, b"")
        self._client_first_bare = first.bare
        self._nonce = first.nonce + self._nonce
        return first

    def challenge(self, keys: ScramKeys) -> bytes:
        """Return the server-first-message for an account with these keys."""
        salt = base64.b64encode(keys.salt).decode()
        self._server_first = f"r={self._nonce},s={salt},i={keys.iterations}"
        return self._server_first.encode()

    def read_final(self, data: bytes, keys: ScramKeys) -> bytes | None:
        """Take the client's final message; return the server-final-message, or None for a wrong password.

        Raises SaslFailure for what is wrong whatever the password is (RFC 5802 §5.1).
        """
        final = ClientFinal.parse(data)
        if not hmac.compare_digest(final.binding, self._binding):
            raise _malformed("the channel bindings differ")
        if not hmac.compare_digest(final.nonce, self._nonce):
            raise _malformed("the nonces differ")
        message = f"{self._client_first_bare},{self._server_first},{final.without_proof}".encode()
        signature = hmac.digest(keys.server_key, message, self.hash_name)
        if not self._proves(final.proof, keys.stored_key, message):
            return None
        return b"v=" + base64.b64encode(signature)

    def _proves(self, proof: bytes, stored_key: bytes, message: bytes) -> bool:
        """RFC 5802 §3: the proof is the client key, hidden under a signature of the whole conversation."""
        signature = hmac.digest(stored_key, message, self.hash_name)
        if len(proof) != len(signature):
            raise _malformed("the proof has a wrong length")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        return hmac.compare_digest(hashlib.new(self.hash_name, client_key).digest(), stored_key)


def derive_keys(password: str, iterations: int) -> tuple[ScramKeys, ScramKeys]:
    """Return what to store of a password, for SHA-1 and for SHA-256, each with a new salt (RFC 5802 §3).

    Slow on purpose: it belongs into a worker thread. Raises ValueError for a password that cannot be prepared.
    """
    prepared = prepare_password(password)
    sha1 = _derive("sha1", prepared, secrets.token_bytes(_SALT_BYTES), iterations)
    return sha1, _derive("sha256", prepared, secrets.token_bytes(_SALT_BYTES), iterations)


def password_matches(password: str, sha256: ScramKeys) -> bool:
    """Tell whether the SHA-256 keys were derived from this password, as slowly as they were derived."""
    try:
        prepared = prepare_password(password)
    except ValueError:
        prepared = password  # It matches no keys, but takes as long to find out.
    derived = _derive("sha256", prepared, sha256.salt, sha256.iterations)
    return hmac.compare_digest(derived.stored_key, sha256.stored_key)


def decoy_keys(secret: bytes, name: str, iterations: int) -> tuple[ScramKeys, ScramKeys]:
    """Return keys, for SHA-1 and for SHA-256, of an account that does not exist: the same for one name each time.

    They are there to be shown and computed with; nobody is let in by them.
    """
    return _decoy(secret, "sha1", name, iterations), _decoy(secret, "sha256", name, iterations)


def _derive(hash_name: HashName, password: str, salt: bytes, iterations: int) -> ScramKeys:
    algorithm = _ALGORITHMS[hash_name]
    # Twice as fast as hashlib where Python comes with an older OpenSSL.
    salted = PBKDF2HMAC(algorithm, algorithm.digest_size, salt, iterations).derive(password.encode())
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    return ScramKeys(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(hash_name, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", hash_name),
    )


def _decoy(secret: bytes, hash_name: HashName, name: str, iterations: int) -> ScramKeys:
    key = hmac.digest(secret, name.encode(), hash_name)
    return ScramKeys(salt=key[:_SALT_BYTES], iterations=iterations, stored_key=key, server_key=key)


def _unescape(name: str) -> str:
    return name.replace("=2C", ",").replace("=3D", "=")


def _malformed(text: str) -> SaslFailure:
    return SaslFailure(SaslCondition.MALFORMED_REQUEST, text)
