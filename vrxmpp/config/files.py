"""The files a configuration names: certificates and keys (PEM, RFC 7468), read far enough to see whether they will do,
and secrets."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def certified_key(path: Path) -> bytes:
    """Return the public key that the first certificate in the file is for, in DER. Raise ValueError."""
    pem = _read(path)
    try:
        key = x509.load_pem_x509_certificates(pem)[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no certificate in PEM") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key(path: Path) -> bytes:
    """Return the public half of the private key in the file, in DER. Raise ValueError."""
    pem = _read(path)
    try:
        key = load_pem_private_key(pem, password=None).public_key()
    except TypeError:
        raise ValueError("must not be encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no private key in PEM") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def shared_secret(path: Path) -> str:
    """Return the secret that is all the file holds, but for white space around it. Raise ValueError."""
    try:
        secret = _read(path).decode().strip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not secret:
        raise ValueError("holds no secret")
    return secret


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
