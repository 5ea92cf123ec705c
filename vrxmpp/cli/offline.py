"""Administration without a server: the same requests, on the database itself, and on record in the archive."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from vrxmpp.admin import AdminError, Administration, Json, facts_of, perform
from vrxmpp.audit.desk import DeskError
from vrxmpp.audit.office import is_there, open_desk
from vrxmpp.cli.client import Ask
from vrxmpp.cli.owner import become_owner
from vrxmpp.config import Config
from vrxmpp.store import open_stores
from vrxmpp.store.database import Database

T = TypeVar("T")

Record = Callable[[Json, str], None]
"""Puts a request on record, with its outcome. Raises DeskError."""


@contextmanager
def open_database(config: Config) -> Iterator[Ask]:
    """Yield what puts requests to the database of a stopped server, made if there is none yet.

    Raises StorageError, DeskError, or OSError where the state directory cannot be made.
    """
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    become_owner(config.state)
    database = Database.open(config.database_url)
    try:
        administration = Administration(
            {host.domain: open_stores(database, host.domain).accounts for host in config.hosts}, None
        )
        with _open_archive(config) as record:
            yield lambda request: _perform(administration, request, record)
    finally:
        _run(database.close())


@contextmanager
def _open_archive(config: Config) -> Iterator[Record]:
    """Yield the way into the archive. Until the server was first started there is none, and nothing to record into."""

    def record(request: Json, outcome: str) -> None:
        on_record = facts_of(request, outcome, os.getuid())
        if on_record is not None:
            conversation, facts = on_record
            ask("record", type="config", conversation=conversation, facts=facts)

    if not config.audit.enabled or not is_there(config.state):
        yield lambda request, outcome: None
        return
    with ExitStack() as opened:
        try:
            ask = opened.enter_context(open_desk(config.state, config.audit.root_key))
        except DeskError as error:
            raise _not_done(error) from None
        yield record


def _perform(administration: Administration, request: Json, record: Record) -> Json:
    """Have it on record that something is done, do it, and have its outcome on record."""
    try:
        record(request, "begun")
    except DeskError as error:
        raise _not_done(error) from None
    try:
        result = _run(perform(administration, request))
    except AdminError as error:
        record(request, error.code)
        raise
    try:
        record(request, "done")
    except DeskError as error:
        raise DeskError(f"this was done, but only its beginning is on record: {error}") from None
    return result


def _not_done(error: DeskError) -> DeskError:
    return DeskError(f"nothing was done, for it could not be put on record: {error}")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends, as none does on a database without a reactor."""
    try:
        work.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    raise RuntimeError("the database has to be waited for")
