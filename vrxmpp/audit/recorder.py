"""The recorder: the one process that writes the archive, for a server at the other end of a socket pair.

It takes what has come, at most a batch, has it on the disk, says so, and looks who else wants something: the command
line, on a socket of its own. It ends when the server's end is closed, and by no signal that is meant for the server.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Any, Protocol

from vrxmpp.audit.desk import FOR_THE_SERVER, Desk, DeskError
from vrxmpp.audit.frames import SOCKET, Entry, Frames, Kind, Range, frame_json, frame_range, read_entry
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import Ledger, LedgerError
from vrxmpp.audit.root import RootKeyError
from vrxmpp.audit.rotation import read_root
from vrxmpp.audit.seal import SealError
from vrxmpp.audit.secrecy import dump_no_core
from vrxmpp.audit.storage_key import storage_key

_ENTRY = Kind.ENTRY  # which costs a call each time it is looked up
_BATCH = 500  # entries of one commit
_BATCH_BYTES = 8_388_608
_PIECE = 262_144  # bytes read at a time
_VISITORS = 8
# What others record, of erasures, holds and who has read, the process that talks to strangers must not make up.
_FROM_THE_SERVER = frozenset((*range(Type.MESSAGE, Type.CONFIG + 1), Type.RECONCILE, Type.VERIFY))
_NAME = 32  # characters of a question that are told
_IDLE_SECONDS = 30.0  # after which is looked whether the day is over
_TURN_SECONDS = 10.0
_STEP = 0.05

Json = Any


class Book(Protocol):
    """As much of ``Ledger`` as is needed."""

    alarm: Callable[[str], None]

    @property
    def size(self) -> int: ...
    def append(self, entries: Any, *, run: bytes = b"", last: int = 0) -> int: ...
    def committed(self, run: bytes) -> int: ...
    def step(self) -> bool: ...


class Clerk(Protocol):
    """As much of ``Desk`` as is needed."""

    def perform(self, request: Any) -> Json: ...


class Visitor:
    """One connection of the command line: asks, and reads the answer before it asks again."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.asks: deque[bytes] = deque()
        self.output = b""
        self._frames = Frames()

    def read(self) -> bool:
        """Take what has come; return whether the connection is still of use."""
        try:
            data = self.connection.recv(_PIECE)
            for kind, body in self._frames.feed(data):
                if kind is not Kind.ASK:
                    return False
                self.asks.append(body)
        except BlockingIOError:
            return True
        except (OSError, ValueError):
            return False
        return data != b""

    def write(self) -> bool:
        """Send what can be sent; return whether the connection is still of use."""
        try:
            self.output = self.output[self.connection.send(self.output) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


class Recorder:
    """The loop. ``run`` returns when the server is gone and all that it had sent is dealt with."""

    def __init__(self, server: socket.socket, listener: socket.socket, ledger: Book, desk: Clerk, key: bytes) -> None:
        self._server = server
        self._listener = listener
        self._ledger = ledger
        self._desk = desk
        self._key = key  # under which the server seals what waits elsewhere
        self._run = b""
        self._classes: list[str] = []
        self._frames = Frames()
        self._queue: deque[tuple[Kind, bytes]] = deque()
        self._queued_bytes = 0
        self._has_ended = False
        self._visitors: set[Visitor] = set()
        self._is_unfinished = True  # perhaps: what the last run has left, or a visitor has asked for
        self._selector = DefaultSelector()
        self._selector.register(server, EVENT_READ, self._read)
        listener.setblocking(False)
        self._selector.register(listener, EVENT_READ, self._welcome)
        ledger.alarm = self._alarm

    def run(self) -> None:
        """Work until the server is gone. Raises ValueError if it makes no sense."""
        while self._queue or not self._has_ended:
            is_asked = any(visitor.asks and not visitor.output for visitor in self._visitors)
            is_busy = bool(self._queue) or is_asked or self._is_unfinished
            happened = self._selector.select(0 if is_busy else _IDLE_SECONDS)
            for key, _ in happened:
                key.data()
            self._work()
            self._serve()
            self._finish()
            if not happened and not is_busy:
                self._append_due()

    # -- the server

    def _read(self) -> None:
        """Read what has come, unless there is enough to do."""
        while self._queued_bytes < _BATCH_BYTES:
            try:
                data = self._server.recv(_PIECE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end()
                return
            for kind, body in self._frames.feed(data):
                self._queue.append((kind, body))
                self._queued_bytes += len(body)

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._selector.unregister(self._server)

    def _say(self, said: bytes) -> None:
        try:
            self._server.sendall(said)  # which waits where the server does not read: it would wait for us as well
        except OSError:
            self._end()

    def _alarm(self, text: str) -> None:
        self._say(frame_json(Kind.NEWS, {"alarm": text}))

    def _work(self) -> None:
        """Write a batch, or do the one thing before it."""
        if not self._queue:
            return
        if self._queue[0][0] is _ENTRY:
            self._append()
            return
        kind, body = self._queue.popleft()
        self._queued_bytes -= len(body)
        if kind is Kind.HELLO:
            self._greet(json.loads(body))
        elif kind is Kind.ASK:
            request = json.loads(body)
            self._say(self._answer(request, self._perform_for_server))
        else:
            raise ValueError(f"{kind.name} is not for a recorder")

    def _greet(self, hello: Json) -> None:
        self._run = bytes.fromhex(hello["run"])
        self._classes = hello["classes"]
        facts = {"committed": self._ledger.committed(self._run), "size": self._ledger.size}
        self._say(frame_json(Kind.READY, {**facts, "storage_key": self._key.hex()}))

    def _append(self) -> None:
        """Have a batch on the disk, and say so."""
        entries: list[Entry] = []
        queue, size, first, last = self._queue, 0, 0, 0
        while queue and queue[0][0] is _ENTRY and len(entries) < _BATCH and size < _BATCH_BYTES:
            _, body = queue.popleft()
            size += len(body)
            last, entry = read_entry(body, self._classes)
            if entry.type not in _FROM_THE_SERVER:
                raise ValueError(f"an entry of type {entry.type} is not for a server")
            first = first or last
            entries.append(entry)
        self._queued_bytes -= size
        try:
            at = self._ledger.append(entries, run=self._run, last=last)
        except LedgerError as error:
            self._say(frame_range(Kind.FAILED, Range(first, last, 0), str(error)))
        else:
            self._say(frame_range(Kind.COMMITTED, Range(first, last, at)))

    def _append_due(self) -> None:
        try:
            self._ledger.append(())
        except LedgerError as error:
            self._alarm(str(error))

    def _finish(self) -> None:
        """Do a step of what is recorded and not yet done, between batches: nobody waits for all of it."""
        if not self._is_unfinished:
            return
        try:
            self._is_unfinished = self._ledger.step()
        except LedgerError as error:
            self._is_unfinished = False  # until the next question, or the next recorder
            self._alarm(str(error))

    # -- questions

    def _perform_for_server(self, request: Json) -> Json:
        name = request["ask"]
        if name not in FOR_THE_SERVER:
            raise DeskError(f"a server may not ask for this: {name}")
        return self._desk.perform(request)

    def _answer(self, request: Json, perform: Callable[[Json], Json]) -> bytes:
        id = request.get("id")
        try:
            return frame_json(Kind.ANSWER, {"id": id, "ok": perform(request)})
        except (DeskError, LedgerError) as error:
            reason = str(error)
        except Exception as error:
            traceback.print_exc()
            reason = f"the recorder failed: {type(error).__name__}"
        return frame_json(Kind.ANSWER, {"id": id, "error": reason})

    # -- the command line

    def _welcome(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if len(self._visitors) >= _VISITORS or _uid_of(connection) not in (0, os.geteuid()):
            connection.close()
            return
        visitor = Visitor(connection)
        self._visitors.add(visitor)
        self._selector.register(connection, EVENT_READ, lambda: self._attend(visitor))

    def _attend(self, visitor: Visitor) -> None:
        """Read or write, whichever is due."""
        if not (visitor.write() if visitor.output else visitor.read()):
            self._visitors.discard(visitor)
            self._selector.unregister(visitor.connection)
            visitor.connection.close()
            return
        # Who has asked is not read from until they have their answer.
        events = EVENT_WRITE if visitor.output else EVENT_READ
        self._selector.modify(visitor.connection, events, lambda: self._attend(visitor))

    def _serve(self) -> None:
        """Answer one question of each visitor."""
        for visitor in list(self._visitors):
            if not visitor.asks or visitor.output:
                continue
            try:
                request = json.loads(visitor.asks.popleft())
                name = str(request["ask"])[:_NAME]
            except (ValueError, KeyError, TypeError, RecursionError):
                visitor.output = frame_json(Kind.ANSWER, {"id": None, "error": "this is no question"})
            else:
                self._say(frame_json(Kind.NEWS, {"busy": name}))  # it may take a while
                visitor.output = self._answer(request, self._desk.perform)
                self._say(frame_json(Kind.NEWS, {"busy": ""}))
                self._is_unfinished = True
            self._attend(visitor)


def _uid_of(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def listen(path: Path) -> socket.socket:
    """Listen for the command line; OSError if that cannot be. Only who has the log does, so nobody else is there."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_VISITORS)
    return listener


def _wait_for_turn(directory: Path) -> None:
    """Wait for the recorder of a server that was killed a moment ago, which may still be writing."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(int(_TURN_SECONDS / _STEP)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_STEP)
            else:
                return
    finally:
        os.close(lock)


def _record(server: socket.socket, state: Path, source: str) -> None:
    keys = state / "keys"
    root = read_root(source, keys)
    _wait_for_turn(state / "audit")
    with closing(Ledger.open(state / "audit", KeyStore(keys), root)) as ledger:
        path = state / "audit" / SOCKET
        with listen(path) as listener:
            try:
                Recorder(server, listener, ledger, Desk(ledger, state), storage_key(keys, root)).run()
            finally:
                path.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Run the process: ``recorder FD``, the server's socket; the settings come on standard input.

    Returns its exit status.
    """
    # A terminal sends these to all of its processes; the server still has something to say when it gets them. They are
    # caught, not ignored, so that no command that is run for the root key ignores them.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda *_: None)
    os.umask(0o077)
    dump_no_core()
    _give_way()
    (number,) = arguments
    with socket.socket(fileno=int(number)) as server:
        server.set_inheritable(False)
        settings = json.load(sys.stdin)
        try:
            _record(server, Path(settings["state"]), settings["root_key"])
        except (LedgerError, RootKeyError, SealError, OSError) as error:
            _complain(server, str(error))
        except Exception as error:
            traceback.print_exc()
            _complain(server, f"{type(error).__name__}: {error}")
        else:
            return 0
    return 1


def _give_way() -> None:
    """Let the server finish its turn where both are on one core, if we may: then there is more for one commit."""
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _complain(server: socket.socket, reason: str) -> None:
    try:
        server.sendall(frame_json(Kind.NEWS, {"alarm": reason}))
    except OSError:
        print(f"vrxmpp recorder: {reason}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
