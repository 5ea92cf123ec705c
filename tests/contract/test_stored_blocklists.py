"""What every store of blocklists promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vrxmpp.jid import Jid
from vrxmpp.store.interfaces import AccountId

if TYPE_CHECKING:
    from conftest import Storage

TYBALT = Jid.parse("tybalt@library.example")
PARIS = Jid.parse("paris@library.example/palace")
CAPULET = Jid.parse("capulet.example")


def blocked(storage: Storage, local: str = "romeo") -> set[Jid]:
    state = storage.wait(storage.stores.accounts.wake(local))
    assert state
    assert len(set(state.blocked)) == len(state.blocked)
    return set(state.blocked)


def test_addresses_are_added_once(storage: Storage, romeo: AccountId) -> None:
    blocklists = storage.stores.blocklists
    storage.wait(blocklists.add(romeo, (TYBALT, PARIS, TYBALT)))
    storage.wait(blocklists.add(romeo, (PARIS, CAPULET)))
    storage.wait(blocklists.add(romeo, ()))
    assert blocked(storage) == {TYBALT, PARIS, CAPULET}


def test_only_the_named_are_removed(storage: Storage, romeo: AccountId) -> None:
    blocklists = storage.stores.blocklists
    storage.wait(blocklists.add(romeo, (TYBALT, PARIS, CAPULET)))
    storage.wait(blocklists.remove(romeo, ()))
    assert blocked(storage) == {TYBALT, PARIS, CAPULET}
    storage.wait(blocklists.remove(romeo, (TYBALT, CAPULET, Jid.parse("never@library.example"))))
    assert blocked(storage) == {PARIS}


def test_clearing_concerns_one_account(storage: Storage, romeo: AccountId) -> None:
    juliet = storage.add_account("juliet")
    for account in (romeo, juliet):
        storage.wait(storage.stores.blocklists.add(account, (TYBALT, PARIS)))
    storage.wait(storage.stores.blocklists.remove(juliet, (TYBALT,)))
    storage.wait(storage.stores.blocklists.clear(romeo))
    assert blocked(storage) == set()
    assert blocked(storage, "juliet") == {PARIS}
