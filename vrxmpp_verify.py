"""Verifies an audit archive, or an export of it, without the server (docs/audit-format.md, RFC 6962, C2SP signed-note).

One file, which needs Python 3.11 and the package ``cryptography``, and knows nothing of the server that wrote the
archive. It changes nothing that it reads.

What it says is worth as much as the keys and checkpoints it is given: without any, somebody may have made it all up.

Without keys it checks that no record is missing, moved or added, that the hashes of all payloads, the tree and the
signed checkpoints agree, and that what the log says of itself (days closed, messages counted, texts erased) is so.
With an officer's identity and the directory of keys it also opens every payload.
"""

from __future__ import annotations

import argparse
import binascii
import hmac
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from array import array
from base64 import b32decode, b64decode, b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from struct import Struct
from typing import Any, Final, NamedTuple, TextIO

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]
Progress = Callable[[int, int], None]  # records done, and all

LEAF: Final = Struct(">4sBQQ16sIQ16s32s32sI")
MAGIC: Final = b"VXA1"
NONE: Final = 2**64 - 1  # no previous record
ZEROS: Final = bytes(16)
DAY: Final = 86_400_000_000  # microseconds
SALT: Final = 32  # bytes
SEALING: Final = 12 + 16  # bytes of nonce and tag in a sealed payload
LAST_MESSAGE: Final = 3  # types 1 to 3 are what somebody said
FIRST_PUBLIC: Final = 12
ERASE: Final = 12
CLOSE: Final = 15
LAST_TYPE: Final = 18
RECONCILED: Final = dict.fromkeys(
    ("since", "until", "accepted", "refused", "unarchived", "late", "archived"), int
)  # what a server counts
WRAPS: Final = {"root", "officers"}  # to whom the keys of a day are wrapped
BLOCK_LEVEL: Final = 8
BLOCK: Final = 1 << BLOCK_LEVEL  # leaves that are folded into the tree at once; their hashes are in the table of nodes
LISTED: Final = 1000  # problems that are told one by one
LONGEST_PROBLEM: Final = 1000  # characters: parts of it are by whoever made what is verified
LARGEST: Final = 1 << 26  # bytes of a payload, a line, a manifest or a file of keys: what is larger is not read
MOST_PLACES: Final = 400_000  # conversations of a day in memory, of some 250 bytes each: a hundred megabytes
MOST_KEYS: Final = 250_000  # key ids of a log, and erasures that wait
COLUMNS: Final = {  # of each table that is read; those of the primary key in capitals
    "records": "IDX leaf payload",
    "nodes": "LEVEL POSITION hash",
    "checkpoints": "SIZE note",
    "witnessed": "SINK size at note",
    "state": "NAME value",
    "todo": "RECORD work",
}
UNREAD: Final = {"runs", "positions", "policies"}  # what else there may be in the database
FACTS: Final = {"index", "leaf", "proof", "class", "conversation", "salt", "envelope"}  # of a line of an export

ED25519: Final = 1  # types of signature (C2SP signed-note)
COSIGNATURE: Final = 4


class UnreadableError(Exception):
    """What shall be verified cannot be read at all: one line says why."""


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be; ``index`` is the record it was found in, where it is one."""

    index: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.index is None else f"record {self.index}: {self.what}"


@dataclass
class Report:
    """What was found. Only the first problems are listed; ``found`` counts all."""

    size: int = 0  # of the log
    records: int = 0  # that were seen
    root: bytes = b""  # of the tree; empty where it cannot be known
    problems: list[Problem] = field(default_factory=list)
    found: int = 0
    warnings: list[str] = field(default_factory=list)  # what could not be checked, and why
    opened: int = 0  # payloads that were decrypted and agree with their commitment
    unopened: int = 0  # payloads for which there was no key
    gone: int = 0  # payloads that are erased, or withheld
    omitted: int = 0  # records that an export has not, though it has later ones of the same conversation and day
    vouched: int = 0  # how many records a checkpoint from outside covers: one given, or cosigned with a key given
    vouched_for: int = 0  # how many one of these covers, or one that is signed with any key given
    key: str = ""  # which an export itself names, where it was checked with no other
    seconds: float = 0.0
    manifest: str = ""  # SHA-256 of an export's manifest in hexadecimal: the log has a record of it

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.found

    @property
    def verdict(self) -> str:
        """What all this comes to, in one line; who vouches for it belongs to it."""
        if not self.sound:
            return f"NOT SOUND: {self.found:,} problem{'s' if self.found > 1 else ''}"
        if not self.vouched_for:
            return "consistent in itself, but nobody you named vouches for it: give --vkey or --checkpoint"
        whole = self.vouched_for >= self.size
        part = "all of it is" if whole else f"the first {self.vouched_for:,} of {self.size:,} records are"
        outside = (
            f"only the first {self.vouched:,} from outside" if self.vouched else "nothing from outside was compared"
        )
        return f"sound, and {part} vouched for by what you gave" + f"; {outside}" * (self.vouched < self.vouched_for)

    def problem(self, index: int | None, what: str) -> None:
        """Note a problem."""
        self.found += 1
        if len(self.problems) < LISTED:
            whole = len(what) <= LONGEST_PROBLEM
            self.problems.append(Problem(index, what if whole else f"{what[: LONGEST_PROBLEM - 303]}...{what[-300:]}"))

    def to_json(self) -> Json:
        """Return it as JSON."""
        return {
            **vars(self),
            "sound": self.sound,
            "verdict": self.verdict,
            "root": b64encode(self.root).decode(),
            "problems": [vars(problem) for problem in self.problems],
        }


# Texts


def _base64(text: object) -> bytes:
    """Read base64 that is written in the one proper way; ValueError."""
    if not isinstance(text, str):
        raise ValueError("no base64")
    raw = b64decode(text, validate=True)
    if b64encode(raw).decode() != text:
        raise ValueError("no proper base64")
    return raw


def _hex(text: object, length: int) -> bytes:
    """Read so many bytes in lower-case hexadecimal; ValueError."""
    raw = bytes.fromhex(text) if isinstance(text, str) else b""
    if len(raw) != length or raw.hex() != text:
        raise ValueError("no proper hexadecimal")
    return raw


def _object(text: str | bytes) -> Json:
    """Read a JSON object that everybody reads in the same way: no name twice, no NaN. ValueError."""
    try:
        value = json.loads(text, object_pairs_hook=_unambiguous, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _unambiguous(pairs: list[tuple[str, Any]]) -> Json:
    facts = dict(pairs)
    if len(facts) != len(pairs):
        raise ValueError("JSON that says something twice")
    return facts


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _read(path: Path) -> bytes:
    """Read a file that fits in memory; ValueError where it is larger, or is no file. Raises OSError."""
    if not path.is_file():  # a pipe would be waited for, and a device has no end
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST:,} bytes")
    return raw


def _has(facts: Json, **types: type) -> bool:
    """Whether all these facts are there and of these types; numbers never below zero."""
    values = [facts.get(name) for name in types]
    right = all(type(value) is kind for value, kind in zip(values, types.values(), strict=True))
    return right and not any(isinstance(value, int) and value < 0 for value in values)


def _date(day: int) -> str:
    """Write the day that is so many days after 1 January 1970."""
    try:
        return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()
    except (ValueError, OverflowError):
        return f"day {day}"


# The tree (RFC 6962 §2.1)


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf."""
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash a node."""
    return sha256(b"\1" + left + right).digest()


def root_of(hashes: list[bytes]) -> bytes:
    """Return the root over the hashes of leaves. What is odd at the end of a level moves up as it is."""
    if not hashes:
        return sha256(b"").digest()
    while len(hashes) > 1:
        pairs = iter(hashes)
        above = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        hashes = above + hashes[len(above) * 2 :]
    return hashes[0]


def root_of_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that an inclusion proof leads to (RFC 9162 §2.1.3.2); None if it fits no such tree."""
    if not 0 <= index < size:
        return None
    place, last, root = index, size - 1, leaf_hash(leaf)
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node_hash(sibling, root)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


class Tree:
    """The tree as it grows: the hashes of all blocks and what is above, and those of the leaves in the last block.

    It takes some 200 bytes for each 256 records, and knows the root at any size whose last block is whole or at hand.
    """

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]
        self.tail: list[bytes] = []

    @property
    def blocks(self) -> int:
        """How many blocks are whole."""
        return len(self._levels[0])

    def fold(self) -> Iterator[tuple[int, int, bytes]]:
        """Make a whole tail a block; yield what is complete now: level, position and hash, every eighth level."""
        done, level = root_of(self.tail), 0
        self.tail.clear()
        while True:
            row = self._levels[level]
            row.append(done)
            if level % 8 == 0:
                yield level + BLOCK_LEVEL, len(row) - 1, done
            if len(row) % 2:
                return
            done, level = node_hash(row[-2], row[-1]), level + 1
            if level == len(self._levels):
                self._levels.append([])

    def root(self, blocks: int, rest: list[bytes]) -> bytes:
        """Return the root over so many blocks and the hashes of the leaves behind them."""
        root = root_of(rest) if rest or not blocks else b""
        for level, row in enumerate(self._levels):
            if blocks >> level & 1:
                left = row[(blocks >> level) - 1]
                root = node_hash(left, root) if root else left
        return root


# Checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature)


class VerifierKey(NamedTuple):
    """Who may have signed a note: a verifier key, ``NAME+HASH+KEY``."""

    name: str
    id: bytes
    type: int
    public: Ed25519PublicKey

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read it; ValueError if it is none, or of another type."""
        try:
            name, id, encoded = text.strip().split("+", 2)
            raw = _base64(encoded)
            if raw[0] not in (ED25519, COSIGNATURE) or sha256(name.encode() + b"\n" + raw).digest()[:4] != _hex(id, 4):
                raise ValueError
            return cls(name, _hex(id, 4), raw[0], Ed25519PublicKey.from_public_bytes(raw[1:]))
        except (ValueError, IndexError):
            raise ValueError(f"this is not a verifier key: {text}") from None

    def verify(self, body: bytes, signature: bytes) -> bool:
        """Whether this key made this signature of a note."""
        if self.type == COSIGNATURE:
            at, signature = int.from_bytes(signature[:8]), signature[8:]
            body = f"cosignature/v1\ntime {at}\n".encode() + body
        try:
            self.public.verify(signature, body)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Checkpoint:
    """A signed note about a log: whose, of what size, with what root."""

    origin: str
    size: int
    root: bytes
    body: bytes
    signatures: tuple[tuple[str, bytes, bytes], ...]  # name, key id, signature

    @classmethod
    def parse(cls, note: str) -> Checkpoint:
        """Read it; ValueError if it is none."""
        body, _, lines = note.rpartition("\n\n")
        origin, size, root, *_ = body.split("\n")
        signatures = []
        if not origin or not size.isascii() or not size.isdigit() or str(int(size)) != size:
            raise ValueError("no checkpoint")
        for line in lines.removesuffix("\n").split("\n"):
            dash, name, encoded = line.split(" ")
            raw = _base64(encoded)
            if dash != "\u2014" or not name or len(raw) < 5:
                raise ValueError("no signature")
            signatures.append((name, raw[:4], raw[4:]))
        if not lines.endswith("\n") or len(_base64(root)) != 32:
            raise ValueError("no checkpoint")
        return cls(origin, int(size), _base64(root), body.encode() + b"\n", tuple(signatures))

    def signers(self, keys: Iterable[VerifierKey]) -> tuple[list[VerifierKey], list[VerifierKey]]:
        """Return which of these keys have signed it, and in whose name there is a wrong signature."""
        right: list[VerifierKey] = []
        wrong: list[VerifierKey] = []
        for key in keys:
            for name, id, signature in self.signatures:
                if (name, id) == (key.name, key.id):
                    (right if key.verify(self.body, signature) else wrong).append(key)
        return right, wrong


class Notes:
    """Checks checkpoints of one log: whether they are signed, and fit the log."""

    def __init__(
        self,
        report: Report,
        origin: str,
        vkeys: Iterable[str],
        root: Callable[[int], bytes | None],  # at a size; None: that cannot be known
        *,
        whole: bool = True,  # whether the log itself is here
        trusted: bool = True,  # whether the keys are not from what is verified: else they vouch for nothing
    ) -> None:
        self._report, self._origin, self._root, self._whole, self._trusted = report, origin, root, whole, trusted
        self._keys = [VerifierKey.parse(vkey) for vkey in vkeys]
        self._ours = any(key.name == origin and key.type == ED25519 for key in self._keys)
        self._good = 0  # the largest size up to which a checkpoint agreed
        self.newest = 0
        self.unchecked = 0

    def check(self, note: object, label: str, *, size: int | None = None, given: bool = False) -> None:
        """Check a note: ``size`` is what it should speak of, ``given`` that it comes from outside."""
        try:
            checkpoint = Checkpoint.parse(note if isinstance(note, str) else "")
        except ValueError:
            return self._report.problem(None, f"{label} is not a signed checkpoint")
        if checkpoint.origin != self._origin:
            return self._report.problem(None, f"{label} is of another log, {checkpoint.origin}")
        if size is not None and checkpoint.size != size:
            self._report.problem(None, f"{label} speaks of {checkpoint.size} records, not of {size}")
        right, wrong = checkpoint.signers(self._keys)
        for key in wrong:
            self._report.problem(None, f"{label} has a wrong signature in the name of {key.name}")
        if self._ours and not any(key.name == self._origin for key in right):
            self._report.problem(None, f"{label} is not signed with a given key of {self._origin}")
        signed = bool(right) and self._trusted
        witnessed = given or (signed and any(key.type == COSIGNATURE for key in right))
        return self._compare(checkpoint, label, witnessed, signed or given)

    def _compare(self, checkpoint: Checkpoint, label: str, witnessed: bool, vouches: bool) -> None:
        size, have = checkpoint.size, self._report.size
        self.newest = max(self.newest, size)
        if size > have and self._whole:
            missing = "record" if size == have + 1 else f"records {have} to"
            what = f"the log ends with {have} records, but {label} is over {size}: {missing} {size - 1} is missing"
            return self._report.problem(None, what.replace(f"to {size - 1} is", f"to {size - 1} are"))
        root = self._root(size)
        if root is None:
            self.unchecked += 1
        elif root == checkpoint.root:
            self._good = max(self._good, size)
            self._report.vouched = max(self._report.vouched, size if witnessed else 0)
            self._report.vouched_for = max(self._report.vouched_for, size if vouches else 0)
        else:
            before = self._report.vouched if witnessed else self._good  # whoever rewrites a log signs it anew inside
            since = before if before < size else 0
            what = f"the log is not what was signed: {label} has another root; of records {since} to {size - 1}"
            self._report.problem(None, f"{what} at least one was changed, added or taken away")
        return None

    def warn(self) -> None:
        """Say what was not checked."""
        say, size, vouched = self._report.warnings.append, self._report.size, self._report.vouched
        if self.unchecked:
            why = "records before them are missing" if self._whole else "they are not of the size of the export"
            say(f"{self.unchecked} checkpoints could not be compared: {why}")
        if not self._ours:
            say(f"no key of {self._origin} was given: who signed its checkpoints was not checked")
        if size > self.newest:
            say(f"records {self.newest} to {size - 1} are covered by no checkpoint")
        if not vouched:
            say("no checkpoint from outside was given: a log rewritten with the server's own keys would not be noticed")
        elif vouched < size:
            say(f"records {vouched} to {size - 1} are covered by no checkpoint from outside")


# The officers' keys


class Identity:
    """An officer's secret key."""

    PREFIX: Final = "vrxmpp-identity-1"

    def __init__(self, text: str) -> None:
        text = text.strip().lower()
        letters = text.removeprefix(self.PREFIX).translate({ord(mark): None for mark in "- \t\r\n"}).upper()
        try:
            raw = b32decode(letters + "=" * (-len(letters) % 8))
        except binascii.Error:
            raw = b""
        if not text.startswith(self.PREFIX) or len(raw) != 36 or sha256(raw[:32]).digest()[:4] != raw[32:]:
            raise ValueError("this is not an identity, or it was mistyped")
        self._secret = X25519PrivateKey.from_private_bytes(raw[:32])
        self._public = self._secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def open(self, sealed: bytes) -> bytes:
        """Open what was sealed to the officer; ValueError."""
        ephemeral = sealed[:32]
        shared = self._secret.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        key = HKDF(SHA256(), 32, ephemeral + self._public, b"vrxmpp officer").derive(shared)
        try:
            return ChaCha20Poly1305(key).decrypt(bytes(12), sealed[32:], None)
        except InvalidTag:
            raise ValueError("not sealed to this officer") from None


class DayKeys(NamedTuple):
    """What opens the records of a class and a day."""

    day: str
    day_key: bytes | None
    conversations: Mapping[bytes, bytes]

    def conversation_key(self, conversation: bytes) -> bytes | None:
        """Return the key of a conversation-day; None where it is thrown away."""
        listed = self.conversations.get(conversation)
        if listed or self.day_key is None:
            return listed
        return hmac.digest(self.day_key, b"vrxmpp conversation-day key" + conversation, "sha256")


class Keys:
    """The directory of keys, as one officer can open it."""

    def __init__(self, directory: Path, name: str, identity: str, report: Report) -> None:
        self._name, self._identity = name, Identity(identity)
        self._files: dict[bytes, Path] = {}
        closed = 0
        for path in sorted((directory / "days").glob("*.json")):
            try:
                key_id, content = self._read(path)
                if key_id in self._files:
                    raise ValueError(f"it has the key id of {self._files[key_id].name}")
                self._files[key_id] = path
                closed += content is None
            except (ValueError, OSError) as error:
                report.problem(None, f"the key file {path.name} cannot be opened: {error}")
        if closed:
            report.warnings.append(f"{closed} key files are not sealed to {name}: their records could not be opened")

    def __contains__(self, key_id: bytes) -> bool:
        return key_id in self._files

    def open(self, key_id: bytes) -> DayKeys | None:
        """Return the keys with this id; None where they are not sealed to the officer."""
        return self._read(self._files[key_id])[1]

    def _read(self, path: Path) -> tuple[bytes, DayKeys | None]:
        file = _object(_read(path))
        if file.get("version") != 1 or path.name != f"{file.get('day')}.{file.get('class')}.json":
            raise ValueError("it is not of the day and the class that its name says")
        key_id, content, wraps = _hex(file.get("key_id"), 16), _base64(file.get("content")), file.get("wraps")
        if not isinstance(wraps, dict) or not isinstance(wraps.get("officers"), dict) or wraps.keys() - WRAPS:
            raise ValueError("it does not say whom it is sealed to")
        _base64(wraps.get("root", ""))
        sealed = {name: _base64(wrap) for name, wrap in wraps["officers"].items()}.get(self._name)
        if sealed is None:
            return key_id, None
        try:
            opened = AESGCM(self._identity.open(sealed)).decrypt(content[:12], content[12:], key_id)
        except InvalidTag:
            raise ValueError("its content was changed") from None
        keys = _object(opened)
        day_key = keys.get("day_key")
        listed = {_hex(id, 16): _hex(key, 32) for id, key in dict(keys.get("conversations", {})).items()}
        return key_id, DayKeys(file["day"], None if day_key is None else _hex(day_key, 32), listed)


# Erasures


class Ranges:
    """Numbers from first to last, many times, and whether one is among them."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._firsts, self._lasts = array("Q"), array("Q")
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1]:
                self._lasts[-1] = max(last, self._lasts[-1])
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, index: int) -> bool:
        place = bisect_right(self._firsts, index)
        return place > 0 and index <= self._lasts[place - 1]


class Erasure(NamedTuple):
    """What an erase record says."""

    record: int
    key_id: bytes
    removed: list[tuple[int, int]]
    resealed: dict[int, bytes]

    @classmethod
    def read(cls, record: int, facts: Json) -> Erasure:
        """Read its facts; ValueError."""
        removed, resealed = facts.get("removed"), facts.get("resealed")
        if facts.get("kind") not in ("expiry", "conversation", "message") or not isinstance(removed, list):
            raise ValueError("no erasure")
        for pair in removed:
            if (
                not isinstance(pair, list)
                or list(map(type, pair)) != [int, int]
                or not 0 <= pair[0] <= pair[1] < record
            ):
                raise ValueError("a range of records that is none")
        if not isinstance(resealed, dict):
            raise ValueError("no erasure")
        anew = {int(index): _hex(digest, 32) for index, digest in resealed.items()}
        if any(not 0 <= index < record for index in anew) or list(map(str, anew)) != list(resealed):
            raise ValueError("it seals what comes behind it")
        return cls(record, _hex(facts.get("key_id"), 16), [(first, last) for first, last in removed], anew)


class Erased:
    """What has become of the payloads of one key id."""

    def __init__(self, erasures: Iterable[Erasure], pending: frozenset[int]) -> None:
        may, must = [], []
        self.pending = False  # an erasure is not finished: keys and payloads may be as before, or as after it
        self.resealed: dict[int, bytes] = {}  # hashes of the new payloads, which are in place with the record
        for erasure in erasures:
            waits = erasure.record in pending
            self.pending |= waits
            may += erasure.removed
            must += [] if waits else erasure.removed
            self.resealed |= erasure.resealed
        self.may_be_gone, self.must_be_gone = Ranges(may), Ranges(must)


NOTHING_ERASED: Final = Erased((), frozenset())


# Places


class Places:
    """How far each conversation of a day has got; what is too much for memory is in a temporary database on the disk.

    A place is the counter of the next record, the index of the last, and a mark.
    """

    def __init__(self) -> None:
        self.recent: dict[bytes, tuple[int, int, bytes]] = {}
        self.count = 0  # conversations there are
        self._rest: sqlite3.Connection | None = None

    def find(self, conversation: bytes) -> tuple[int, int, bytes] | None:
        """Return the place of one that is not among the recent; None if there was none yet: it is counted."""
        if len(self.recent) >= MOST_PLACES:
            self._move()
        place: tuple[int, int, bytes] | None = None
        if self._rest:
            place = self._rest.execute("SELECT next, last, mark FROM places WHERE id = ?", (conversation,)).fetchone()
        self.count += place is None
        return place

    def clear(self) -> None:
        """Begin another day."""
        self.recent.clear()
        self.count = 0
        if self._rest:
            self._rest.close()
            self._rest = None

    def _move(self) -> None:
        if self._rest is None:
            self._rest = sqlite3.connect("", isolation_level=None)  # SQLite removes it in the end
            self._rest.execute("PRAGMA journal_mode = OFF")
            self._rest.execute(
                "CREATE TABLE places (id BLOB PRIMARY KEY, next INTEGER, last INTEGER, mark BLOB) WITHOUT ROWID"
            )
            self._rest.execute("BEGIN")
        rows = ((id, *self.recent[id]) for id in sorted(self.recent))  # neighbours share a page
        self._rest.executemany("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)", rows)
        self.recent.clear()


# The log


class Leaf(NamedTuple):
    """The header of a record."""

    magic: bytes
    type: int
    number: int  # its index
    time: int
    conversation: bytes
    counter: int
    previous: int
    key_id: bytes
    commitment: bytes
    digest: bytes
    length: int


class Day(NamedTuple):
    """A day of the log."""

    number: int  # days since 1970
    first: int  # its first record
    conversations: int


class Log:
    """Checks the records of a database, one after the other, and then what is said about them."""

    def __init__(self, database: sqlite3.Connection, report: Report, keys: Keys | None) -> None:
        self._database, self._report, self._problem, self._keys = database, report, report.problem, keys
        self._tree = Tree()
        self._missing: int | None = None  # the first record that is not there: no root is known behind it
        self._nodes_differ = False
        self._time = 0
        self._messages, self._messages_before = 0, array("Q", [0])  # types 1 to 3: all, and before each block
        self._day = Day(0, 0, 0)  # that is running
        self._ended: Day | None = None  # the day before it, until the close record
        self._start = self._end = 0  # microseconds of the day that is running; none before the first record
        self._places = Places()  # of the conversations of the day; the mark is the key id
        self._erased: dict[bytes, Erased] = {}  # of the day, by key id
        self._key_ids: set[bytes] = set()
        self._day_keys: dict[bytes, DayKeys | None] = {}  # of the day
        self._conversation_keys: dict[bytes, bytes | None] = {}  # of the day
        self._pending = frozenset(record for (record,) in database.execute("SELECT record FROM todo"))
        self._erasures: dict[bytes, list[int]] = {}  # by key id: the erase records
        self._policy: tuple[int, str] | None = None  # the newest record of the policy, and the hash it names
        self._public_facts: dict[int, Callable[[int, Json], None]] = {
            12: self._check_erase,
            13: self._check_clock,
            14: self._check_reconcile,
            15: self._check_close,
            16: self._check_witness,
            17: self._check_verify,
            18: self._check_policy,
        }

    # The pass over all records

    def read(self, progress: Progress | None) -> None:
        """Check all records."""
        for (index,) in self._database.execute("SELECT idx FROM records WHERE idx < 0 LIMIT 10"):
            self._problem(index, "it has no place in the log")
        for index, payload in self._database.execute(
            "SELECT idx, payload FROM records NOT INDEXED WHERE idx >= 0 AND substr(leaf, 5, 1) = ? ORDER BY idx",
            (bytes([ERASE]),),
        ):
            with suppress(ValueError, TypeError):  # what cannot be read excuses nothing, and is told in its place
                self._erasures.setdefault(Erasure.read(index, _object(payload[SALT:])).key_id, []).append(index)
        (last,) = self._database.execute("SELECT max(idx) FROM records").fetchone()
        rows = self._database.execute("SELECT idx, leaf, payload FROM records NOT INDEXED WHERE idx >= 0 ORDER BY idx")
        while done := self._read_block(islice(rows, BLOCK)):
            self._report.records += done
            if self._missing is not None:
                self._tree.tail.clear()
            elif len(self._tree.tail) == BLOCK:
                self._fold()
            if progress:
                progress(self._report.records, last + 1)
        self._report.root = self.root(self._report.size) or b""

    def _read_block(self, rows: Iterable[tuple[int, Any, Any]]) -> int:
        """Check these records, of which one at a time is in memory; return how many there were."""
        # The one place where speed matters: what is as it should be makes no call of ours.
        report, tail, unpack, none = self._report, self._tree.tail, LEAF.unpack, NOTHING_ERASED
        recent, find, erased, keyed = self._places.recent, self._places.find, self._erased, self._keys is not None
        before = len(tail)  # to which each record adds one
        for index, raw, payload in rows:
            if index != report.size:
                self._gap(index)
            report.size = index + 1
            if type(raw) is not bytes or len(raw) != LEAF.size:
                self._problem(index, "its leaf is not 133 bytes long")
                tail.append(leaf_hash(b""))
                continue
            tail.append(sha256(b"\0" + raw).digest())
            fields = unpack(raw)
            magic, kind, number, moment, conversation, counter, previous, key_id, _, digest, length = fields
            if number != index or magic != MAGIC or moment < self._time or not 0 < kind <= LAST_TYPE:
                self._check_header(index, Leaf._make(fields))
            self._time = moment
            if not self._start <= moment < self._end:
                self._change_day(index, Leaf._make(fields))
            if kind >= FIRST_PUBLIC:
                self._check_public(index, Leaf._make(fields), payload)
                continue
            self._messages += kind <= LAST_MESSAGE
            if key_id not in erased:
                self._meet_key(index, key_id)
            place = recent.get(conversation) or find(conversation) or (0, NONE, key_id)
            if (counter, previous, key_id) != place:
                counter = self._check_place(index, Leaf._make(fields), place)
            recent[conversation] = (counter + 1, index, key_id)
            if (
                type(payload) is not bytes
                or len(payload) != length
                or erased[key_id] is not none
                or sha256(payload).digest() != digest
            ) and not self._check_payload(index, Leaf._make(fields), payload):
                continue
            if keyed:
                self._open(index, Leaf._make(fields), payload)
        return len(tail) - before

    def _gap(self, index: int) -> None:
        first, last = self._report.size, index - 1
        if first > last:
            raise UnreadableError(f"its table of records is damaged: record {index} comes behind record {first - 1}")
        self._problem(first, "is missing" if first == last else f"is missing, and all behind it up to {last}")
        self._missing = first if self._missing is None else self._missing

    def _check_header(self, index: int, leaf: Leaf) -> None:
        if leaf.magic != MAGIC:
            self._problem(index, "its leaf does not begin with VXA1")
        if leaf.number != index:
            self._problem(index, f"its leaf says that it is record {leaf.number}: it was moved, or changed")
        if leaf.time < self._time:
            self._problem(index, "its time is before that of the record before it")
        if not 0 < leaf.type <= LAST_TYPE:
            self._problem(index, f"it is of type {leaf.type}, which there is not")

    def _change_day(self, index: int, leaf: Leaf) -> None:
        """Begin another day, of which the close record of the day before is the first record."""
        begun, day = self._end > 0, leaf.time // DAY
        if begun and leaf.type != CLOSE:
            self._problem(index, f"it is of {_date(day)}, but {_date(self._day.number)} was not closed before it")
            if leaf.previous != NONE or leaf.type >= FIRST_PUBLIC:
                return  # rather its time is wrong than that a day begins
        self._ended = self._day._replace(conversations=self._places.count) if begun else None
        self._day, self._start, self._end = Day(day, index, 0), day * DAY, (day + 1) * DAY
        self._places.clear()
        for known in (self._erased, self._day_keys, self._conversation_keys):
            known.clear()

    def _meet_key(self, index: int, key_id: bytes) -> None:
        """Look at a key id that is new on this day."""
        if len(self._key_ids) > MOST_KEYS:
            raise UnreadableError(f"its records name more than {MOST_KEYS:,} keys")
        if key_id == ZEROS:
            self._problem(index, "it is of a type that is sealed, but names no key")
        elif key_id in self._key_ids:
            self._problem(index, "its key is that of another day")
        self._key_ids.add(key_id)
        records = self._erasures.get(key_id)
        self._erased[key_id] = Erased(map(self._erasure, records), self._pending) if records else NOTHING_ERASED
        if self._keys is None:
            return
        self._day_keys[key_id] = keys = self._keys.open(key_id) if key_id in self._keys else None
        if keys and keys.day != _date(self._day.number):
            self._problem(index, f"its key is that of {keys.day}")

    def _erasure(self, record: int) -> Erasure:
        query = "SELECT payload FROM records NOT INDEXED WHERE idx = ?"
        (payload,) = self._database.execute(query, (record,)).fetchone()
        return Erasure.read(record, _object(payload[SALT:]))

    def _check_place(self, index: int, leaf: Leaf, place: tuple[int, int, bytes]) -> int:
        """Say what is wrong with the place in the conversation; return what the counter should have been."""
        counter, previous, key_id = place
        if key_id != leaf.key_id:
            self._problem(index, f"it has not the key of record {previous}, which is of the same conversation and day")
        if (leaf.counter, leaf.previous) == (counter, previous):
            return counter
        if leaf.previous == previous:
            self._problem(index, f"it counts {leaf.counter} records before it in its conversation; there are {counter}")
            return counter
        says, there_is = ("none" if it == NONE else f"record {it}" for it in (leaf.previous, previous))
        what = f"it says that {says} came before it in its conversation; there is {there_is}"
        if leaf.counter != counter:
            what += f", and it counts {leaf.counter} before it where there are {counter}: some are missing or moved"
        self._problem(index, what)
        return leaf.counter

    # Payloads

    def _check_payload(self, index: int, leaf: Leaf, payload: object) -> bool:
        """Check a payload that is perhaps not as the leaf says; return whether there is one to open."""
        erased = self._erased[leaf.key_id]
        if payload is None:
            self._report.gone += 1
            if index not in erased.may_be_gone:
                self._problem(index, "its text is gone, and no erase record says so")
            return False
        if not isinstance(payload, bytes):
            self._problem(index, "its payload is not a string of bytes")
            return False
        if index in erased.must_be_gone:
            self._problem(index, "an erase record says that its text is gone, but it is here")
        if len(payload) != leaf.length:
            self._problem(index, f"its payload has {len(payload)} bytes, and not {leaf.length}: it was changed")
            return False
        digest = sha256(payload).digest()
        if digest == erased.resealed.get(index, leaf.digest):
            return True
        if digest == leaf.digest:
            self._problem(index, "it was sealed anew, but what is here is the old payload")
        else:
            self._problem(index, "its payload was changed: the hash in its leaf is another")
        return False

    def _open(self, index: int, leaf: Leaf, payload: bytes) -> None:
        """Decrypt a payload and check what the leaf has committed to."""
        if leaf.conversation not in self._conversation_keys:
            if len(self._conversation_keys) >= MOST_PLACES:
                self._conversation_keys.clear()
            self._conversation_keys[leaf.conversation] = self._conversation_key(index, leaf)
        key = self._conversation_keys[leaf.conversation]
        if key is None:
            self._report.unopened += 1
            return
        where = leaf.number.to_bytes(8)
        cipher = AESGCM(hmac.digest(key, b"vrxmpp record key" + where, "sha256"))
        try:
            plaintext = cipher.decrypt(payload[:12], payload[12:], where + bytes([leaf.type]))
        except (InvalidTag, ValueError):
            self._report.unopened += 1
            if not self._erased[leaf.key_id].pending:
                self._problem(index, "its payload cannot be opened with the key of its conversation")
            return
        self._report.opened += 1
        if hmac.digest(plaintext[:SALT], plaintext, "sha256") != leaf.commitment:
            self._problem(index, "what is sealed in it is not what its leaf has committed to")

    def _conversation_key(self, index: int, leaf: Leaf) -> bytes | None:
        keys = self._day_keys.get(leaf.key_id)
        if keys is None:
            if self._keys is not None and leaf.key_id not in self._keys:
                self._problem(index, f"there is no key file with its key id, {leaf.key_id.hex()}")
            return None
        key = keys.conversation_key(leaf.conversation)
        if key is None and not self._erased[leaf.key_id].pending:
            self._problem(index, "the key of its conversation was thrown away, but its payload is here")
        return key

    # Public records

    def _check_public(self, index: int, leaf: Leaf, payload: object) -> None:
        if (leaf.conversation, leaf.counter, leaf.previous, leaf.key_id) != (ZEROS, 0, NONE, ZEROS):
            self._problem(index, "it is of a type that is public, but names a conversation or a key")
            return
        if not isinstance(payload, bytes):
            self._problem(index, "it is a public record, and has no payload")
            return
        if len(payload) != leaf.length or sha256(payload).digest() != leaf.digest:
            self._problem(index, "its payload was changed: the hash or the length in its leaf is another")
        elif hmac.digest(payload[:SALT], payload, "sha256") != leaf.commitment:
            self._problem(index, "its payload is not what its leaf has committed to")
        try:
            if not payload.endswith(b"\n"):
                raise ValueError
            facts = _object(payload[SALT:])
        except ValueError:
            self._problem(index, "it is a public record, and its facts cannot be read")
            return
        self._public_facts.get(leaf.type, self._check_clock)(index, facts)

    def _check_erase(self, index: int, facts: Json) -> None:
        try:
            Erasure.read(index, facts)
        except ValueError:
            self._problem(index, "it is an erase record, and what it says cannot be read")
            return
        access = facts.get("access")
        if type(access) is not int or access >= index or not self._is_act(access):
            self._problem(index, "it erases, but does not name the record that says who asked for it")

    def _is_act(self, index: int) -> bool:
        """Whether a record says what somebody did with the archive: types 8 to 11."""
        query = "SELECT 1 FROM records NOT INDEXED WHERE idx = ? AND substr(leaf, 5, 1) BETWEEN x'08' AND x'0b'"
        return self._database.execute(query, (index,)).fetchone() is not None

    def _check_clock(self, index: int, facts: Json) -> None:
        if type(facts.get("step")) is not int:
            self._problem(index, "it is a clock record, and does not say by how much the clock jumped")

    def _check_verify(self, index: int, facts: Json) -> None:
        if not _has(facts, size=int, records=int, problems=int) or facts["size"] > index:
            self._problem(index, "it is a verify record, and what it says cannot be so")

    def _check_policy(self, index: int, facts: Json) -> None:
        try:
            self._policy = index, _hex(facts.get("policy"), 32).hex()
        except ValueError:
            self._problem(index, "it is a policy record, and does not name the hash of one")

    def _check_reconcile(self, index: int, facts: Json) -> None:
        if not _has(facts, **RECONCILED) or not facts["since"] <= facts["until"] <= index:
            self._problem(index, "it is a reconcile record, and what it says cannot be read")
            return
        since, until, archived = facts["since"], facts["until"], facts["archived"]
        due = facts["accepted"] - facts["refused"] - facts["unarchived"] + facts["late"]
        if archived != due:
            self._problem(index, f"of the messages that the server accepted, {due} should be archived; {archived} are")
        if self._missing is None:
            here = self._messages_until(until) - self._messages_until(since)
            if here != archived:
                what = f"it counts {archived} messages from record {since} to before {until}; the log has {here}"
                self._problem(index, what)

    def _messages_until(self, index: int) -> int:
        block = index // BLOCK
        (more,) = self._database.execute(
            "SELECT count(*) FROM records NOT INDEXED"
            " WHERE idx >= ? AND idx < ? AND substr(leaf, 5, 1) BETWEEN x'01' AND ?",
            (block * BLOCK, index, bytes([LAST_MESSAGE])),
        ).fetchone()
        return self._messages_before[block] + int(more)

    def _check_close(self, index: int, facts: Json) -> None:
        if not _has(facts, day=str, first=int, last=int, conversations=int, root=str):
            self._problem(index, "it is a close record, and what it says cannot be read")
            return
        day, self._ended = self._ended, None
        if day is None or self._day.first != index:
            self._problem(index, "it is a close record, and not the first record behind a day")
            return
        says = (facts["day"], facts["first"], facts["last"], facts["conversations"])
        if says != (there_is := (_date(day.number), day.first, index - 1, day.conversations)):
            what = "it closes {}, records {} to {} of {} conversations"
            self._problem(index, f"{what.format(*says)}; there is {'{}, {} to {} of {}'.format(*there_is)}")
        root = self.root(index)
        if root is not None and facts["root"] != root.hex():
            what = (
                f"its root is not that of the {index} records before it: one of them was changed, added or taken away"
            )
            self._problem(index, what)

    def _check_witness(self, index: int, facts: Json) -> None:
        try:
            note = Checkpoint.parse(facts["note"])
            if not _has(facts, sink=str, size=int) or not facts["size"] == note.size <= index:
                raise ValueError
        except (KeyError, ValueError, AttributeError):
            self._problem(index, "it is a witness record without a checkpoint of the log before it")
            return
        root = self.root(note.size)
        if root is not None and root != note.root:
            what = f"the checkpoint that {facts['sink']} took has another root than the first {note.size} records"
            self._problem(index, f"{what}: one of them was changed, added or taken away")

    # The tree

    def _fold(self) -> None:
        self._messages_before.append(self._messages)
        for level, position, computed in self._tree.fold():
            row = self._database.execute(
                "SELECT hash FROM nodes WHERE level = ? AND position = ?", (level, position)
            ).fetchone()
            if row == (computed,) or (level > BLOCK_LEVEL and self._nodes_differ):
                continue
            self._nodes_differ = True
            first, last = position << level, (position + 1 << level) - 1
            what = "is not in the table of nodes" if row is None else "is another in the table of nodes"
            self._problem(None, f"the hash of records {first} to {last} {what}: one of them was changed, or the table")

    def root(self, size: int) -> bytes | None:
        """Return the root when the log had this size, not behind what was read; None where records are missing."""
        if self._missing is not None and size > self._missing:
            return None
        blocks, rest = divmod(size, BLOCK)
        if blocks == self._tree.blocks and rest <= len(self._tree.tail):
            return self._tree.root(blocks, self._tree.tail[:rest])
        rows = self._database.execute(
            "SELECT CASE WHEN typeof(leaf) = 'blob' AND length(leaf) = ? THEN leaf ELSE x'' END"
            " FROM records NOT INDEXED WHERE idx >= ? AND idx < ? ORDER BY idx",
            (LEAF.size, blocks * BLOCK, size),
        )
        return self._tree.root(blocks, [leaf_hash(leaf) for (leaf,) in rows])

    # What is said about the records

    def check_tables(self, notes: Notes, checkpoints: Sequence[str]) -> None:
        """Check the other tables, and the checkpoints in them and those given, when all records are read."""
        size = self._report.size
        for level, position in self._database.execute(
            "SELECT level, position FROM nodes WHERE typeof(level) != 'integer' OR typeof(position) != 'integer'"
            " OR level < 8 OR level % 8 OR position < 0 OR position + 1 > ? >> level LIMIT 10",
            (size,),
        ):
            self._problem(None, f"the table of nodes has one too many: level {level}, position {position}")
        if self._policy:
            row = self._database.execute("SELECT CAST(value AS BLOB) FROM state WHERE name = 'policy'").fetchone()
            if row is None or sha256(row[0]).hexdigest() != self._policy[1]:
                what = (
                    "the policy in the database is not the one it names: officers, retention or holds may be as of old"
                )
                self._problem(self._policy[0], what)
        for at, note in self._database.execute("SELECT size, note FROM checkpoints ORDER BY size"):
            notes.check(note, f"the checkpoint of {at} records in the database", size=at)
        for sink, at, note in self._database.execute("SELECT sink, size, note FROM witnessed ORDER BY size"):
            notes.check(note, f"the checkpoint that {sink} took", size=at)
        for note in checkpoints:
            notes.check(note, f"the given checkpoint {_first_lines(note)}", given=True)
        for record in sorted(self._pending.difference(*self._erasures.values())):
            self._problem(record, "the table of unfinished erasures has it, but it is no erase record")
        if self._pending:
            self._report.warnings.append(f"{len(self._pending)} erasures are recorded and not finished yet")


def _first_lines(note: str) -> str:
    origin, size, *_ = [*note.split("\n"), ""]
    return f"of {size[:20]} records of {origin[:80]}" if size.isdigit() else f'that begins with "{origin[:40]}"'


@contextmanager
def _open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database so that neither it nor its directory is changed, and read one state of it.

    Without a write-ahead log nobody has it open, and it is read as it is. With one and its index it is read beside the
    server. With one but no index (some backups leave it out) SQLite would make an index: a copy is read.
    """
    log, index, journal = (path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))
    for file in (path, log, index):
        if file.exists() and not file.is_file():
            raise UnreadableError(f"{file} is not a file")
    if journal.exists():
        raise UnreadableError(f"{journal} is beside it, which no server makes: it would change what is read")
    options = "mode=ro&readonly_shm=1"
    alone = not log.exists() or (log.stat().st_size == 0 and not index.exists())
    with tempfile.TemporaryDirectory() as scratch:
        if alone:
            options = "immutable=1"
        elif not index.exists():
            for file in (path, log):
                shutil.copy(file, scratch)
            path, options = Path(scratch, path.name), "mode=ro"
        database = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, isolation_level=None)
        database.text_factory = lambda raw: raw.decode(errors="replace")  # what is damaged is found, and no error
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
        try:
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("BEGIN")
            yield database
        finally:
            database.close()
        if alone and log.exists() and log.stat().st_size:
            raise UnreadableError("a server began to write to it meanwhile: verify it again")


def _check_schema(database: sqlite3.Connection, report: Report) -> None:
    """Make sure that what is read are plain tables: a view or a computed column would answer as whoever made it likes.

    UnreadableError if one of them is missing, or another. What else there is, is not read, but does not belong there.
    """
    kinds = dict(
        database.execute("SELECT name, iif(rootpage = 0 AND type = 'table', 'virtual table', type) FROM sqlite_master")
    )
    for table, expected in COLUMNS.items():
        if kinds.pop(table, None) != "table":
            raise UnreadableError(f"it is no archive: there is no table {table} in it")
        columns = database.execute("SELECT name, pk, hidden FROM pragma_table_xinfo(?)", (table,))
        names = " ".join(str(name).upper() if key else str(name) + "*" * hidden for name, key, hidden in columns)
        if names != expected:
            raise UnreadableError(f"the table {table} is not that of an archive: its columns are {names}")
    if database.execute("SELECT count(*) FROM todo").fetchone()[0] > MOST_KEYS:
        raise UnreadableError(f"it has more than {MOST_KEYS:,} unfinished erasures")
    for name, kind in kinds.items():
        if name not in UNREAD and not str(name).startswith("sqlite_autoindex_"):
            report.problem(None, f"the {kind} {name} is in the database, but no part of an archive")


def verify_directory(
    audit: Path,
    *,
    keys: Path | None = None,
    identity: tuple[str, str] | None = None,
    checkpoints: Sequence[str] = (),
    vkeys: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Verify the log in a directory (state/audit, or a copy). ``identity``: an officer's name and secret.

    ``checkpoints`` are signed notes that were kept elsewhere, ``vkeys`` who may have signed. Raises UnreadableError;
    ValueError where the identity or a verifier key is none.
    """
    began, report, path = time.monotonic(), Report(), audit / "ledger.sqlite"
    if not path.is_file():
        raise UnreadableError(f"there is no {path}")
    opener = Keys(keys, *identity, report) if keys and identity else None
    try:
        with _open_database(path) as database:
            _check_schema(database, report)
            row = database.execute("SELECT CAST(value AS TEXT) FROM state WHERE name = 'origin'").fetchone()
            if row is None or row[0] is None:
                report.problem(None, "the database does not say whose log it is")
            log = Log(database, report, opener)
            notes = Notes(report, str(row and row[0]), vkeys, log.root)
            log.read(progress)
            log.check_tables(notes, checkpoints)
            notes.warn()
    except (sqlite3.Error, OSError) as error:
        raise UnreadableError(f"{path} cannot be read behind record {report.size}: {error}") from error
    report.seconds = time.monotonic() - began
    return report


# Exports


class Export:
    """Checks an export: a choice of records, each with the proof that it is in the log."""

    def __init__(self, directory: Path, report: Report) -> None:
        self._directory, self._report, self._problem = directory, report, report.problem
        try:
            raw = _read(directory / "manifest.json")
            self.manifest = _object(raw)
            self._size, self._root = self.manifest["size"], _base64(self.manifest["root"])
            if self.manifest.get("version") != 1 or not _has(self.manifest, size=int, origin=str, files=dict):
                raise ValueError("it lacks what belongs there")
            if not isinstance(self.manifest.get("cosigned", []), list):
                raise ValueError("what is cosigned is no list")
        except OSError as error:
            raise UnreadableError(f"the manifest cannot be read: {error}") from error
        except (ValueError, KeyError) as error:
            raise UnreadableError(f"manifest.json is not the manifest of an export: {error}") from None
        report.size, report.root, report.manifest = self._size, self._root, sha256(raw).hexdigest()
        self._places = Places()  # of the conversations of all days; the mark is of class and name

    def root(self, size: int) -> bytes | None:
        """Return the root that all records are proved to; an export knows that of one size only."""
        return self._root if size == self._size else None

    def check_files(self) -> None:
        """Compare all files with the manifest."""
        files = self.manifest["files"]
        paths = (path for path in self._directory.rglob("*") if path.is_symlink() or not path.is_dir())
        here = {path.relative_to(self._directory).as_posix() for path in paths}
        for name in sorted(here - set(files) - {"manifest.json"}):
            self._problem(None, f"the file {name} is not in the manifest")
        if "records.jsonl" not in files:
            self._problem(None, "the manifest does not name records.jsonl")
        for name, facts in files.items():
            path = self._directory / name
            if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
                self._problem(None, f"the manifest names a file outside of the export: {name}")
            elif name in here and path.is_symlink():
                self._problem(None, f"the file {name} is a link to another")
            elif name not in here or not path.is_file():
                self._problem(None, f"the file {name} is missing")
            elif not isinstance(facts, dict) or (facts.get("bytes"), facts.get("sha256")) != _measure(path):
                self._problem(None, f"the file {name} was changed: its hash or its length is not that of the manifest")

    def check_records(self, progress: Progress | None) -> None:
        """Check every line of records.jsonl."""
        last, count, path = -1, self.manifest.get("records"), self._directory / "records.jsonl"
        if not path.is_file() or path.is_symlink():
            raise UnreadableError("there is no file records.jsonl in it")
        try:
            with path.open("rb") as file:
                for number, line in enumerate(iter(lambda: file.readline(LARGEST), b""), 1):
                    if len(line) == LARGEST:
                        raise UnreadableError(f"line {number} of records.jsonl is longer than {LARGEST:,} bytes")
                    last = self._check_line(number, line, last)
                    if progress and type(count) is int:
                        progress(number, max(count, number))
        except OSError as error:
            raise UnreadableError(f"records.jsonl cannot be read: {error}") from error
        for name, have in (("records", self._report.records), ("withheld", self._report.gone)):
            if self.manifest.get(name) != have:
                self._problem(None, f"the manifest counts {self.manifest.get(name)} {name}; there are {have}")

    def _check_line(self, number: int, line: bytes, last: int) -> int:
        """Check a line; return the index of its record."""
        self._report.records += 1
        try:
            facts = _object(line)
            raw, proof = _base64(facts["leaf"]), [_base64(sibling) for sibling in facts["proof"]]
            leaf = Leaf._make(LEAF.unpack(raw)) if len(raw) == LEAF.size else None
            if leaf is None or leaf.magic != MAGIC or (type(facts["index"]), type(facts["proof"])) != (int, list):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            self._problem(None, f"line {number} of records.jsonl cannot be read as a record")
            return last
        index: int = facts["index"]
        if leaf.number != index:
            self._problem(index, f"its leaf says that it is record {leaf.number}")
        if index <= last:
            self._problem(index, f"it comes behind record {last}, or twice")
        if root_of_proof(raw, index, self._size, proof) != self._root:
            self._problem(index, "its proof does not lead to the root: it is not in the log, or not like this")
        if unknown := facts.keys() - FACTS:
            self._problem(index, f"its line says what no record says: {', '.join(sorted(unknown))}")
        self._check_place(index, leaf, facts)
        self._check_text(index, leaf, facts)
        return max(index, last)

    def _check_place(self, index: int, leaf: Leaf, facts: Json) -> None:
        """Compare the names that others of its conversation have, and count those that were left out before it."""
        mark = sha256(json.dumps([facts.get("class"), facts.get("conversation")]).encode()).digest()
        place = self._places.recent.get(leaf.conversation) or self._places.find(leaf.conversation) or (0, NONE, mark)
        if mark != place[2]:
            what = "its class or conversation is another than that of the other records of its conversation"
            self._problem(index, what)
        self._report.omitted += max(0, leaf.counter - place[0])
        self._places.recent[leaf.conversation] = leaf.counter + 1, index, place[2]

    def _check_text(self, index: int, leaf: Leaf, facts: Json) -> None:
        if "salt" not in facts and "envelope" not in facts:
            self._report.gone += 1
            return
        try:
            salt = _base64(facts["salt"])
            plaintext = salt + facts["envelope"].encode()
        except (KeyError, ValueError, AttributeError):
            self._problem(index, "its salt or its text cannot be read")
            return
        length = leaf.length - (0 if leaf.key_id == ZEROS else SEALING)
        if len(salt) != SALT or len(plaintext) != length or hmac.digest(salt, plaintext, "sha256") != leaf.commitment:
            self._problem(index, "its text is not what its leaf has committed to")
        else:
            self._report.opened += 1


def _measure(path: Path) -> tuple[int, str]:
    """Return the length and the SHA-256 of a file."""
    digest, length = sha256(), 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
            length += len(part)
    return length, digest.hexdigest()


def verify_export(
    directory: Path,
    *,
    checkpoints: Sequence[str] = (),
    vkeys: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Verify an export. ``checkpoints`` and ``vkeys`` as for verify_directory; raises the same."""
    began, report = time.monotonic(), Report()
    export = Export(directory, report)
    manifest = export.manifest
    own = manifest.get("key")
    if not vkeys and own:
        report.key = str(own)
        what = "only the export itself names the key that it was checked with; compare it, or give the right one"
        report.warnings.append(f"{what}: {own}")
    try:
        keys = vkeys or [str(own)] * bool(own)
        notes = Notes(report, manifest["origin"], keys, export.root, whole=False, trusted=bool(vkeys))
    except ValueError:
        if vkeys:
            raise
        raise UnreadableError("the key in the manifest is none") from None
    export.check_files()
    export.check_records(progress)
    if signed := manifest.get("checkpoint"):
        notes.check(signed, "the checkpoint of the export", size=report.size)
    for note in manifest.get("cosigned") or []:
        notes.check(note, "a cosigned checkpoint of the export", size=report.size)
    for note in checkpoints:
        notes.check(note, f"the given checkpoint {_first_lines(note)}", given=True)
    if not signed and not report.vouched:
        report.problem(None, "nobody has signed the root that the proofs lead to: they prove nothing")
    notes.warn()
    report.seconds = time.monotonic() - began
    return report


# The command


class Bar:
    """A bar on the terminal that shows how far the work is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._shown = stream, 0.0

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._shown < 0.1:
            return
        self._shown = now
        full = 30 * done // of
        self._stream.write(f"\r[{'#' * full}{' ' * (30 - full)}] {done:,} of {of:,} records ")
        self._stream.flush()

    def clear(self) -> None:
        """Take it away."""
        if self._shown:
            self._stream.write("\r\x1b[K")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vrxmpp-verify",
        description="Verifies an audit archive of vrxmpp, or an export of it, without the server. Nothing is changed.",
        epilog="Ends with 0: nothing is wrong in it, and the last line says who vouches for it; 1: problems were found;"
        " 2: wrong usage; 3: it cannot be read. Without --vkey and --checkpoint a forgery can be consistent in itself.",
    )
    parser.add_argument("path", type=Path, help="the directory of an archive (with ledger.sqlite) or of an export")
    parser.add_argument("--checkpoint", action="append", default=[], type=Path, metavar="FILE",
                        help="a checkpoint that was kept elsewhere, or a directory of them")  # fmt: skip
    parser.add_argument("--vkey", action="append", default=[], metavar="KEY",
                        help="the key of who signed checkpoints or cosigned them: NAME+HASH+KEY")  # fmt: skip
    parser.add_argument("--keys", type=Path, metavar="DIRECTORY", help="the directory of keys, to open all payloads")
    parser.add_argument("--officer", metavar="NAME", help="whose identity it is; with --keys")
    parser.add_argument(
        "--identity", type=Path, metavar="FILE", help="a file with that officer's identity; with --keys"
    )
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    arguments = parser.parse_args(argv)
    if len({arguments.keys is None, arguments.officer is None, arguments.identity is None}) > 1:
        parser.error("--keys, --officer and --identity belong together")
    return arguments


def read_checkpoints(paths: Iterable[Path]) -> list[str]:
    """Read files, and all files in directories, with a checkpoint each. Raises OSError, also where there is none."""
    files: list[Path] = []
    for path in paths:
        found = sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(f"there is no checkpoint in {path}")
        files += found
    # A mail program or an editor may have put empty lines around it.
    return [file.read_text(errors="replace").strip() + "\n" for file in files]


def _verify(arguments: argparse.Namespace, progress: Progress | None) -> Report:
    path, vkeys = arguments.path, arguments.vkey
    try:
        checkpoints = read_checkpoints(arguments.checkpoint)
        identity = arguments.identity and (arguments.officer, arguments.identity.read_text(errors="replace"))
    except OSError as error:
        raise UnreadableError(str(error)) from error
    if (path / "manifest.json").is_file():
        return verify_export(path, checkpoints=checkpoints, vkeys=vkeys, progress=progress)
    directory = path if (path / "ledger.sqlite").exists() else path / "audit"
    return verify_directory(
        directory,
        keys=arguments.keys,
        identity=identity,
        checkpoints=checkpoints,
        vkeys=vkeys,
        progress=progress,
    )


def _printable(text: object) -> str:
    """Return what may be printed of a line: parts of it are by whoever made what is verified."""
    return "".join(each if each.isprintable() else "\ufffd" for each in str(text))


def _print(report: Report) -> None:
    for problem in report.problems:
        print(_printable(problem))
    if report.found > LISTED:
        print(f"... and {report.found - LISTED:,} more")
    for warning in report.warnings:
        print(_printable(f"note: {warning}"))
    counts = f"{report.records:,} records in {report.seconds:.1f} s"
    counts += f", {report.opened:,} opened"
    counts += f", {report.unopened:,} not opened" if report.unopened else ""
    counts += f", {report.gone:,} erased or withheld" if report.gone else ""
    print(f"{counts}; root {b64encode(report.root).decode() or 'not known'} at {report.size:,}")
    if report.manifest:
        print(f"the manifest has the SHA-256 {report.manifest}: compare it with the record of the export in the log")
        print("not shown by an export: that all that was chosen is in it, who and which class the names stand for, and")
        print(f"that messages.html and messages/ say what records.jsonl does; {report.omitted:,} records before or")
        print("between those in it, of the same conversations and days, are not in it")
    print(report.verdict)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    try:
        arguments = _arguments(argv)
    except SystemExit as end:
        return int(end.code or 0)
    bar = Bar(sys.stderr) if sys.stderr.isatty() else None
    try:
        report = _verify(arguments, bar)
    except UnreadableError as error:
        print(_printable(f"vrxmpp-verify: {error}"), file=sys.stderr)
        return 3
    except ValueError as error:
        print(_printable(f"vrxmpp-verify: {error}"), file=sys.stderr)
        return 2
    finally:
        if bar:
            bar.clear()
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        _print(report)
    return 0 if report.sound else 1


def console() -> None:
    """Run as a program."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    console()
