"""What every store of rosters promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vrxmpp.jid import Jid
from vrxmpp.store.interfaces import AccountId, RosterItem, StorageError, Subscription

if TYPE_CHECKING:
    from conftest import Storage

JULIET = Jid.parse("juliet@library.example")
NURSE = Jid.parse("nurse@library.example")


def roster(storage: Storage, local: str = "romeo") -> tuple[RosterItem, ...]:
    state = storage.wait(storage.stores.accounts.wake(local))
    assert state
    return state.roster


def version(storage: Storage, local: str = "romeo") -> int:
    state = storage.wait(storage.stores.accounts.wake(local))
    assert state
    return state.roster_version


@pytest.mark.parametrize(
    "item",
    [
        RosterItem(JULIET),
        RosterItem(JULIET, name="Juliet ♥", groups=("Friends", "a, b", '"quoted"', "ü\n", "")),
        RosterItem(JULIET, subscription=Subscription.TO, approved=True),
        RosterItem(JULIET, subscription=Subscription.BOTH),
        RosterItem(JULIET, subscription=Subscription.FROM, asked=True),
        RosterItem(JULIET, request=b"<presence type='subscribe'/>\0\xff", listed=False),
        RosterItem(Jid.parse("library.example")),
        RosterItem(Jid.parse("juliet@library.example/Balcony 🌙")),
    ],
)
def test_an_item_comes_back_as_it_was_put(storage: Storage, romeo: AccountId, item: RosterItem) -> None:
    storage.wait(storage.stores.rosters.put(romeo, item))
    assert roster(storage) == (item,)


def test_flags_come_back_as_booleans(storage: Storage, romeo: AccountId) -> None:
    storage.wait(storage.stores.rosters.put(romeo, RosterItem(JULIET)))
    [item] = roster(storage)
    assert (item.asked, item.approved, item.listed) == (False, False, True)
    assert {type(item.asked), type(item.approved), type(item.listed)} == {bool}
    assert type(item.subscription) is Subscription


def test_putting_again_replaces_the_item(storage: Storage, romeo: AccountId) -> None:
    rosters = storage.stores.rosters
    storage.wait(rosters.put(romeo, RosterItem(JULIET, name="old", groups=("x",), request=b"<presence/>")))
    storage.wait(rosters.put(romeo, RosterItem(NURSE)))
    storage.wait(rosters.put(romeo, RosterItem(JULIET, name="new")))
    assert set(roster(storage)) == {RosterItem(JULIET, name="new"), RosterItem(NURSE)}


def test_removing_an_item_leaves_the_others(storage: Storage, romeo: AccountId) -> None:
    rosters = storage.stores.rosters
    for jid in (JULIET, NURSE):
        storage.wait(rosters.put(romeo, RosterItem(jid)))
    storage.wait(rosters.remove(romeo, JULIET))
    assert roster(storage) == (RosterItem(NURSE),)


def test_each_write_gives_the_next_version(storage: Storage, romeo: AccountId) -> None:
    rosters = storage.stores.rosters
    first = version(storage)
    assert storage.wait(rosters.put(romeo, RosterItem(JULIET))) == first + 1
    assert storage.wait(rosters.put(romeo, RosterItem(JULIET, name="J"))) == first + 2
    assert storage.wait(rosters.remove(romeo, JULIET)) == first + 3
    assert version(storage) == first + 3


def test_accounts_have_rosters_of_their_own(storage: Storage, romeo: AccountId) -> None:
    juliet = storage.add_account("juliet")
    storage.wait(storage.stores.rosters.put(romeo, RosterItem(NURSE, name="his")))
    storage.wait(storage.stores.rosters.put(juliet, RosterItem(NURSE, name="hers")))
    storage.wait(storage.stores.rosters.remove(romeo, NURSE))
    assert roster(storage) == ()
    assert roster(storage, "juliet") == (RosterItem(NURSE, name="hers"),)
    assert version(storage, "juliet") == 1


def test_a_removed_account_takes_no_items(storage: Storage, romeo: AccountId) -> None:
    storage.wait(storage.stores.accounts.remove("romeo"))
    with pytest.raises(StorageError):
        storage.wait(storage.stores.rosters.put(romeo, RosterItem(JULIET)))
    with pytest.raises(StorageError):
        storage.wait(storage.stores.rosters.remove(romeo, JULIET))
    storage.add_account("romeo")
    assert roster(storage) == ()
