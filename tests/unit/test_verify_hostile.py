"""The verifier is given what somebody made to deceive it, to stop it or to fill its memory, and says so in a line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

import vrxmpp_verify
from tests.ledgers import ORIGIN, Officer, Signer, Writer
from vrxmpp_verify import Report, Tree, UnreadableError, leaf_hash, main, root_of_proof, verify_directory, verify_export

NOTARY, OFFICER = Signer(ORIGIN), Officer()
Json = dict[str, object]


def build(size: int = 6) -> Writer:
    log = Writer(NOTARY, {"recovery": OFFICER})
    for number in range(size):
        log.add(f"text {number}", f"{'abc'[number % 3]}@example.org")
    log.checkpoint()
    return log


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return build().save(tmp_path / "state")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return build().export(tmp_path / "export", [0, 2, 5], {5})


def script(state: Path, statements: str) -> None:
    with closing(sqlite3.connect(state / "audit/ledger.sqlite")) as database:
        database.executescript(f"PRAGMA synchronous = OFF; {statements}")


def told(report: Report) -> list[str]:
    return [str(problem) for problem in report.problems]


def all_of(directory: Path) -> dict[str, object]:
    return {str(path): path.is_file() and path.read_bytes() for path in directory.rglob("*")}


# Databases

LOOK_ALIKE = "ALTER TABLE records RENAME TO hidden;"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i"


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (f"{LOOK_ALIKE} CREATE VIEW records AS SELECT * FROM hidden", "there is no table records"),
        (
            f"{LOOK_ALIKE} CREATE VIEW records AS {ENDLESS} AS idx, x'' AS leaf, x'' AS payload FROM n",
            "no table records",
        ),
        ("ALTER TABLE todo RENAME TO other; CREATE VIEW todo AS SELECT 1 AS record, '' AS work", "no table todo"),
        ("DROP TABLE todo", "there is no table todo"),
        ("DROP TABLE checkpoints", "there is no table checkpoints"),
        ("DROP TABLE witnessed", "there is no table witnessed"),
        ("DROP TABLE nodes", "there is no table nodes"),
        ("DROP TABLE state", "there is no table state"),
        ("DROP TABLE records; CREATE VIRTUAL TABLE records USING fts5(idx, leaf, payload)", "no table records"),
        (
            f"{LOOK_ALIKE} CREATE TABLE records (idx INTEGER PRIMARY KEY, leaf BLOB, payload BLOB AS (zeroblob(9)))",
            "the table records is not that of an archive: its columns are IDX leaf payload**",
        ),
        (
            f"{LOOK_ALIKE} CREATE TABLE records (idx INTEGER, leaf BLOB, payload BLOB);"
            " INSERT INTO records SELECT * FROM hidden; INSERT INTO records SELECT * FROM hidden",
            "the table records is not that of an archive: its columns are idx leaf payload",
        ),
        ("ALTER TABLE records ADD COLUMN more", "its columns are IDX leaf payload more"),
        (
            "UPDATE records SET payload = zeroblob(80000000) WHERE idx = 3",
            "cannot be read behind record 2: string or blob too big",
        ),
        ("PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'nonsense'", "cannot be read"),
    ],
)
def test_a_database_that_is_refused(
    state: Path, statements: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script(state, statements)
    before = all_of(state)
    assert main([str(state)]) == 3
    assert named in capsys.readouterr().err
    assert all_of(state) == before


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        ("CREATE VIEW more AS SELECT 1", "the view more is in the database, but no part of an archive"),
        (
            "CREATE TRIGGER more AFTER INSERT ON runs BEGIN DELETE FROM records; END",
            "the trigger more is in the database",
        ),
        ("CREATE TABLE more (leaf)", "the table more is in the database"),
        ("CREATE INDEX more ON records (substr(leaf, 5, 1), idx, leaf, payload)", "the index more is in the database"),
        ("INSERT INTO nodes VALUES ('x', 0, x'')", "the table of nodes has one too many: level x, position 0"),
        ("INSERT INTO nodes VALUES (8, 'x', x'')", "the table of nodes has one too many: level 8, position x"),
        ("INSERT INTO todo VALUES (2, '{}')", "record 2: the table of unfinished erasures has it, but it is no erase"),
        ("INSERT INTO todo VALUES (99, '{}')", "record 99: the table of unfinished erasures has it"),
        ("UPDATE state SET value = CAST(value AS BLOB) || x'ff'", "is of another log"),
        ("UPDATE checkpoints SET note = CAST(note AS BLOB)", "the checkpoint of 6 records in the database is not"),
        ("INSERT INTO witnessed VALUES (x'00', 'six', NULL, 7)", "took is not a signed checkpoint"),
    ],
)
def test_what_does_not_belong_in_a_database(state: Path, statements: str, named: str) -> None:
    script(state, statements)
    said = told(verify_directory(state / "audit"))
    assert any(named in line for line in said), said


def test_an_index_that_lies(tmp_path: Path) -> None:
    """It would tell of an erase record where there is a message, whose payload then excuses what is gone."""
    log = build()
    fake = {"kind": "message", "access": 1, "key_id": log.records[0].leaf[49:65].hex(), "removed": [[0, 0]]}
    payload = bytes(32) + json.dumps(fake | {"resealed": {}}).encode()
    record = log.records[4]
    record.leaf = record.leaf[:97] + hashlib.sha256(payload).digest() + len(payload).to_bytes(4)
    record.payload, log.records[0].payload = payload, None
    log.checkpoints.clear()
    log.checkpoint()
    state = log.save(tmp_path / "state")
    real = "CREATE INDEX more ON records (substr(leaf, 5, 1))"
    script(
        state,
        f"CREATE INDEX more ON records (CASE idx WHEN 4 THEN x'0c' ELSE x'01' END); PRAGMA writable_schema = ON;"
        f" UPDATE sqlite_master SET sql = '{real}' WHERE name = 'more'",
    )
    assert "record 0: its text is gone, and no erase record says so" in told(verify_directory(state / "audit"))


def test_a_record_that_is_there_twice(state: Path) -> None:
    """The tree of the table itself is broken: no SQLite writes this."""
    script(state, "PRAGMA journal_mode = DELETE; VACUUM")
    file = state / "audit/ledger.sqlite"
    raw = file.read_bytes()
    leaf = raw.index(b"VXA1\x01" + (3).to_bytes(8))
    at = raw.rindex(b"\x03\x06\x00", 0, leaf)  # row id 3, a header of 6 bytes, NULL for the row id
    file.write_bytes(raw[:at] + b"\x02" + raw[at + 1 :])
    with pytest.raises(UnreadableError, match="its table of records is damaged: record 2 comes behind record 2"):
        verify_directory(state / "audit")


def test_a_write_ahead_log_of_another_archive(tmp_path: Path) -> None:
    one, other = build(300).save(tmp_path / "one"), build(300).save(tmp_path / "other")
    with closing(sqlite3.connect(other / "audit/ledger.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE records SET payload = zeroblob(100)")
        shutil.copy(other / "audit/ledger.sqlite-wal", one / "audit/ledger.sqlite-wal")
    before = all_of(one)
    assert main([str(one)]) in (1, 3)
    assert all_of(one) == before


def test_a_rollback_journal_beside_it(state: Path) -> None:
    (state / "audit/ledger.sqlite-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
    with pytest.raises(UnreadableError, match=r"ledger\.sqlite-journal is beside it"):
        verify_directory(state / "audit")


@pytest.mark.parametrize("name", ["ledger.sqlite-wal", "ledger.sqlite-shm"])
def test_a_pipe_beside_it(state: Path, name: str) -> None:
    os.mkfifo(state / "audit" / name)
    with pytest.raises(UnreadableError, match=f"{name} is not a file"):
        verify_directory(state / "audit")


def test_ledgers_that_were_swapped(tmp_path: Path) -> None:
    """Of two archives of one name: each is sound in itself, and neither fits what was kept of it."""
    one, other = build(), build()
    state = one.save(tmp_path / "one")
    assert verify_directory(state / "audit", checkpoints=[one.note()]).sound
    assert "the given checkpoint of 6 records" in told(verify_directory(state / "audit", checkpoints=[other.note()]))[0]
    keys, identity = other.save(tmp_path / "other") / "keys", ("recovery", OFFICER.identity)
    said = told(verify_directory(state / "audit", keys=keys, identity=identity))
    assert len(said) == 3
    assert "record 0: there is no key file with its key id" in said[0]


def test_a_problem_is_not_longer_than_a_thousand_characters(state: Path) -> None:
    note = f"{'x' * 5_000}\n6\n{'A' * 43}=\n\n\u2014 x AAAAAAAA\n"
    said = told(verify_directory(state / "audit", checkpoints=[note]))
    assert [len(line) for line in said] == [1_000]


def test_more_keys_than_there_can_be(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vrxmpp_verify, "MOST_KEYS", 0)
    log = build()
    log.add("x", class_name="patron")
    more = log.save(state / "more")
    with pytest.raises(UnreadableError, match="more than 0 keys"):
        verify_directory(more / "audit")
    script(state, "INSERT INTO todo VALUES (1, '{}')")
    with pytest.raises(UnreadableError, match="more than 0 unfinished erasures"):
        verify_directory(state / "audit")


# Many conversations


@pytest.mark.parametrize("most", [1, 2, 7, 30, 1_000])
def test_more_conversations_than_are_kept_in_memory(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vrxmpp_verify, "MOST_PLACES", most)
    log = Writer(NOTARY, {"recovery": OFFICER})
    for day in range(3):
        for number in range(100):
            log.add("text", f"{number * number % 41}@example.org")
        if day < 2:
            log.next_day()
    keys, identity = log.save(tmp_path / "state") / "keys", ("recovery", OFFICER.identity)
    assert told(verify_directory(tmp_path / "state/audit", keys=keys, identity=identity)) == []
    forged = log.records[77]
    forged.leaf = forged.leaf[:37] + (9).to_bytes(4) + forged.leaf[41:]
    log.save(tmp_path / "forged")
    said = told(verify_directory(tmp_path / "forged/audit"))
    assert said[0].startswith("record 77: it counts 9 records before it in its conversation; there ")


# Exports


def rewrite(export: Path, edit: Callable[[bytes], bytes]) -> None:
    """Change records.jsonl, and the manifest so that it fits."""
    content = edit((export / "records.jsonl").read_bytes())
    (export / "records.jsonl").write_bytes(content)
    manifest = json.loads((export / "manifest.json").read_text())
    manifest["files"]["records.jsonl"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (export / "manifest.json").write_text(json.dumps(manifest))


UNREADABLE = "line 1 of records.jsonl cannot be read as a record"


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda raw: b'{"index": 0, ' + raw[1:], UNREADABLE),
        (lambda raw: raw.replace(b'"class": "staff"', b'"class": NaN', 1), UNREADABLE),
        (lambda raw: raw.replace(b'"index": 0', b'"index": ' + b"9" * 5_000, 1), UNREADABLE),
        (lambda raw: raw.replace(b'"index": 0', b'"index": 0.0', 1), UNREADABLE),
        (lambda raw: b"[" * 200_000 + b"\n" + raw, UNREADABLE),
        (lambda raw: b'{"proof":' * 100_000 + b"\n" + raw, UNREADABLE),
        (lambda raw: b"\xff\xfe\n" + raw, UNREADABLE),
        (lambda raw: b"\n" + raw, UNREADABLE),
        (lambda raw: raw.replace(b'"proof": [', b'"prove": [', 1), UNREADABLE),
        (lambda raw: raw.replace(b'"proof": [', b'"proof": {}, "x": [', 1), UNREADABLE),
        (
            lambda raw: raw.replace(b'{"index"', b'{"text": "forged", "index"', 1),
            "record 0: its line says what no record",
        ),
        (
            lambda raw: raw.replace(b'"envelope": "', b'"envelope": "\\ud800', 1),
            "record 0: its salt or its text cannot",
        ),
    ],
)
def test_lines_that_are_refused(export: Path, edit: Callable[[bytes], bytes], named: str) -> None:
    rewrite(export, edit)
    said = told(verify_export(export))
    assert any(named in line for line in said), said


def test_a_line_that_does_not_end(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vrxmpp_verify, "LARGEST", 1_000_000)
    with (export / "records.jsonl").open("ab") as file:
        file.truncate(1 << 30)  # takes no place on the disk
    with pytest.raises(UnreadableError, match=r"line 4 of records.jsonl is longer than 1,000,000 bytes"):
        verify_export(export)


@pytest.mark.parametrize(
    "content", [b'{"a":' * 100_000, b'{"version": 1, "version": 1}', b'{"size": Infinity}', b"\xff"]
)
def test_a_manifest_that_is_refused(export: Path, content: bytes) -> None:
    (export / "manifest.json").write_bytes(content)
    with pytest.raises(UnreadableError, match=r"manifest\.json is not the manifest of an export"):
        verify_export(export)


@pytest.mark.parametrize("cosigned", [7, "note", {"note": 1}])
def test_what_is_cosigned_is_a_list(export: Path, cosigned: object) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    (export / "manifest.json").write_text(json.dumps(manifest | {"cosigned": cosigned}))
    with pytest.raises(UnreadableError, match="what is cosigned is no list"):
        verify_export(export)


def test_a_manifest_too_large(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vrxmpp_verify, "LARGEST", 100)
    with pytest.raises(UnreadableError, match="it is larger than 100 bytes"):
        verify_export(export)


@pytest.mark.parametrize(
    "name", ["", ".", "a\0b", "\ud800", "x" * 5_000, "messages", "messages/../../x", "//etc/passwd"]
)
def test_names_of_files_that_are_none(export: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "", "bytes": 0}
    (export / "manifest.json").write_text(json.dumps(manifest))
    assert main([str(export)]) == 1
    said = capsys.readouterr().out
    assert "is missing" in said or "names a file outside of the export" in said


@pytest.mark.parametrize("target", ["/dev/zero", "/etc", "nowhere"])
def test_links_that_the_manifest_does_not_name(export: Path, target: str) -> None:
    os.symlink(target, export / "messages/more")
    assert told(verify_export(export)) == ["the file messages/more is not in the manifest"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
@pytest.mark.parametrize("name", ["records.jsonl", "manifest.json"])
def test_no_file_in_the_place_of_one(export: Path, name: str, make: Callable[[Path], None]) -> None:
    (export / name).unlink()
    make(export / name)
    with pytest.raises(UnreadableError):
        verify_export(export)


def test_a_pipe_among_the_files(export: Path) -> None:
    (export / "messages/one.eml").unlink()
    os.mkfifo(export / "messages/one.eml")
    assert told(verify_export(export)) == ["the file messages/one.eml is missing"]


def test_an_export_says_what_it_does_not_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build().export(tmp_path / "later", [0, 5], set())
    assert main([str(tmp_path / "later"), "--vkey", NOTARY.vkey]) == 0
    said = capsys.readouterr().out
    assert "not shown by an export: that all that was chosen is in it" in said
    assert "1 records before or\nbetween those in it" in said  # 2 is before 5


def test_a_key_file_that_is_none(state: Path) -> None:
    days = state / "keys/days"
    os.mkfifo(days / "2026-11-24.other.json")
    (days / "2026-11-24.deep.json").write_bytes(b"[" * 200_000)
    said = told(verify_directory(state / "audit", keys=state / "keys", identity=("recovery", OFFICER.identity)))
    assert said == [
        "the key file 2026-11-24.deep.json cannot be opened: JSON nested too deeply",
        "the key file 2026-11-24.other.json cannot be opened: it is not a file",
    ]


def test_a_directory_without_any_checkpoint(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept").mkdir()
    assert main([str(state), "--checkpoint", str(tmp_path / "kept")]) == 3
    assert f"there is no checkpoint in {tmp_path / 'kept'}" in capsys.readouterr().err


# The tree, against another one


@given(st.data(), st.integers(1, 700))
def test_proofs_are_those_of_pymerkle(data: st.DataObject, size: int) -> None:
    leaves = [number.to_bytes(2) for number in range(size)]
    reference, tree = InmemoryTree(algorithm="sha256"), Tree()
    for leaf in leaves:
        reference.append_entry(leaf)
        tree.tail.append(leaf_hash(leaf))
        if len(tree.tail) == 256:
            list(tree.fold())
    root = reference.get_root()
    assert tree.root(size // 256, tree.tail) == root
    index = data.draw(st.integers(0, size - 1))
    proof = reference.prove_inclusion(index + 1, size).path[1:]
    assert root_of_proof(leaves[index], index, size, proof) == root
    other = data.draw(st.integers(-1, size).filter(lambda other: other != index))
    assert root_of_proof(leaves[index], other, size, proof) != root
    assert root_of_proof(b"forged", index, size, proof) != root
    assert root_of_proof(leaves[index], index, size, [*proof, root]) != root
    if proof:
        assert root_of_proof(leaves[index], index, size, proof[:-1]) != root
