"""What every store of offline messages promises (XEP-0160)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vrxmpp.store.interfaces import AccountId

if TYPE_CHECKING:
    from conftest import Storage

NOON = datetime(2026, 1, 1, 12, 0, 0, 123_456, UTC)


def stanzas(storage: Storage, account: AccountId) -> list[bytes]:
    return [message.stanza for message in storage.wait(storage.stores.offline.waiting(account))]


def test_messages_wait_in_the_order_they_came(storage: Storage, romeo: AccountId) -> None:
    offline = storage.stores.offline
    came = [b"<message>%d</message>\0\xff" % number for number in range(12)]
    results = storage.wait_all([offline.add(romeo, NOON, stanza, 100) for stanza in came])
    assert results == [True] * 12
    waiting = storage.wait(offline.waiting(romeo))
    assert [message.stanza for message in waiting] == came
    assert {message.stamp for message in waiting} == {NOON}
    assert [message.number for message in waiting] == sorted({message.number for message in waiting})


def test_the_limit_holds_for_writes_at_once(storage: Storage, romeo: AccountId) -> None:
    offline = storage.stores.offline
    juliet = storage.add_account("juliet")
    storage.wait(offline.add(juliet, NOON, b"hers", 1))
    results = storage.wait_all([offline.add(romeo, NOON, b"%d" % number, 3) for number in range(8)])
    assert results == [True] * 3 + [False] * 5
    assert stanzas(storage, romeo) == [b"0", b"1", b"2"]
    assert storage.wait(offline.add(romeo, NOON, b"3", 0)) is False


def test_discarding_stops_at_the_number(storage: Storage, romeo: AccountId) -> None:
    offline = storage.stores.offline
    juliet = storage.add_account("juliet")
    for number in range(4):
        storage.wait(offline.add(romeo, NOON, b"his %d" % number, 10))
        storage.wait(offline.add(juliet, NOON, b"hers %d" % number, 10))
    second = storage.wait(offline.waiting(romeo))[1]
    storage.wait(offline.discard(romeo, second.number))
    assert stanzas(storage, romeo) == [b"his 2", b"his 3"]
    assert len(stanzas(storage, juliet)) == 4


def test_a_number_is_never_given_out_twice(storage: Storage, romeo: AccountId) -> None:
    offline = storage.stores.offline
    storage.wait(offline.add(romeo, NOON, b"first", 10))
    [first] = storage.wait(offline.waiting(romeo))
    storage.wait(offline.discard(romeo, first.number))
    storage.wait(offline.add(romeo, NOON, b"second", 10))
    storage.wait(offline.discard(romeo, first.number))
    assert stanzas(storage, romeo) == [b"second"]


def test_nothing_is_kept_for_a_removed_account(storage: Storage, romeo: AccountId) -> None:
    storage.wait(storage.stores.accounts.remove("romeo"))
    assert storage.wait(storage.stores.offline.add(romeo, NOON, b"late", 10)) is False
    storage.wait(storage.stores.offline.discard(romeo, 1))
    assert stanzas(storage, romeo) == []
