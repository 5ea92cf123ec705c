"""An archive written straight from docs/audit-format.md, with nothing of vrxmpp's, to try a verifier on."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import struct
from base64 import b32encode, b64encode
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import urandom
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ORIGIN = "example.org/audit"
NONE = 2**64 - 1
DAY = 86_400_000_000
BEGIN = 1_795_478_400_000_000  # 2026-11-24, 00:00
SCHEMA = """
CREATE TABLE records(idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL, payload BLOB);
CREATE TABLE nodes(level INTEGER, position INTEGER, hash BLOB, PRIMARY KEY (level, position)) WITHOUT ROWID;
CREATE TABLE checkpoints(size INTEGER PRIMARY KEY, note TEXT NOT NULL);
CREATE TABLE witnessed(sink TEXT PRIMARY KEY, size INTEGER, at INTEGER, note TEXT);
CREATE TABLE runs(run BLOB PRIMARY KEY, committed INTEGER NOT NULL);
CREATE TABLE state(name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE todo(record INTEGER PRIMARY KEY, work TEXT NOT NULL);
CREATE INDEX policies ON records(idx) WHERE substr(leaf, 5, 1) = x'12';
"""


def counted(since: int, until: int, messages: int) -> dict[str, int]:
    """Return what a server puts on record that has lost nothing."""
    others = dict.fromkeys(("refused", "unarchived", "late", "lost"), 0)
    return {"since": since, "until": until, "accepted": messages, "routed": messages, "archived": messages, **others}


def keyed_hash(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def base64(raw: bytes) -> str:
    return b64encode(raw).decode()


def encrypt(key: bytes, text: bytes, data: bytes) -> bytes:
    nonce = urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, text, data)


def day_name(time: int) -> str:
    return datetime.fromtimestamp(time // 1_000_000, UTC).date().isoformat()


def root_of(leaves: list[bytes]) -> bytes:
    """Return the root, as RFC 6962 §2.1 defines it."""
    if len(leaves) < 2:
        return hashlib.sha256(b"\0" + leaves[0] if leaves else b"").digest()
    middle = split(len(leaves))
    return hashlib.sha256(b"\1" + root_of(leaves[:middle]) + root_of(leaves[middle:])).digest()


def path_of(index: int, leaves: list[bytes]) -> list[bytes]:
    """Return the proof that a leaf is in the tree (RFC 6962 §2.1.1)."""
    if len(leaves) < 2:
        return []
    middle = split(len(leaves))
    if index < middle:
        return [*path_of(index, leaves[:middle]), root_of(leaves[middle:])]
    return [*path_of(index - middle, leaves[middle:]), root_of(leaves[:middle])]


def split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1


class Signer:
    """Somebody who signs notes: a notary, or a witness."""

    def __init__(self, name: str, type: int = 1) -> None:
        self.name, self.type, self._key = name, type, Ed25519PrivateKey.generate()
        public = bytes([type]) + self._key.public_key().public_bytes_raw()
        self.id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
        self.vkey = f"{name}+{self.id.hex()}+{base64(public)}"

    def sign(self, body: str, at: int = 1_795_000_000) -> str:
        """Return the line of a signature (C2SP signed-note, tlog-cosignature)."""
        if self.type == 1:
            signature = self._key.sign(body.encode())
        else:
            signed = self._key.sign(f"cosignature/v1\ntime {at}\n{body}".encode())
            signature = struct.pack(">Q", at) + signed
        return f"\u2014 {self.name} {base64(self.id + signature)}\n"


class Officer:
    """Somebody who may open the archive."""

    def __init__(self) -> None:
        self._secret = X25519PrivateKey.generate()
        self.public = self._secret.public_key().public_bytes_raw()
        raw = self._secret.private_bytes_raw()
        letters = b32encode(raw + hashlib.sha256(raw).digest()[:4]).decode().lower().rstrip("=")
        self.identity = "vrxmpp-identity-1-" + "-".join(letters[at : at + 8] for at in range(0, len(letters), 8))

    def seal(self, secret: bytes) -> bytes:
        fresh = X25519PrivateKey.generate()
        ephemeral = fresh.public_key().public_bytes_raw()
        shared = fresh.exchange(X25519PublicKey.from_public_bytes(self.public))
        key = HKDF(SHA256(), 32, ephemeral + self.public, b"vrxmpp officer").derive(shared)
        return ephemeral + ChaCha20Poly1305(key).encrypt(bytes(12), secret, None)


@dataclass
class DayKeys:
    """The keys of a class and a day."""

    key_id: bytes = field(default_factory=lambda: urandom(16))
    day_key: bytes = field(default_factory=lambda: urandom(32))
    listed: dict[bytes, bytes] = field(default_factory=dict)  # conversation-day keys, once something was erased
    erased: bool = False

    @property
    def id_key(self) -> bytes:
        return keyed_hash(self.day_key, b"vrxmpp conversation-day id")

    def conversation_id(self, name: str) -> bytes:
        return keyed_hash(self.id_key, name.encode())[:16]

    def conversation_key(self, id: bytes) -> bytes:
        return self.listed.get(id) or keyed_hash(self.day_key, b"vrxmpp conversation-day key" + id)

    def file(self, class_name: str, day: str, officers: dict[str, Officer]) -> bytes:
        """Return what is on the disk."""
        secret = urandom(32)
        content = {
            "id_key": self.id_key.hex(),
            "day_key": None if self.erased else self.day_key.hex(),
            "conversations": {id.hex(): key.hex() for id, key in self.listed.items()},
        }
        wraps = {"officers": {name: base64(officer.seal(secret)) for name, officer in officers.items()}}
        sealed = base64(encrypt(secret, json.dumps(content).encode(), self.key_id))
        head = {"version": 1, "class": class_name, "day": day, "key_id": self.key_id.hex()}
        return json.dumps({**head, "wraps": wraps, "content": sealed}, separators=(",", ":")).encode() + b"\n"


@dataclass
class Record:
    """A record, and what only its writer knows."""

    leaf: bytes
    payload: bytes | None
    plaintext: bytes
    class_name: str
    conversation: str
    id: bytes


class Writer:
    """Writes an archive: first what is in it, then to the disk."""

    def __init__(self, notary: Signer, officers: dict[str, Officer]) -> None:
        self.notary, self.officers = notary, officers
        self.records: list[Record] = []
        self.keys: dict[tuple[str, str], DayKeys] = {}
        self.checkpoints: dict[int, str] = {}
        self.witnessed: list[tuple[str, int, int, str]] = []
        self.todo: list[int] = []
        self.policy = b""  # sealed; the one in force
        self.time, self.first = BEGIN, 0
        self._places: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.records)

    @property
    def leaves(self) -> list[bytes]:
        return [record.leaf for record in self.records]

    def add(
        self, text: str, conversation: str = "a@example.org b@example.org", class_name: str = "staff", type: int = 1
    ) -> int:
        """Add a sealed record; return its index."""
        keys = self.keys.setdefault((class_name, day_name(self.time)), DayKeys())
        id, index = keys.conversation_id(conversation), len(self)
        plaintext = urandom(32) + b'{"from":"a@example.org"}\n' + text.encode()
        payload = seal(keys.conversation_key(id), index, type, plaintext)
        counter, previous = self._places.get(id, (0, NONE))
        self._places[id] = (counter + 1, index)
        leaf = pack(type, index, self.time, id, counter, previous, keys.key_id, plaintext=plaintext, payload=payload)
        self.records.append(Record(leaf, payload, plaintext, class_name, conversation, id))
        self.time += 1_000
        return index

    def say(self, type: int, **facts: Any) -> int:
        """Add a public record; return its index."""
        plaintext = urandom(32) + json.dumps(facts).encode() + b"\n"
        leaf = pack(type, len(self), self.time, bytes(16), 0, NONE, bytes(16), plaintext=plaintext, payload=plaintext)
        self.records.append(Record(leaf, plaintext, plaintext, "", "", bytes(16)))
        return len(self) - 1

    def change_policy(self) -> int:
        """Have another policy, and record it; return the index of the record."""
        self.policy = urandom(100)
        return self.say(18, policy=hashlib.sha256(self.policy).hexdigest())

    def next_day(self, **wrong: Any) -> int:
        """Close the day; return the index of the record that does so. Some of its facts may be wrong."""
        facts = {"day": day_name(self.time), "first": self.first, "last": len(self) - 1}
        facts |= {"conversations": len(self._places), "root": root_of(self.leaves).hex()}
        self.time = (self.time // DAY + 1) * DAY
        self._places.clear()
        self.first = self.say(15, **{**facts, **wrong})
        return self.first

    def note(self, *cosigners: Signer) -> str:
        """Return a signed checkpoint on all there is."""
        body = f"{ORIGIN}\n{len(self)}\n{base64(root_of(self.leaves))}\n"
        return f"{body}\n" + "".join(signer.sign(body) for signer in (self.notary, *cosigners))

    def checkpoint(self) -> str:
        """Sign a checkpoint and keep it in the database."""
        note = self.checkpoints[len(self)] = self.note()
        return note

    def expire(self, class_name: str, day: str) -> int:
        """Destroy all of a class and a day; return the index of the erase record."""
        keys = self.keys.pop((class_name, day))
        gone = [index for index, record in enumerate(self.records) if record.leaf[49:65] == keys.key_id]
        return self._erase("expiry", keys, gone, {})

    def erase_conversation(self, class_name: str, day: str, conversation: str) -> int:
        """Destroy a conversation of a day; return the index of the erase record."""
        keys, ids, gone = self._close_keys(class_name, day, conversation)
        del keys.listed[ids]
        return self._erase("conversation", keys, gone, {})

    def erase_message(self, class_name: str, day: str, index: int) -> int:
        """Destroy a message: the others of its conversation-day are sealed anew; return the index of the record."""
        keys, id, all = self._close_keys(class_name, day, self.records[index].conversation)
        keys.listed[id] = urandom(32)
        anew = [other for other in all if other != index and self.records[other].payload is not None]
        for other in anew:
            record = self.records[other]
            record.payload = seal(keys.listed[id], other, record.leaf[4], record.plaintext)
        hashes = {str(other): hashlib.sha256(self.records[other].payload or b"").hexdigest() for other in anew}
        return self._erase("message", keys, [index], hashes)

    def _close_keys(self, class_name: str, day: str, conversation: str) -> tuple[DayKeys, bytes, list[int]]:
        keys = self.keys[class_name, day]
        mine = [index for index, record in enumerate(self.records) if record.leaf[49:65] == keys.key_id]
        keys.listed = {self.records[index].id: keys.conversation_key(self.records[index].id) for index in mine}
        keys.erased = True
        id = keys.conversation_id(conversation)
        return keys, id, [index for index in mine if self.records[index].id == id]

    def _erase(self, kind: str, keys: DayKeys, gone: list[int], resealed: dict[str, str]) -> int:
        access = self.add("asked for", "audit", "audit", type=9)
        for index in gone:
            self.records[index].payload = None
        removed = [[index, index] for index in gone]
        return self.say(12, kind=kind, access=access, key_id=keys.key_id.hex(), removed=removed, resealed=resealed)

    def save(self, state: Path) -> Path:
        """Write everything below a directory, which is made; return it."""
        (state / "audit").mkdir(parents=True)
        (state / "keys/days").mkdir(parents=True)
        with closing(sqlite3.connect(state / "audit/ledger.sqlite")) as database, database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(SCHEMA)
            rows = ((index, record.leaf, record.payload) for index, record in enumerate(self.records))
            database.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
            for level in (8, 16):
                wide = 1 << level
                nodes = [root_of(self.leaves[at : at + wide]) for at in range(0, len(self) - wide + 1, wide)]
                values = ((level, position, node) for position, node in enumerate(nodes))
                database.executemany("INSERT INTO nodes VALUES (?, ?, ?)", values)
            database.executemany("INSERT INTO checkpoints VALUES (?, ?)", self.checkpoints.items())
            database.executemany("INSERT INTO witnessed VALUES (?, ?, ?, ?)", self.witnessed)
            database.executemany("INSERT INTO todo VALUES (?, '{}')", ((record,) for record in self.todo))
            database.execute("INSERT INTO state VALUES ('origin', ?)", (ORIGIN.encode(),))
            database.execute("INSERT INTO state VALUES ('policy', ?)", (self.policy,))
        for (class_name, day), keys in self.keys.items():
            file = state / "keys/days" / f"{day}.{class_name}.json"
            file.write_bytes(keys.file(class_name, day, self.officers))
        return state

    def export(self, directory: Path, indices: list[int], withheld: set[int], *cosigners: Signer) -> Path:
        """Write an export of these records; return its directory."""
        (directory / "messages").mkdir(parents=True)
        (directory / "messages/one.eml").write_text("for people\n")
        lines = [json.dumps(self._line(index, index in withheld)) + "\n" for index in indices]
        (directory / "records.jsonl").write_text("".join(lines))
        files = {}
        for name in ("records.jsonl", "messages/one.eml"):
            content = (directory / name).read_bytes()
            files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        head = {"version": 1, "origin": ORIGIN, "size": len(self), "root": base64(root_of(self.leaves))}
        signed = {
            "checkpoint": self.note(),
            "cosigned": [self.note(each) for each in cosigners],
            "key": self.notary.vkey,
        }
        counts = {"records": len(indices), "withheld": len(withheld), "files": files}
        (directory / "manifest.json").write_text(json.dumps({**head, **signed, **counts}))
        return directory

    def _line(self, index: int, withheld: bool) -> dict[str, Any]:
        record = self.records[index]
        proof = [base64(step) for step in path_of(index, self.leaves)]
        facts: dict[str, Any] = {"index": index, "leaf": base64(record.leaf), "proof": proof}
        facts |= {"class": record.class_name, "conversation": record.conversation}
        if not withheld:
            facts |= {"salt": base64(record.plaintext[:32]), "envelope": record.plaintext[32:].decode()}
        return facts


def seal(conversation_key: bytes, index: int, type: int, plaintext: bytes) -> bytes:
    """Return a payload."""
    where = struct.pack(">Q", index)
    return encrypt(keyed_hash(conversation_key, b"vrxmpp record key" + where), plaintext, where + bytes([type]))


def pack(*head: Any, plaintext: bytes, payload: bytes) -> bytes:
    """Write a leaf: its fields up to the key id, and what follows from the payload."""
    hashes = keyed_hash(plaintext[:32], plaintext) + hashlib.sha256(payload).digest()
    return b"VXA1" + struct.pack(">BQQ16sIQ16s", *head) + hashes + struct.pack(">I", len(payload))
