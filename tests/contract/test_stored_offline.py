"""What every store of offline messages promises (XEP-0160)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vrxmpp.store import open_stores
from vrxmpp.store.interfaces import AccountId, Offline, StorageError
from vrxmpp.store.sealer import StorageSealer, forget_sealed, seal_waiting

if TYPE_CHECKING:
    from conftest import Storage

NOON = datetime(2026, 1, 1, 12, 0, 0, 123_456, UTC)
KEY = bytes(range(32))
WORDS = b"<message><body>wherefore art thou</body></message>"


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


def sealed(storage: Storage, sealer: StorageSealer | None = None) -> Offline:
    """Return the store of the same messages with a sealer."""
    return open_stores(storage.database, "library.example", sealer or StorageSealer(KEY)).offline


def is_on_disk(storage: Storage, words: bytes) -> bool:
    """Is it anywhere in the directory of the database?"""
    files = list(Path(storage.path).parent.iterdir())
    assert files
    return any(words in file.read_bytes() for file in files)


def test_what_was_sealed_is_read_as_it_came(storage: Storage, romeo: AccountId) -> None:
    offline = sealed(storage)
    came = [WORDS, b"", b"\x01\0\xff" * 5]
    for stanza in came:
        assert storage.wait(offline.add(romeo, NOON, stanza, 3))
    assert storage.wait(offline.add(romeo, NOON, WORDS, 3)) is False
    assert [message.stanza for message in storage.wait(offline.waiting(romeo))] == came


def test_the_disk_does_not_tell_what_was_sealed(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    threaded.wait(sealed(threaded).add(romeo, NOON, WORDS, 10))
    assert not is_on_disk(threaded, b"wherefore")
    threaded.wait(threaded.stores.offline.add(romeo, NOON, WORDS, 10))
    assert is_on_disk(threaded, b"wherefore")


def test_the_same_words_are_never_sealed_alike() -> None:
    sealer = StorageSealer(KEY)
    assert sealer.seal(WORDS) != sealer.seal(WORDS)


def test_what_was_written_plain_is_read_with_a_sealer(storage: Storage, romeo: AccountId) -> None:
    storage.wait(storage.stores.offline.add(romeo, NOON, WORDS, 10))
    storage.wait(sealed(storage).add(romeo, NOON, b"<later/>", 10))
    assert [message.stanza for message in storage.wait(sealed(storage).waiting(romeo))] == [WORDS, b"<later/>"]


def test_a_sealer_that_has_no_key_yet_lets_nothing_be_kept(storage: Storage, romeo: AccountId) -> None:
    sealer = StorageSealer()
    offline = sealed(storage, sealer)
    with pytest.raises(StorageError, match="has not come yet"):
        storage.wait(offline.add(romeo, NOON, WORDS, 10))
    assert stanzas(storage, romeo) == []
    storage.wait(sealed(storage).add(romeo, NOON, WORDS, 10))
    with pytest.raises(StorageError, match="has not come yet"):
        storage.wait(offline.waiting(romeo))
    sealer.unlock(KEY)
    assert [message.stanza for message in storage.wait(offline.waiting(romeo))] == [WORDS]


def test_what_was_sealed_is_given_to_nobody_without_the_key(storage: Storage, romeo: AccountId) -> None:
    storage.wait(sealed(storage).add(romeo, NOON, WORDS, 10))
    with pytest.raises(StorageError, match="there is no storage key"):
        stanzas(storage, romeo)
    with pytest.raises(StorageError, match="another storage key"):
        storage.wait(sealed(storage, StorageSealer(bytes(32))).waiting(romeo))


@pytest.mark.parametrize("change", ["flip", "cut", "nonce only", "version", "empty"])
def test_what_is_damaged_is_refused(change: str) -> None:
    sealer = StorageSealer(KEY)
    stored = sealer.seal(WORDS)
    changed = {
        "flip": stored[:20] + bytes((stored[20] ^ 1,)) + stored[21:],
        "cut": stored[:-1],
        "nonce only": stored[:5],
        "version": b"\x02" + stored[1:],
        "empty": b"",
    }[change]
    with pytest.raises(StorageError, match="or is damaged"):
        sealer.open(changed)
    assert sealer.open(stored) == WORDS


def test_what_waits_plain_is_sealed_and_leaves_the_disk(threaded: Storage) -> None:
    romeo, juliet = threaded.add_account("romeo"), threaded.add_account("juliet")
    number = 1_201  # more than are sealed together
    rows = [(romeo, b"<m>wherefore %d</m>" % each) for each in range(number)]
    with closing(sqlite3.connect(threaded.path)) as other:
        other.execute("PRAGMA secure_delete = OFF")
        add = "INSERT INTO offline_messages (account, stamp, stanza) VALUES (?, 0, ?)"
        other.executemany(add, [*rows, (juliet, b"<gone/>" * 999)])
        other.commit()
        other.execute("DELETE FROM offline_messages WHERE account = ?", (juliet,))
        other.commit()
    threaded.wait(sealed(threaded).add(romeo, NOON, b"<m>sealed at once</m>", 2_000))
    assert is_on_disk(threaded, b"<gone/>")
    url = f"sqlite:///{threaded.path}"
    assert seal_waiting(url, StorageSealer(KEY)) == number
    assert not is_on_disk(threaded, b"wherefore")
    assert not is_on_disk(threaded, b"<gone/>")
    waiting = [message.stanza for message in threaded.wait(sealed(threaded).waiting(romeo))]
    assert waiting == [stanza for _, stanza in rows] + [b"<m>sealed at once</m>"]
    assert seal_waiting(url, StorageSealer(KEY)) == 0


def test_sealing_what_waits_needs_the_key(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    threaded.wait(threaded.stores.offline.add(romeo, NOON, WORDS, 10))
    with pytest.raises(StorageError, match="has not come yet"):
        seal_waiting(f"sqlite:///{threaded.path}", StorageSealer())
    assert stanzas(threaded, romeo) == [WORDS]


def test_what_no_key_opens_any_more_is_forgotten(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    threaded.wait(threaded.stores.offline.add(romeo, NOON, WORDS, 10))
    for _ in range(2):
        threaded.wait(sealed(threaded).add(romeo, NOON, WORDS, 10))
    url = f"sqlite:///{threaded.path}"
    assert [forget_sealed(url), forget_sealed(url)] == [2, 0]
    assert stanzas(threaded, romeo) == [WORDS]


def test_what_is_discarded_leaves_the_disk(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    threaded.wait(threaded.stores.offline.add(romeo, NOON, WORDS * 200, 10))
    assert is_on_disk(threaded, b"wherefore")
    [message] = threaded.wait(threaded.stores.offline.waiting(romeo))
    threaded.wait(threaded.stores.offline.discard(romeo, message.number))
    threaded.wait(threaded.database.close())  # SQLite writes the pages back, and removes the log of writes
    assert not is_on_disk(threaded, b"wherefore")
    threaded.database = threaded.open_beside().database
