"""The verifier finds whatever was done to an export (docs/audit-format.md, "An export")."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.ledgers import ORIGIN, Officer, Signer, Writer, keyed_hash
from vrxmpp_verify import Report, UnreadableError, VerifierKey, main, verify_export

NOTARY, WITNESS, STRANGER = Signer(ORIGIN), Signer("other.example/witness", 4), Signer(ORIGIN)
CHOSEN, WITHHELD = [0, 5, 6, 8, 20, 21], {5}

Json = dict[str, Any]


def build(notary: Signer = NOTARY) -> Writer:
    log = Writer(notary, {"recovery": Officer()})
    for number in range(20):
        log.add(f"text {number} ü", ("alice@example.org", "bob@example.org")[number % 2])
    log.say(13, step=9)
    log.add("the last", "alice@example.org")
    return log


LOG = build()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LOG.export(tmp_path_factory.mktemp("original") / "export", CHOSEN, WITHHELD, WITNESS)


@pytest.fixture
def export(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "export"))


def check(export: Path, *checkpoints: str, vkeys: Sequence[str] = (NOTARY.vkey, WITNESS.vkey)) -> Report:
    return verify_export(export, checkpoints=checkpoints, vkeys=vkeys)


def told(report: Report) -> list[str]:
    return [str(problem) for problem in report.problems]


def edit_manifest(export: Path, **changes: object) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    (export / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def edit_records(export: Path, edit: Callable[[list[Json]], object]) -> None:
    """Change the records, and the manifest so that it fits."""
    lines = [json.loads(line) for line in (export / "records.jsonl").read_text().splitlines()]
    edit(lines)
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (export / "records.jsonl").write_bytes(content)
    files = json.loads((export / "manifest.json").read_text())["files"]
    files["records.jsonl"] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(export, files=files)


def flip(line: Json, name: str, place: int = 0) -> None:
    raw = bytearray(b64decode(line[name]))
    raw[place] ^= 1
    line[name] = b64encode(raw).decode()


def test_a_sound_export(export: Path) -> None:
    report = check(export)
    assert (told(report), report.warnings) == ([], [])
    assert (report.size, report.records, report.opened, report.gone, report.vouched) == (len(LOG), 6, 5, 1, len(LOG))
    assert report.manifest == sha256((export / "manifest.json").read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_every_proof_of_trees_of_all_kinds(size: int, tmp_path: Path) -> None:
    log = Writer(NOTARY, {})
    for number in range(size):
        log.say(13, step=number)
    assert told(check(log.export(tmp_path / "export", list(range(size)), set()))) == []


NO_PROOF = "its proof does not lead to the root: it is not in the log, or not like this"
NO_TEXT = "its text is not what its leaf has committed to"


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda lines: flip(lines[2], "leaf", 70), ["record 6: " + NO_PROOF, "record 6: " + NO_TEXT]),
        (lambda lines: flip(lines[2], "leaf", 0), ["line 3 of records.jsonl cannot be read as a record"]),
        (lambda lines: flip(lines[2], "salt"), ["record 6: " + NO_TEXT]),
        (lambda lines: lines[2].update(envelope=lines[2]["envelope"] + " "), ["record 6: " + NO_TEXT]),
        (lambda lines: lines[2].update(envelope=5), ["record 6: its salt or its text cannot be read"]),
        (lambda lines: lines[2].pop("salt"), ["record 6: its salt or its text cannot be read"]),
        (lambda lines: lines[2]["proof"].pop(), ["record 6: " + NO_PROOF]),
        (lambda lines: lines[2]["proof"].append(lines[2]["proof"][0]), ["record 6: " + NO_PROOF]),
        (lambda lines: lines[2]["proof"].reverse(), ["record 6: " + NO_PROOF]),
        (lambda lines: lines[2].update(proof=None), ["line 3 of records.jsonl cannot be read as a record"]),
        (
            lambda lines: lines[2].update(index=7),
            ["record 7: its leaf says that it is record 6", "record 7: " + NO_PROOF],
        ),
        (lambda lines: lines[2].update(index=-6), ["record -6: its leaf says", "record -6: it comes behind record 5"]),
        (lambda lines: lines[2].update(index=1 << 70), ["its leaf says that it is record 6", NO_PROOF]),
        (lambda lines: lines[2].update(conversation="x"), ["record 6: its class or conversation is another than"]),
        (lambda lines: lines.reverse(), ["record 20: it comes behind record 21, or twice"]),
        (
            lambda lines: lines.insert(3, lines[2]),
            ["record 6: it comes behind record 6", "the manifest counts 6 records"],
        ),
        (lambda lines: lines.pop(), ["the manifest counts 6 records; there are 5"]),
        (lambda lines: lines.pop(1), ["the manifest counts 6 records", "the manifest counts 1 withheld; there are 0"]),
        (lambda lines: lines[3].update(build_line(8)), ["record 8: " + NO_PROOF]),
    ],
)
def test_a_record_that_was_changed(export: Path, edit: Callable[[list[Json]], object], named: list[str]) -> None:
    edit_records(export, edit)
    said = told(check(export))
    assert all(any(name in line for line in said) for name in named), said


def build_line(index: int) -> Json:
    """Return the line of a record of another log, where all else fits."""
    return build()._line(index, withheld=False)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"checkpoint": build(STRANGER).note()}, "the checkpoint of the export is not signed with a given key"),
        ({"checkpoint": build().note()}, "the checkpoint of the export has another root"),
        ({"checkpoint": "x"}, "the checkpoint of the export is not a signed checkpoint"),
        ({"checkpoint": ""}, "nobody has signed the root that the proofs lead to"),
        ({"cosigned": [build().note(WITNESS)]}, "a cosigned checkpoint of the export has another root"),
        ({"origin": "example.com/audit"}, "is of another log, example.org/audit"),
        ({"size": 23}, "the checkpoint of the export speaks of 22 records, not of 23"),
        ({"root": b64encode(bytes(32)).decode()}, "the checkpoint of the export has another root"),
        ({"records": 7}, "the manifest counts 7 records; there are 6"),
        ({"withheld": 0}, "the manifest counts 0 withheld; there are 1"),
        ({"files": {}}, "the file messages/one.eml is not in the manifest"),
        (
            {"files": {"../secret": {}, "records.jsonl": 5}},
            "the manifest names a file outside of the export: ../secret",
        ),
        ({"files": {"/etc/passwd": {}}}, "the manifest names a file outside of the export: /etc/passwd"),
    ],
)
def test_a_manifest_that_was_changed(export: Path, changes: Json, named: str) -> None:
    notes = {"checkpoint": "", "cosigned": []} if changes == {"checkpoint": ""} else changes
    edit_manifest(export, **notes)
    said = told(check(export))
    assert any(named in line for line in said), said


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"size": -1}, {"size": True}, {"root": "x"}, {"origin": None}, {"files": []}]
)
def test_a_manifest_that_is_none(export: Path, changes: Json) -> None:
    edit_manifest(export, **changes)
    with pytest.raises(UnreadableError, match=r"manifest\.json is not the manifest of an export"):
        check(export)


def test_the_files_for_people(export: Path) -> None:
    (export / "messages/one.eml").write_text("for People\n")
    (export / "messages/two.eml").write_text("")
    os.symlink("/etc/passwd", export / "messages/three.eml")
    assert told(check(export)) == [
        "the file messages/three.eml is not in the manifest",
        "the file messages/two.eml is not in the manifest",
        "the file messages/one.eml was changed: its hash or its length is not that of the manifest",
    ]
    (export / "messages/one.eml").unlink()
    assert "the file messages/one.eml is missing" in told(check(export))


def test_a_link_in_the_place_of_a_file(export: Path, tmp_path: Path) -> None:
    file = (export / "messages/one.eml").rename(tmp_path / "elsewhere")
    os.symlink(file, export / "messages/one.eml")
    assert told(check(export)) == ["the file messages/one.eml is a link to another"]


def test_a_salt_cut_short(tmp_path: Path) -> None:
    """For HMAC, a key with zeros at its end is the same as without (RFC 2104 §2)."""
    log = Writer(NOTARY, {"recovery": Officer()})
    log.add("text")
    record = log.records[0]
    record.plaintext = bytes(32) + record.plaintext[32:]
    record.leaf = record.leaf[:65] + keyed_hash(bytes(32), record.plaintext) + record.leaf[97:]
    export = log.export(tmp_path / "export", [0], set())
    assert check(export).opened == 1
    edit_records(export, lambda lines: lines[0].update(salt="", envelope="\0" * 32 + lines[0]["envelope"]))
    assert told(check(export)) == ["record 0: " + NO_TEXT]


def test_a_length_that_is_not_that_of_the_text(tmp_path: Path) -> None:
    log = Writer(NOTARY, {"recovery": Officer()})
    log.add("text")
    log.records[0].leaf = log.records[0].leaf[:-1] + b"\xff"
    assert told(check(log.export(tmp_path / "export", [0], set()))) == ["record 0: " + NO_TEXT]


def test_the_key_of_the_export_itself(export: Path) -> None:
    report = check(export, vkeys=())
    assert report.sound
    what = "only the export itself names the key that it was checked with; compare it, or give the right one"
    assert report.warnings[0] == f"{what}: {NOTARY.vkey}"
    edit_manifest(export, key=STRANGER.vkey)
    assert "is not signed with a given key" in told(check(export, vkeys=()))[0]
    edit_manifest(export, key="none")
    with pytest.raises(UnreadableError, match="the key in the manifest is none"):
        check(export, vkeys=())


FORGER = Signer(ORIGIN), Signer("other.example/witness", 4)


@pytest.mark.parametrize("key", [FORGER[0].vkey, FORGER[1].vkey], ids=["a notary's", "a witness's"])
def test_a_forged_export_vouches_for_nothing(tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    forged = build(FORGER[0]).export(tmp_path / "forged", CHOSEN, set(), FORGER[1])
    edit_manifest(forged, key=key, checkpoint=build_note(forged))
    report = check(forged, vkeys=())
    assert (report.sound, report.vouched, report.vouched_for, report.key) == (True, 0, 0, key)
    assert main([str(forged)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == (
        "consistent in itself, but nobody you named vouches for it: give --vkey or --checkpoint"
    )
    assert key in said
    assert not check(forged).sound


def build_note(export: Path) -> str:
    """Return the checkpoint that an export has cosigned."""
    note: str = json.loads((export / "manifest.json").read_text())["cosigned"][0]
    return note


@pytest.mark.parametrize(
    ("checkpoints", "vkeys", "vouched", "vouched_for"),
    [
        ((), [], 0, 0),
        ((), [NOTARY.vkey], 0, len(LOG)),
        ((), [WITNESS.vkey], len(LOG), len(LOG)),
        ((), [Signer("somebody.example/witness", 4).vkey], 0, 0),
        ([LOG.note()], [], len(LOG), len(LOG)),
    ],
)
def test_who_vouches_for_an_export(
    export: Path, checkpoints: Sequence[str], vkeys: Sequence[str], vouched: int, vouched_for: int
) -> None:
    report = check(export, *checkpoints, vkeys=vkeys)
    assert (told(report), report.vouched, report.vouched_for) == ([], vouched, vouched_for)
    assert report.to_json()["vouched_for"] == vouched_for


def test_a_given_checkpoint(export: Path) -> None:
    assert told(check(export, LOG.note())) == []
    assert (
        "the given checkpoint of 22 records of example.org/audit has another root"
        in told(check(export, build().note()))[0]
    )
    longer = build()
    longer.add("more")
    report = check(export, longer.note())
    assert report.sound
    assert "1 checkpoints could not be compared: they are not of the size of the export" in report.warnings


def test_the_published_example_of_a_signed_note() -> None:
    """That of C2SP's signed-note, and what it does not sign."""
    key = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    id, signature = b64decode(line)[:4], b64decode(line)[4:]
    assert id == key.id
    assert key.verify(text, signature)
    assert not key.verify(text + b"\n", signature)
    assert not key.verify(text, signature[:-1])
    assert not key.verify(text, b"")


def test_whoever_made_an_export_does_not_write_on_the_terminal(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_manifest(export, files={"\x1b[2J\x1b[Hsound: nothing is missing\n\x9b8m\u202e": {}})
    assert main([str(export)]) == 1
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert "\nsound: nothing is missing" not in f"\n{said}"
