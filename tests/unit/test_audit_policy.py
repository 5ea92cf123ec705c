"""The policy of the archive: officers, retention, holds, and what cannot be changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date

import pytest

from vrxmpp.audit.identity import Identity
from vrxmpp.audit.policy import Hold, Json, Policy, PolicyError, Retention

JANE, JOHN = Identity.generate().public, Identity.generate().public
MONDAY, TUESDAY, WEDNESDAY = date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 25)
CHAT = "juliet@library.example romeo@library.example"


def policy() -> Policy:
    """Return one with something of everything."""
    made = Policy(configuration={"audit": {"on_failure": "refuse"}}).add_officer("recovery", JANE, 1)
    made = made.add_officer("john.o-k_2", JOHN, 2).change_retention("staff", Retention(2190, locked=True))
    made = made.change_retention("patron", Retention(30))
    return hold(made, person="romeo@library.example", first=TUESDAY)


def hold(
    on: Policy, person: str = "", conversation: str = "", first: date | None = None, last: date | None = None
) -> Policy:
    """Return the policy with one more hold."""
    return on.add_hold(person=person, conversation=conversation, first=first, last=last, case="7", by="john", now=3)


def test_a_policy_comes_back_from_json_as_it_went() -> None:
    assert Policy.from_json(json.loads(json.dumps(policy().to_json()))) == policy()


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: value.pop("holds"),
        lambda value: value.update(officers=[]),
        lambda value: value.update(retention={"staff": 7}),
        lambda value: value.update(holds=[{"id": 1}]),
        lambda value: value["holds"][0].update(first="yesterday"),
        lambda value: value["officers"]["recovery"].update(role="king"),
    ],
)
def test_json_that_is_no_policy_is_refused_in_one_line(damage: Callable[[Json], object]) -> None:
    value: Json = policy().to_json()
    damage(value)
    with pytest.raises(PolicyError, match="none this program knows"):
        Policy.from_json(value)


@pytest.mark.parametrize("days", [None, 2190, 2191, 36500])
def test_a_locked_class_can_be_lengthened(days: int | None) -> None:
    changed = policy().change_retention("staff", Retention(days, locked=True))
    assert changed.retention_of("staff") == Retention(days, locked=True)


@pytest.mark.parametrize(
    "retention",
    [Retention(2189, locked=True), Retention(1, locked=True), Retention(2190), Retention(None), Retention(9999)],
)
def test_a_locked_class_is_neither_shortened_nor_unlocked(retention: Retention) -> None:
    with pytest.raises(PolicyError, match="locked"):
        policy().change_retention("staff", retention)


def test_a_class_locked_for_ever_stays_for_ever() -> None:
    locked = policy().change_retention("staff", Retention(None, locked=True))
    with pytest.raises(PolicyError, match="lengthened"):
        locked.change_retention("staff", Retention(36500, locked=True))


def test_a_class_that_is_not_locked_is_changed_at_will() -> None:
    assert policy().change_retention("patron", Retention(1)).retention_of("patron").days == 1
    assert policy().retention_of("regulated") == Retention(None, locked=False)


@pytest.mark.parametrize(
    ("class_name", "days"), [("staff", 0), ("new", 0), ("new", -1), ("Staff", 3), ("../x", 3), ("", 3)]
)
def test_what_is_no_retention_is_refused(class_name: str, days: int) -> None:
    with pytest.raises(PolicyError):
        policy().change_retention(class_name, Retention(days, locked=True))


@pytest.mark.parametrize("name", ["", "Jane", "1jane", ".jane", "jane doe", "jané", "jane/../x", "jane\n", "j" * 65])
def test_what_is_no_name_for_an_officer_is_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="an officer's name"):
        policy().add_officer(name, JANE, 9)


def test_an_officer_who_was_removed_may_read_no_more() -> None:
    changed = policy().remove_officer("recovery", 9)
    assert changed.public_keys() == {"john.o-k_2": JOHN}
    assert changed.officers["recovery"].removed == 9
    assert policy().public_keys() == {"recovery": JANE, "john.o-k_2": JOHN}


def test_the_last_officer_stays() -> None:
    with pytest.raises(PolicyError, match="last officer"):
        policy().remove_officer("recovery", 9).remove_officer("john.o-k_2", 9)


def test_nobody_takes_the_place_of_an_officer() -> None:
    with pytest.raises(PolicyError, match="already"):
        policy().add_officer("recovery", JOHN, 9)
    removed = policy().remove_officer("recovery", 9)
    with pytest.raises(PolicyError, match="another key"):
        removed.add_officer("recovery", JOHN, 10)
    assert removed.add_officer("recovery", JANE, 10).public_keys()["recovery"] == JANE
    for name in ("recovery", "nobody"):
        with pytest.raises(PolicyError, match="no officer"):
            removed.remove_officer(name, 11)


@pytest.mark.parametrize(
    ("held", "conversation", "day", "persons", "is_on"),
    [
        ({"person": "romeo@library.example"}, CHAT, MONDAY, (), True),
        ({"person": "romeo@library.example"}, "romeo@library.example", MONDAY, (), True),
        ({"person": "romeo@library.example"}, "xromeo@library.example juliet@library.example", MONDAY, (), False),
        ({"person": "romeo@library.example"}, "room@rooms.library.example", MONDAY, (), False),
        ({"person": "romeo@library.example"}, "room@rooms.library.example", MONDAY, {"romeo@library.example"}, True),
        ({"conversation": CHAT}, CHAT, MONDAY, (), True),
        ({"conversation": CHAT}, "juliet@library.example", MONDAY, (), False),
        ({"person": "nurse@library.example", "conversation": CHAT}, CHAT, MONDAY, (), False),
        ({"person": "romeo@library.example", "first": TUESDAY}, CHAT, MONDAY, (), False),
        ({"person": "romeo@library.example", "first": TUESDAY}, CHAT, TUESDAY, (), True),
        ({"first": TUESDAY, "last": TUESDAY}, CHAT, TUESDAY, (), True),
        ({"first": TUESDAY, "last": TUESDAY}, CHAT, WEDNESDAY, (), False),
        ({"last": TUESDAY}, CHAT, MONDAY, (), True),
    ],
)
def test_what_a_hold_is_on(held: Json, conversation: str, day: date, persons: set[str], is_on: bool) -> None:
    on = hold(Policy(), **held)
    assert on.holds_on(conversation, day, persons) == (list(on.holds) if is_on else [])


def test_a_day_is_held_while_anything_of_it_may_be() -> None:
    on = hold(hold(Policy(), person="romeo@library.example", last=MONDAY), conversation=CHAT, first=TUESDAY)
    assert [[each.id for each in on.holds_on_day(day)] for day in (MONDAY, TUESDAY)] == [[1], [2]]
    released = on.release_hold(1, 9)
    assert [[each.id for each in released.holds_on_day(day)] for day in (MONDAY, TUESDAY)] == [[], [2]]
    assert released.holds[0].released == 9
    assert released.holds_on(CHAT, MONDAY) == []


def test_the_number_of_a_hold_is_never_given_out_twice() -> None:
    on = hold(policy().release_hold(1, 9), conversation=CHAT)
    assert [each.id for each in on.holds] == [1, 2]
    for id in (1, 3):
        with pytest.raises(PolicyError, match=f"no hold {id}"):
            on.release_hold(id, 10)


def test_a_hold_on_nothing_or_no_time_is_refused() -> None:
    with pytest.raises(PolicyError, match="names a person"):
        hold(Policy())
    with pytest.raises(PolicyError, match="ends before"):
        hold(Policy(), conversation=CHAT, first=TUESDAY, last=MONDAY)


def test_a_change_leaves_the_policy_before_as_it_was() -> None:
    before = policy()
    text = json.dumps(before.to_json())
    hold(before.change_retention("patron", Retention(7)).remove_officer("recovery", 9), conversation=CHAT)
    assert json.dumps(before.to_json()) == text
    assert isinstance(before.holds[0], Hold)
