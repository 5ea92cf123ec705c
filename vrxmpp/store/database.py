"""The one place that waits for a disk: two connections, and a thread for each where there is a reactor.

Writes are committed together: the writer's thread takes all that waits, runs each piece of work inside a savepoint of
its own, commits once, and only then hands the results back. Reads run in a second thread on a connection of their own;
each sees everything that was written before it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from twisted.internet.defer import Deferred

from vrxmpp.store.engine import open_engine, outward, writing
from vrxmpp.store.interfaces import StorageBusy, StorageError

T = TypeVar("T")
Work = Callable[[Connection], T]
Turn = Callable[[Connection, Sequence[Work[Any]]], list[Any]]
"""Runs several pieces of work; returns, in their order, the result of each or the exception it ended with."""

_QUEUED = 10_000  # pieces of work that may wait for one thread
_WRITES_TOGETHER = 200  # pieces of work committed at once
_READS_TOGETHER = 20  # pieces of work whose results are handed back at once


class Reactor(Protocol):
    """What is asked of a Twisted reactor."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object: ...  # noqa: N802


class Database:
    """Runs work on the database: ``read`` for what changes nothing, ``write`` for the rest.

    Each piece of work is one transaction to the one who asked: all of it happens or nothing does. It must be done with
    its connection when it returns.
    """

    def __init__(self, engine: Engine, reader: _Lane, writer: _Lane) -> None:
        self._engine = engine
        self._reader = reader
        self._writer = writer

    @classmethod
    def open(cls, url: str, reactor: Reactor | None = None) -> Database:
        """Open the database and bring its tables up to date; raise ``StorageError`` where that cannot be.

        With a reactor, work runs in two threads and results arrive in the reactor's; open it after the process has
        become a daemon. Without one, work runs at once in the caller's thread and no coroutine here ever suspends.
        """
        engine = open_engine(url)
        if reactor is None:
            return cls(
                engine,
                _Inline(engine.connect(), _read_each),
                _Inline(writing(engine.connect()), _commit_together),
            )
        if not engine.url.database:
            raise ValueError("two threads cannot share a database in memory")
        return cls(
            engine,
            _Thread("database-reader", reactor, engine.connect(), _read_each, _READS_TOGETHER),
            _Thread("database-writer", reactor, writing(engine.connect()), _commit_together, _WRITES_TOGETHER),
        )

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` and return its result; raise what it raises, ``StorageError`` or ``StorageBusy``."""
        return await self._reader.run(work)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` and return its result once it is on the disk; raise as ``read`` does, with nothing changed."""
        return await self._writer.run(work)

    async def close(self) -> None:
        """Finish what was asked for before; refuse what is asked for from now on."""
        await self._writer.close()
        await self._reader.close()
        self._engine.dispose()


class _Lane(Protocol):
    """One connection and whoever runs the work on it."""

    async def run(self, work: Work[T]) -> T: ...
    async def close(self) -> None: ...


class _Inline:
    """Runs work at once in the caller's thread."""

    def __init__(self, connection: Connection, turn: Turn) -> None:
        self._connection = connection
        self._turn = turn

    async def run(self, work: Work[T]) -> T:
        if self._connection.closed:
            raise StorageError("the database is closed")
        [outcome] = self._turn(self._connection, [work])
        if isinstance(outcome, Exception):
            raise outcome
        result: T = outcome
        return result

    async def close(self) -> None:
        self._connection.close()


class _Thread:
    """Runs work in a thread of its own, taking at each turn what waits; results go back to the reactor together."""

    def __init__(self, name: str, reactor: Reactor, connection: Connection, turn: Turn, together: int) -> None:
        self._reactor = reactor
        self._connection = connection
        self._turn = turn
        self._together = together
        self._queue: SimpleQueue[tuple[Work[Any], Deferred[Any]] | None] = SimpleQueue()
        self._closing = False
        self._closed: Deferred[None] = Deferred()
        # A daemon, so that a server that dies without closing does die; what was reported is on the disk by then.
        Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, work: Work[T]) -> T:
        if self._closing:
            raise StorageError("the database is closed")
        if self._queue.qsize() >= _QUEUED:
            raise StorageBusy("too much waits for the database")
        result: Deferred[T] = Deferred()
        self._queue.put((work, result))
        return await result

    async def close(self) -> None:
        self._closing = True
        self._queue.put(None)
        await self._closed

    def _work(self) -> None:
        last = False
        while not last:
            works, results, last = self._take()
            outcomes = self._turn(self._connection, works) if works else []
            self._reactor.callFromThread(_hand_back, results, outcomes)
        self._connection.close()
        self._reactor.callFromThread(self._closed.callback, None)

    def _take(self) -> tuple[list[Work[Any]], list[Deferred[Any]], bool]:
        """Wait for work, then take all there is, within bounds; the last value says that no more will come."""
        works: list[Work[Any]] = []
        results: list[Deferred[Any]] = []
        job = self._queue.get()
        while job is not None:
            works.append(job[0])
            results.append(job[1])
            if len(works) == self._together:
                return works, results, False
            try:
                job = self._queue.get_nowait()
            except Empty:
                return works, results, False
        return works, results, True


def _hand_back(results: list[Deferred[Any]], outcomes: list[Any]) -> None:
    for result, outcome in zip(results, outcomes, strict=True):
        if isinstance(outcome, Exception):
            result.errback(outcome)
        else:
            result.callback(outcome)


def _read_each(connection: Connection, works: Sequence[Work[Any]]) -> list[Any]:
    """Run each in a transaction of its own, so that no snapshot grows old."""
    return [_read(connection, work) for work in works]


def _read(connection: Connection, work: Work[Any]) -> Any:
    try:
        with connection.begin():
            return work(connection)
    except Exception as error:
        _recover(connection)
        return outward(error)


def _commit_together(connection: Connection, works: Sequence[Work[Any]]) -> list[Any]:
    """Run each in a savepoint of its own and commit once; where that fails, all of them have failed."""
    try:
        with connection.begin():
            return [_attempt(connection, work) for work in works]
    except Exception as error:
        _recover(connection)
        return [outward(error) for _ in works]


def _attempt(connection: Connection, work: Work[Any]) -> Any:
    cursor = connection.connection.cursor()
    cursor.execute("SAVEPOINT work")
    try:
        outcome = work(connection)
    except Exception as error:
        outcome = outward(error)
        try:
            cursor.execute("ROLLBACK TO SAVEPOINT work")
        except Exception as lost:  # the whole transaction is gone, as SQLite may decide when the disk is full
            raise (lost if outcome is error else error) from None
    cursor.execute("RELEASE SAVEPOINT work")
    return outcome


def _recover(connection: Connection) -> None:
    """Leave the connection fit for the next transaction, opening it anew if need be."""
    try:
        connection.rollback()
        connection.connection.rollback()  # SQLAlchemy takes a commit that failed for an end, SQLite does not
    except Exception:
        connection.invalidate()
