"""The recorder as its server has it: a process of its own at the other end of a socket pair, which is kept running."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from vrxmpp.audit.frames import Frames, Kind, Range, frame_json, read_range
from vrxmpp.net.backoff import Backoff
from vrxmpp.net.child import Asked, Process, Start, wait_for_end

Json = Any

_STARTING = 60  # seconds for it to open the archive, or to answer a question
_BUSY = 600  # seconds for what the command line asks of it
_QUESTIONS = 1000  # unanswered


class ArchiveError(Exception):
    """The archive cannot do what it was asked; one line for people."""


class Listener(Protocol):
    """Who has entries for the recorder. ValueError says that its words make no sense."""

    def ready(self, committed: int, size: int) -> None:
        """There is a recorder, which knows of the entries up to this one; the log has this size."""

    def committed(self, done: Range) -> None:
        """These are on the disk."""

    def failed(self, done: Range, reason: str) -> None:
        """These are not, and will not be."""

    def gone(self) -> None:
        """There is no recorder for the moment."""


class Link(protocol.Protocol):
    """The server's end of the pair."""

    transport: Any

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._frames = Frames()

    def connectionMade(self) -> None:
        """Say who we are."""
        self.transport.write(self._recorder.hello)

    def dataReceived(self, data: bytes) -> None:
        """Take what the recorder says; end one that makes no sense."""
        try:
            for kind, body in self._frames.feed(data):
                self._recorder.hear(kind, body)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            self._recorder.kill(f"it makes no sense: {error}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The recorder has ended; what it had still said is read by now."""
        self._recorder.lost()


class Recorder:
    """Starts the process, starts it again when it ends, makes an end of one that is stuck, and asks it questions."""

    log = Logger()

    def __init__(
        self, hello: Mapping[str, Json], listener: Listener, clock: Any, start: Start, *, silence_seconds: int
    ) -> None:
        """``silence_seconds`` is how long one that has entries may say nothing."""
        self.hello = frame_json(Kind.HELLO, hello)
        self.is_ready = False
        self.starts = 0
        self._listener = listener
        self._clock = clock
        self._start = start
        self._silence_seconds = silence_seconds
        self._backoff = Backoff(first=0.25, most=15.0)
        self._process: Process | None = None
        self._link: Link | None = None
        self._first: Deferred[bytes] | None = None  # fired with the storage key
        self._stopping = False
        self._is_busy = False  # with something that the command line has asked for
        self._silence = 0  # looks, a second apart, since it was heard of
        self._alarm = ""  # the last thing it has complained of
        self._asked = Asked(_QUESTIONS)

    # -- its life

    def start(self) -> Deferred[bytes]:
        """Start the first; the storage key comes when it is ready, ArchiveError if it ends before."""
        self._first = Deferred()
        self._begin()
        return self._first

    def _begin(self) -> None:
        if self._stopping:
            return
        if self._process is not None and self._process.poll() is None:
            self._process.kill()  # two would get in each other's way
            self._try_again()
            return
        self._silence = 0
        self._link = Link(self)
        try:
            self._process = self._start(self._link)
        except OSError as error:
            self._alarm = str(error)
            self.lost()
            return
        self.starts += 1

    def _try_again(self) -> None:
        self._clock.callLater(self._backoff.failed(), self._begin)

    def lost(self) -> None:
        """The recorder has ended, or could not be started; start another, unless it was the first."""
        self._link = None
        self.is_ready = self._is_busy = False
        reason = self._alarm or "the recorder has ended"
        self._asked.give_up(lambda: ArchiveError(reason))
        if self._stopping:
            return
        self._listener.gone()
        if self._first is not None:
            first, self._first = self._first, None
            self._stopping = True
            first.errback(ArchiveError(reason))
            return
        self.log.error("the recorder has ended, another is started: {reason}", reason=reason)
        self._alarm = ""
        self._try_again()

    def kill(self, reason: str) -> None:
        """End a recorder that is of no use any more; ``lost`` follows when all it has said is read."""
        self.log.error("the recorder is ended: {reason}", reason=reason)
        self._alarm = reason
        if self._process is not None:
            self._process.kill()

    def sweep(self, has_entries: bool) -> None:
        """Look, once a second, whether it is stuck. (Looks are counted: a server may have been stopped itself.)"""
        if self._link is None or not (has_entries or self._asked or not self.is_ready):
            self._silence = 0
            return
        self._silence += 1
        most = self._silence_seconds if has_entries and self.is_ready else _STARTING
        if self._silence == (_BUSY if self._is_busy else most):
            self.kill(f"nothing was heard of it for {self._silence} seconds")

    async def stop(self) -> None:
        """Let it finish what it has, and wait for its end, so that the archive is free for the next."""
        self._stopping = True
        if self._link is not None:
            self._link.transport.loseConnection()
        await wait_for_end(self._process, self._clock)

    # -- what is said

    def write(self, frames: Sequence[bytes]) -> None:
        """Send it entries; it is ready."""
        assert self._link is not None
        self._link.transport.writeSequence(frames)

    def ask(self, name: str, arguments: Mapping[str, Json]) -> Deferred[Json]:
        """Ask it something; ArchiveError if it cannot answer."""
        if self._link is None or not self.is_ready or self._asked.is_full:
            return fail(ArchiveError("the recorder is away" if self._link is None else "the recorder is busy"))
        return self._asked.ask(self._link.transport, name, arguments)

    def hear(self, kind: Kind, body: bytes) -> None:
        """Take a frame of the recorder's."""
        self._silence = 0
        match kind:
            case Kind.COMMITTED:
                self._backoff.succeeded()
                self._listener.committed(read_range(body)[0])
            case Kind.FAILED:
                self._listener.failed(*read_range(body))
            case Kind.ANSWER:
                self._asked.settle(json.loads(body), lambda told: ArchiveError(str(told["error"])))
            case Kind.READY:
                self._ready(json.loads(body))
            case Kind.NEWS:
                self._take_news(json.loads(body))
            case _:
                raise ValueError(f"{kind.name} is not for a server")

    def _ready(self, facts: Json) -> None:
        key = bytes.fromhex(facts["storage_key"])
        self._listener.ready(facts["committed"], facts["size"])
        self.is_ready = True
        if self._first is not None:
            first, self._first = self._first, None
            first.callback(key)

    def _take_news(self, news: Json) -> None:
        if "busy" in news:
            self._is_busy = news["busy"] != ""
        else:
            self._alarm = str(news["alarm"])
            self.log.error("the recorder: {alarm}", alarm=self._alarm)
