"""The storage key, under which the server seals what waits elsewhere: a file of its own, wrapped under the root key."""

from __future__ import annotations

from base64 import b64decode, b64encode
from os import urandom
from pathlib import Path

from vrxmpp.audit import files
from vrxmpp.audit.keys import rewrap
from vrxmpp.audit.root import RootKeyError, plain_errors
from vrxmpp.audit.seal import KEY_BYTES, SealError, unwrap, wrap

_STORAGE = "storage.key"
_CONTEXT = b"vrxmpp storage key"


def make_storage_key(keys: Path, root: bytes) -> None:
    """Make one where there is none, while nobody else changes the keys. Raises RootKeyError, OSError."""
    path = keys / _STORAGE
    if not path.exists():
        files.replace(path, _text(wrap(root, urandom(KEY_BYTES), _CONTEXT)))
    storage_key(keys, root)


def renew_storage_key(keys: Path, root: bytes) -> None:
    """Make another in the place of one that is lost: what was sealed under that stays closed. Raises RootKeyError."""
    with plain_errors(keys), files.changing(keys):
        make_storage_key(keys, root)


def has_storage_key(keys: Path) -> bool:
    """Tell whether there is one, whatever opens it."""
    return (keys / _STORAGE).exists()


def storage_key(keys: Path, root: bytes) -> bytes:
    """Return the storage key. RootKeyError, too, where it is lost: another would not open what waits."""
    path = keys / _STORAGE
    with plain_errors(keys):
        wrapped = _read(keys)
    try:
        return unwrap(root, wrapped, _CONTEXT)
    except SealError:
        raise RootKeyError(f"{path}: it was made with another root key, or is damaged") from None


def rewrap_storage_key(keys: Path, old: bytes, new: bytes) -> None:
    """Give it to another root key, unless that has it already. Raises RootKeyError, SealError, OSError."""
    files.replace(keys / _STORAGE, _text(rewrap(old, new, _read(keys), _CONTEXT)))


def _read(keys: Path) -> bytes:
    path = keys / _STORAGE
    try:
        return b64decode(path.read_bytes())
    except FileNotFoundError:
        way_out = "bring it back from the backup of the keys, or see vrxmpp audit renew-storage-key"
        raise RootKeyError(f"{path}: it is gone, and what waits is sealed under it; {way_out}") from None
    except ValueError:
        raise RootKeyError(f"{path}: it was made with another root key, or is damaged") from None


def _text(wrapped: bytes) -> bytes:
    return b64encode(wrapped) + b"\n"
