"""Exports: a choice of records with proofs that anybody can check, and the same for people (docs/audit-format.md)."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

from vrxmpp.audit.found import Found, written
from vrxmpp.audit.leaf import WITH_STANZA
from vrxmpp.audit.mail import write_mail
from vrxmpp.audit.notary import STATE, State
from vrxmpp.audit.notes import ED25519, Checkpoint, Note, NoteError, Signer
from vrxmpp.audit.office import Visit
from vrxmpp.audit.page import write_page
from vrxmpp.audit.policy import Json
from vrxmpp.audit.reader import Query, Search
from vrxmpp.audit.summary import describe_query
from vrxmpp.audit.transcript import Transcripts

_PAUSE = 0.1  # seconds
_PATIENCE = 30  # pauses, in which a notary that is there signs


class ExportError(Exception):
    """Nothing was exported: one line says why."""


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that is there."""

    directory: Path
    records: int
    withheld: int  # of them are erased, closed to this officer or damaged
    conversations: int  # conversation-days
    size: int  # of the tree that the proofs are in
    is_signed: bool  # whether there is a checkpoint of that tree
    cosigned: int  # by how many others
    manifest: str  # its SHA-256 in hexadecimal, which is on record too
    unopened: list[tuple[str, date, str]]  # which classes and days stayed closed, and why


def export(
    visit: Visit,
    query: Query,
    target: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
    pause: Callable[[float], None] = time.sleep,
) -> Exported:
    """Record an export, and make it, whole or not at all: a directory, which must not exist yet.

    ``progress`` is told how many of how many records were gone through. ExportError if there is something, or it
    cannot be written. Raises DeskError, RecordsError.
    """
    _refuse_existing(target)
    record = visit.record("export", type="export", query=query.to_json(), target=str(target))
    search = visit.reader.search(query)
    search.end = min(search.end, record)  # what was there when it was asked for
    try:
        with _made_whole(target) as directory:
            return _Export(visit, query, record, directory, pause).write(search, target, progress)
    except OSError as error:
        raise ExportError(f"{error.filename or target}: {error.strerror}") from None


def _refuse_existing(target: Path) -> None:
    if target.is_symlink() or target.exists():
        raise ExportError(f"{target} exists already")


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """Yield a directory that becomes the target if all goes well, and else goes away."""
    try:
        directory = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    except OSError as error:
        raise ExportError(f"{target} cannot be made: {error.strerror}") from None
    try:
        yield directory
        _refuse_existing(target)
        directory.rename(target)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


class _Tree(NamedTuple):
    """The tree that the proofs are in, and who vouches for it."""

    size: int
    root: bytes
    note: str  # "": nobody has signed it
    cosigned: list[str]


class _Export:
    """The making of an export in a directory."""

    def __init__(
        self, visit: Visit, query: Query, record: int, directory: Path, pause: Callable[[float], None]
    ) -> None:
        self._visit, self._query, self._directory, self._pause = visit, query, directory, pause
        self._records = visit.reader.records
        self._made = self._records.leaf(record).time
        self._transcripts = Transcripts(directory / ".transcripts")
        self._found = directory / ".found"
        self._names: dict[str, str] = {}  # of conversations, by the id of the conversation-day in hexadecimal
        self._count = self._withheld = 0

    def write(self, search: Search, target: Path, progress: Callable[[int, int], None]) -> Exported:
        """Write all of it, and record what it has become."""
        last = self._gather(search, progress)
        tree = self._find_tree(last)
        self._write_records(tree)
        self._write_for_people()
        shutil.rmtree(self._directory / ".transcripts")
        self._found.unlink()
        manifest = json.dumps(self._manifest(tree), indent=1).encode() + b"\n"
        (self._directory / "manifest.json").write_bytes(manifest)
        digest = hashlib.sha256(manifest).hexdigest()
        self._visit.record("exported", type="export", target=str(target), records=self._count, manifest=digest)
        return Exported(
            directory=target,
            records=self._count,
            withheld=self._withheld,
            conversations=len(self._transcripts),
            size=tree.size,
            is_signed=bool(tree.note),
            cosigned=len(tree.cosigned),
            manifest=digest,
            unopened=search.unopened,
        )

    def _gather(self, search: Search, progress: Callable[[int, int], None]) -> int:
        """Put aside what is found; return the index of the last of it, or -1."""
        last = -1
        with self._found.open("w", encoding="utf-8") as file:
            for found in search:
                last = found.index
                facts = _line(found)
                file.write(json.dumps([found.conversation_id.hex(), facts]) + "\n")
                if found.conversation:
                    self._names[found.conversation_id.hex()] = found.conversation
                if found.type in WITH_STANZA:
                    self._transcripts.add(found)
                self._count += 1
                self._withheld += "salt" not in facts
                progress(search.place - search.first, search.end - search.first)
        return last

    def _find_tree(self, last: int) -> _Tree:
        """Return the newest tree that has all of it, that of a cosigned checkpoint best, else of any, else as it is."""
        records = self._records
        cosigned = [(size, note) for size, note in map(_size_of, records.cosigned()) if size > last]
        signed = cosigned or [each for each in [self._newest_note(last)] if each is not None]
        if not signed:
            size = records.size
            return _Tree(size, records.root(size), "", [])
        size, note = max(signed)
        root = records.root(size)
        if Checkpoint.parse(Note.parse(note).text).root != root:
            raise ExportError("the log is not what was signed: verify it (vrxmpp audit verify)")
        return _Tree(size, root, note, [each for of, each in cosigned if of == size])

    def _newest_note(self, last: int) -> tuple[int, str] | None:
        """Return the newest note that is on the last record too; where a notary runs, it comes soon."""
        for _ in range(_PATIENCE if self._visit.ask.is_live else 1):
            newest = self._records.newest_note()
            if newest is not None and newest[0] > last:
                return newest
            self._pause(_PAUSE)
        return None

    def _write_records(self, tree: _Tree) -> None:
        """Write ``records.jsonl``: now all names of conversations are known."""
        with (
            self._found.open(encoding="utf-8") as lines,
            (self._directory / "records.jsonl").open("w", encoding="utf-8") as file,
        ):
            for id, facts in map(json.loads, lines):
                proof = [_base64(hash) for hash in self._records.proof(facts["index"], tree.size)]
                whole = {**facts, "proof": proof, "conversation": self._names.get(id, "")}
                file.write(json.dumps(whole, separators=(",", ":")) + "\n")

    def _write_for_people(self) -> None:
        messages = self._directory / "messages"
        messages.mkdir()
        origin = self._records.origin
        for number, transcript in enumerate(self._transcripts, 1):
            name = f"{transcript.day}.{transcript.class_name or 'closed'}.{number:06}.eml"
            (messages / name).write_bytes(write_mail(transcript, origin))
        facts = [
            ("Made", f"{written(self._made)} by {self._visit.name}"),
            ("Case", self._visit.case),
            ("Purpose", self._visit.purpose),
            ("Chosen", describe_query(self._query.to_json())),
            ("Records", f"{self._count}, of which {self._withheld} have no text"),
        ]
        with (self._directory / "messages.html").open("w", encoding="utf-8") as file:
            file.writelines(write_page(f"Messages from {origin}", facts, self._transcripts))

    def _manifest(self, tree: _Tree) -> Json:
        visit, records = self._visit, self._records
        paths = sorted(path for path in self._directory.rglob("*") if path.is_file())
        return {
            "version": 1,
            "origin": records.origin,
            "size": tree.size,
            "root": _base64(tree.root),
            "checkpoint": tree.note,
            "cosigned": tree.cosigned,
            "key": _key_of_log(visit.state),
            "made": self._made,
            "by": visit.name,
            "case": visit.case,
            "purpose": visit.purpose,
            "selection": self._query.to_json(),
            "records": self._count,
            "withheld": self._withheld,
            "files": {path.relative_to(self._directory).as_posix(): _measure(path) for path in paths},
        }


def _line(found: Found) -> Json:
    """Return the line of a record but for its proof and the name of its conversation."""
    facts: Json = {"index": found.index, "leaf": _base64(found.leaf), "class": found.class_name}
    if not found.problem:
        with suppress(UnicodeDecodeError):  # then its text cannot be shown as it is
            facts |= {"envelope": found.envelope.decode(), "salt": _base64(found.salt)}
    return facts


def _size_of(note: str) -> tuple[int, str]:
    """Return a note with the size it is about; -1 if it is not cosigned, or no checkpoint."""
    try:
        parsed = Note.parse(note)
        is_cosigned = len({signature.name for signature in parsed.signatures}) > 1
        return (Checkpoint.parse(parsed.text).size if is_cosigned else -1), note
    except NoteError:
        return -1, note


def _key_of_log(state: Path) -> str:
    """Return the public key of the log, where the notary's file can be read here; else ""."""
    try:
        notary = State.read((state / "notary" / STATE).read_bytes())
        return Signer(notary.origin, ED25519, bytes.fromhex(notary.log_key)).verifier.text
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ""


def _measure(path: Path) -> Json:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
        return {"sha256": digest.hexdigest(), "bytes": file.tell()}


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()
