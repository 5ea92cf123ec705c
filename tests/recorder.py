"""An archive for tests, and its recorder: it speaks frames, and commits, fails, falls silent and dies as it is told."""

# ruff: noqa: N802 - Twisted calls us

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from tests.world import NoRemote
from vrxmpp.audit.frames import Entry, Frames, Kind, Range, frame_json, frame_range, read_entry
from vrxmpp.core.peers import Audit
from vrxmpp.core.router import Router
from vrxmpp.jid import Jid
from vrxmpp.net.archive import Archive, ArchiveSettings
from vrxmpp.net.recorder import Link
from vrxmpp.stanza import Stanza

KEY = bytes(range(32))
BODY = ("jabber:client body",)
ROMEO, JULIET = Jid.parse("romeo@example.net/orchard"), Jid.parse("juliet@library.example/balcony")


class Log:
    """The disk that all recorders of a test write to, one after the other."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, Entry]] = []  # with their numbers; (0, ...) is by somebody else
        self.committed: dict[str, int] = {}


class FakeRecorder:
    """One process, and its end of the socket pair."""

    def __init__(self, link: Link, log: Log) -> None:
        self.link = link
        self.log = log
        self.pid = 4711
        self.status: int | None = None
        self.hello: Any = None
        self.got: list[tuple[int, Entry]] = []  # and not yet dealt with
        self.asked: list[Any] = []
        self._frames = Frames()
        link.makeConnection(self)  # type: ignore[no-untyped-call]

    # the transport

    def write(self, data: bytes) -> None:
        for kind, body in self._frames.feed(data):
            if kind is Kind.HELLO:
                self.hello = json.loads(body)
            elif kind is Kind.ENTRY:
                self.got.append(read_entry(body, self.hello["classes"]))
            elif kind is Kind.ASK:
                self.asked.append(json.loads(body))

    def writeSequence(self, frames: Sequence[bytes]) -> None:
        self.write(b"".join(frames))

    def loseConnection(self) -> None:
        self.status = 0
        self.link.connectionLost(Failure(ConnectionDone()))

    # the process

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        """It dies at once; that its end is closed is seen later (``is_seen_dead``)."""
        self.status = -9

    def is_seen_dead(self) -> None:
        self.link.connectionLost(Failure(ConnectionLost()))

    def die(self) -> None:
        self.kill()
        self.is_seen_dead()

    # the recorder

    def say(self, *frames: bytes) -> None:
        self.link.dataReceived(b"".join(frames))

    def ready(self) -> None:
        facts = {"committed": self.log.committed.get(self.hello["run"], 0), "size": len(self.log.entries)}
        self.say(frame_json(Kind.READY, {**facts, "storage_key": KEY.hex()}))

    def write_down(self, count: int | None = None) -> bytes:
        """Commit what came, the first ``count`` of it; return the frame that says so."""
        count = len(self.got) if count is None else count
        batch, self.got = self.got[:count], self.got[count:]
        at = len(self.log.entries)
        self.log.entries += batch
        self.log.committed[self.hello["run"]] = batch[-1][0]
        return frame_range(Kind.COMMITTED, Range(batch[0][0], batch[-1][0], at))

    def commit(self, count: int | None = None) -> None:
        self.say(self.write_down(count))

    def fail(self, reason: str = "the disk is full") -> None:
        batch, self.got = self.got, []
        self.say(frame_range(Kind.FAILED, Range(batch[0][0], batch[-1][0], 0), reason))

    def answer(self, ok: object) -> None:
        self.say(frame_json(Kind.ANSWER, {"id": self.asked.pop(0)["id"], "ok": ok}))


def message(text: str = "hello", **fields: Any) -> Stanza:
    every: dict[str, Any] = {"sender": ROMEO, "to": JULIET, "type": "chat", "payloads": BODY} | fields
    return Stanza("message", inner=f"<body>{text}</body>".encode(), **every)


class Scene:
    """An archive whose recorders do what they are told, and a clock that goes when it is told."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.log = Log()
        self.recorders: list[FakeRecorder] = []
        self.cannot_start = False
        self.done: list[str] = []  # who was called, in order
        router = Router(NoRemote())
        router.hosts = {"example.net": None, "library.example": None}  # type: ignore[dict-item]
        self.router = router
        options = {"default_class": "staff", "classes": {"library.example": "patron"}, **settings}
        self.archive = Archive(
            ArchiveSettings(Path(), "file", "example.net/audit", **options), router, self.clock, self
        )
        self.audit: Audit = self.archive
        self.started: Deferred[bytes] = Deferred.fromCoroutine(self.archive.start())

    def __call__(self, link: Link) -> FakeRecorder:
        if self.cannot_start:
            raise OSError("no more processes")
        self.recorders.append(FakeRecorder(link, self.log))
        return self.recorders[-1]

    @property
    def recorder(self) -> FakeRecorder:
        return self.recorders[-1]

    def wait(self, seconds: float) -> None:
        while seconds > 0:
            self.clock.advance(min(seconds, 0.25))
            seconds -= 0.25

    def turn(self) -> None:
        """Let the reactor come round once."""
        self.clock.advance(0)

    def record(self, *stanzas: Stanza, who: str = "somebody") -> None:
        for stanza in stanzas:
            self.audit.record(stanza, b'{"address":"192.0.2.1"}', self.waiter(who))

    def waiter(self, who: str) -> Any:
        self._waiters = getattr(self, "_waiters", {})
        return self._waiters.setdefault(who, partial(self.done.append, who))

    def bring_back(self) -> None:
        """Wait until there is another recorder, and let it begin."""
        before = len(self.recorders)
        while len(self.recorders) == before:
            self.wait(0.25)
        self.recorder.ready()

    def written(self) -> list[tuple[int, str, str]]:
        """Return the type, class and conversation of all that is on the disk."""
        return [(entry.type, entry.class_name, entry.conversation) for _, entry in self.log.entries]

    def texts(self) -> list[str]:
        """Return the texts of all messages on the disk."""
        raws = [entry.envelope.partition(b"\n")[2].decode() for _, entry in self.log.entries if entry.type == 1]
        return [raw.partition("<body>")[2].partition("</body>")[0] for raw in raws]


def facts(entry: Entry) -> Any:
    return json.loads(entry.envelope.partition(b"\n")[0])


def logged(events: list[LogEvent]) -> str:
    """Return what was logged, as text."""
    return "\n".join(event["log_format"].format(**event) for event in events if event["log_format"])
