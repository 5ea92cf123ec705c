"""The lock of an account."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from vrxmpp.core.lock import Lock


async def hold(lock: Lock, notes: list[int], name: int, until: Deferred[None] | None = None) -> None:
    async with lock:
        notes.append(name)
        if until is not None:
            await until


def test_whoever_asks_first_has_it_first() -> None:
    lock, notes = Lock(), list[int]()
    first, second = Deferred[None](), Deferred[None]()
    for name, until in enumerate((first, second, None)):
        Deferred.fromCoroutine(hold(lock, notes, name, until))
    assert notes == [0]
    assert lock.locked
    first.callback(None)
    assert notes == [0, 1]
    second.callback(None)
    assert notes == [0, 1, 2]
    assert not lock.locked


def test_many_may_wait() -> None:
    """A thousand who are woken at once do not run out of stack."""
    lock, notes = Lock(), list[int]()
    gate = Deferred[None]()
    for name in range(1000):
        Deferred.fromCoroutine(hold(lock, notes, name, gate if name == 0 else None))
    gate.callback(None)
    assert notes == list(range(1000))
    assert not lock.locked


def test_it_is_given_back_by_whoever_fails() -> None:
    lock, notes = Lock(), list[int]()

    async def fail() -> None:
        async with lock:
            raise ValueError

    failures: list[object] = []
    Deferred.fromCoroutine(fail()).addErrback(failures.append)
    Deferred.fromCoroutine(hold(lock, notes, 1))
    assert len(failures) == 1
    assert notes == [1]
