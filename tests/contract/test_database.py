"""The database itself: its threads, its one commit for many writes, and what it survives."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, func, insert, select, text
from twisted.internet.defer import CancelledError, Deferred

from vrxmpp.store import database
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId, StorageBusy, StorageError
from vrxmpp.store.schema import accounts, offline_messages

if TYPE_CHECKING:
    from conftest import Storage

Work = Callable[[Connection], Any]


class Refusal(Exception):  # noqa: N818
    """What a piece of work may raise."""


class Held:
    """A piece of work that holds up its thread, so that what comes next is taken together."""

    def __init__(self, run: Callable[[Work], Any]) -> None:
        self._go_on = Event()
        self._begun = Event()
        self.finished = Deferred.fromCoroutine(run(self._work))
        assert self._begun.wait(30)

    def release(self) -> None:
        self._go_on.set()

    def _work(self, connection: Connection) -> None:
        self._begun.set()
        assert self._go_on.wait(30)


def message(account: AccountId, size: int = 10) -> Work:
    """Return work that keeps a message."""
    row = {"account": account, "stamp": 0, "stanza": b"m" * size}
    return lambda connection: connection.execute(insert(offline_messages), row).rowcount


def message_and_refusal(account: AccountId) -> Work:
    """Return work that keeps a message and then fails."""

    def work(connection: Connection) -> None:
        message(account)(connection)
        raise Refusal

    return work


def without_account(connection: Connection) -> None:
    """Break a foreign key in a way that only the commit notices."""
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    message(AccountId(999))(connection)


def count(storage: Storage) -> int:
    """Return how many messages wait."""
    return storage.wait(
        storage.database.read(lambda c: c.execute(select(func.count(offline_messages.c.number))).scalar_one())
    )


def set_up(storage: Storage, command: str) -> Any:
    """Change a setting of the writer's connection, or ask for it."""
    return storage.wait(
        storage.database.write(lambda connection: connection.exec_driver_sql(f"PRAGMA {command}").scalar())
    )


def failures(storage: Storage, started: list[Deferred[Any]]) -> list[str]:
    """Wait for each and return the names of what was raised, "" for success."""
    names = []
    for each in started:
        try:
            storage.result(each)
        except Exception as error:
            names.append(type(error).__name__)
        else:
            names.append("")
    return names


def test_a_failing_write_changes_nothing(storage: Storage, romeo: AccountId) -> None:
    with pytest.raises(Refusal):
        storage.wait(storage.database.write(message_and_refusal(romeo)))
    assert count(storage) == 0
    storage.wait(storage.database.write(message(romeo)))
    assert count(storage) == 1


def test_a_failing_read_hurts_no_later_one(storage: Storage) -> None:
    def work(connection: Connection) -> None:
        connection.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(StorageError):
        storage.wait(storage.database.read(work))
    assert count(storage) == 0


def test_writes_that_wait_are_committed_together(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    commands: list[str] = []

    def counting(connection: Connection) -> None:
        assert isinstance(connection.connection.driver_connection, sqlite3.Connection)
        connection.connection.driver_connection.set_trace_callback(commands.append)

    held = Held(threaded.database.write)
    works = [counting, *[message(romeo)] * 5]
    started = [Deferred.fromCoroutine(threaded.database.write(work)) for work in works]
    held.release()
    assert failures(threaded, started) == [""] * 6
    assert commands.count("COMMIT") == 1
    assert count(threaded) == 5


def test_a_failing_write_fails_alone(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    held = Held(threaded.database.write)
    works = [message(romeo), message_and_refusal(romeo), message(AccountId(999)), message(romeo)]
    started = [Deferred.fromCoroutine(threaded.database.write(work)) for work in works]
    held.release()
    assert failures(threaded, started) == ["", "Refusal", "StorageError", ""]
    assert count(threaded) == 2


def test_a_result_is_on_the_disk_before_it_is_reported(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    with closing(sqlite3.connect(threaded.path)) as other:
        started = Deferred.fromCoroutine(threaded.database.write(message(romeo)))
        seen: list[Any] = []
        started.addCallback(lambda _: seen.append(other.execute("SELECT count(*) FROM offline_messages").fetchone()))
        threaded.result(started)
        assert seen == [(1,)]


def test_a_failing_commit_fails_all_it_held(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    held = Held(threaded.database.write)
    works = [message(romeo), without_account, message(romeo)]
    started = [Deferred.fromCoroutine(threaded.database.write(work)) for work in works]
    held.release()
    assert failures(threaded, started) == ["StorageError"] * 3
    assert count(threaded) == 0
    threaded.wait(threaded.database.write(message(romeo)))
    assert count(threaded) == 1


def test_a_transaction_lost_underway_fails_all_it_held(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")

    def lose(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")
        raise Refusal

    held = Held(threaded.database.write)
    works = [message(romeo), lose, message(romeo)]
    started = [Deferred.fromCoroutine(threaded.database.write(work)) for work in works]
    held.release()
    assert failures(threaded, started) == ["StorageError"] * 3
    assert count(threaded) == 0
    threaded.wait(threaded.database.write(message(romeo)))
    assert count(threaded) == 1


def test_a_full_disk_is_reported_and_survived(storage: Storage, romeo: AccountId) -> None:
    storage.wait(storage.database.write(message(romeo)))
    set_up(storage, f"max_page_count = {set_up(storage, 'page_count')}")
    for size in (100_000, 10_000_000):  # one that fits into SQLite's cache, one that does not
        with pytest.raises(StorageError, match=r"^the disk is full \(SQLITE_FULL\)$"):
            storage.wait(storage.database.write(message(romeo, size)))
    assert count(storage) == 1
    set_up(storage, "max_page_count = 1000000")
    storage.wait(storage.database.write(message(romeo, 100_000)))
    assert count(storage) == 2


def test_a_locked_database_is_reported_and_survived(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    set_up(threaded, "busy_timeout = 0")
    with closing(sqlite3.connect(threaded.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked by another process"):
            threaded.wait(threaded.database.write(message(romeo)))
        assert count(threaded) == 0
        other.execute("ROLLBACK")
    threaded.wait(threaded.database.write(message(romeo)))
    assert count(threaded) == 1


def test_errors_quote_nothing_that_is_stored(storage: Storage, romeo: AccountId) -> None:
    def work(connection: Connection) -> None:
        row = connection.execute(select(accounts)).mappings().one()
        connection.execute(insert(accounts), {**row, "id": None, "sha1_salt": b"secret"})

    with pytest.raises(StorageError) as raised:
        storage.wait(storage.database.write(work))
    assert str(raised.value) == "the tables do not allow it, or the account is gone (SQLITE_CONSTRAINT_UNIQUE)"
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None


def test_reading_waits_for_no_write(threaded: Storage) -> None:
    held = Held(threaded.database.write)
    assert count(threaded) == 0
    held.release()
    threaded.result(held.finished)


def test_each_read_gets_its_own_answer(threaded: Storage) -> None:
    numbers = {f"user{number}": threaded.add_account(f"user{number}") for number in range(50)}
    states = threaded.wait_all([threaded.stores.accounts.wake(local) for local in numbers])
    assert {state.local: state.id for state in states if state} == numbers


def test_one_read_sees_one_state(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    begun, written = Event(), Event()

    def twice(connection: Connection) -> list[Any]:
        numbers = [connection.execute(select(func.count(offline_messages.c.number))).scalar_one()]
        begun.set()
        assert written.wait(30)
        return [*numbers, connection.execute(select(func.count(offline_messages.c.number))).scalar_one()]

    reading = Deferred.fromCoroutine(threaded.database.read(twice))
    assert begun.wait(30)
    threaded.wait(threaded.database.write(message(romeo)))
    written.set()
    assert threaded.result(reading) == [0, 0]
    assert count(threaded) == 1


def test_too_much_waiting_is_refused(threaded: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_QUEUED", 3)
    romeo = threaded.add_account("romeo")
    held = Held(threaded.database.write)
    started = [Deferred.fromCoroutine(threaded.database.write(message(romeo))) for _ in range(4)]
    with pytest.raises(StorageBusy):
        threaded.result(started.pop())
    held.release()
    assert failures(threaded, started) == [""] * 3
    assert count(threaded) == 3


def test_who_stops_waiting_disturbs_nobody(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    held = Held(threaded.database.write)
    impatient, patient = (Deferred.fromCoroutine(threaded.database.write(message(romeo))) for _ in range(2))
    impatient.cancel()
    with pytest.raises(CancelledError):
        threaded.result(impatient)
    held.release()
    assert threaded.result(patient) == 1
    assert count(threaded) == 2


def test_closing_finishes_what_was_asked_for(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    started = [Deferred.fromCoroutine(threaded.database.write(message(romeo))) for _ in range(500)]
    closing_down = Deferred.fromCoroutine(threaded.database.close())
    late = Deferred.fromCoroutine(threaded.database.write(message(romeo)))
    assert failures(threaded, [*started, closing_down, late]) == [""] * 501 + ["StorageError"]
    assert [path.name for path in Path(threaded.path).parent.iterdir()] == ["vrxmpp.db"]

    again = threaded.open_beside()
    assert count(again) == 500
    again.wait(again.database.close())


def test_a_closed_database_refuses(storage: Storage) -> None:
    storage.wait(storage.database.close())
    for run in (storage.database.read, storage.database.write):
        with pytest.raises(StorageError, match="the database is closed"):
            storage.wait(run(lambda connection: None))


def test_threads_need_a_file(threaded: Storage) -> None:
    with pytest.raises(ValueError, match="in memory"):
        Database.open("sqlite://", threaded.reactor)


def test_commits_are_synchronous(threaded: Storage) -> None:
    assert set_up(threaded, "journal_mode") == "wal"
    assert set_up(threaded, "synchronous") == 2
    assert set_up(threaded, "foreign_keys") == 1
    assert set_up(threaded, "busy_timeout") == 5000


def test_a_command_may_write_beside_the_server(threaded: Storage) -> None:
    romeo = threaded.add_account("romeo")
    command = threaded.open_beside()
    held = Held(threaded.database.read)
    assert command.wait(command.stores.accounts.set_enabled("romeo", False))
    held.release()
    threaded.result(held.finished)
    state = threaded.wait(threaded.stores.accounts.wake("romeo"))
    assert state
    assert (state.id, state.enabled) == (romeo, False)
    command.wait(command.database.close())
