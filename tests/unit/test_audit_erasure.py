"""Holds, erasure and expiry: what is held stays, what is erased is gone from the disk, and the log still verifies."""

from __future__ import annotations

import re
import sqlite3
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.offices import (
    CHAT,
    JANE,
    JOHN,
    JULIET,
    MONDAY,
    NURSE,
    ROMEO,
    TUESDAY,
    Archive,
    bare,
    message,
    stanza,
)
from vrxmpp.audit.desk import DeskError
from vrxmpp.audit.erasure import (
    ErasureError,
    add_hold,
    erase_conversation,
    erase_message,
    expire,
    list_holds,
    release_hold,
)
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.reader import ERASED, Query
from vrxmpp.audit.seal import SealError
from vrxmpp_verify import verify_directory

OTHERS = "juliet@example.org nurse@example.net"
LATER = MONDAY + timedelta(days=40)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Two conversations on Monday, with a room; it is Tuesday."""
    archive = Archive(tmp_path)
    archive.add(message("one", id="m1"), message("other", NURSE, JULIET), message("two"), message("three"))
    archive.next_day()
    archive.add(message("on tuesday"))
    return archive


def texts(archive: Archive, day: date = MONDAY) -> list[str]:
    found = archive.reader().search(Query(types=frozenset(range(1, 5))))
    return [each.text for each in found if each.day == day]


def check(archive: Archive) -> None:
    """The log verifies, with and without a key."""
    for identity in (None, ("jane", JANE.text)):
        report = verify_directory(archive.state / "audit", keys=archive.state / "keys", identity=identity)
        assert report.problems == []
        assert report.records == archive.ledger.size


def erase_records(archive: Archive) -> list[Any]:
    return [each.facts for each in archive.reader().search(Query(types=frozenset((Type.ERASE,))))]


def old_keys(archive: Archive) -> Callable[[], None]:
    """Return what checks that nothing which opened Monday is left to open what was erased of it."""
    keys = archive.keys.open_as_officer("staff", MONDAY, "jane", JANE)
    before = (archive.state / "keys" / "days" / "2026-11-23.staff.json").read_bytes()

    def check_gone() -> None:
        content = b"".join(path.read_bytes() for path in archive.state.rglob("*") if path.is_file())
        assert before not in content
        assert keys.day_key is not None
        for name, identity in (("jane", JANE), ("john", JOHN)):
            assert archive.keys.open_as_officer("staff", MONDAY, name, identity).day_key is None

    return check_gone


# Erasure


def test_an_erased_conversation_is_gone_and_the_rest_of_the_day_is_not(archive: Archive) -> None:
    payload = archive.reader().records.row(0)[2]
    assert payload
    check_keys_gone = old_keys(archive)
    (erased,) = erase_conversation(archive.visit(), "romeo@example.org juliet@example.org", MONDAY, MONDAY)
    assert (erased.class_name, erased.day, erased.removed) == ("staff", MONDAY, 3)
    assert texts(archive) == [f"({ERASED})", "other", f"({ERASED})", f"({ERASED})"]
    assert texts(archive, TUESDAY) == ["on tuesday"]
    check(archive)
    check_keys_gone()
    content = b"".join(path.read_bytes() for path in archive.state.rglob("*") if path.is_file())
    assert payload not in content
    keys = archive.keys.open_as_officer("staff", MONDAY, "john", JOHN)
    with pytest.raises(SealError):
        keys.conversation_key(keys.conversation_id(CHAT))


def test_what_is_locked_is_not_erased_before_its_time(archive: Archive) -> None:
    archive.change("set_retention", **{"class": "staff", "days": 30, "locked": True})
    for act in (
        lambda: erase_conversation(archive.visit(), CHAT, MONDAY, MONDAY),
        lambda: erase_message(archive.visit(), 0),
    ):
        with pytest.raises(DeskError, match="the class staff is locked"):
            act()
    assert erase_records(archive) == []
    assert texts(archive)[0] == "one"
    archive.wall += 31 * 86_400_000_000
    assert erase_conversation(archive.visit(), CHAT, MONDAY, MONDAY)


def test_the_erasure_is_on_record_and_says_who_asked(archive: Archive) -> None:
    (erased,) = erase_conversation(archive.visit(), CHAT, MONDAY, MONDAY)
    (facts,) = erase_records(archive)
    assert (facts["kind"], facts["removed"], facts["resealed"]) == ("conversation", [[0, 0], [2, 3]], {})
    asked = archive.reader().show(facts["access"]).facts
    assert (asked["by"], asked["case"], asked["what"], asked["conversation"]) == ("jane", "2026-7", "erase", CHAT)
    assert facts["access"] < erased.record


def test_a_conversation_is_erased_day_by_day_and_class_by_class(archive: Archive) -> None:
    archive.add(message("elsewhere", class_name="regulated"))
    archive.next_day()
    archive.add(message("on wednesday"))
    erased = erase_conversation(archive.visit(), CHAT, MONDAY, TUESDAY)
    assert [(each.class_name, each.day, each.removed) for each in erased] == [
        ("staff", MONDAY, 3),
        ("regulated", TUESDAY, 1),
        ("staff", TUESDAY, 1),
    ]
    check(archive)
    with pytest.raises(ErasureError, match="nothing of this conversation"):
        erase_conversation(archive.visit(), CHAT, MONDAY, TUESDAY)


def test_an_erased_message_leaves_its_conversation_readable_under_another_key(archive: Archive) -> None:
    before = archive.keys.open_as_officer("staff", MONDAY, "jane", JANE)
    old = before.conversation_key(before.conversation_id(CHAT))
    check_keys_gone = old_keys(archive)
    erased = erase_message(archive.visit(), 2)
    assert erased.removed == 1
    assert texts(archive) == ["one", "other", f"({ERASED})", "three"]
    check(archive)
    check_keys_gone()
    after = archive.keys.open_as_officer("staff", MONDAY, "jane", JANE)
    assert after.conversation_key(after.conversation_id(CHAT)) != old
    assert after.conversation_key(after.conversation_id(OTHERS)) == before.conversation_key(
        before.conversation_id(OTHERS)
    )
    (facts,) = erase_records(archive)
    assert (facts["kind"], facts["removed"], set(facts["resealed"])) == ("message", [[2, 2]], {"0", "3"})


def test_a_day_is_erased_again_and_again(archive: Archive) -> None:
    erase_message(archive.visit(), 2)
    erase_message(archive.visit(), 0)
    erase_conversation(archive.visit(), OTHERS, MONDAY, MONDAY)
    assert texts(archive) == [f"({ERASED})", f"({ERASED})", f"({ERASED})", "three"]
    check(archive)
    with pytest.raises(ErasureError, match="record 2 is erased"):
        erase_message(archive.visit(), 2)


def outcome(facts: bytes, sender: str, to: str, said: str, id: str) -> Entry:
    return Entry(Type.OUTCOME, "staff", CHAT, facts + b"\n" + stanza(sender, to, f"<body>{said}</body>", id=id))


def test_with_a_message_goes_what_repeats_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add(message("secret", id="m1"))
    archive.add(
        outcome(b'{"outcome":"kept","record":0}', ROMEO, JULIET, "secret", "m1"),
        outcome(b'{"outcome":"kept"}', ROMEO, JULIET, "secret", "m1"),
        outcome(b"{}", JULIET, ROMEO, "secret", "m1"),  # an error
        outcome(b"{}", JULIET, ROMEO, "of another", "m2"),
        outcome(b'{"outcome":"kept","record":7}', ROMEO, JULIET, "of a third", "m1"),
    )
    archive.next_day()
    assert erase_message(archive.visit(), 0).removed == 4
    assert "secret" not in " ".join(texts(archive))
    assert texts(archive)[-2:] == ["of another", "of a third"]
    check(archive)


def test_nothing_of_today_is_erased(archive: Archive) -> None:
    size = archive.reader().records.size
    visit = archive.visit()
    with pytest.raises(ErasureError, match="2026-11-24 is not over yet"):
        erase_message(visit, size - 1)
    with pytest.raises(ErasureError, match="2026-11-24 is not over yet"):
        erase_conversation(visit, CHAT, MONDAY, TUESDAY)
    assert texts(archive)[0] == "one"
    assert erase_records(archive) == []


@pytest.mark.parametrize("index", [4, 5, 6])
def test_only_messages_are_erased(archive: Archive, index: int) -> None:
    visit = archive.visit()
    visit.record("show")
    archive.next_day()
    archive.add(message("x"))
    kind = archive.reader().show(index).kind
    if kind == "message":
        index += 1
    with pytest.raises(ErasureError, match="no message"):
        erase_message(visit, index)


def test_an_erasure_that_cannot_be_recorded_is_not_done(archive: Archive) -> None:
    visit = archive.visit()
    archive.broken = "the disk is full"
    with pytest.raises(DeskError):
        erase_conversation(visit, CHAT, MONDAY, MONDAY)
    archive.broken = ""
    assert texts(archive)[0] == "one"


def test_an_erasure_lets_nobody_else_read(archive: Archive) -> None:
    jim = Identity.generate()
    archive.change("add_officer", name="jim", public=jim.public.text)
    erase_message(archive.visit(), 2)
    assert archive.reader("jim", jim).show(0).problem


def test_who_cannot_open_the_day_cannot_erase_of_it(archive: Archive) -> None:
    jim = Identity.generate()
    archive.change("add_officer", name="jim", public=jim.public.text)
    with pytest.raises(ErasureError, match="not sealed to jim"):
        erase_conversation(archive.visit("jim", jim), CHAT, MONDAY, MONDAY)


# Holds


@pytest.mark.parametrize(
    "held",
    [
        {"person": "Romeo@Example.org/phone"},
        {"conversation": "romeo@example.org juliet@example.org"},
        {"first": MONDAY, "last": MONDAY},
        {"person": bare(JULIET), "first": MONDAY},
        {"person": bare(ROMEO), "conversation": CHAT, "last": TUESDAY},
    ],
)
def test_what_is_held_is_not_erased(archive: Archive, held: dict[str, Any]) -> None:
    visit = archive.visit()
    hold = add_hold(visit, **held)
    with pytest.raises(ErasureError, match="held on 2026-11-23: hold 1"):
        erase_conversation(visit, CHAT, MONDAY, MONDAY)
    with pytest.raises(ErasureError, match="hold 1"):
        erase_message(visit, 0)
    assert texts(archive)[0] == "one"
    release_hold(visit, hold.id)
    assert erase_message(visit, 0).removed == 1


@pytest.mark.parametrize(
    "held",
    [
        {"person": bare(NURSE)},
        {"conversation": OTHERS},
        {"first": TUESDAY},
        {"person": bare(ROMEO), "last": MONDAY - timedelta(days=1)},
    ],
)
def test_a_hold_on_something_else_is_no_hindrance(archive: Archive, held: dict[str, Any]) -> None:
    add_hold(archive.visit(), **held)
    assert erase_conversation(archive.visit(), CHAT, MONDAY, MONDAY)


def test_a_hold_on_who_spoke_in_a_room_holds_the_room(tmp_path: Path) -> None:
    archive, room = Archive(tmp_path), "hall@rooms.example.org"
    archive.add(message("a", ROMEO, room, conversation=room), message("b", JULIET, room, conversation=room))
    archive.next_day()
    add_hold(archive.visit(), person=bare(ROMEO))
    with pytest.raises(ErasureError, match="hold 1"):
        erase_message(archive.visit(), 1)


def test_a_hold_that_comes_in_between_is_heeded(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    visit, rewrite = archive.visit(), archive.keys.rewrite

    def hold_and_rewrite(*values: Any) -> bytes:
        archive.change("add_hold", person="", conversation=CHAT, first=None, last=None)
        return rewrite(*values)

    monkeypatch.setattr(visit.keys, "rewrite", hold_and_rewrite)
    with pytest.raises(DeskError, match="have just changed"):
        erase_message(visit, 0)
    assert texts(archive)[0] == "one"


def test_holds_are_on_record_with_their_release_and_being_looked_at(archive: Archive) -> None:
    visit = archive.visit()
    first = add_hold(visit, person=bare(ROMEO))
    second = add_hold(visit, conversation=CHAT)
    release_hold(visit, first.id)
    assert list_holds(visit) == [second]
    assert [(each["what"], each["by"], each["case"]) for each in archive.facts(Type.HOLD)] == [
        ("add_hold", "jane", "2026-7"),
        ("add_hold", "jane", "2026-7"),
        ("release_hold", "jane", "2026-7"),
    ]
    assert archive.facts(Type.ACCESS)[-1]["what"] == "holds"
    with pytest.raises(DeskError, match="no hold 1"):
        release_hold(visit, first.id)


@pytest.mark.parametrize("held", [{"person": "@"}, {"conversation": "a@b c@d e@f"}])
def test_a_hold_on_no_address_is_refused(archive: Archive, held: dict[str, Any]) -> None:
    with pytest.raises(ErasureError):
        add_hold(archive.visit(), **held)


# Expiry


def keep(archive: Archive, days: int, class_name: str = "staff") -> None:
    archive.change("set_retention", **{"class": class_name, "days": days, "locked": False})


def test_days_expire_when_they_are_older_than_their_retention(archive: Archive) -> None:
    keep(archive, 30)
    assert expire(archive, archive.state, by="cron", today=MONDAY + timedelta(days=30)).erased == []
    archive.wall += 31 * 86_400_000_000
    result = expire(archive, archive.state, by="cron", today=MONDAY + timedelta(days=31))
    assert [(each.class_name, each.day, each.removed) for each in result.erased] == [("staff", MONDAY, 4)]
    assert result.left == []
    assert texts(archive) == [f"({ERASED})"] * 4
    assert texts(archive, TUESDAY) == ["on tuesday"]
    assert ("staff", MONDAY) not in archive.keys.list()
    check(archive)
    (facts,) = erase_records(archive)
    assert (facts["kind"], facts["removed"]) == ("expiry", [[0, 3]])
    assert archive.reader().show(facts["access"]).facts["by"] == "cron"


def test_what_has_no_retention_never_expires_and_nothing_is_recorded(archive: Archive) -> None:
    keep(archive, 1, "regulated")
    size = archive.ledger.size
    result = expire(archive, archive.state, by="cron", today=LATER)
    assert (result.erased, result.left) == ([], [])
    assert archive.ledger.size == size


def test_a_day_on_which_something_is_held_waits_for_an_officer(archive: Archive) -> None:
    keep(archive, 1)
    archive.wall += 40 * 86_400_000_000
    add_hold(archive.visit(), person=bare(NURSE))
    result = expire(archive, archive.state, by="cron", today=LATER)
    assert result.erased == []
    assert [(each.day, each.why) for each in result.left] == [
        (MONDAY, "hold 1: an officer can expire the rest"),
        (TUESDAY, "hold 1: an officer can expire the rest"),
    ]
    assert texts(archive)[0] == "one"


def test_an_officer_expires_all_but_what_is_held(archive: Archive) -> None:
    keep(archive, 1)
    archive.wall += 40 * 86_400_000_000
    visit = archive.visit()
    hold = add_hold(visit, person=bare(NURSE), last=MONDAY)
    check_keys_gone = old_keys(archive)
    result = expire(archive, archive.state, by="jane", today=LATER, visit=visit)
    assert [(each.day, each.removed, each.kept) for each in result.erased] == [(MONDAY, 3, 1), (TUESDAY, 1, 0)]
    assert texts(archive) == [f"({ERASED})", "other", f"({ERASED})", f"({ERASED})"]
    check(archive)
    check_keys_gone()
    again = expire(archive, archive.state, by="jane", today=LATER, visit=visit)
    assert again.erased == []
    assert re.search("all that is left of it is held", again.left[0].why)
    assert [each.day for each in again.left] == [MONDAY]
    release_hold(visit, hold.id)
    add_hold(visit, person="nobody@library.example")
    expire(archive, archive.state, by="jane", today=LATER, visit=visit)
    assert expire(archive, archive.state, by="jane", today=LATER, visit=visit).left == []
    release_hold(visit, hold.id + 1)
    expire(archive, archive.state, by="cron", today=LATER)
    assert texts(archive)[1] == f"({ERASED})"
    assert ("staff", MONDAY) not in archive.keys.list()
    check(archive)


def damage(archive: Archive, index: int) -> None:
    with closing(sqlite3.connect(archive.state / "audit" / "ledger.sqlite")) as database, database:
        database.execute("UPDATE records SET payload = zeroblob(length(payload)) WHERE idx = ?", (index,))


@pytest.mark.parametrize("index", [1, 2], ids=["all of its conversation", "a part of it"])
def test_what_cannot_be_read_may_be_held_and_does_not_expire(archive: Archive, index: int) -> None:
    keep(archive, 1)
    archive.wall += 40 * 86_400_000_000
    visit = archive.visit()
    add_hold(visit, person="somebody@library.example")
    damage(archive, index)
    (monday, _) = expire(archive, archive.state, by="jane", today=LATER, visit=visit).erased
    left = {1: [index], 2: [0, 2, 3]}[index]
    assert (monday.removed, monday.kept) == (4 - len(left), len(left))
    assert [each for each in range(4) if archive.reader().show(each).problem != ERASED] == left


def test_what_cannot_be_read_may_be_held_and_is_not_erased(archive: Archive) -> None:
    damage(archive, 2)
    add_hold(archive.visit(), person="somebody@library.example")
    with pytest.raises(ErasureError, match=r"record 2 is .*: it may be held"):
        erase_conversation(archive.visit(), CHAT, MONDAY, MONDAY)


def test_an_expiry_that_cannot_be_recorded_is_not_done(archive: Archive) -> None:
    keep(archive, 1)
    archive.broken = "the disk is full"
    with pytest.raises(DeskError):
        expire(archive, archive.state, by="cron", today=LATER)
    assert texts(archive)[0] == "one"


def test_the_desk_destroys_no_day_that_is_held(archive: Archive) -> None:
    keys = archive.keys.open_as_officer("staff", MONDAY, "jane", JANE)
    archive.change("add_hold", person="x@example.org", conversation="", first=None, last=None)
    key = ["staff", "2026-11-23", keys.key_id.hex()]
    with pytest.raises(DeskError, match="2026-11-23 is held: hold 1"):
        archive("erase", kind="expiry", access=0, key=key, removed=[[0, 3]], holds=[1])
    before = (archive.state / "keys" / "days" / "2026-11-23.staff.json").read_bytes()
    content = b64encode(before).decode()
    with pytest.raises(DeskError, match="no records 0 to 99"):
        archive("erase", kind="expiry", access=0, key=key, removed=[[0, 99]], holds=[1], content=content)
    with pytest.raises(DeskError, match="does not understand"):
        archive("erase", kind="expiry", access=0, key=key, removed=[[0, 3]], holds=[1], content="eA==")
    archive.change("remove_officer", name="john")
    with pytest.raises(DeskError, match="officers have just changed"):
        archive("erase", kind="expiry", access=0, key=key, removed=[[0, 3]], holds=[1], content=content)
    assert texts(archive)[0] == "one"
