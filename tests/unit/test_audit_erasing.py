"""What the log of the archive forgets: what was to be erased, all of it, whenever it crashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.audit_log import CHAT, DAY, OFFICER, TODAY, Archive, check, message, read_only
from vrxmpp.audit.keys import DayKeys
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import Ledger, LedgerError
from vrxmpp.audit.seal import SealError, open_payload, reseal


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def ledger(archive: Archive) -> Iterator[Ledger]:
    with closing(archive.open()) as ledger:
        yield ledger


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


def payloads(archive: Archive) -> list[bytes | None]:
    return [payload for (payload,) in archive.rows("SELECT payload FROM records ORDER BY idx")]


def test_a_conversation_is_erased_and_everything_else_stays(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    before = payloads(archive)
    removed = [[0, 0], [2, 2], [4, 4]]
    place = ledger.erase(facts(keys, removed), {}, "staff", TODAY, without_the_chat(archive, keys))
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
    ledger.erase(facts(keys, [[0, 4]], "expiry"), {}, "staff", TODAY, None)
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

    owner, _, name = step.partition(".")
    with monkeypatch.context() as crashing:
        if owner == "keys":
            crashing.setattr(archive.keys, name, crash)
        elif owner == "database":
            crashing.setattr(ledger._database, name, crash)
        else:  # the payloads are dropped, but that is not yet noted
            drop = ledger._database.drop_payloads
            crashing.setattr(ledger._database, "drop_payloads", lambda ranges: crash(drop(ranges)))
        with pytest.raises(CrashError):
            ledger.erase(facts(keys, [[0, 0], [2, 2], [4, 4]]), {}, "staff", TODAY, content)
    assert archive.leaves()[-1].type == Type.ERASE
    ledger.close()
    with closing(archive.open()) as again:
        assert again.append([message("goes on")]) == 9
        check(archive, again.root())
    assert [payload is None for payload in payloads(archive)[:6]] == [True, False, True, False, True, False]
    assert [archive.envelope(index) for index in (1, 3)] == [b"text 1", b"text 3"]
    with pytest.raises(SealError):
        archive.day_keys("staff", TODAY).conversation_key(keys.conversation_id(CHAT))
    assert archive.rows("SELECT * FROM todo") == []


def test_an_erasure_that_is_not_recorded_does_not_happen(archive: Archive, ledger: Ledger) -> None:
    keys = erasable(archive, ledger)
    before = payloads(archive)
    with read_only(archive, ledger), pytest.raises(LedgerError):
        ledger.erase(facts(keys, [[0, 4]]), {3: b"new"}, "staff", TODAY, None)
    assert payloads(archive) == before
    assert archive.envelope(0) == b"text 0"


@pytest.mark.parametrize(
    ("removed", "resealed"),
    [([[0, 5]], []), ([[4, 6]], []), ([[0, 99]], []), ([[3, 2]], []), ([], [5]), ([], [99])],
)
def test_only_what_the_destroyed_keys_open_is_erased(
    archive: Archive, ledger: Ledger, removed: list[list[int]], resealed: list[int]
) -> None:
    keys = erasable(archive, ledger)
    with pytest.raises(LedgerError, match="not all of the class and day"):
        ledger.erase(facts(keys, removed), dict.fromkeys(resealed, b"new"), "staff", TODAY, None)
    assert ledger.size == 8
    assert archive.envelope(0) == b"text 0"


def test_nothing_is_erased_of_a_day_that_is_not_over(archive: Archive, ledger: Ledger) -> None:
    ledger.append([message("today")])
    keys = archive.day_keys("staff", TODAY)
    with pytest.raises(LedgerError, match="not closed"):
        ledger.erase(facts(keys, [[0, 0]]), {}, "staff", TODAY, None)
    archive.advance(DAY)
    ledger.erase(facts(keys, [[0, 0]]), {}, "staff", TODAY, None)  # but as soon as it is
    assert [leaf.type for leaf in archive.leaves()] == [Type.MESSAGE, Type.CLOSE, Type.ERASE]
    assert payloads(archive)[0] is None
