"""The certificates and keys a configuration names: are they there, can they be read, do they belong together."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from vrxmpp.config import Config
from vrxmpp.config_problems import Problem


def check_files(config: Config, path: Path) -> list[Problem]:
    """Return what is wrong with the files named in the configuration that was read from ``path``."""
    found = []
    for number, host in enumerate(config.hosts):
        if host.certificate and host.key:
            for name, file, hint in _check_pair(host.certificate, host.key):
                found.append(Problem(path, f"host[{number}].{name}", f'"{file}"', hint))
    return found


def _check_pair(certificate: Path, key: Path) -> list[tuple[str, Path, str]]:
    public_keys = []
    wrong = []
    for name, file, read in (("certificate", certificate, _certified_key), ("key", key, _public_key)):
        try:
            public_keys.append(read(file.read_bytes()))
        except OSError as error:
            wrong.append((name, file, f"cannot be read: {error.strerror}"))
        except TypeError:
            wrong.append((name, file, "must not be encrypted"))
        except (ValueError, UnsupportedAlgorithm):
            wrong.append((name, file, f"holds no {name} in PEM"))
    if not wrong and public_keys[0] != public_keys[1]:
        wrong.append(("key", key, f"does not belong to the certificate {certificate}"))
    return wrong


def _certified_key(pem: bytes) -> bytes:
    key = x509.load_pem_x509_certificates(pem)[0].public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public_key(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, password=None).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
