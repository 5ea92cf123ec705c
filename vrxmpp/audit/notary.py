"""The notary: a process that signs checkpoints, and only such as extend what was signed before (C2SP tlog-witness).

It has the key of the log and that of the witness which this server is for others, and nobody else has them. The server
starts it as ``python -m vrxmpp.audit.notary FD``; it answers what it is asked over that socket, and ends with it.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from os import urandom
from pathlib import Path
from typing import Any

from vrxmpp.audit import files
from vrxmpp.audit.frames import Frames, Kind, frame_json
from vrxmpp.audit.notes import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    NoteError,
    Signer,
    Submission,
    Verifier,
    cosigned_at,
    read_cosignature,
    write_note,
)
from vrxmpp.audit.secrecy import dump_no_core
from vrxmpp.audit.tree import EMPTY, verify_consistency

STATE = "notary.json"
LOG, WITNESS = "/audit", "/witness"  # behind a domain: the names of its keys
MOST_PEERS = 1000  # whose keys are kept

_SEED_BYTES = 32
_READ_BYTES = 65_536

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818 - an answer, not a mistake
    """What was asked for is not done. ``condition`` is what a stanza error would say (RFC 6120 §8.3.3)."""

    def __init__(self, condition: str, text: str, **more: int) -> None:
        super().__init__(text)
        self.answer: Json = {"error": text, "condition": condition, **more}


@dataclass(frozen=True, slots=True)
class Head:
    """How far a log was signed: its size, and the root of its tree in hexadecimal."""

    size: int = 0
    root: str = EMPTY.hex()


@dataclass(frozen=True, slots=True)
class Peer(Head):
    """Somebody else's log: its key, which it is held to, and how far it was cosigned."""

    key: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What is on the disk. ``witnesses`` has the keys of those who cosign our log."""

    origin: str
    log_key: str
    witness_key: str
    signed: Head = field(default_factory=Head)
    peers: dict[str, Peer] = field(default_factory=dict)
    witnesses: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: bytes) -> State:
        """Read the file; ValueError, TypeError or KeyError if it is not one of these."""
        value = json.loads(raw)
        peers = {origin: Peer(**peer) for origin, peer in value["peers"].items()}
        return cls(**{**value, "signed": Head(**value["signed"]), "peers": peers})


class NotaryError(Exception):
    """The notary cannot do its work; one line for people."""


class Notary:
    """Answers what it is asked. What a signature says is on the disk before the signature leaves."""

    def __init__(self, directory: Path, domain: str, now: Callable[[], float] = time.time) -> None:
        """The log is named after ``domain`` when the keys are made, and keeps its name. Raises NotaryError."""
        self._path = directory / STATE
        self._now = now
        try:
            if self._path.exists():
                self._state = State.read(self._path.read_bytes())
            else:
                self._save(State(domain + LOG, urandom(_SEED_BYTES).hex(), urandom(_SEED_BYTES).hex()))
            state = self._state
            self._log = Signer(state.origin, ED25519, bytes.fromhex(state.log_key))
            name = state.origin.removesuffix(LOG) + WITNESS
            self._witness = Signer(name, COSIGNATURE, bytes.fromhex(state.witness_key))
        except OSError as error:
            raise NotaryError(f"{self._path} cannot be read or written: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NotaryError(f"{self._path} is damaged") from error

    def answer(self, request: Json) -> Json:
        """Answer a question: ``ok``, or ``error`` with the reason."""
        questions: dict[str, Callable[..., Json]] = {
            "keys": self.keys,
            "sign": self.sign,
            "cosign": self.cosign,
            "accept": self.accept,
        }
        arguments = {name: value for name, value in request.items() if name not in ("ask", "id")}
        try:
            return {"ok": questions[request["ask"]](**arguments)}
        except Refused as refused:
            return refused.answer
        except OSError as error:
            return Refused("internal-server-error", f"{self._path} cannot be written: {error.strerror}").answer
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return Refused("bad-request", f"the notary does not understand this: {error}").answer

    def keys(self) -> Json:
        """Return the public keys, and how far the log was signed."""
        return {
            "origin": self._state.origin,
            "key": self._log.verifier.text,
            "witness": self._witness.verifier.text,
            "size": self._state.signed.size,
        }

    def sign(self, size: int, root: str, old: int, proof: list[str]) -> Json:
        """Sign a checkpoint, with a proof from the size that was signed last (RFC 6962 §2.1.2); hashes in hexadecimal.

        Refused with "conflict", where the log has shrunk or another size was signed last, or with "not-acceptable".
        """
        signed = self._state.signed
        if len(root) != len(signed.root):
            raise Refused("bad-request", "the root is no hash")
        if size < signed.size:
            text = f"the log has only {size} records, but {signed.size} were signed"
            raise Refused("conflict", text, size=signed.size)
        if old != signed.size:
            raise Refused("conflict", f"{signed.size} records were signed, not {old}", size=signed.size)
        if not _extends(signed, size, root, [bytes.fromhex(each) for each in proof]):
            text = f"the log of {size} records is not an extension of the {signed.size} that were signed"
            raise Refused("not-acceptable", text)
        if size > signed.size:
            self._save(replace(self._state, signed=Head(size, root)))
        text = Checkpoint(self._state.origin, size, bytes.fromhex(root)).text
        return {"note": write_note(text, self._log.sign(text, int(self._now())))}

    def cosign(self, origin: str, key: str, request: str) -> Json:
        """Be a witness (tlog-witness, add-checkpoint): cosign a checkpoint of the log named ``origin``.

        A log is held to the key it came with at first. Where HTTP says 400, 403, 404, 409 and 422, Refused says
        "bad-request", "not-authorized", "item-not-found", "conflict", with the size that is known, "not-acceptable".
        """
        submission, verifier, peer = self._submission(origin, key, request)
        try:
            note = Note.parse(submission.note)
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise Refused("bad-request", str(error)) from None
        if checkpoint.origin != origin:
            raise Refused("item-not-found", f"this is a checkpoint of another log than {origin}")
        try:
            note.signed_by([verifier])
        except NoteError as error:
            raise Refused("not-authorized", str(error)) from None
        if submission.old > checkpoint.size:
            raise Refused("bad-request", "the old size is larger than the new one")
        if submission.old != peer.size:
            raise Refused("conflict", f"{peer.size} records of this log are known here", size=peer.size)
        if not _extends(peer, checkpoint.size, checkpoint.root.hex(), list(submission.proof)):
            raise Refused("not-acceptable", f"this is not an extension of the {peer.size} records that are known here")
        peers = {**self._state.peers, origin: Peer(checkpoint.size, checkpoint.root.hex(), verifier.text)}
        self._save(replace(self._state, peers=peers))
        return {
            "key": self._witness.verifier.text,
            "cosignature": self._witness.sign(note.text, int(self._now())).line,
        }

    def _submission(self, origin: str, key: str, request: str) -> tuple[Submission, Verifier, Peer]:
        """Return what is to be cosigned, and what is known of who wants it."""
        try:
            submission, verifier = Submission.parse(request), Verifier.parse(key)
        except NoteError as error:
            raise Refused("bad-request", str(error)) from None
        if (verifier.name, verifier.type) != (origin, ED25519):
            raise Refused("bad-request", f"this is not the key of {origin}")
        peers = self._state.peers
        peer = peers.get(origin)
        if peer is None:
            if len(peers) >= MOST_PEERS:
                raise Refused("resource-constraint", "too many logs are known here")
            peer = Peer(key=key)
        if peer.key != key:
            raise Refused("not-authorized", f"the key of {origin} is not the one it had before", changed=1)
        return submission, verifier, peer

    def accept(self, witness: str, key: str, note: str, cosignature: str) -> Json:
        """Examine the answer of the domain ``witness`` to a note of ours; return the note with the cosignature.

        A witness is held to the key it came with at first: otherwise "not-authorized".
        """
        known = self._state.witnesses
        name = witness + WITNESS
        try:
            verifier = Verifier.parse(key)
        except NoteError as error:
            raise Refused("bad-request", str(error)) from None
        if (verifier.name, verifier.type) != (name, COSIGNATURE):
            raise Refused("bad-request", f"this is not the key of {name}")
        if known.get(name, key) != key:
            raise Refused("not-authorized", f"the key of {name} is not the one it had before", changed=1)
        try:
            signature = read_cosignature(note, cosignature, [verifier])
        except NoteError as error:
            raise Refused("not-authorized", str(error)) from None
        if name not in known:
            self._save(replace(self._state, witnesses={**known, name: key}))
        return {"note": note + signature.line, "at": cosigned_at(signature)}

    def _save(self, state: State) -> None:
        files.replace(self._path, json.dumps(asdict(state), indent=1).encode())
        self._state = state


def _extends(known: Head, size: int, root: str, proof: list[bytes]) -> bool:
    return verify_consistency(known.size, size, proof, bytes.fromhex(known.root), bytes.fromhex(root))


# -- the process


def serve(line: socket.socket, notary: Notary) -> None:
    """Answer what comes, until there is nobody any more who asks."""
    frames = Frames()
    while data := line.recv(_READ_BYTES):
        for kind, body in frames.feed(data):
            if kind is Kind.ASK:
                request = json.loads(body)
                line.sendall(frame_json(Kind.ANSWER, {"id": request["id"], **notary.answer(request)}))


def main(descriptor: str) -> None:
    """Run the process. On standard input are ``{"directory": where it keeps its file, "domain": ...}``."""
    dump_no_core()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)  # they are for the server, which will close the socket
    values = json.load(sys.stdin)
    directory = Path(values["directory"])
    with socket.socket(fileno=int(descriptor)) as line:
        try:
            files.make_directory(directory)
            with files.changing(directory):  # there is only one at a time
                serve(line, Notary(directory, values["domain"]))
        except NotaryError as error:
            line.sendall(frame_json(Kind.NEWS, {"alarm": str(error)}))
        except ConnectionError:
            pass  # the server is gone
        except OSError as error:
            line.sendall(frame_json(Kind.NEWS, {"alarm": f"{directory} cannot be used: {error.strerror}"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
