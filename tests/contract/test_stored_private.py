"""What every store of private XML promises (XEP-0049)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vrxmpp.store.interfaces import AccountId

if TYPE_CHECKING:
    from conftest import Storage


def test_each_element_has_its_own_place(storage: Storage, romeo: AccountId) -> None:
    private = storage.stores.private
    juliet = storage.add_account("juliet")
    assert storage.wait(private.get(romeo, "{a}b")) is None
    assert storage.wait(private.put(romeo, "{a}b", b"one\0\xff", 100)) is True
    assert storage.wait(private.put(romeo, "{a}B", b"two", 100)) is True
    assert storage.wait(private.put(juliet, "{a}b", b"hers", 100)) is True
    assert storage.wait(private.put(romeo, "{a}b", b"three", 100)) is True
    assert storage.wait(private.get(romeo, "{a}b")) == b"three"
    assert storage.wait(private.get(romeo, "{a}B")) == b"two"
    assert storage.wait(private.get(juliet, "{a}b")) == b"hers"


def test_the_limit_counts_the_bytes_of_all_elements(storage: Storage, romeo: AccountId) -> None:
    private = storage.stores.private
    juliet = storage.add_account("juliet")
    assert storage.wait(private.put(juliet, "x", b"1234567890", 10)) is True
    assert storage.wait(private.put(romeo, "x", b"\0" * 11, 10)) is False
    assert storage.wait(private.put(romeo, "x", "äöü".encode(), 10)) is True
    assert storage.wait(private.put(romeo, "y", b"12345", 10)) is False
    assert storage.wait(private.put(romeo, "y", b"1234", 10)) is True
    assert storage.wait(private.get(romeo, "y")) == b"1234"


def test_what_is_replaced_does_not_count(storage: Storage, romeo: AccountId) -> None:
    private = storage.stores.private
    assert storage.wait(private.put(romeo, "x", b"1234567890", 10)) is True
    assert storage.wait(private.put(romeo, "x", b"0987654321", 10)) is True
    assert storage.wait(private.put(romeo, "x", b"12345678901", 10)) is False
    assert storage.wait(private.get(romeo, "x")) == b"0987654321"
