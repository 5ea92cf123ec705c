"""Checkpoints as signed notes, and what witnesses say to them (C2SP signed-note, tlog-checkpoint, tlog-cosignature)."""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = 1
COSIGNATURE = 4  # Ed25519 with a time: cosignature/v1

MOST_SIGNATURES = 100  # of one note; a reader must take 16
LONGEST_NOTE = 65_536  # characters
MOST_HASHES = 63  # of a consistency proof

_DASH = "\u2014 "
_KEY_BYTES = _HASH_BYTES = 32
_ID_BYTES = 4
_TIME = Struct(">Q")
_NUMBER = re.compile("0|[1-9][0-9]{0,18}", re.ASCII)
_NAME = re.compile(r"[^\s+]+")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


class NoteError(ValueError):
    """This is no note, no key or no checkpoint, or it is signed by nobody who counts; one line says which."""


class Signature(NamedTuple):
    """A line below a note."""

    name: str
    id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line as it stands there, with its end."""
        return f"{_DASH}{self.name} {b64encode(self.id + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key with its name and the type of signatures it is for."""

    name: str
    type: int
    key: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.type not in (ED25519, COSIGNATURE) or len(self.key) != _KEY_BYTES:
            raise NoteError("not a verifier key")

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read a vkey (signed-note, "Verifier keys"), in its one canonical form."""
        name, _, rest = text.partition("+")
        id, _, material = rest.partition("+")
        raw = _decode(material)
        verifier = cls(name, raw[0] if raw else 0, raw[1:])
        if verifier.id.hex() != id:
            raise NoteError("not a verifier key: its parts do not fit")
        return verifier

    @property
    def id(self) -> bytes:
        """What signatures of this key begin with."""
        material = f"{self.name}\n".encode() + bytes([self.type]) + self.key
        return hashlib.sha256(material).digest()[:_ID_BYTES]

    @property
    def text(self) -> str:
        """The vkey."""
        return f"{self.name}+{self.id.hex()}+{b64encode(bytes([self.type]) + self.key).decode()}"

    def verifies(self, text: str, value: bytes) -> bool:
        """Return whether the key has signed a text."""
        if self.type == COSIGNATURE:
            if len(value) < _TIME.size:
                return False
            text, value = _cosigned(text, *_TIME.unpack_from(value)), value[_TIME.size :]
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(value, text.encode())
        except InvalidSignature:
            return False
        return True


class Signer:
    """A secret key with its name."""

    def __init__(self, name: str, type: int, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, type, self._key.public_key().public_bytes_raw())

    def sign(self, text: str, at: int) -> Signature:
        """Sign a text; a cosigner says that it does so ``at`` that time, in seconds since 1970."""
        verifier = self.verifier
        if verifier.type == COSIGNATURE:
            value = _TIME.pack(at) + self._key.sign(_cosigned(text, at).encode())
        else:
            value = self._key.sign(text.encode())
        return Signature(verifier.name, verifier.id, value)


def cosigned_at(signature: Signature) -> int:
    """Return when a cosignature was made, in seconds since 1970."""
    (at,) = _TIME.unpack_from(signature.value)
    return int(at)


def _cosigned(text: str, at: int) -> str:
    return f"cosignature/v1\ntime {at}\n{text}"


# -- notes


class Note(NamedTuple):
    """A text and the signatures below it, which nobody has looked at yet."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str) -> Note:
        """Read a signed note; NoteError if it is none."""
        if len(note) > LONGEST_NOTE or _CONTROL.search(note) or not _is_unicode(note):
            raise NoteError("not a signed note")
        text, gap, lines = note.rpartition("\n\n")
        if not gap or not lines.endswith("\n") or lines.count("\n") > MOST_SIGNATURES:
            raise NoteError("not a signed note")
        return cls(text + "\n", tuple(map(_signature, lines[:-1].split("\n"))))

    def signed_by(self, verifiers: Iterable[Verifier]) -> list[Signature]:
        """Return the signatures by these keys; NoteError if there is none, or if one of them does not hold."""
        known = {(verifier.name, verifier.id): verifier for verifier in verifiers}
        found = []
        for signature in self.signatures:
            verifier = known.get((signature.name, signature.id))
            if verifier is not None:
                if not verifier.verifies(self.text, signature.value):
                    raise NoteError(f"the signature of {signature.name} does not hold")
                found.append(signature)
        if not found:
            raise NoteError("not signed by a key that is known")
        return found


def write_note(text: str, *signatures: Signature) -> str:
    """Write a signed note."""
    return f"{text}\n{''.join(signature.line for signature in signatures)}"


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH[0] or not _NAME.fullmatch(parts[1]):
        raise NoteError("not a signed note")
    raw = _decode(parts[2])
    if len(raw) <= _ID_BYTES:
        raise NoteError("not a signed note")
    return Signature(parts[1], raw[:_ID_BYTES], raw[_ID_BYTES:])


# -- checkpoints


class Checkpoint(NamedTuple):
    """What a log says of itself: its name, how many leaves it has, and the root of their tree (tlog-checkpoint)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text of the note."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a note; lines of extension are passed over. NoteError if it is no checkpoint."""
        origin, *rest = text.split("\n")
        if len(rest) < 3 or rest[-1] or not all((origin, *rest[:-1])):
            raise NoteError("not a checkpoint")
        root = _decode(rest[1])
        if len(root) != _HASH_BYTES:
            raise NoteError("not a checkpoint: its root is no hash")
        return cls(origin, _number(rest[0]), root)


class Submission(NamedTuple):
    """What a witness is asked to cosign: how its log has grown since the witness has last seen it (tlog-witness)."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    @property
    def text(self) -> str:
        """The body of the request ``add-checkpoint``."""
        return f"old {self.old}\n{''.join(b64encode(each).decode() + chr(10) for each in self.proof)}\n{self.note}"

    @classmethod
    def parse(cls, text: str) -> Submission:
        """Read the body of a request; NoteError if it is none."""
        head, gap, note = text.partition("\n\n")
        first, *hashes = head.split("\n")
        if not gap or not first.startswith("old ") or len(hashes) > MOST_HASHES:
            raise NoteError("not a request to a witness")
        proof = tuple(map(_decode, hashes))
        if any(len(each) != _HASH_BYTES for each in proof):
            raise NoteError("not a request to a witness: its proof has something else than hashes")
        return cls(_number(first.removeprefix("old ")), proof, note)


def read_cosignature(note: str, lines: str, verifiers: Sequence[Verifier]) -> Signature:
    """Return the cosignature by one of these keys in the answer of a witness to a note (tlog-witness); NoteError."""
    whole = Note.parse(note + lines)
    if whole.text != Note.parse(note).text:
        raise NoteError("not the answer of a witness")
    return whole.signed_by(verifiers)[0]


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise NoteError("not a number of leaves")
    return int(text)


def _decode(text: str) -> bytes:
    """Read base64 (RFC 4648 §4) in its one canonical form: there are no two ways to write the same note."""
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
    if b64encode(raw).decode() != text:
        raise NoteError("not base64 in its canonical form")
    return raw


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
