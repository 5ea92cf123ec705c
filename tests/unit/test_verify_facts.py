"""The verifier compares what a log says of itself with what is there: erasures, counts, days, keys."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest

from tests.ledgers import BEGIN, DAY, ORIGIN, Officer, Signer, Writer, counted
from vrxmpp_verify import Report, verify_directory

TODAY, TOMORROW = "2026-11-24", "2026-11-25"
NOTARY, OFFICER, JANE = Signer(ORIGIN), Officer(), Officer()
NAMES = ("alice@example.org", "bob@example.org")


def writer() -> Writer:
    return Writer(NOTARY, {"recovery": OFFICER, "jane": JANE})


def talk(log: Writer, count: int = 6) -> Writer:
    for number in range(count):
        log.add(str(number), NAMES[number % 2])
    return log


def check(state: Path, *, keyed: bool = False, name: str = "recovery", officer: Officer = OFFICER) -> Report:
    identity, keys = ((name, officer.identity), state / "keys") if keyed else (None, None)
    return verify_directory(state / "audit", keys=keys, identity=identity, vkeys=[NOTARY.vkey])


def told(report: Report) -> list[str]:
    return [str(problem) for problem in report.problems]


def change(state: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(state / "audit/ledger.sqlite")) as database, database:
        database.execute(statement, values)


# Erasure


def erased(before: list[bytes | None] | None = None) -> Writer:
    """Return a log of which record 0 is erased (2 and 4 sealed anew), and all of the class "patron", record 6.

    The payloads that there were before are added to a list.
    """
    log = talk(writer())
    log.add("where is the history of medicine?", class_name="patron")
    if before is not None:
        before += [record.payload for record in log.records]
    log.next_day()
    log.erase_message("staff", TODAY, 0)
    log.expire("patron", TODAY)
    return log


@pytest.mark.parametrize("keyed", [False, True])
def test_erased_as_recorded(tmp_path: Path, keyed: bool) -> None:
    report = check(erased().save(tmp_path / "s"), keyed=keyed)
    assert (told(report), report.gone, report.unopened) == ([], 2, 0)


def test_a_text_that_is_gone_without_a_record(tmp_path: Path) -> None:
    state = erased().save(tmp_path / "s")
    change(state, "UPDATE records SET payload = NULL WHERE idx IN (1, 2, 7, 8)")
    assert told(check(state)) == [
        "record 1: its text is gone, and no erase record says so",
        "record 2: its text is gone, and no erase record says so",
        "record 7: it is a public record, and has no payload",
        "record 8: its text is gone, and no erase record says so",
    ]


def test_what_was_erased_comes_back(tmp_path: Path) -> None:
    old: list[bytes | None] = []
    log = erased(before=old)
    state = log.save(tmp_path / "s")
    for index in (0, 2, 6):
        change(state, "UPDATE records SET payload = ? WHERE idx = ?", old[index], index)
    assert told(check(state)) == [
        "record 0: an erase record says that its text is gone, but it is here",
        "record 2: it was sealed anew, but what is here is the old payload",
        "record 6: an erase record says that its text is gone, but it is here",
    ]


def test_a_key_that_was_thrown_away(tmp_path: Path) -> None:
    log = talk(writer())
    kept = log.records[1].payload
    log.next_day()
    log.erase_conversation("staff", TODAY, NAMES[1])
    log.records[1].payload = kept
    assert told(check(log.save(tmp_path / "s"), keyed=True)) == [
        "record 1: an erase record says that its text is gone, but it is here",
        "record 1: the key of its conversation was thrown away, but its payload is here",
    ]


def test_an_erasure_that_waits(tmp_path: Path) -> None:
    """The record and the new payloads are committed, the old ones not yet dropped."""
    log = talk(writer())
    kept = log.records[0].payload
    log.next_day()
    log.todo.append(log.erase_message("staff", TODAY, 0))
    log.records[0].payload = kept
    report = check(log.save(tmp_path / "s"), keyed=True)
    assert (told(report), report.warnings[0]) == ([], "1 erasures are recorded and not finished yet")


def test_the_erasure_of_a_conversation_that_waits(tmp_path: Path) -> None:
    log = talk(writer())
    kept = [record.payload for record in log.records]
    log.next_day()
    log.todo.append(log.erase_conversation("staff", TODAY, NAMES[1]))
    for record, payload in zip(log.records, kept, strict=False):
        record.payload = payload
    report = check(log.save(tmp_path / "s"), keyed=True)
    assert (told(report), report.opened, report.unopened) == ([], 4, 3)


def test_ranges_that_overlap(tmp_path: Path) -> None:
    log = talk(writer())
    log.add("asked", "audit", "audit", type=9)
    key_id = log.keys["staff", TODAY].key_id.hex()
    log.say(12, **{**ERASE, "key_id": key_id, "removed": [[4, 4], [0, 3], [1, 2], [2, 3]]})
    state = log.save(tmp_path / "s")
    change(state, "UPDATE records SET payload = NULL WHERE idx < 6")
    assert told(check(state)) == ["record 5: its text is gone, and no erase record says so"]


ERASE: dict[str, Any] = {"kind": "expiry", "access": 6, "key_id": "00" * 16, "removed": [[0, 5]], "resealed": {}}


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"kind": "whim"}, "what it says cannot be read"),
        ({"removed": [[0, 7]]}, "what it says cannot be read"),
        ({"removed": [[3, 2]]}, "what it says cannot be read"),
        ({"removed": [[-1, 2]]}, "what it says cannot be read"),
        ({"removed": [[0, True]]}, "what it says cannot be read"),
        ({"removed": None}, "what it says cannot be read"),
        ({"resealed": {"9": "00" * 32}}, "what it says cannot be read"),
        ({"resealed": {"x": "00" * 32}}, "what it says cannot be read"),
        ({"resealed": {"1": "00"}}, "what it says cannot be read"),
        ({"key_id": "0G" * 16}, "what it says cannot be read"),
        ({"access": 0}, "does not name the record that says who asked for it"),
        ({"access": 7}, "does not name the record that says who asked for it"),
        ({"access": None}, "does not name the record that says who asked for it"),
    ],
)
def test_an_erase_record_that_cannot_be(tmp_path: Path, facts: dict[str, Any], named: str) -> None:
    log = talk(writer())
    log.add("asked", "audit", "audit", type=9)
    log.say(12, **{**ERASE, **facts})
    said = told(check(log.save(tmp_path / "s")))
    assert len(said) == 1
    assert said[0].startswith("record 7: it ")
    assert named in said[0]


def test_an_erase_record_of_other_keys_excuses_nothing(tmp_path: Path) -> None:
    log = talk(writer())
    log.add("asked", "audit", "audit", type=9)
    log.say(12, **ERASE)
    state = log.save(tmp_path / "s")
    change(state, "UPDATE records SET payload = NULL WHERE idx = 3")
    assert told(check(state)) == ["record 3: its text is gone, and no erase record says so"]


# Other public records


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"day": TOMORROW}, f"it closes {TOMORROW}, records 0 to 5 of 2 conversations; there is {TODAY}, 0 to 5 of 2"),
        ({"first": 1}, "records 1 to 5 of 2 conversations"),
        ({"last": 4}, "records 0 to 4 of 2 conversations"),
        ({"conversations": 3}, "records 0 to 5 of 3 conversations"),
        ({"root": "00" * 32}, "its root is not that of the 6 records before it"),
        ({"root": None}, "what it says cannot be read"),
        ({"first": -1}, "what it says cannot be read"),
    ],
)
def test_a_close_record_that_does_not_fit(tmp_path: Path, wrong: dict[str, Any], named: str) -> None:
    log = talk(writer())
    log.next_day(**wrong)
    said = told(check(log.save(tmp_path / "s")))
    assert len(said) == 1
    assert said[0].startswith("record 6: it")
    assert named in said[0]


def test_a_day_is_closed_once_and_in_its_place(tmp_path: Path) -> None:
    log = talk(writer())
    log.next_day()
    log.add("next day")
    facts = {"day": TODAY, "first": 0, "last": 5, "conversations": 2, "root": "00" * 32}
    log.say(15, **facts)
    log.next_day()
    assert told(check(log.save(tmp_path / "s"))) == [
        "record 8: it is a close record, and not the first record behind a day"
    ]


def test_a_day_that_was_never_closed(tmp_path: Path) -> None:
    log = writer()
    log.add("today")
    log.time += DAY
    log._places.clear()
    log.add("tomorrow")
    said = told(check(log.save(tmp_path / "state")))
    assert said == [f"record 1: it is of {TOMORROW}, but {TODAY} was not closed before it"]


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ({"accepted": 7}, "of the messages that the server accepted, 7 should be archived; 6 are"),
        ({"refused": 1}, "of the messages that the server accepted, 5 should be archived; 6 are"),
        ({"unarchived": 1}, "of the messages that the server accepted, 5 should be archived; 6 are"),
        ({"late": 1}, "of the messages that the server accepted, 7 should be archived; 6 are"),
        ({"accepted": 7, "archived": 7}, "it counts 7 messages from record 0 to before 7; the log has 6"),
        ({"since": 2, "accepted": 5, "archived": 5}, "it counts 5 messages from record 2 to before 7; the log has 4"),
        ({"until": 2}, "it counts 6 messages from record 0 to before 2; the log has 2"),
        ({"until": 8}, "what it says cannot be read"),
        ({"since": 5, "until": 4}, "what it says cannot be read"),
        ({"archived": -6}, "what it says cannot be read"),
    ],
)
def test_messages_that_were_lost(tmp_path: Path, counts: dict[str, int], named: str) -> None:
    log = talk(writer())
    log.add("login", type=5)
    log.say(14, **counted(0, 7, 6) | counts)
    said = told(check(log.save(tmp_path / "s")))
    assert len(said) == 1
    assert named in said[0]


def test_messages_are_counted_from_anywhere_to_anywhere(tmp_path: Path) -> None:
    log, places = talk(writer(), 600), (0, 1, 255, 256, 257, 511, 512, 599, 600)
    for since, until in combinations_with_replacement(places, 2):
        log.say(14, **counted(since, until, until - since))
    assert told(check(log.save(tmp_path / "s"))) == []


def test_what_was_not_archived_or_not_yet_routed_is_not_missed(tmp_path: Path) -> None:
    log = talk(writer())
    log.say(14, **counted(0, 6, 6) | {"accepted": 10, "routed": 4, "refused": 3, "unarchived": 2, "late": 1})
    assert told(check(log.save(tmp_path / "s"))) == []


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        (lambda other: {"note": other.note()}, "the checkpoint that elsewhere took has another root"),
        (lambda other: {"note": "nothing"}, "a witness record without a checkpoint"),
        (lambda other: {"size": 5}, "a witness record without a checkpoint"),
        (lambda other: {"size": 7, "note": talk(other, 1).note()}, "a witness record without a checkpoint"),
    ],
)
def test_a_witness_record_that_does_not_fit(
    tmp_path: Path, facts: Callable[[Writer], dict[str, Any]], named: str
) -> None:
    log = talk(writer())
    log.say(16, **{"sink": "elsewhere", "size": len(log), "note": log.note(), **facts(talk(writer()))})
    said = told(check(log.save(tmp_path / "s")))
    assert len(said) == 1
    assert named in said[0]


@pytest.mark.parametrize(
    "payload", [b"", bytes(32), bytes(32) + b"[]\n", bytes(32) + b"{}", bytes(32) + b'{"a":' * 99999 + b"\n"]
)
def test_public_facts_that_cannot_be_read(tmp_path: Path, payload: bytes) -> None:
    log = writer()
    log.say(13, step=1)
    state = log.save(tmp_path / "s")
    change(state, "UPDATE records SET payload = ?", payload)
    assert told(check(state))[-1] == "record 0: it is a public record, and its facts cannot be read"


def test_a_public_record_that_is_not_what_was_committed_to(tmp_path: Path) -> None:
    log = writer()
    log.say(13, step=1)
    leaf = log.records[0].leaf
    log.records[0].leaf = leaf[:65] + bytes(32) + leaf[97:]
    assert told(check(log.save(tmp_path / "s"))) == ["record 0: its payload is not what its leaf has committed to"]


# Keys


def test_a_key_file_of_another_day(tmp_path: Path) -> None:
    log = talk(writer())
    log.keys["staff", TOMORROW] = log.keys.pop(("staff", TODAY))
    assert told(check(log.save(tmp_path / "s"), keyed=True)) == [f"record 0: its key is that of {TOMORROW}"]


def test_two_key_files_with_one_id(tmp_path: Path) -> None:
    log = talk(writer())
    log.keys["patron", TODAY] = log.keys["staff", TODAY]
    assert told(check(log.save(tmp_path / "s"), keyed=True)) == [
        f"the key file {TODAY}.staff.json cannot be opened: it has the key id of {TODAY}.patron.json"
    ]


def test_a_key_of_another_day(tmp_path: Path) -> None:
    log = talk(writer())
    log.next_day()
    log.keys["staff", TOMORROW] = log.keys["staff", TODAY]
    talk(log)
    assert told(check(log.save(tmp_path / "s"))) == ["record 7: its key is that of another day"]


def test_sealed_and_public_are_not_mixed_up(tmp_path: Path) -> None:
    log = talk(writer())
    log.say(1)
    log.add("sealed", type=13)
    assert told(check(log.save(tmp_path / "s"))) == [
        "record 6: it is of a type that is sealed, but names no key",
        "record 7: it is of a type that is public, but names a conversation or a key",
    ]


# The policy


def test_an_older_policy_in_the_place_of_the_one_recorded(tmp_path: Path) -> None:
    log = talk(writer())
    log.change_policy()
    old = log.policy
    newest = log.change_policy()
    state = talk(log).save(tmp_path / "s")
    assert told(check(state)) == []
    what = "the policy in the database is not the one it names: officers, retention or holds may be as of old"
    change(state, "UPDATE state SET value = ? WHERE name = 'policy'", old)
    assert told(check(state)) == [f"record {newest}: {what}"]
    change(state, "DELETE FROM state WHERE name = 'policy'")
    assert told(check(state)) == [f"record {newest}: {what}"]


def test_a_log_without_any_record_of_its_policy(tmp_path: Path) -> None:
    log = talk(writer())
    log.policy = b"whatever"
    assert told(check(log.save(tmp_path / "s"))) == []


@pytest.mark.parametrize("named", [None, 5, "", "00", "AB" * 32])
def test_a_policy_record_that_names_none(tmp_path: Path, named: object) -> None:
    log = writer()
    index = log.say(18, policy=named)
    assert told(check(log.save(tmp_path / "s"))) == [
        f"record {index}: it is a policy record, and does not name the hash of one"
    ]


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    state = talk(writer()).save(tmp_path / "s")
    file = state / "keys/days" / f"{TODAY}.staff.json"
    key_id = json.loads(file.read_bytes())["key_id"]
    file.unlink()
    report = check(state, keyed=True)
    what = f"there is no key file with its key id, {key_id}"
    assert told(report) == [f"record 0: {what}", f"record 1: {what}"]  # once for each conversation
    assert report.unopened == 6


def test_a_key_file_for_others(tmp_path: Path) -> None:
    report = check(talk(writer()).save(tmp_path / "s"), keyed=True, name="newcomer", officer=Officer())
    assert (told(report), report.unopened) == ([], 6)
    assert "1 key files are not sealed to newcomer: their records could not be opened" in report.warnings


def test_an_identity_that_is_not_the_officers(tmp_path: Path) -> None:
    said = told(check(talk(writer()).save(tmp_path / "s"), keyed=True, officer=JANE))
    assert said[0] == f"the key file {TODAY}.staff.json cannot be opened: not sealed to this officer"


def test_each_byte_of_a_key_file(tmp_path: Path) -> None:
    log = Writer(NOTARY, {"recovery": OFFICER})
    log.add("text")
    state = log.save(tmp_path / "s")
    file = state / "keys/days" / f"{TODAY}.staff.json"
    raw = file.read_bytes()
    assert check(state, keyed=True).opened == 1
    for place, byte in enumerate(raw):
        file.write_bytes(raw[:place] + bytes([byte ^ 1 << place % 8]) + raw[place + 1 :])
        report = check(state, keyed=True)
        assert report.opened == 0, raw[: place + 1]
        assert (
            f"{TODAY}.staff.json" in told(report)[0]
            if report.problems
            else "not sealed to recovery" in report.warnings[0]
        )


def test_a_key_file_under_another_name(tmp_path: Path) -> None:
    log = talk(writer())
    log.next_day()
    talk(log)
    state = log.save(tmp_path / "s")
    (state / "keys/days" / f"{TODAY}.staff.json").replace(state / "keys/days" / f"{TOMORROW}.staff.json")
    assert told(check(state, keyed=True))[0] == (
        f"the key file {TOMORROW}.staff.json cannot be opened: it is not of the day and the class that its name says"
    )


def test_time_runs_forward_only(tmp_path: Path) -> None:
    log = talk(writer())
    log.time = BEGIN + 5
    log.add("early")
    log.time = BEGIN + DAY // 2
    log.add("late")
    assert told(check(log.save(tmp_path / "s"))) == ["record 6: its time is before that of the record before it"]
