"""The root key: where it comes from, what is wrapped under it, how it is replaced, and the sheet that recovers it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import sqlite3
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from os import urandom
from pathlib import Path

from vrxmpp.audit import files
from vrxmpp.audit.database import FILE
from vrxmpp.audit.identity import SECRET_PREFIX, Identity, PublicKey
from vrxmpp.audit.keys import KeyStore, rewrap
from vrxmpp.audit.policy import RECOVERY, Officer, Policy
from vrxmpp.audit.seal import KEY_BYTES, SealError, unwrap, wrap
from vrxmpp.audit.sealed_policy import rewrap_policy

SHORTEST_PASSPHRASE = 12  # characters

SHEET = "recovery-sheet.txt"
"""The file in the directory of keys where a recovery sheet lies until somebody has stored it elsewhere."""

_COMMAND_SECONDS = 30
_SCRYPT = {"n": 2**17, "r": 8, "p": 1, "maxmem": 2**28, "dklen": KEY_BYTES}  # RFC 7914: 128 MB, half a second
_BUSY_SECONDS = 10
_STORAGE_CONTEXT = b"vrxmpp storage key"

_ROOT = "root.key"
_NEXT = "root.next"  # there only while the root key is being replaced
_SALT = "root.salt"
_STORAGE = "storage.key"
_ESCROW = "root.escrow"

_TEXT = """\
vrxmpp: recovery sheet of the audit archive of {origin}
Made on {made}.

Print this now: it is shown once and stored nowhere. Keep it in a safe, away
from the server and from its backups. Whoever has it can read the whole
archive; without it, and without another officer, nobody can read any day
that is over.

Recovery identity (secret):

  {identity}

Its public key, by which the server seals to it:

  {public}

What it is for:
- It is the identity of the officer "recovery", to whom the keys of each day
  are sealed. With it the archive can be searched, exported, and opened to
  other officers.
- It opens keys/root.escrow, which holds the root key, should that be lost.

Dashes and spaces in the keys need not be typed. Should this sheet be lost,
add another officer and remove "recovery" while you still can.
"""


class RootKeyError(Exception):
    """The root key, or what is wrapped under it, cannot be had: one line says why, and quotes no secret."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What an operator must print and store when an archive is made."""

    identity: Identity
    origin: str
    made: date

    @property
    def text(self) -> str:
        """The sheet, for printing: it holds a secret."""
        digits = self.identity.text.removeprefix(SECRET_PREFIX)
        identity = "-".join((SECRET_PREFIX, *re.findall(".{1,8}", digits)))
        return _TEXT.format(origin=self.origin, made=self.made, identity=identity, public=self.identity.public.text)


def initialise(state: Path, source: str, origin: str) -> Sheet | None:
    """Make the keys and the log of a new archive below the state directory; None if there is one. RootKeyError.

    The sheet it returns can never be had again: it is in a file, too, before there is a log. If a crash keeps the
    archive from being made, the next call begins anew; it never does so where there are keys without their log, or a
    log without its keys.
    """
    from vrxmpp.audit.ledger import Ledger, LedgerError  # noqa: PLC0415, it needs what is below

    keys, audit = state / "keys", state / "audit"
    with _plain_errors(keys):
        files.make_directory(keys)
        with files.changing(keys):
            if _is_made(audit):
                _read_escrow(keys)
                return None
            if KeyStore(keys).list():
                raise RootKeyError(f"{audit}: the log is gone, and its keys are there; bring it back from its backup")
            _make_source(source, keys)
            root = _read_source(source, keys)
            _storage_key(keys, root)
            now = datetime.now(UTC)
            sheet = Sheet(Identity.generate(), origin, now.date())
            files.replace(keys / SHEET, sheet.text.encode())
            files.replace(keys / _ESCROW, _escrow(sheet.identity.public, root))
            try:
                officer = Officer(sheet.identity.public.text, int(now.timestamp() * 1_000_000))
                Ledger.create(audit, root, origin, Policy({RECOVERY: officer}))
            except LedgerError as error:
                raise RootKeyError(str(error)) from None
    return sheet


def read_root(source: str, keys: Path) -> bytes:
    """Return the root key; finish replacing it if a crash has kept that from being done. Raises RootKeyError.

    ``source`` is ``file`` (that in ``keys``), ``file:PATH``, ``command:COMMAND``, whose output it is, or
    ``passphrase:FILE``, of whose first line it is derived. A key is written as 64 hexadecimal digits.
    """
    with _plain_errors(keys):
        if (keys / _NEXT).exists():
            with _alone(keys):
                _finish(source, keys)
        return _read_source(source, keys)


def storage_key(keys: Path, root: bytes) -> bytes:
    """Return the key under which the server seals what waits elsewhere, made where there is none. RootKeyError."""
    with _plain_errors(keys), files.changing(keys):
        return _storage_key(keys, root)


def open_escrow(keys: Path, identity: Identity) -> bytes:
    """Return the root key to whoever has the recovery identity. Raises RootKeyError."""
    with _plain_errors(keys):
        return identity.open(_read_escrow(keys)[1])


def rotate(source: str, keys: Path, new_source: str = "") -> bytes:
    """Replace the root key by that of another source, or a file's by a fresh one, and return it. Raises RootKeyError.

    Only while nobody has the log open for writing. Called again after a crash, with the same sources, it does what
    was left. The old key is overwritten where it lay in a file that is used on; another source is the operator's to
    clear.
    """
    with _plain_errors(keys), _alone(keys):
        KeyStore(keys).key_ids()  # a file that is damaged is to stop this before anything is changed
        if new_source:
            _finish(source, keys)
            _make_source(new_source, keys)
            new = _read_source(new_source, keys)
            _rewrap(keys, _read_source(source, keys), new)
            return new
        if not (keys / _NEXT).exists():
            if _file(source, keys) is None:
                raise RootKeyError("only a root key in a file is replaced by a fresh one; name another source")
            files.replace(keys / _NEXT, _line(urandom(KEY_BYTES)))
        _finish(source, keys)
        return _read_source(source, keys)


def _finish(source: str, keys: Path) -> None:
    """Put the next root key, if there is one, in the place of that in a file."""
    next_root, own = keys / _NEXT, _file(source, keys)
    if not next_root.exists():
        return
    if own is None:
        raise RootKeyError(f"{next_root}: the root key of a file was being replaced; name that file as its source")
    new = _read_key(next_root)
    _rewrap(keys, _read_key(own), new)
    files.replace(own, _line(new))
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


def _is_made(audit: Path) -> bool:
    ledger = audit / FILE
    if not ledger.exists():
        return False
    with closing(sqlite3.connect(ledger, timeout=_BUSY_SECONDS)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    return bool(version)


def _make_source(source: str, keys: Path) -> None:
    """Make what a source reads, where that is ours to make and is not there yet."""
    own = _file(source, keys)
    if own and not own.exists():
        files.replace(own, _line(urandom(KEY_BYTES)))
    if source.startswith("passphrase:") and not (keys / _SALT).exists():
        files.replace(keys / _SALT, _line(urandom(KEY_BYTES)))


def _read_source(source: str, keys: Path) -> bytes:
    own = _file(source, keys)
    if own:
        return _read_key(own)
    kind, _, rest = source.partition(":")
    if kind == "command" and rest:
        return _run(rest)
    if kind == "passphrase" and rest:
        return _derive(Path(rest), keys / _SALT)
    raise RootKeyError("the root key is in 'file', 'file:PATH', 'command:COMMAND' or 'passphrase:FILE'")


def _file(source: str, keys: Path) -> Path | None:
    """Return the file that has the root key itself, if one has."""
    kind, _, path = source.partition(":")
    if kind != "file":
        return None
    return Path(path) if path else keys / _ROOT


def _read_key(path: Path) -> bytes:
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
    return hashlib.scrypt(passphrase, salt=_read_key(salt), **_SCRYPT)


def _storage_key(keys: Path, root: bytes) -> bytes:
    path = keys / _STORAGE
    if not path.exists():
        files.replace(path, _wrapped(wrap(root, urandom(KEY_BYTES), _STORAGE_CONTEXT)))
    try:
        return unwrap(root, b64decode(path.read_bytes()), _STORAGE_CONTEXT)
    except (SealError, ValueError):
        raise RootKeyError(f"{path}: it was made with another root key, or is damaged") from None


def _rewrap(keys: Path, old: bytes, new: bytes) -> None:
    """Give all that one root key opens to another, whatever was done of it before."""
    storage = keys / _STORAGE
    if storage.exists():
        files.replace(storage, _wrapped(rewrap(old, new, b64decode(storage.read_bytes()), _STORAGE_CONTEXT)))
    KeyStore(keys).rewrap_root(old, new)
    _rewrap_policy(keys.parent / "audit" / FILE, old, new)
    files.replace(keys / _ESCROW, _escrow(_read_escrow(keys)[0], new))


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


def _escrow(recovery: PublicKey, root: bytes) -> bytes:
    value = {"version": 1, "recovery": recovery.text, "root": b64encode(recovery.seal(root)).decode()}
    return json.dumps(value).encode() + b"\n"


def _read_escrow(keys: Path) -> tuple[PublicKey, bytes]:
    """Return the recovery officer's public key, and the root key as sealed to it."""
    path = keys / _ESCROW
    try:
        value = json.loads(path.read_bytes())
        return PublicKey.parse(value["recovery"]), b64decode(value["root"], validate=True)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise RootKeyError(f"{path}: this is no escrow, or it is damaged") from None


def _line(key: bytes) -> bytes:
    return key.hex().encode() + b"\n"


def _wrapped(raw: bytes) -> bytes:
    return b64encode(raw) + b"\n"


@contextmanager
def _plain_errors(keys: Path) -> Iterator[None]:
    """Put all that can go wrong into one line."""
    try:
        yield
    except OSError as error:
        raise RootKeyError(f"{error.filename or keys}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise RootKeyError(f"{keys.parent / 'audit'}: {error}") from None
    except SealError as error:
        raise RootKeyError(str(error)) from None
