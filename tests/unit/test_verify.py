"""The verifier finds whatever was done to a log, and names it (docs/audit-format.md)."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.ledgers import ORIGIN, Officer, Signer, Writer, counted, root_of
from vrxmpp_verify import Report, verify_directory

NOTARY, WITNESS, STRANGER = Signer(ORIGIN), Signer("other.example/witness", 4), Signer(ORIGIN)
OFFICER, JANE = Officer(), Officer()
VKEYS = (NOTARY.vkey, WITNESS.vkey)
FIRST_DAY, SECOND_DAY = "2026-11-24", "2026-11-25"
ALICE, BOB, CAROL = (f"{name}@example.org desk@example.org" for name in ("alice", "bob", "carol"))

# Places in a leaf: docs/audit-format.md, "The leaf".
TYPE, NUMBER, TIME, CONVERSATION, COUNTER, PREVIOUS, KEY_ID, COMMITMENT, DIGEST, LENGTH = (
    4, 5, 13, 21, 37, 41, 49, 65, 97, 129,
)  # fmt: skip

TALKED = 270  # messages of the first day


def build(text: Callable[[int], str] = str, *, notary: Signer = NOTARY, witness: Signer = WITNESS) -> Writer:
    """Return a log with all kinds of records: 300 or so, over three days."""
    log = Writer(notary, {"recovery": OFFICER, "jane": JANE})
    for number in range(TALKED):
        log.add(text(number), (ALICE, BOB, CAROL)[number % 3], "patron" if number % 9 == 4 else "staff")
    log.checkpoint()  # of 270
    log.say(13, step=-3_000_000)
    log.say(14, **counted(0, len(log), TALKED))
    log.add("login", "alice@example.org", type=5)
    log.next_day()  # 273
    for number in range(20):
        log.add(text(number), (ALICE, BOB, CAROL)[number % 3])
    note = log.note(witness)  # of 294
    log.witnessed.append(("other.example", len(log), 5, note))
    log.say(16, sink="other.example", size=len(log), note=note)
    log.say(14, **counted(272, len(log), 20) | {"lost": 3})
    log.expire("patron", FIRST_DAY)
    log.erase_message("staff", FIRST_DAY, 99)
    log.erase_conversation("staff", FIRST_DAY, BOB)
    log.next_day()
    log.say(17, size=280, records=280, problems=0, seconds=1.5)
    log.add("the last")
    log.checkpoint()
    return log


LOG = build()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LOG.save(tmp_path_factory.mktemp("original") / "state")


@pytest.fixture
def state(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "state"))


def change(state: Path, *statements: str, **values: object) -> None:
    with closing(sqlite3.connect(state / "audit/ledger.sqlite")) as database, database:
        database.execute("PRAGMA synchronous = OFF")
        for statement in statements:
            database.execute(statement, values)


def check(state: Path, *checkpoints: str, vkeys: Sequence[str] = VKEYS, keyed: bool = False) -> Report:
    identity = ("recovery", OFFICER.identity) if keyed else None
    keys = state / "keys" if keyed else None
    return verify_directory(state / "audit", keys=keys, identity=identity, checkpoints=checkpoints, vkeys=vkeys)


def told(report: Report) -> list[str]:
    return [str(problem) for problem in report.problems]


def flipped(raw: bytes, place: int, bit: int = 0) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]


# What is as it should be


@pytest.mark.parametrize("keyed", [False, True])
def test_a_sound_log(state: Path, keyed: bool) -> None:
    report = check(state, LOG.note(), keyed=keyed)
    assert (told(report), report.warnings) == ([], [])
    assert (report.size, report.records, report.root) == (len(LOG), len(LOG), root_of(LOG.leaves))
    gone = sum(record.payload is None for record in LOG.records)
    sealed = sum(record.id != bytes(16) for record in LOG.records)
    assert (report.gone, report.opened, report.unopened) == (gone, sealed - gone if keyed else 0, 0)
    assert report.vouched == len(LOG)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 513, 700])
def test_the_root_at_each_size(size: int, tmp_path: Path) -> None:
    log = Writer(NOTARY, {})
    for number in range(size):
        log.say(13, step=number)
        if number % 50 == 7:
            log.checkpoint()
    report = check(log.save(tmp_path / "state"))
    assert (told(report), report.root) == ([], root_of(log.leaves))


# Bits


class Flip(NamedTuple):
    what: str
    place: int
    bit: int
    named: str


FLIPS = (
    Flip("magic", 0, 0, "record 200: its leaf does not begin with VXA1"),
    Flip("type, to another", TYPE, 1, "records 0 to 255"),
    Flip("type, to none", TYPE, 7, "record 200: it is of type 129"),
    Flip("type, to a public one", TYPE, 3, "records 0 to 255"),
    Flip("index", NUMBER + 7, 0, "record 200: its leaf says that it is record 201"),
    Flip("time, by a little", TIME + 7, 0, "records 0 to 255"),
    Flip("time, by some seconds", TIME + 4, 0, "record 201: its time is before"),
    Flip("time, by years", TIME + 1, 0, "record 200: it is of"),
    Flip("conversation", CONVERSATION, 0, "record 200: it says that record 197 came before it"),
    Flip("counter", COUNTER + 3, 0, "record 200: it counts"),
    Flip(
        "previous",
        PREVIOUS + 7,
        0,
        "record 200: it says that record 196 came before it in its conversation; there is record 197",
    ),
    Flip("key id", KEY_ID, 0, "record 200: it has not the key of record 197"),
    Flip("commitment", COMMITMENT, 0, "records 0 to 255"),
    Flip("digest", DIGEST, 0, "record 200: its payload was changed"),
    Flip("length", LENGTH + 3, 0, "record 200: its payload has"),
)


@pytest.mark.parametrize("flip", FLIPS, ids=lambda flip: flip.what)
def test_a_bit_of_a_leaf(state: Path, flip: Flip) -> None:
    leaf = flipped(LOG.records[200].leaf, flip.place, flip.bit)
    change(state, "UPDATE records SET leaf = :leaf WHERE idx = 200", leaf=leaf)
    said = told(check(state))
    assert any(flip.named in line for line in said), said
    assert any("the checkpoint of 270 records in the database has another root" in line for line in said)


def test_the_length_in_a_leaf_of_which_nothing_was_erased(state: Path) -> None:
    change(state, "UPDATE records SET leaf = :leaf WHERE idx = 282", leaf=flipped(LOG.records[282].leaf, LENGTH + 2))
    assert told(check(state))[0].startswith("record 282: its payload has")


def test_each_byte_of_a_leaf_and_of_its_payload(tmp_path: Path) -> None:
    log = Writer(NOTARY, {})
    log.add("some text")
    log.add("another")
    log.checkpoint()
    state, record = log.save(tmp_path / "state"), log.records[0]
    assert record.payload
    for column, raw in (("leaf", record.leaf), ("payload", record.payload)):
        for place in range(len(raw)):
            change(state, f"UPDATE records SET {column} = :raw WHERE idx = 0", raw=flipped(raw, place, place % 8))
            assert not check(state).sound, (column, place)
        change(state, f"UPDATE records SET {column} = :raw WHERE idx = 0", raw=raw)
    assert check(state).sound


@pytest.mark.parametrize("place", [0, 11, 12, 60, -16, -1])
@pytest.mark.parametrize("index", [200, 105, 280], ids=["as written", "sealed anew", "in the last block"])
def test_a_bit_of_a_payload(state: Path, index: int, place: int) -> None:
    payload = LOG.records[index].payload
    assert payload
    change(
        state,
        "UPDATE records SET payload = :new WHERE idx = :index",
        new=flipped(payload, place % len(payload)),
        index=index,
    )
    assert told(check(state)) == [f"record {index}: its payload was changed: the hash in its leaf is another"]


@pytest.mark.parametrize("place", [0, 32, 40, -1], ids=["salt", "brace", "facts", "end"])
def test_a_bit_of_a_public_payload(state: Path, place: int) -> None:
    payload = LOG.records[270].plaintext
    change(state, "UPDATE records SET payload = :new WHERE idx = 270", new=flipped(payload, place % len(payload)))
    assert told(check(state))[0].startswith("record 270: its payload was changed")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE nodes SET hash = zeroblob(32)", "the hash of records 0 to 255 is another in the table of nodes"),
        ("DELETE FROM nodes", "the hash of records 0 to 255 is not in the table of nodes"),
        ("INSERT INTO nodes VALUES (8, 1, zeroblob(32))", "level 8, position 1"),
        ("INSERT INTO nodes VALUES (3, 0, zeroblob(32))", "level 3, position 0"),
        ("INSERT INTO nodes VALUES (0, 5, zeroblob(32))", "level 0, position 5"),
        ("UPDATE checkpoints SET size = 271 WHERE size = 270", "speaks of 270 records, not of 271"),
        ("UPDATE witnessed SET size = 5", "the checkpoint that other.example took speaks of 294 records"),
        ("UPDATE witnessed SET note = ''", "the checkpoint that other.example took is not a signed checkpoint"),
        ("UPDATE state SET value = 'example.com/audit'", "is of another log, example.org/audit"),
        ("DELETE FROM state", "does not say whose log it is"),
        ("UPDATE records SET leaf = 'text' WHERE idx = 5", "record 5: its leaf is not 133 bytes long"),
        ("UPDATE records SET payload = 'text' WHERE idx = 280", "record 280: its payload is not a string of bytes"),
        ("UPDATE records SET payload = CAST(payload || 'x' AS BLOB) WHERE idx = 280", "record 280: its payload has"),
    ],
)
def test_the_tables(state: Path, statement: str, named: str) -> None:
    change(state, statement)
    said = told(check(state))
    assert any(named in line for line in said), said


def test_each_byte_of_a_checkpoint(tmp_path: Path) -> None:
    log = Writer(NOTARY, {})
    log.say(13, step=1)
    log.checkpoints[1] = note = log.note(WITNESS)
    state, raw = log.save(tmp_path / "state"), note.encode()
    assert check(state).sound
    for place in range(len(raw)):
        change(state, "UPDATE checkpoints SET note = CAST(:note AS TEXT)", note=flipped(raw, place))
        report = check(state)
        # A name or key id of the witness that is no longer known says nothing of the log; but it vouches for nothing.
        assert not report.sound or report.vouched == 0, raw[:place]
        if place < raw.rindex(b"\n", 0, -1):  # what the notary signed, and its signature
            assert not report.sound, raw[:place]


# Records that are gone, added or moved

MOVE = "UPDATE records SET idx = -1 - idx WHERE idx >= :at"
BACK = "UPDATE records SET idx = -1 - idx + :by WHERE idx < 0"


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("idx = 0", "record 0: is missing"),
        ("idx = 200", "record 200: is missing"),
        ("idx BETWEEN 20 AND 60", "record 20: is missing, and all behind it up to 60"),
        ("idx = (SELECT max(idx) FROM records)", f"the log ends with {len(LOG) - 1} records"),
        ("idx >= 280", f"the log ends with 280 records, but the checkpoint of {len(LOG)} records"),
        ("substr(leaf, 22, 16) = (SELECT substr(leaf, 22, 16) FROM records WHERE idx = 200)", "record 2: is missing"),
        ("idx >= 0", "the log ends with 0 records"),
    ],
)
def test_deletion(state: Path, condition: str, named: str) -> None:
    change(state, f"DELETE FROM records WHERE {condition}")
    said = told(check(state))
    assert any(line.startswith(named) for line in said), said


def test_checkpoints_before_a_gap_are_compared(state: Path) -> None:
    change(state, "DELETE FROM records WHERE idx = 295")
    report = check(state)
    assert (told(report), report.vouched) == (["record 295: is missing"], 294)
    assert "1 checkpoints could not be compared: records before them are missing" in report.warnings


@pytest.mark.parametrize("at", [0, 200, 290])
def test_deletion_closing_the_gap(state: Path, at: int) -> None:
    change(state, "DELETE FROM records WHERE idx = :at", MOVE, BACK, at=at, by=-1)
    assert told(check(state))[0] == f"record {at}: its leaf says that it is record {at + 1}: it was moved, or changed"


@pytest.mark.parametrize("at", [0, 200, 290])
def test_insertion(state: Path, at: int) -> None:
    copy = "INSERT INTO records SELECT :at, leaf, payload FROM records WHERE idx = 150 + (:at <= 150)"
    change(state, MOVE, BACK, copy, at=at, by=1)
    assert f"record {at}: its leaf says that it is record 150: it was moved, or changed" in told(check(state))


def test_insertion_where_no_record_can_be(state: Path) -> None:
    change(state, "INSERT INTO records VALUES (-7, zeroblob(133), x'')")
    change(state, "INSERT INTO records VALUES (1 << 60, zeroblob(133), x'')")
    said = told(check(state))
    assert said[0] == "record -7: it has no place in the log"
    assert f"record {len(LOG)}: is missing, and all behind it up to {(1 << 60) - 1}" in said


@pytest.mark.parametrize("columns", ["leaf", "payload", "leaf, payload"])
def test_swap(state: Path, columns: str) -> None:
    other = f"(SELECT {columns} FROM old WHERE old.idx = 482 - records.idx)"
    change(
        state,
        "CREATE TEMP TABLE old AS SELECT * FROM records WHERE idx IN (200, 282)",
        f"UPDATE records SET ({columns}) = {other} WHERE idx IN (200, 282)",
    )
    said = told(check(state))
    assert {200, 282} <= {problem.index for problem in check(state).problems}, said


def test_truncation_with_all_that_speaks_of_it(state: Path) -> None:
    size = len(LOG)
    change(state, "DELETE FROM records WHERE idx >= :size - 2", "DELETE FROM checkpoints WHERE size = :size", size=size)
    assert check(state).sound
    assert told(check(state, LOG.note())) == [
        f"the log ends with {size - 2} records, but the given checkpoint of {size} records of {ORIGIN} is over {size}:"
        f" records {size - 2} to {size - 1} are missing"
    ]


def test_an_old_database_in_the_place_of_the_new(tmp_path: Path) -> None:
    log = build()
    old = log.save(tmp_path / "old")
    assert check(old).sound
    log.add("one more")
    assert told(check(old, log.note()))[0].endswith(f"record {len(log) - 1} is missing")


# A thief who has all keys of the server


def test_a_log_rewritten_with_the_stolen_key(tmp_path: Path) -> None:
    forged = build(lambda number: "forged" if number == 7 else str(number), witness=Signer("thief.example/witness", 4))
    state = forged.save(tmp_path / "state")
    inside = check(state, keyed=True)  # each record, root and signature fits
    assert inside.sound
    assert "a log rewritten with the server's own keys would not be noticed" in inside.warnings[-1]
    assert told(check(state, LOG.note(WITNESS))) == [
        f"the log is not what was signed: the given checkpoint of {len(LOG)} records of {ORIGIN} has another root;"
        f" of records 0 to {len(LOG) - 1} at least one was changed, added or taken away"
    ]


def test_rewriting_only_what_is_behind_the_last_checkpoint_from_outside(tmp_path: Path) -> None:
    log = build()
    kept = log.note()
    log.add("something forged")
    log.checkpoint()
    report = check(log.save(tmp_path / "state"), kept)
    assert report.sound
    assert report.warnings == [f"records {len(log) - 1} to {len(log) - 1} are covered by no checkpoint from outside"]


def test_a_checkpoint_that_a_witness_has_signed_is_from_outside(tmp_path: Path) -> None:
    forged = build(lambda number: "forged" if number == 285 else str(number))
    forged.witnessed = LOG.witnessed
    assert told(check(forged.save(tmp_path / "state"))) == [
        "the log is not what was signed: the checkpoint that other.example took has another root;"
        " of records 0 to 293 at least one was changed, added or taken away"
    ]


def test_a_log_signed_with_another_key(tmp_path: Path) -> None:
    state = build(notary=STRANGER).save(tmp_path / "state")
    unsigned = f"the checkpoint of 270 records in the database is not signed with a given key of {ORIGIN}"
    assert unsigned in told(check(state))
    unknown = check(state, vkeys=())
    assert unknown.sound
    assert f"no key of {ORIGIN} was given: who signed its checkpoints was not checked" in unknown.warnings


def test_a_wrong_cosignature(state: Path) -> None:
    note = LOG.witnessed[0][3]
    other = Signer(WITNESS.name, 4)
    other.id = WITNESS.id
    head, _, _ = note.partition("\n\n")
    forged = note.replace(WITNESS.sign(head + "\n"), other.sign(head + "\n"))
    assert forged != note
    assert told(check(state, forged)) == [
        f"the given checkpoint of 294 records of {ORIGIN} has a wrong signature in the name of {WITNESS.name}"
    ]


@pytest.mark.parametrize("change_of", ["text", "type"])
def test_a_commitment_is_opened_only_with_keys(change_of: str, tmp_path: Path) -> None:
    """A thief reseals another text, or gives a record another type, and hashes and signs everything anew."""
    log = Writer(NOTARY, {"recovery": OFFICER})
    log.add("first")
    index = log.add("said")
    record, written = log.records[index], log.records[index].leaf
    if change_of == "text":
        log = Writer(NOTARY, {"recovery": OFFICER})
        log.add("first")
        log.add("forged")
        record = log.records[index]
        record.leaf = record.leaf[:COMMITMENT] + written[COMMITMENT:DIGEST] + record.leaf[DIGEST:]
    else:
        record.leaf = flipped(written, TYPE, 1)
    log.checkpoint()
    state = log.save(tmp_path / "state")
    named = {
        "text": "record 1: what is sealed in it is not what its leaf has committed to",
        "type": "record 1: its payload cannot be opened with the key of its conversation",
    }
    assert (told(check(state)), told(check(state, keyed=True))) == ([], [named[change_of]])
