"""The way from one domain of ours to one of another server: what waits for it, and the stream that it uses.

Each stanza is sent once, or returned to its sender once (RFC 6120 §10.4). Where the peer acknowledges (XEP-0198), what
a broken stream has lost is sent again on the next, if the peer still knows the session, and else returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from vrxmpp.core.router import Router
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.net.backoff import Backoff
from vrxmpp.net.queue import Queue
from vrxmpp.net.unreachable import Unreachable
from vrxmpp.stanza import Stanza
from vrxmpp.wire.management import Management

if TYPE_CHECKING:
    from vrxmpp.net.s2s import ServerStream
    from vrxmpp.net.servers import Servers

_REFUSED_SECONDS = 10.0  # how long a lasting failure is answered without another attempt
_LOST = StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "the connection was lost, and whether this arrived is not known")


class Way:
    """One way. It dials when something waits, and again after a failure, for as long as something waits."""

    log = Logger()

    def __init__(self, servers: Servers, local: str, remote: str) -> None:
        limits = servers.limits
        self.local, self.remote = local, remote
        self.stream: ServerStream | None = None
        self.queue = Queue(stanzas=limits.queue_stanzas, bytes=limits.queue_bytes, seconds=float(limits.queue_seconds))
        self.failure: Unreachable | None = None  # of the last attempt
        self._servers = servers
        self._backoff = Backoff()
        self._dialling: Deferred[None] | None = None
        self._retry: Any = None  # the call that will dial again
        self.refuses_until = 0.0  # after a lasting failure
        self._lost_at = 0.0  # since when the peer is missed; 0.0: it is not
        self._unresumed: Management | None = None  # the session of a broken stream
        self.awaits_resumption = False  # the peer is the one who has to come back

    def send(self, stanza: Stanza) -> None:
        """Send a stanza, or let it wait; raises StanzaError where it would wait in vain."""
        stream = self.stream
        if stream is not None and stream.takes_stanzas and not self.queue:
            stream.send_stanza(stanza)
            return
        now = self._servers.clock.seconds()
        if self.failure is not None and now < self.refuses_until:
            raise self.failure.stanza_error
        if self._servers.is_full:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too much waits for other servers already")
        self.queue.put(stanza, now)
        if stream is None:
            self._dial()

    def flush(self) -> None:
        """Send what waits, for as long as the stream takes it."""
        while self.queue and (stream := self.stream) is not None and stream.takes_stanzas:
            stanza = self.queue.take()
            assert stanza is not None
            stream.send_stanza(stanza)

    @property
    def is_dialling(self) -> bool:
        """Whether a stream is being opened."""
        return self._dialling is not None

    @property
    def dials_again_at(self) -> float:
        """When the next attempt is made; 0.0 if there is none to come."""
        return float(self._retry.getTime()) if self._retry is not None else 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be forgotten with this way."""
        busy = self.stream or self.queue or self._dialling or self._retry or self._unresumed
        return not busy and self._servers.clock.seconds() >= self.refuses_until

    # -- streams

    def attach(self, stream: ServerStream, *, resumed: bool = False) -> None:
        """Use a stream from now on, on which the pair is proven; ``resumed``: with the session of the one before."""
        self._stop_retrying()
        self._backoff.succeeded()
        self.failure = None
        missed, self._lost_at = self._lost_at > 0.0 and not resumed, 0.0
        self.refuses_until = 0.0
        self.awaits_resumption = False
        self._forget_session()
        self.stream = stream
        stream.ways.append(self)
        self.flush()
        if missed:
            self._servers.router.lost(self.remote)  # nobody knows what has happened there meanwhile
        self._servers.router.found(self.remote)

    def detach(self, *, broken: bool, managed: Management | None, awaits: bool) -> None:
        """The stream is gone; with ``managed``, a session is left that might be resumed."""
        self.stream = None
        self._unresumed = managed
        self.awaits_resumption = awaits and managed is not None
        if broken:
            self._lost_at = self._servers.clock.seconds()
        if self.awaits_resumption:
            self._retry = self._servers.clock.callLater(self._servers.limits.resume_seconds, self._dial_again)
        elif broken or self.queue:
            self._dial()

    def session_began(self, stream: ServerStream, managed: Management) -> None:
        """The peer has begun a session on a stream of its own, or has come back to one."""
        if self._unresumed is managed:
            self._unresumed = None  # it was sent what it had missed
            self.attach(stream, resumed=True)
        elif self.is_free or self.awaits_resumption:
            self.attach(stream)

    @property
    def is_free(self) -> bool:
        """Whether a stream that the peer has opened would help."""
        return self.stream is None and self._dialling is None and self._unresumed is None

    # -- dialling

    def _dial(self) -> None:
        if self._dialling is None and self._retry is None:
            dialling = Deferred.fromCoroutine(self._try())
            if not dialling.called:
                self._dialling = dialling
            dialling.addErrback(self._fail)

    def _fail(self, failure: Failure) -> None:
        """It is our mistake."""
        self.log.failure("dialling {domain} failed", failure, domain=self.remote)
        self._dialling = None
        self.give_up(StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def _dial_again(self) -> None:
        self._retry = None
        if self.awaits_resumption:
            self.awaits_resumption = False
            self._forget_session()
        self._dial()

    async def _try(self) -> None:
        former = self._unresumed
        try:
            stream, self._unresumed = await self._servers.dial(self.local, self.remote, former)
        except Unreachable as failure:
            self._dialling = None
            self._failed(failure)
        else:
            self._dialling = None
            self.attach(stream, resumed=former is not None and self._unresumed is None)

    def _failed(self, failure: Unreachable) -> None:
        other = self._servers.find_bidirectional(self.local, self.remote)
        if other is not None and self.is_free:
            self.attach(other)  # they have reached us meanwhile
            return
        now = self._servers.clock.seconds()
        self.failure = failure
        missed = self._lost_at and now - self._lost_at <= self._servers.limits.queue_seconds
        if failure.lasting:
            self.refuses_until = now + _REFUSED_SECONDS
            self.give_up(failure.stanza_error)
        elif self.queue or missed:
            self._retry = self._servers.clock.callLater(self._backoff.failed(), self._dial_again)
        else:
            self.give_up(failure.stanza_error)

    def _stop_retrying(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None

    # -- the end

    def sweep(self, now: float) -> None:
        """Return what has waited for too long."""
        error = self.failure.stanza_error if self.failure else StanzaError(Condition.REMOTE_SERVER_TIMEOUT)
        for stanza in self.queue.expired(now):
            self._servers.router.refuse(stanza, error)
        if self.stream is None and self._lost_at and now - self._lost_at > self._servers.limits.queue_seconds:
            lost_at, self._lost_at = self._lost_at, 0.0
            self._servers.lost(self.remote, lost_at)

    def give_up(self, error: StanzaError) -> None:
        """Return all that waits; the peer is lost, unless it still comes to us."""
        self._stop_retrying()
        self._forget_session()
        lost_at, self._lost_at = self._lost_at, 0.0
        for stanza in self.queue.clear():
            self._servers.router.refuse(stanza, error)
        self._servers.lost(self.remote, lost_at)

    def _forget_session(self) -> None:
        managed, self._unresumed = self._unresumed, None
        if managed is not None:
            give_back(managed, self._servers.router)


def give_back(managed: Management, router: Router) -> None:
    """Return to the senders what was sent in a session that is over, and not acknowledged."""
    for stanza in managed.give_up():
        router.refuse(stanza, _LOST)
