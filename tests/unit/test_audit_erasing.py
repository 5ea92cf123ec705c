"""What the log of the archive forgets: what was to be erased, all of it, whenever it crashes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.audit_log import CHAT, DAY, OFFICER, TODAY, Archive, check, message, read_only
from vrxmpp.audit.keys import DayKeys
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import Ledger, LedgerError
from vrxmpp.audit.seal import SealError, open_payload, reseal

ROOM = "room@a.example"


class CrashError(Exception):
    pass


def erasable(archive: Archive, ledger: Ledger) -> DayKeys:
    """A day that is over: records 0, 2 and 4 of a chat, 1 and 3 of a room, 5 of another class."""
    names = [CHAT, ROOM, CHAT, ROOM, CHAT]
    ledger.append([message(f"text {index}", name) for index, name in enumerate(names)])
    ledger.append([message("of a patron", CHAT, "patron")])
    archive.advance(DAY)
    ledger.append([message("today")])
    return archive.day_keys("staff", TODAY)


def without_the_chat(archive: Archive, keys: DayKeys) -> bytes:
    """The file of keys that no longer opens the chat."""
    room = keys.conversation_id(ROOM)
    left = replace(keys, day_key=None, conversations={room: keys.conversation_key(room)})
    return archive.keys.rewrite(left, {"recovery": OFFICER.public})


def facts(keys: DayKeys, removed: Sequence[list[int]], kind: str = "conversation") -> dict[str, Any]:
    return {"kind": kind, "access": 6, "key_id": keys.key_id.hex(), "removed": removed}


def finish(ledger: Ledger) -> None:
    while ledger.step():
        pass


def payloads(archive: Archive) -> list[bytes | None]:
    return [payload for (payload,) in archive.rows("SELECT payload FROM records ORDER BY idx")]


def test_a_conversation_is_erased_and_everything_else_stays(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    before = payloads(archive)
    removed = [[0, 0], [2, 2], [4, 4]]
    place = ledger.erase(facts(keys, removed), {}, "staff", TODAY, without_the_chat(archive, keys))
    finish(ledger)
    disk = b"".join(file.read_bytes() for file in archive.audit.iterdir())
    assert [payload[44:60] in disk for payload in before[:5] if payload] == [False, True, False, True, False]
    assert archive.leaves()[place].type == Type.ERASE
    assert archive.facts(place) == {**facts(keys, removed), "resealed": {}}
    assert [payload is None for payload in payloads(archive)[:6]] == [True, False, True, False, True, False]
    assert [archive.envelope(index) for index in (1, 3, 5)] == [b"text 1", b"text 3", b"of a patron"]
    with pytest.raises(SealError):
        archive.day_keys("staff", TODAY).conversation_key(keys.conversation_id(CHAT))
    on_disk = archive.files()
    assert [before[index] in on_disk for index in range(5)] == [False, True, False, True, False]  # type: ignore[operator]
    assert archive.rows("SELECT * FROM todo") == []
    check(archive, ledger.root())


def test_a_day_expires(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    ledger.erase(facts(keys, [[0, 5]], "expiry"), {}, "staff", TODAY, None)
    finish(ledger)
    assert payloads(archive)[:5] == [None] * 5
    assert ("staff", TODAY) not in archive.keys.list()
    assert archive.envelope(5) == b"of a patron"
    check(archive, ledger.root())


def test_a_message_is_erased_and_the_rest_is_resealed(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    before = payloads(archive)
    chat, room, fresh = keys.conversation_id(CHAT), keys.conversation_id(ROOM), bytes(32)
    new = {}
    for index in (0, 4):
        plaintext = open_payload(keys.conversation_key(chat), index, Type.MESSAGE, before[index] or b"")
        new[index] = reseal(fresh, index, Type.MESSAGE, plaintext)
    left = replace(keys, day_key=None, conversations={room: keys.conversation_key(room), chat: fresh})
    content = archive.keys.rewrite(left, {"recovery": OFFICER.public})
    place = ledger.erase(facts(keys, [[2, 2]], "message"), new, "staff", TODAY, content)
    finish(ledger)
    hashes = {str(index): hashlib.sha256(payload).hexdigest() for index, payload in new.items()}
    assert archive.facts(place)["resealed"] == hashes
    assert [archive.envelope(index) for index in (0, 1, 3, 4)] == [b"text 0", b"text 1", b"text 3", b"text 4"]
    assert payloads(archive)[2] is None
    on_disk = archive.files()
    assert not any(before[index] in on_disk for index in (0, 2, 4))  # type: ignore[operator]


@pytest.mark.parametrize(
    "step", ["keys.replace", "database.drop_payloads", "database.clean", "the last of all transactions"]
)
def test_an_erasure_that_was_interrupted_is_finished(
    archive: Archive, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    keys = erasable(archive, ledger)
    content = without_the_chat(archive, keys)

    def crash(*_: object) -> None:
        raise CrashError

    def erase_it() -> None:
        ledger.erase(facts(keys, [[0, 0], [2, 2], [4, 4]]), {}, "staff", TODAY, content)
        finish(ledger)

    owner, _, name = step.partition(".")
    with monkeypatch.context() as crashing:
        if owner == "keys":
            crashing.setattr(archive.keys, name, crash)
        elif owner == "database":
            crashing.setattr(ledger._database, name, crash)
        else:  # the payloads are dropped, but that is not yet noted
            drop = ledger._database.drop_payloads
            crashing.setattr(ledger._database, "drop_payloads", lambda *asked: crash(drop(*asked)))
        with pytest.raises(CrashError):
            erase_it()
    assert archive.leaves()[-1].type == Type.ERASE
    ledger.close()
    with closing(archive.open()) as again:
        with pytest.raises(SealError):  # at once
            archive.day_keys("staff", TODAY).conversation_key(keys.conversation_id(CHAT))
        assert again.append([message("goes on")]) == 9
        finish(again)
        check(archive, again.root())
    assert [payload is None for payload in payloads(archive)[:6]] == [True, False, True, False, True, False]
    assert [archive.envelope(index) for index in (1, 3)] == [b"text 1", b"text 3"]
    assert archive.rows("SELECT * FROM todo") == []


def test_payloads_are_dropped_in_steps_between_which_the_log_goes_on(
    archive: Archive, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vrxmpp.audit.database._SLICE", 0)
    ledger.append([message("x")] * 200)
    archive.advance(DAY)
    keys = archive.day_keys("staff", TODAY)
    place = ledger.erase(facts(keys, [[0, 199]], "expiry"), {}, "staff", TODAY, None)
    assert archive.keys.list() == []
    left = [200]
    while ledger.step():
        ledger.append([message("today")])
        left.append(len(archive.rows("SELECT 1 FROM records WHERE payload IS NOT NULL AND idx < 200")))
        assert archive.rows("SELECT record FROM todo") == [(place,)]
    assert left == [200, 136, 72, 8, 0]
    assert archive.rows("SELECT record FROM todo") == []
    assert not ledger.step()
    check(archive, ledger.root())


def test_many_short_ranges_are_one_step(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("x", name) for name in (CHAT, ROOM) * 100])
    archive.advance(DAY)
    keys = archive.day_keys("staff", TODAY)
    removed = [[index, index] for index in range(0, 200, 2)]
    ledger.erase(facts(keys, removed), {}, "staff", TODAY, without_the_chat(archive, keys))
    assert not ledger.step()
    assert [payload is None for payload in payloads(archive)[:200]] == [True, False] * 100


def test_erasures_are_finished_one_after_the_other(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    patron = archive.day_keys("patron", TODAY)
    places = [
        ledger.erase(facts(keys, [[0, 4]], "expiry"), {}, "staff", TODAY, None),
        ledger.erase(facts(patron, [[5, 5]], "expiry"), {}, "patron", TODAY, None),
    ]
    assert archive.rows("SELECT record FROM todo") == [(place,) for place in places]
    assert [ledger.step(), ledger.step()] == [True, False]
    assert payloads(archive)[:6] == [None] * 6
    check(archive, ledger.root())


def test_a_step_that_fails_is_done_again(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    ledger.erase(facts(keys, [[0, 4]], "expiry"), {}, "staff", TODAY, None)
    with read_only(archive, ledger), pytest.raises(LedgerError):
        ledger.step()
    finish(ledger)
    assert payloads(archive)[:5] == [None] * 5
    assert archive.rows("SELECT * FROM todo") == []


def test_keys_that_cannot_be_destroyed_keep_the_payloads_and_any_other_erasure_waiting(
    archive: Archive, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = erasable(archive, ledger)
    patron = archive.day_keys("patron", TODAY)

    def refuse(*_: object) -> None:
        raise SealError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(archive.keys, "destroy", refuse)
        with pytest.raises(LedgerError, match=r"record 8 .* could not be finished: the disk is full"):
            ledger.erase(facts(keys, [[0, 4]], "expiry"), {}, "staff", TODAY, None)
        with pytest.raises(LedgerError, match="record 8"):
            ledger.step()
        with pytest.raises(LedgerError, match="record 8"):
            ledger.erase(facts(patron, [[5, 5]], "expiry"), {}, "patron", TODAY, None)
        ledger.append([message("goes on")])
        assert ledger.size == 10
    assert None not in payloads(archive)
    finish(ledger)
    assert payloads(archive)[:5] == [None] * 5
    assert archive.keys.list()[0] == ("patron", TODAY)


def test_keys_are_destroyed_once(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    ledger.erase(facts(keys, [[0, 0]]), {}, "staff", TODAY, without_the_chat(archive, keys))
    with archive.keys._changing():
        file = archive.state / "keys" / "days" / f"{TODAY}.staff.json"
        shared = file.read_bytes().replace(b'"recovery"', b'"jane"')  # by another process, meanwhile
        file.write_bytes(shared)
    finish(ledger)
    assert file.read_bytes() == shared


def test_what_is_left_to_do_and_cannot_be_read_is_one_line(archive: Archive, ledger: Ledger) -> None:
    ledger.close()
    for work in ("nonsense", "[]", "{}"):
        with closing(sqlite3.connect(archive.audit / "ledger.sqlite")) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO todo VALUES (7, ?)", (work,))
        with pytest.raises(LedgerError, match=r"\A[^\n]*record 7[^\n]*\Z"):
            archive.open()


def test_an_erasure_that_is_not_recorded_does_not_happen(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    before = payloads(archive)
    with read_only(archive, ledger), pytest.raises(LedgerError):
        ledger.erase(facts(keys, [[0, 4]]), {3: b"new"}, "staff", TODAY, None)
    assert payloads(archive) == before
    assert archive.envelope(0) == b"text 0"


@pytest.mark.parametrize(
    ("removed", "resealed", "why"),
    [
        ([[0, 99]], [], "no records"),
        ([[3, 2]], [], "no records"),
        ([[-1, 2]], [], "no records"),
        ([], [5], "not all of the class and day"),
        ([], [99], "not all of the class and day"),
    ],
)
def test_what_is_not_there_or_of_another_class_is_not_erased(
    archive: Archive, ledger: Ledger, removed: list[list[int]], resealed: list[int], why: str
) -> None:
    keys = erasable(archive, ledger)
    with pytest.raises(LedgerError, match=why):
        ledger.erase(facts(keys, removed), dict.fromkeys(resealed, b"new"), "staff", TODAY, None)
    assert ledger.size == 8
    assert archive.envelope(0) == b"text 0"
    assert archive.envelope(5) == b"of a patron"


def test_what_other_keys_have_sealed_stays(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("text", CHAT, class_name) for class_name in ("staff", "patron") * 3])
    archive.advance(DAY)
    keys = archive.day_keys("staff", TODAY)
    with pytest.raises(LedgerError, match="not the keys of patron"):
        ledger.erase(facts(keys, [[0, 5]]), {}, "patron", TODAY, None)
    ledger.erase(facts(keys, [[0, 5]]), {}, "staff", TODAY, None)
    finish(ledger)
    assert [payload is None for payload in payloads(archive)[:6]] == [True, False] * 3
    assert archive.envelope(1) == b"text"
    check(archive, ledger.root())


def test_nothing_is_erased_of_a_day_that_is_not_over(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("today")])
    keys = archive.day_keys("staff", TODAY)
    with pytest.raises(LedgerError, match="not closed"):
        ledger.erase(facts(keys, [[0, 0]]), {}, "staff", TODAY, None)
    archive.advance(DAY)
    ledger.erase(facts(keys, [[0, 0]]), {}, "staff", TODAY, None)  # but as soon as it is
    finish(ledger)
    assert [leaf.type for leaf in archive.leaves()] == [Type.MESSAGE, Type.CLOSE, Type.ERASE]
    assert payloads(archive)[0] is None
