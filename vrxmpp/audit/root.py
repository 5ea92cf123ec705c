"""The root key: the sources it may come from, and how each is read."""

from __future__ import annotations

import hashlib
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from os import urandom
from pathlib import Path

from vrxmpp.audit import files
from vrxmpp.audit.seal import KEY_BYTES, SealError

SHORTEST_PASSPHRASE = 12  # characters

_COMMAND_SECONDS = 30
_SCRYPT = {"n": 2**17, "r": 8, "p": 1, "maxmem": 2**28, "dklen": KEY_BYTES}  # RFC 7914: 128 MB, half a second

_ROOT = "root.key"
_SALT = "root.salt"


class RootKeyError(Exception):
    """The root key, or what is wrapped under it, cannot be had: one line says why, and quotes no secret."""


def make_source(source: str, keys: Path) -> None:
    """Make what a source reads, where that is ours to make and is not there yet. Raises OSError."""
    own = key_file(source, keys)
    if own and not own.exists():
        files.replace(own, key_line(urandom(KEY_BYTES)))
    if source.startswith("passphrase:") and not (keys / _SALT).exists():
        files.replace(keys / _SALT, key_line(urandom(KEY_BYTES)))


def read_source(source: str, keys: Path) -> bytes:
    """Return the root key of a source (``rotation.read_root``). Raises RootKeyError, OSError."""
    own = key_file(source, keys)
    if own:
        return read_key(own)
    kind, _, rest = source.partition(":")
    if kind == "command" and rest:
        return _run(rest)
    if kind == "passphrase" and rest:
        return _derive(Path(rest), keys / _SALT)
    raise RootKeyError("the root key is in 'file', 'file:PATH', 'command:COMMAND' or 'passphrase:FILE'")


def key_file(source: str, keys: Path) -> Path | None:
    """Return the file that has the root key itself, if one has."""
    kind, _, path = source.partition(":")
    if kind != "file":
        return None
    return Path(path) if path else keys / _ROOT


def read_key(path: Path) -> bytes:
    """Return the key in a file that not everybody may read. Raises RootKeyError, OSError."""
    return _parse(_read_secret(path), str(path))


def _read_secret(path: Path) -> bytes:
    if path.stat().st_mode & 0o007:
        raise RootKeyError(f"{path}: everybody may read or write it; it should have mode 0600")
    return path.read_bytes()


def _parse(digits: bytes, where: str) -> bytes:
    if not re.fullmatch(rb"\s*[0-9A-Fa-f]{64}\s*", digits):
        raise RootKeyError(f"{where}: a key is 64 hexadecimal digits, and nothing else")
    return bytes.fromhex(digits.decode())


def _run(command: str) -> bytes:
    try:
        done = subprocess.run(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except ValueError:
        raise RootKeyError("the command for the root key cannot be read: a quotation mark is missing") from None
    except OSError as error:
        raise RootKeyError(f"the command for the root key cannot be run: {error.filename}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise RootKeyError(f"the command for the root key took more than {_COMMAND_SECONDS} seconds") from None
    if done.returncode:
        raise RootKeyError(f"the command for the root key failed with status {done.returncode}")
    return _parse(done.stdout, "output of the command for the root key")


def _derive(path: Path, salt: Path) -> bytes:
    passphrase = _read_secret(path).partition(b"\n")[0].strip()
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise RootKeyError(f"{path}: the passphrase has fewer than {SHORTEST_PASSPHRASE} characters")
    return hashlib.scrypt(passphrase, salt=read_key(salt), **_SCRYPT)


def key_line(key: bytes) -> bytes:
    """Write a key as its file has it."""
    return key.hex().encode() + b"\n"


@contextmanager
def plain_errors(keys: Path) -> Iterator[None]:
    """Put all that can go wrong into one line."""
    try:
        yield
    except OSError as error:
        raise RootKeyError(f"{error.filename or keys}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise RootKeyError(f"{keys.parent / 'audit'}: {error}") from None
    except SealError as error:
        raise RootKeyError(str(error)) from None
