"""The notary as its server has it: a process of its own at the other end of a socket pair, which is kept running."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from vrxmpp.audit.frames import Frames, Kind
from vrxmpp.net.backoff import Backoff
from vrxmpp.net.child import Asked, Process, Start, wait_for_end

Json = Any

_SILENT = 20  # seconds without a word from a notary that was asked something
_QUESTIONS = 100  # unanswered


class NotaryError(Exception):
    """The notary has refused something, or is not there.

    ``condition`` is why, as a stanza error would say it, "" where it is not there; ``size`` how many records it has
    signed of a log; ``key_changed``: somebody has come with another key than before.
    """

    def __init__(self, text: str, condition: str = "", size: int | None = None, *, key_changed: bool = False) -> None:
        super().__init__(text)
        self.condition = condition
        self.size = size
        self.key_changed = key_changed


class _Link(protocol.Protocol):
    """The server's end of the pair."""

    transport: Any

    def __init__(self, notary: Notary) -> None:
        self._notary = notary
        self._frames = Frames()

    def dataReceived(self, data: bytes) -> None:
        """Take what the notary says."""
        for kind, body in self._frames.feed(data):
            self._notary.hear(kind, json.loads(body))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        self._notary.lost(self)


class Notary:
    """Starts the process, starts it again when it ends, and asks it questions."""

    log = Logger()

    def __init__(self, start: Start, clock: Any) -> None:
        self._start = start
        self._clock = clock
        self._backoff = Backoff()
        self._process: Process | None = None
        self._link: _Link | None = None
        self._again: Any = None
        self._trouble = "it has not been started"
        self._alarm = ""  # the last thing it has complained of
        self._silence = 0  # looks, a second apart, since it was heard of
        self._asked = Asked(_QUESTIONS)

    # -- its life

    def start(self) -> None:
        """Start a notary; one that does not work is started again, later and later."""
        self._again = None
        self._silence = 0
        self._link = link = _Link(self)
        try:
            self._process = self._start(link)
        except OSError as error:
            self._alarm = str(error)
            self.lost(link)

    def lost(self, link: _Link) -> None:
        """The notary has ended, or could not be started."""
        if link is not self._link:
            return
        self._link = None
        self._trouble, self._alarm = self._alarm or "it has ended", ""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()  # what cannot be talked to is of no use
        self._again = self._clock.callLater(self._backoff.failed(), self.start)
        self.log.error("the notary is started again: {reason}", reason=self._trouble)
        self._asked.give_up(self._away)

    def sweep(self) -> None:
        """Look, once a second, whether it is stuck."""
        self._silence = self._silence + 1 if self._asked else 0
        if self._silence == _SILENT and self._process is not None:
            self._alarm = f"nothing was heard of it for {_SILENT} seconds"
            self._process.kill()

    async def stop(self) -> None:
        """End it, and wait for its end, so that its files are free for the next."""
        link, self._link = self._link, None
        self._trouble = "the server is going down"
        if self._again is not None:
            self._again.cancel()
        if link is not None:
            link.transport.loseConnection()
        self._asked.give_up(self._away)
        await wait_for_end(self._process, self._clock)

    def _away(self) -> NotaryError:
        return NotaryError(f"the notary is away: {self._trouble}")

    # -- what is said

    def ask(self, name: str, **arguments: Json) -> Deferred[Json]:
        """Ask it something (vrxmpp.audit.notary.Notary). Fails with NotaryError."""
        if self._link is None:
            return fail(self._away())
        if self._asked.is_full:
            return fail(NotaryError("the notary is busy"))
        return self._asked.ask(self._link.transport, name, arguments)

    def hear(self, kind: Kind, told: Json) -> None:
        """Take what it says."""
        self._silence = 0
        if kind is Kind.NEWS:
            self._alarm = told["alarm"]
            return
        self._backoff.succeeded()
        self._asked.settle(told, _refusal)


def _refusal(told: Json) -> NotaryError:
    return NotaryError(told["error"], told["condition"], told.get("size"), key_changed=bool(told.get("changed")))
