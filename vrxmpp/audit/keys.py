"""The key store: one small file for each class of records and day, whose loss is the loss of what it opens."""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from os import urandom
from pathlib import Path
from typing import Any

from vrxmpp.audit import files
from vrxmpp.audit.identity import Identity, PublicKey
from vrxmpp.audit.lines import json_line
from vrxmpp.audit.policy import check_class_name
from vrxmpp.audit.seal import KEY_BYTES, SealError, unwrap, wrap

ID_BYTES = 16

_SLICE = 0.02  # seconds for which files are changed, before others have their turn


class KeyFileError(SealError):
    """A file of keys cannot be read or written: one line names it and says why."""


@dataclass(frozen=True, slots=True)
class DayKeys:
    """The keys of one class and one day."""

    class_name: str
    day: date
    key_id: bytes
    id_key: bytes = field(repr=False)
    day_key: bytes | None = field(repr=False)  # None: something of this day was erased
    conversations: Mapping[bytes, bytes] = field(repr=False)  # keys that are not derived, by conversation-day id

    def conversation_id(self, name: str) -> bytes:
        """Return the conversation-day id of a conversation."""
        return hmac.digest(self.id_key, name.encode(), "sha256")[:ID_BYTES]

    def conversation_key(self, conversation_id: bytes) -> bytes:
        """Return the key of a conversation-day. Raises SealError if it was erased."""
        listed = self.conversations.get(conversation_id)
        if listed is not None:
            return listed
        if self.day_key is None:
            raise SealError("the key of this conversation was destroyed")
        return hmac.digest(self.day_key, b"vrxmpp conversation-day key" + conversation_id, "sha256")


class KeyStore:
    """The directory of keys. Several processes may read and change it; each change is whole and on the disk.

    Whatever cannot be opened is a ``SealError``; one that lies in a file or the disk is its ``KeyFileError``.
    """

    def __init__(self, directory: Path) -> None:
        self._days = directory / "days"

    def list(self) -> list[tuple[str, date]]:
        """Return which classes and days there are, the oldest first."""
        found = [_name(path) for path in self._days.glob("*.json")]
        return sorted(found, key=lambda item: (item[1], item[0]))

    def key_ids(self) -> dict[bytes, tuple[str, date]]:
        """Return which class and day each key id belongs to."""
        return {self.key_id(*of): of for of in self.list()}

    def key_id(self, class_name: str, day: date) -> bytes:
        """Return the key id of a class and day."""
        return bytes.fromhex(self._read(class_name, day)["key_id"])

    def open_as_root(self, class_name: str, day: date, root: bytes) -> DayKeys | None:
        """Return the keys of a day that is not closed; None if it has none yet."""
        if not self._path(class_name, day).exists():
            return None
        file = self._read(class_name, day)
        if "root" not in file["wraps"]:
            raise SealError(f"{class_name} {day} is closed: only officers open it")
        secret = unwrap(root, _bytes(file["wraps"]["root"]), bytes.fromhex(file["key_id"]))
        return self._content(file, secret)

    def open_as_officer(self, class_name: str, day: date, name: str, identity: Identity) -> DayKeys:
        """Return the keys of a day for an officer whom it was sealed to."""
        file = self._read(class_name, day)
        return self._content(file, _officer_secret(file, name, identity))

    def officers(self, class_name: str, day: date) -> frozenset[str]:
        """Return the names of the officers whom a day is sealed to."""
        return frozenset(self._read(class_name, day)["wraps"]["officers"])

    def make(self, class_name: str, day: date, root: bytes, officers: Mapping[str, PublicKey]) -> DayKeys:
        """Make the keys of a day that has none, for the root key and the officers."""
        keys = DayKeys(class_name, day, urandom(ID_BYTES), urandom(KEY_BYTES), urandom(KEY_BYTES), {})
        content = _seal(keys, root, officers)
        with self._changing():
            path = self._path(class_name, day)
            if path.exists():
                raise KeyFileError(f"{path}: these keys exist already")
            files.replace(path, content)
        return keys

    def close(self, before: date, since: date = date.min) -> None:
        """Take all earlier days, of those since another, from the root key: from now on only officers open them.

        A file that is damaged opens to nobody, and is left as it is.
        """
        with self._changing():
            for class_name, day in self.list():
                if not since <= day < before:
                    continue
                try:
                    file = self._read(class_name, day)
                except KeyFileError:
                    continue
                if file["wraps"].pop("root", None):
                    self._write(class_name, day, file)

    def rewrite(self, keys: DayKeys, officers: Mapping[str, PublicKey]) -> bytes:
        """Return what ``replace`` is to write for keys that were changed: newly sealed, to the officers alone."""
        return _seal(keys, None, officers)

    def replace(self, class_name: str, day: date, content: bytes) -> None:
        """Put a file that was rewritten in the place of the one before, whose bytes are overwritten."""
        with self._changing():
            files.replace(self._path(class_name, day), content)

    def destroy(self, class_name: str, day: date) -> None:
        """Destroy the keys of a day, if they are there."""
        with self._changing():
            files.destroy(self._path(class_name, day))

    def share(
        self, class_name: str, day: date, name: str, identity: Identity, *, new_name: str, new_public: PublicKey
    ) -> None:
        """Let an officer whom a day was sealed to open it to another."""
        with self._changing():
            file = self._read(class_name, day)
            secret = _officer_secret(file, name, identity)
            self._content(file, secret)  # a wrap that belongs elsewhere is not passed on
            file["wraps"]["officers"][new_name] = _text(new_public.seal(secret))
            self._write(class_name, day, file)

    def withdraw(self, names: Collection[str], days: Iterator[tuple[str, date]]) -> bool:
        """Take the next of these days from officers, for a few hundredths of a second; return whether any may be left.

        SealError if one would then open to nobody.
        """
        with self._changing():
            until = time.monotonic() + _SLICE
            for class_name, day in days:
                if self._path(class_name, day).exists():  # else it was destroyed
                    file = self._read(class_name, day)
                    if _leave_out(file, names):
                        self._write(class_name, day, file)
                if time.monotonic() >= until:
                    return True
        return False

    def check_withdrawal(self, name: str) -> None:
        """SealError if an officer cannot be withdrawn."""
        for of in self.list():
            _leave_out(self._read(*of), (name,))

    def rewrap_root(self, old_root: bytes, new_root: bytes) -> None:
        """Give the days that the root key opens to another. Done again after a crash, it does what was left."""
        with self._changing():
            for class_name, day in self.list():
                file = self._read(class_name, day)
                key_id, wrapped = bytes.fromhex(file["key_id"]), _bytes(file["wraps"].get("root", ""))
                if wrapped:
                    file["wraps"]["root"] = _text(rewrap(old_root, new_root, wrapped, key_id))
                    self._write(class_name, day, file)

    def _path(self, class_name: str, day: date) -> Path:
        check_class_name(class_name)
        return self._days / f"{day.isoformat()}.{class_name}.json"

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            files.make_directory(self._days)
            with files.changing(self._days):
                yield
        except OSError as error:
            raise KeyFileError(f"{error.filename or self._days}: {error.strerror}") from None

    def _write(self, class_name: str, day: date, file: dict[str, Any]) -> None:
        files.replace(self._path(class_name, day), json_line(file))

    def _read(self, class_name: str, day: date) -> dict[str, Any]:
        """Read a file; all that is in it is of the right kind."""
        path = self._path(class_name, day)
        try:
            file: dict[str, Any] = json.loads(path.read_bytes())
            _check(file, class_name, day)
        except OSError as error:
            raise KeyFileError(f"{path}: {error.strerror}") from None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise KeyFileError(f"{path}: this is no file of keys, or it is damaged") from None
        return file

    def _content(self, file: dict[str, Any], secret: bytes) -> DayKeys:
        class_name, day, key_id = file["class"], date.fromisoformat(file["day"]), bytes.fromhex(file["key_id"])
        try:
            content = json.loads(unwrap(secret, _bytes(file["content"]), key_id))
            listed = {_hex(id, ID_BYTES): _hex(key, KEY_BYTES) for id, key in content["conversations"].items()}
            day_key = None if content["day_key"] is None else _hex(content["day_key"], KEY_BYTES)
            return DayKeys(class_name, day, key_id, _hex(content["id_key"], KEY_BYTES), day_key, listed)
        except (SealError, KeyError, TypeError, ValueError, AttributeError):
            path = self._path(class_name, day)
            raise KeyFileError(f"{path}: the keys in it are damaged") from None


def rewrap(old: bytes, new: bytes, wrapped: bytes, context: bytes) -> bytes:
    """Wrap under another key what is under one, or under the other already. Raises SealError."""
    try:
        secret = unwrap(new, wrapped, context)
    except SealError:
        secret = unwrap(old, wrapped, context)
    return wrap(new, secret, context)


def _seal(keys: DayKeys, root: bytes | None, officers: Mapping[str, PublicKey]) -> bytes:
    if not officers:
        raise SealError(f"{keys.class_name} {keys.day} would open to nobody: there is no officer")
    secret = urandom(KEY_BYTES)
    content = {
        "id_key": keys.id_key.hex(),
        "day_key": keys.day_key and keys.day_key.hex(),
        "conversations": {id.hex(): key.hex() for id, key in keys.conversations.items()},
    }
    wraps: dict[str, Any] = {"officers": {name: _text(public.seal(secret)) for name, public in officers.items()}}
    if root is not None:
        wraps["root"] = _text(wrap(root, secret, keys.key_id))
    return json_line(
        {
            "version": 1,
            "class": keys.class_name,
            "day": keys.day.isoformat(),
            "key_id": keys.key_id.hex(),
            "wraps": wraps,
            "content": _text(wrap(secret, json_line(content), keys.key_id)),
        }
    )


def _check(file: dict[str, Any], class_name: str, day: date) -> None:
    """ValueError and its like unless this is the file of that class and day."""
    if (file["version"], file["class"], file["day"]) != (1, class_name, day.isoformat()):
        raise ValueError("the file of another version, class or day")
    _hex(file["key_id"], ID_BYTES)
    wraps = [file["wraps"].get("root", ""), *file["wraps"]["officers"].values()]
    for text in (*wraps, file["content"]):
        _bytes(text)


def _officer_secret(file: dict[str, Any], name: str, identity: Identity) -> bytes:
    wrapped = file["wraps"]["officers"].get(name)
    if wrapped is None:
        raise SealError(f"{file['class']} {file['day']} is not sealed to {name}")
    return identity.open(_bytes(wrapped))


def _leave_out(file: dict[str, Any], names: Collection[str]) -> bool:
    """Leave out officers whom a file is sealed to; return whether there was one."""
    officers = file["wraps"]["officers"]
    leaving = [name for name in names if officers.pop(name, None) is not None]
    if leaving and not officers:
        raise SealError(f"{file['class']} {file['day']} would open to nobody without {' and '.join(leaving)}")
    return leaving != []


def _name(path: Path) -> tuple[str, date]:
    try:
        day, class_name, _ = path.name.split(".")
        return class_name, date.fromisoformat(day)
    except ValueError:
        raise KeyFileError(f"{path}: no file of keys has such a name") from None


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)


def _hex(text: str, length: int) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != length:
        raise ValueError("of another length")
    return raw
