"""The command line of ``twistd vrxmpp``: what can be wrong is found before the process goes into the background."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python import log, usage
from twisted.python.util import switchUID

from vrxmpp.archiving import make_archive, note_absence
from vrxmpp.audit.desk import DeskError
from vrxmpp.audit.root import RootKeyError
from vrxmpp.config import Config, ConfigError, find, load
from vrxmpp.config.endpoints import tcp_address
from vrxmpp.federation import is_federated
from vrxmpp.service import Server, give_up
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import StorageError

EXIT_CONFIGURATION = 4


class Options(usage.Options):
    """What may stand behind ``twistd vrxmpp``."""

    optParameters = [["config", "c", None, "The configuration file."]]


def makeService(options: Options) -> Service:
    """Make the server, or end the process with a line that says why not."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd has chosen it by now

    _quieten_twisted()
    twistd = options.parent
    assert twistd is not None
    with _as_user(twistd["uid"], twistd["gid"]):
        try:
            path = (Path(options["config"]) if options["config"] else find()).absolute()
            config = load(path, files=True)
        except ConfigError as error:
            give_up(str(error), EXIT_CONFIGURATION)
        _check_state(config)
        _check_listeners(config)
    return Server(config, path, reactor)


def _quieten_twisted() -> None:
    """Keep out of the log what Twisted says of each port that it opens and closes: each query of the DNS has one."""
    everything = log.msg

    def msg(*message: object, **event: Any) -> None:
        if event.get("isError"):
            everything(*message, **event)

    log.msg = msg


@contextmanager
def _as_user(uid: int | None, gid: int | None) -> Iterator[None]:
    """Be the user of ``twistd --uid``: what they cannot read or write is found here, what is made belongs to them."""
    if uid is None or uid == os.geteuid():
        yield
        return
    before = os.geteuid(), os.getegid(), os.getgroups()
    try:
        switchUID(uid, pwd.getpwuid(uid).pw_gid if gid is None else gid, True)
    except OSError as error:
        give_up(f"--uid: {error.strerror}")
    try:
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])
        os.setgroups(before[2])


def _check_state(config: Config) -> None:
    """Make the state directory and the database, if there are none; see that they are usable, and nobody else's."""
    state = config.state
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(state, os.O_RDONLY)
        # Never closed: the lock lives as long as the server, which takes it along into the background.
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        give_up(f"{state}: another server is running in this state directory")
    except (FileExistsError, NotADirectoryError):
        give_up(f"{state}: is not a directory")
    except OSError as error:
        give_up(f"{state}: {error.strerror}")
    if not os.access(state, os.W_OK | os.X_OK, effective_ids=True):
        give_up(f"{state}: the state directory cannot be written to")
    try:
        Deferred.fromCoroutine(Database.open(config.database_url).close())
    except StorageError as error:
        give_up(f"database: {error}")
    if config.audit.enabled:
        try:
            make_archive(config)
        except RootKeyError as error:
            give_up(f"audit archive: {error}")
        except OSError as error:
            give_up(f"audit archive: {error.filename}: {error.strerror}")
    else:
        try:
            note_absence(config)
        except DeskError as error:
            give_up(f"audit archive: that it is switched off cannot be recorded: {error}")


def _check_listeners(config: Config) -> None:
    servers = (*config.s2s.starttls, *config.s2s.direct_tls) if is_federated(config) else ()
    for listener in (*config.c2s.starttls, *config.c2s.direct_tls, *servers, *config.metrics.listen):
        try:
            _try_to_bind(listener)
        except OSError as error:
            give_up(f"{listener}: {error.strerror}")


def _try_to_bind(listener: str) -> None:
    address = tcp_address(listener)
    if address is not None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with socket.socket(family) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
