"""The databases on which the stores must keep their promises. Another kind of database is one more parameter."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from vrxmpp.store import Stores, open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import AccountId, NewAccount, ScramKeys

T = TypeVar("T")


class QueueReactor:
    """Keeps what threads hand back until the test lets it happen."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:  # noqa: N802
        self._calls.put((callable, args))

    def turn(self) -> None:
        """Wait for the next call and run it."""
        call, args = self._calls.get(timeout=30)
        call(*args)


class Storage:
    """A database with the stores of two domains, and the way to wait for it."""

    def __init__(self, url: str, reactor: QueueReactor | None) -> None:
        self.path = url.removeprefix("sqlite:///")
        self.reactor = reactor
        self._url = url
        self.database = Database.open(url, reactor)
        self.stores: Stores = open_stores(self.database, "library.example")
        self.elsewhere: Stores = open_stores(self.database, "museum.example")

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        [result] = self.wait_all([coroutine])
        return result

    def wait_all(self, coroutines: list[Coroutine[Any, Any, T]]) -> list[T]:
        """Start all of them, then wait for each; raise the first failure."""
        return [self.result(started) for started in [Deferred.fromCoroutine(each) for each in coroutines]]

    def result(self, started: Deferred[T]) -> T:
        results: list[Any] = []
        started.addBoth(results.append)
        while not results:
            assert self.reactor, "without threads nothing may suspend"
            self.reactor.turn()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    def open_beside(self) -> Storage:
        """Open the same database as a command would, without threads."""
        return Storage(self._url, None)

    def add_account(self, local: str) -> AccountId:
        """Make an account in the first domain and return its number."""
        keys = ScramKeys(b"salt", 4096, b"stored", b"server")
        assert self.wait(self.stores.accounts.add([NewAccount(local, keys, keys)])) == []
        state = self.wait(self.stores.accounts.wake(local))
        assert state
        return state.id


@pytest.fixture(params=["memory", "threads"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Yield SQLite in memory without threads, then SQLite in a file with threads."""
    storage = Storage("sqlite://", None) if request.param == "memory" else open_threaded(tmp_path)
    yield storage
    storage.wait(storage.database.close())


@pytest.fixture
def threaded(tmp_path: Path) -> Iterator[Storage]:
    """Yield SQLite in a file with threads."""
    storage = open_threaded(tmp_path)
    yield storage
    storage.wait(storage.database.close())


def open_threaded(directory: Path) -> Storage:
    return Storage(f"sqlite:///{directory / 'vrxmpp.db'}", QueueReactor())


@pytest.fixture
def romeo(storage: Storage) -> AccountId:
    """Yield the number of an account in the first domain."""
    return storage.add_account("romeo")
