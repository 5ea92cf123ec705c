"""Administration without a server: the same requests, on the database itself."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from vrxmpp.admin import Administration, perform
from vrxmpp.cli.client import Ask
from vrxmpp.cli.owner import become_owner
from vrxmpp.config import Config
from vrxmpp.store import open_stores
from vrxmpp.store.database import Database

T = TypeVar("T")


@contextmanager
def open_database(config: Config) -> Iterator[Ask]:
    """Yield what puts requests to the database of a stopped server, made if there is none yet.

    Raises StorageError, or OSError where the state directory cannot be made.
    """
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    become_owner(config.state)
    database = Database.open(config.database_url)
    try:
        administration = Administration(
            {host.domain: open_stores(database, host.domain).accounts for host in config.hosts}, None
        )
        yield lambda request: _run(perform(administration, request))
    finally:
        _run(database.close())


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends, as none does on a database without a reactor."""
    try:
        work.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    raise RuntimeError("the database has to be waited for")
