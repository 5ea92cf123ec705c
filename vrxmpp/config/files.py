"""The certificates and keys a configuration names (PEM, RFC 7468), read far enough to see whether they will do."""

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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
