"""What every store of vCards promises (XEP-0054)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vrxmpp.store.interfaces import AccountId, StorageError

if TYPE_CHECKING:
    from conftest import Storage


def test_an_account_has_one_vcard_at_most(storage: Storage, romeo: AccountId) -> None:
    vcards = storage.stores.vcards
    juliet = storage.add_account("juliet")
    assert storage.wait(vcards.get(romeo)) is None
    storage.wait(vcards.put(romeo, b"<vCard>\0\xff</vCard>"))
    storage.wait(vcards.put(juliet, b"hers"))
    assert storage.wait(vcards.get(romeo)) == b"<vCard>\0\xff</vCard>"
    storage.wait(vcards.put(romeo, b""))
    assert storage.wait(vcards.get(romeo)) == b""
    assert storage.wait(vcards.get(juliet)) == b"hers"


def test_a_removed_account_has_none(storage: Storage, romeo: AccountId) -> None:
    storage.wait(storage.stores.accounts.remove("romeo"))
    with pytest.raises(StorageError):
        storage.wait(storage.stores.vcards.put(romeo, b"late"))
    assert storage.wait(storage.stores.vcards.get(romeo)) is None
