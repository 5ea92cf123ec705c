"""What every store of accounts promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from vrxmpp.jid import Jid
from vrxmpp.store.interfaces import (
    AccountId,
    AccountState,
    AccountSummary,
    Credentials,
    LastActivity,
    NewAccount,
    RosterItem,
    ScramKeys,
    Subscription,
)

if TYPE_CHECKING:
    from conftest import Storage

SHA1 = ScramKeys(b"salt 1", 4096, b"stored 1", b"server 1")
SHA256 = ScramKeys(b"salt 256", 10_000, b"stored 256\0\xff", b"server 256")
OTHER = ScramKeys(b"other salt", 5000, b"other stored", b"other server")


def test_nobody_is_there_at_first(storage: Storage) -> None:
    accounts = storage.stores.accounts
    assert storage.wait(accounts.wake("romeo")) is None
    assert storage.wait(accounts.credentials("romeo")) is None
    assert storage.wait(accounts.summary("romeo")) is None
    assert storage.wait(accounts.summaries()) == []
    assert storage.wait(accounts.set_password("romeo", SHA1, SHA256)) is False
    assert storage.wait(accounts.set_enabled("romeo", True)) is False
    assert storage.wait(accounts.remove("romeo")) is False


def test_a_new_account_wakes_empty_and_enabled(storage: Storage) -> None:
    accounts = storage.stores.accounts
    assert storage.wait(accounts.add([NewAccount("romeo", SHA1, SHA256)])) == []
    state = storage.wait(accounts.wake("romeo"))
    assert state
    assert state == AccountState(id=state.id, local="romeo", enabled=True)
    assert state.enabled is True


def test_credentials_are_those_that_were_set(storage: Storage) -> None:
    accounts = storage.stores.accounts
    storage.wait(accounts.add([NewAccount("romeo", SHA1, SHA256)]))
    state = storage.wait(accounts.wake("romeo"))
    assert state
    assert storage.wait(accounts.credentials("romeo")) == Credentials(state.id, True, SHA1, SHA256)
    assert storage.wait(accounts.set_password("romeo", OTHER, SHA1)) is True
    assert storage.wait(accounts.credentials("romeo")) == Credentials(state.id, True, OTHER, SHA1)


def test_adding_keeps_the_accounts_that_exist(storage: Storage) -> None:
    accounts = storage.stores.accounts
    storage.wait(accounts.add([NewAccount("romeo", SHA1, SHA256)]))
    new = [NewAccount(local, OTHER, OTHER) for local in ("juliet", "romeo", "nurse", "juliet")]
    assert storage.wait(accounts.add(new)) == ["romeo", "juliet"]
    romeo = storage.wait(accounts.credentials("romeo"))
    assert romeo
    assert romeo.sha1 == SHA1
    assert [summary.local for summary in storage.wait(accounts.summaries())] == ["juliet", "nurse", "romeo"]
    assert storage.wait(accounts.add([])) == []


def test_localparts_are_taken_exactly_as_given(storage: Storage) -> None:
    accounts = storage.stores.accounts
    storage.wait(accounts.add([NewAccount("straße", SHA1, SHA256)]))
    assert storage.wait(accounts.wake("straße"))
    assert storage.wait(accounts.wake("strasse")) is None
    assert storage.wait(accounts.wake("SSTRASSE")) is None
    assert storage.wait(accounts.add([NewAccount("STRASSE", SHA1, SHA256)])) == []


def test_domains_share_nothing(storage: Storage) -> None:
    here, elsewhere = storage.stores.accounts, storage.elsewhere.accounts
    romeo = storage.add_account("romeo")
    assert storage.wait(elsewhere.wake("romeo")) is None
    assert storage.wait(elsewhere.add([NewAccount("romeo", OTHER, OTHER)])) == []
    other = storage.wait(elsewhere.wake("romeo"))
    assert other
    assert other.id != romeo
    assert storage.wait(elsewhere.set_enabled("romeo", False))
    assert storage.wait(elsewhere.remove("romeo"))
    still = storage.wait(here.wake("romeo"))
    assert still
    assert still.enabled
    assert storage.wait(elsewhere.summaries()) == []


def test_a_disabled_account_stays_known(storage: Storage, romeo: AccountId) -> None:
    accounts = storage.stores.accounts
    for enabled in (False, True):
        assert storage.wait(accounts.set_enabled("romeo", enabled)) is True
        state = storage.wait(accounts.wake("romeo"))
        credentials = storage.wait(accounts.credentials("romeo"))
        summary = storage.wait(accounts.summary("romeo"))
        assert state
        assert credentials
        assert summary
        assert (state.enabled, credentials.enabled, summary.enabled) == (enabled, enabled, enabled)


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC),
        datetime(1969, 12, 31, 23, 59, 59, 1, UTC),
        datetime(2026, 3, 1, 1, 2, 3, 4, timezone(timedelta(hours=-5))),
    ],
)
def test_last_activity_is_kept_to_the_microsecond(storage: Storage, romeo: AccountId, at: datetime) -> None:
    storage.wait(storage.stores.accounts.set_last_activity(romeo, LastActivity(at, "gone to Mantua…")))
    state = storage.wait(storage.stores.accounts.wake("romeo"))
    assert state
    assert state.last_activity == LastActivity(at, "gone to Mantua…")
    assert state.last_activity.at.tzinfo is UTC


def test_the_summary_counts(storage: Storage, romeo: AccountId) -> None:
    before = datetime.now(UTC)
    storage.add_account("juliet")
    after = datetime.now(UTC)
    storage.add_account("abbot")
    stores = storage.stores
    storage.wait(stores.rosters.put(romeo, RosterItem(Jid.parse("juliet@library.example"))))
    storage.wait(stores.rosters.put(romeo, RosterItem(Jid.parse("paris@library.example"), listed=False)))
    for _ in range(3):
        storage.wait(stores.offline.add(romeo, before, b"<message/>", 10))
    storage.wait(stores.accounts.set_last_activity(romeo, LastActivity(before, "")))

    abbot, juliet, summary = storage.wait(stores.accounts.summaries())
    assert (abbot.local, juliet.local) == ("abbot", "juliet")
    assert before <= juliet.created <= after
    assert summary == AccountSummary("romeo", True, summary.created, LastActivity(before, ""), 3, 1)
    assert storage.wait(stores.accounts.summary("romeo")) == summary
    assert juliet == AccountSummary("juliet", True, juliet.created, None, 0, 0)


def test_removing_an_account_removes_all_it_had(storage: Storage, romeo: AccountId) -> None:
    stores = storage.stores
    juliet = Jid.parse("juliet@library.example")
    storage.wait(stores.rosters.put(romeo, RosterItem(juliet)))
    storage.wait(stores.blocklists.add(romeo, (juliet,)))
    storage.wait(stores.offline.add(romeo, datetime.now(UTC), b"<message/>", 10))
    storage.wait(stores.vcards.put(romeo, b"<vCard/>"))
    storage.wait(stores.private.put(romeo, "{a}b", b"<b xmlns='a'/>", 100))
    assert storage.wait(stores.accounts.remove("romeo")) is True

    assert storage.wait(stores.accounts.wake("romeo")) is None
    assert storage.wait(stores.offline.waiting(romeo)) == []
    assert storage.wait(stores.vcards.get(romeo)) is None
    assert storage.wait(stores.private.get(romeo, "{a}b")) is None
    successor = storage.add_account("romeo")
    assert successor != romeo
    assert storage.wait(stores.accounts.wake("romeo")) == AccountState(successor, "romeo", True)


def test_nobody_stays_subscribed_to_an_account_that_is_removed(storage: Storage, romeo: AccountId) -> None:
    """Whoever gets the name next must not see the presence of these contacts."""
    juliet = storage.add_account("juliet")
    nurse = storage.add_account("nurse")
    jid, other = Jid.parse("romeo@library.example"), Jid.parse("paris@library.example")
    kept = RosterItem(other, subscription=Subscription.BOTH)
    storage.wait(storage.stores.rosters.put(juliet, kept))
    version = storage.wait(
        storage.stores.rosters.put(
            juliet, RosterItem(jid, "Romeo", ("Friends",), Subscription.BOTH, asked=True, approved=True)
        )
    )
    storage.wait(storage.stores.rosters.put(nurse, RosterItem(jid, request=b"<presence/>", listed=False)))
    storage.wait(storage.stores.accounts.remove("romeo"))

    state = storage.wait(storage.stores.accounts.wake("juliet"))
    assert state is not None
    assert set(state.roster) == {kept, RosterItem(jid, "Romeo", ("Friends",))}
    assert state.roster_version > version
    state = storage.wait(storage.stores.accounts.wake("nurse"))
    assert state is not None
    assert state.roster == ()


def test_a_late_write_reaches_no_successor(storage: Storage, romeo: AccountId) -> None:
    storage.wait(storage.stores.accounts.remove("romeo"))
    successor = storage.add_account("romeo")
    storage.wait(storage.stores.accounts.set_last_activity(romeo, LastActivity(datetime.now(UTC), "late")))
    assert storage.wait(storage.stores.accounts.wake("romeo")) == AccountState(successor, "romeo", True)
