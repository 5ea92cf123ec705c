"""The root key that is in force, and how another takes its place, whatever breaks in between."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from os import urandom
from pathlib import Path

from vrxmpp.audit import files
from vrxmpp.audit.database import FILE
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.recovery import read_escrow, write_escrow
from vrxmpp.audit.root import RootKeyError, key_file, key_line, make_source, plain_errors, read_key, read_source
from vrxmpp.audit.seal import KEY_BYTES
from vrxmpp.audit.sealed_policy import rewrap_policy
from vrxmpp.audit.storage_key import rewrap_storage_key, storage_key

_BUSY_SECONDS = 10
_NEXT = "root.next"  # there only while the root key is being replaced


def read_root(source: str, keys: Path) -> bytes:
    """Return the root key; finish replacing it if a crash has kept that from being done. Raises RootKeyError.

    ``source`` is ``file`` (that in ``keys``), ``file:PATH``, ``command:COMMAND``, whose output it is, or
    ``passphrase:FILE``, of whose first line it is derived. A key is written as 64 hexadecimal digits.
    """
    with plain_errors(keys):
        if (keys / _NEXT).exists():
            with _alone(keys):
                _finish(source, keys)
        return read_source(source, keys)


def rotate(source: str, keys: Path, new_source: str = "") -> bytes:
    """Replace the root key by that of another source, or a file's by a fresh one, and return it. Raises RootKeyError.

    Only while nobody has the log open for writing. Called again after a crash, with the same sources, it does what
    was left. The old key is overwritten where it lay in a file that is used on; another source is the operator's to
    clear.
    """
    with plain_errors(keys), _alone(keys):
        KeyStore(keys).key_ids()  # a file that is damaged is to stop this before anything is changed
        if new_source:
            _finish(source, keys)
            make_source(new_source, keys)
            new = read_source(new_source, keys)
            _rewrap(keys, read_source(source, keys), new)
            return new
        if not (keys / _NEXT).exists():
            if key_file(source, keys) is None:
                raise RootKeyError("only a root key in a file is replaced by a fresh one; name another source")
            files.replace(keys / _NEXT, key_line(urandom(KEY_BYTES)))
        _finish(source, keys)
        return read_source(source, keys)


def is_interrupted(source: str, keys: Path, new_source: str) -> bool:
    """Tell whether replacing a root key by that of another source was begun: only ``rotate`` goes on from there."""

    def opens(of: str) -> bool:
        try:
            with plain_errors(keys):
                storage_key(keys, read_source(of, keys))  # which is the first that is given to the new one
        except RootKeyError:
            return False
        return True

    return opens(new_source) and not opens(source)


def _finish(source: str, keys: Path) -> None:
    """Put the next root key, if there is one, in the place of that in a file."""
    next_root, own = keys / _NEXT, key_file(source, keys)
    if not next_root.exists():
        return
    if own is None:
        raise RootKeyError(f"{next_root}: the root key of a file was being replaced; name that file as its source")
    new = read_key(next_root)
    _rewrap(keys, read_key(own), new)
    files.replace(own, key_line(new))
    files.destroy(next_root)


@contextmanager
def _alone(keys: Path) -> Iterator[None]:
    """Keep others from changing the keys, and from opening the log."""
    audit = keys.parent / "audit"
    files.make_directory(audit)
    log = os.open(audit, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with files.changing(keys):
            yield
    except BlockingIOError:
        raise RootKeyError(f"{audit}: another process has the archive open; stop the server first") from None
    finally:
        os.close(log)


def _rewrap(keys: Path, old: bytes, new: bytes) -> None:
    """Give all that one root key opens to another, whatever was done of it before."""
    rewrap_storage_key(keys, old, new)
    KeyStore(keys).rewrap_root(old, new)
    _rewrap_policy(keys.parent / "audit" / FILE, old, new)
    write_escrow(keys, read_escrow(keys)[0], new)


def _rewrap_policy(ledger: Path, old: bytes, new: bytes) -> None:
    if not ledger.exists():
        return
    with closing(sqlite3.connect(ledger, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")
        with database:
            database.execute("BEGIN IMMEDIATE")
            state = dict(database.execute("SELECT name, value FROM state").fetchall())
            again = ((value, name) for name, value in rewrap_policy(state, old, new).items())
            database.executemany("UPDATE state SET value = ? WHERE name = ?", again)
