"""What the server writes is what the verifier, which knows only its format, expects: two readings of one document."""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from datetime import date
from pathlib import Path

import pytest

from tests.ledgers import Signer
from tests.offices import CHAT, DAY, JANE, JULIET, NURSE, ORIGIN, TUESDAY, Archive, message
from vrxmpp.audit.erasure import erase_conversation, erase_message, expire
from vrxmpp.audit.export import export
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.reader import Query
from vrxmpp_verify import Report, verify_directory, verify_export

NOTARY, WITNESS = Signer(ORIGIN), Signer("other.example/witness", 4)
NURSERY = "juliet@example.org nurse@example.net"


def sign(archive: Archive) -> str:
    """Have a checkpoint signed, kept, and taken outside."""
    size, root = archive.ledger.size, archive.ledger.root()
    body = f"{ORIGIN}\n{size}\n{b64encode(root).decode()}\n"
    note = f"{body}\n{NOTARY.sign(body)}"
    archive("keep", size=size, note=note)
    archive("witnessed", sink="other.example", size=size, at=archive.wall, note=note + WITNESS.sign(body))
    return note


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Return an archive of three days, in which much was erased and the clock jumped."""
    archive = Archive(tmp_path / "state")
    for number in range(300):
        archive.add(message(f"number {number}"), message("good nurse", NURSE, JULIET, class_name="patron"))
    sign(archive)
    archive.ledger.append([Entry(Type.SESSION, "staff", "juliet@example.org", b"{}\n")])
    counts = {"accepted": 602, "archived": 600, "routed": 600, "refused": 2, "unarchived": 0, "late": 0, "lost": 0}
    facts = {"since": 0, "until": archive.ledger.size, **counts}
    archive.ledger.append([Entry(Type.RECONCILE, "", "", json.dumps(facts).encode() + b"\n")])
    archive.wall += 2 * DAY
    for number in range(10):
        archive.add(message(f"number {number}"), message("later", NURSE, JULIET))
    archive.next_day()
    archive.change("set_retention", **{"class": "patron", "days": 1, "locked": False})
    visit = archive.visit()
    erase_message(visit, 8)
    erase_conversation(visit, NURSERY, TUESDAY, date(2026, 11, 25))
    assert expire(archive, archive.state, by="jane", today=date(2026, 11, 26)).erased
    sign(archive)
    return archive


def check(state: Path, *, keyed: bool = False) -> Report:
    identity, keys = (("jane", JANE.text), state / "keys") if keyed else (None, None)
    return verify_directory(state / "audit", keys=keys, identity=identity, vkeys=[NOTARY.vkey, WITNESS.vkey])


@pytest.mark.parametrize("keyed", [False, True])
def test_a_log_that_is_being_written(archive: Archive, keyed: bool) -> None:
    report = check(archive.state, keyed=keyed)
    assert ([str(problem) for problem in report.problems], report.unopened) == ([], 0)
    assert (report.size, report.root) == (archive.ledger.size, archive.ledger.root())
    assert report.gone == 300 + 1 + 10
    last = f"records {report.size - 1} to {report.size - 1} are covered by no checkpoint"
    assert report.warnings == [last, f"{last} from outside"]


def test_a_log_that_was_closed(archive: Archive) -> None:
    archive.ledger.close()
    assert check(archive.state, keyed=True).sound


def test_an_erasure_that_was_interrupted(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive.ledger._unfinished, "settle", lambda: None)
    monkeypatch.setattr(archive.ledger._unfinished, "step", lambda: False)
    erase_message(archive.visit(), 10)
    report = check(Path(shutil.copytree(archive.state, tmp_path / "crashed")), keyed=True)
    assert ([str(problem) for problem in report.problems], report.unopened) == ([], 298)
    assert report.warnings[0] == "1 erasures are recorded and not finished yet"


def test_an_export(archive: Archive, tmp_path: Path) -> None:
    made = export(archive.visit(), Query(conversation=CHAT), tmp_path / "export", pause=lambda seconds: None)
    report = verify_export(tmp_path / "export", vkeys=[NOTARY.vkey, WITNESS.vkey])
    assert [str(problem) for problem in report.problems] == []
    assert (report.records, report.gone, report.manifest) == (made.records, made.withheld, made.manifest)
    assert (report.records, report.gone, report.vouched) == (310, 1, report.size)
