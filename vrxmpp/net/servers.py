"""All streams to and from other servers, and the ways that use them: ``core.peers.Remote`` (RFC 6120 §10.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from vrxmpp.core.peers import Clock
from vrxmpp.core.router import Router
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.negotiation.dialback import Keys
from vrxmpp.net.connections import REFUSED, Connections, StreamPolicy
from vrxmpp.net.dialer import Connect, Dialer
from vrxmpp.net.identity import Trust
from vrxmpp.net.limits import Addresses
from vrxmpp.net.policy import Authentication, Forbidden, Policy
from vrxmpp.net.resolve import Resolver
from vrxmpp.net.s2s import ServerStream
from vrxmpp.net.s2s_in import IncomingStream
from vrxmpp.net.s2s_out import Note, OutgoingStream
from vrxmpp.net.sessions import Sessions
from vrxmpp.net.tls import ServerCertificates
from vrxmpp.net.unreachable import Unreachable
from vrxmpp.net.verifier import Verifier
from vrxmpp.net.way import Way, give_back
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import Peers
from vrxmpp.wire.management import Management

_MOST_WAYS = 10_000
_CAUSED = frozenset(("error", "result", "unsubscribed"))  # stanzas that a stranger can make us send: to half the ways
_MOST_WAITING = 256_000_000  # bytes in all ways together
_MOST_CERTIFIED = 100_000  # as many as are stored: one certificate can be for any number of names
_LOOKED_AFTER = 8  # peers of one broken stream: each may lead to somebody else's machine
_FAILURES_KEPT = 100
_NOTED_AGAIN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What may wait, and for how long; times in seconds, sizes in bytes."""

    queue_stanzas: int
    queue_bytes: int
    queue_seconds: int
    connect_seconds: int
    idle_seconds: int
    dialbacks_per_stream: int
    dialbacks_per_address: int

    @property
    def resume_seconds(self) -> int:
        """How long a peer may come back to a broken stream: what waits behind that must still find another way."""
        return max(1, self.queue_seconds * 3 // 4)


@dataclass(frozen=True, slots=True)
class Demands:
    """What is asked of one peer."""

    tls_required: bool
    certificate_required: bool


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A stream that did not come about."""

    at: datetime
    local: str
    remote: str
    incoming: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Foundations:
    """What federation stands on."""

    router: Router
    policy: Policy
    resolver: Resolver
    trust: Trust
    certificates: ServerCertificates
    keys: Keys
    peers: Peers
    certified: Mapping[str, datetime]  # which peers have shown a valid certificate, and when they last did
    connect: Connect
    now: Clock


class Servers(Connections):
    """Federation: every way, every stream, and what they have in common."""

    def __init__(
        self,
        foundations: Foundations,
        limits: ServerLimits,
        policy: StreamPolicy,
        addresses: Addresses,
        clock: Any,
    ) -> None:
        super().__init__(policy, addresses, clock)
        self.router = foundations.router
        self.rules_of = foundations.policy
        self.trust = foundations.trust
        self.certificates = foundations.certificates
        self.keys = foundations.keys
        self.now = foundations.now
        self.limits = limits
        self.ways: dict[tuple[str, str], Way] = {}
        self.failures: deque[FailedAttempt] = deque(maxlen=_FAILURES_KEPT)
        self._dialer = Dialer(self, foundations.resolver, foundations.connect, limits.connect_seconds)
        self.verifier = Verifier(self, self._dialer)
        self._peers = foundations.peers
        self._certified = dict(foundations.certified)
        self.sessions = Sessions(limits.resume_seconds)
        self.is_stopping = False
        self.is_full = False  # too much waits, as the sweep has seen

    # -- core.peers.Remote

    def send(self, stanza: Stanza) -> None:
        """Take a stanza for another server, or raise StanzaError if that cannot be."""
        to, sender = stanza.to, stanza.sender
        assert to is not None
        assert sender is not None
        way = self.ways.get((sender.domain, to.domain))
        if way is None:
            way = self._new_way(sender.domain, to.domain, caused=stanza.type in _CAUSED)
        way.send(stanza)

    def _new_way(self, local: str, remote: str, *, caused: bool) -> Way:
        try:
            self.rules_of.rules(local, remote)
        except Forbidden as error:
            raise StanzaError(Condition.NOT_ALLOWED, str(error)) from None
        if len(self.ways) >= (_MOST_WAYS // 2 if caused else _MOST_WAYS):
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too many other servers are being talked to")
        way = self.ways[local, remote] = Way(self, local, remote)
        return way

    def lost(self, remote: str, since: float) -> None:
        """A peer does not come back; if no other stream is left, its users are seen by nobody.

        ``since`` a stream was broken the others are alive only if they were used; 0.0: none was broken.
        """
        left = [stream for stream in self.established() if any(remote == theirs for _, theirs in stream.proven)]
        if any(stream.was_used_since(since) for stream in left):
            return
        for stream in left:
            stream.abort()  # it is as dead as the other, and has not been found out
        self.router.lost(remote)

    # -- rules

    def rules(self, local: str, remote: str) -> Demands:
        """Return what is asked of the peer; raises Forbidden."""
        rules = self.rules_of.rules(local, remote)
        held_to_it = rules.authentication is Authentication.CERTIFICATE_IF_VALID and remote in self._certified
        return Demands(rules.tls_required, held_to_it or rules.authentication is Authentication.CERTIFICATE)

    def allows(self, stream: ServerStream, local: str, remote: str) -> bool:
        """Whether the two may talk by this stream: what is enough for one domain of ours need not be for another."""
        try:
            demands = self.rules(local, remote)
        except Forbidden:
            return False
        shown = stream.certificate
        if demands.certificate_required:
            return shown is not None and shown.proves(remote)
        return shown is not None or not demands.tls_required

    def tls_required(self, local: str, remote: str) -> bool:
        """Whether nothing is said without TLS; to one who does not say who it is, too."""
        try:
            return self.rules(local, remote).tls_required
        except Forbidden:
            return True

    def note_certified(self, remote: str) -> None:
        """A peer has shown a valid certificate: it is held to that from now on."""
        now = self.now()
        before = self._certified.get(remote)
        if before is None and len(self._certified) >= _MOST_CERTIFIED:
            return
        if before is None or now - before > _NOTED_AGAIN:
            self._certified[remote] = now
            noting = Deferred.fromCoroutine(self._peers.note(remote, now))
            noting.addErrback(lambda failure: self.log.failure("{domain} is not noted", failure, domain=remote))

    # -- streams

    def established(self) -> Iterator[ServerStream]:
        """Yield the streams on which stanzas come or go."""
        for stream in self.connections:
            if isinstance(stream, ServerStream) and stream.authentication and not stream.is_retired:
                yield stream

    async def dial(
        self, local: str, remote: str, managed: Management | None, note: Note = lambda *_: None
    ) -> tuple[ServerStream, Management | None]:
        """Return a stream for this way, and the former session if it could not be resumed. Raises Unreachable."""
        if managed is None and (shared := await self._share(local, remote)) is not None:
            return shared, None
        try:
            return await self._dialer.open(local, remote, note, lambda stream: stream.establish(note, managed))
        except Unreachable as failure:
            self.note_failure(local, remote, failure.text, incoming=False)
            facts = {"direction": "to", "local": local, "peer": remote, "reason": failure.text}
            self.audit.note("stream", f"stream {remote}", event="refused", **facts)
            raise

    def note_refused(self, address: str, local: str, remote: str, reason: str) -> None:
        """Let the archive know whom we have not let in."""
        facts = {"direction": "from", "local": local, "peer": remote, "address": address, "reason": reason}
        self.note_stranger(REFUSED, "refused", **facts)

    async def probe(self, local: str, remote: str, note: Note) -> None:
        """Try a stream of its own all the way, and end it again. Raises Unreachable."""
        stream, _ = await self._dialer.open(local, remote, note, lambda stream: stream.establish(note))
        stream.retire()

    async def _share(self, local: str, remote: str) -> ServerStream | None:
        """Find a stream that is there already: one both ways, or one on which a further domain can be proven."""
        stream = self.find_bidirectional(local, remote)
        if stream is not None:
            return stream
        for stream in list(self.established()):
            if (
                isinstance(stream, OutgoingStream)
                and stream.remote == remote
                and stream.does_dialback
                and stream.management is None
                and stream.is_settled
                and self.allows(stream, local, remote)
            ):
                proof = Deferred.fromCoroutine(stream.prove(local))
                try:
                    await proof.addTimeout(self.limits.connect_seconds, cast(Any, self.clock))
                except (Unreachable, defer.TimeoutError):
                    continue
                stream.note("proven", local=local, peer=remote, authentication="dialback")
                return stream
        return None

    def find_bidirectional(self, local: str, remote: str) -> ServerStream | None:
        """Return a stream of the peer on which we may send, too (XEP-0288); a session is for the pair that began it."""
        pair = local, remote
        for stream in self.established():
            if stream.is_bidirectional and pair in stream.proven and stream.is_settled:
                is_its_own = stream.management is None or pair == (stream.local, stream.remote)
                if is_its_own and self.allows(stream, local, remote):
                    return stream
        return None

    def note_failure(self, local: str, remote: str, reason: str, *, incoming: bool) -> None:
        """Keep for the administrator that a stream did not come about, and why."""
        self.failures.append(FailedAttempt(self.now(), local, remote, incoming, reason))
        direction = "from" if incoming else "to"
        self.log.info("no stream {direction} {remote}: {reason}", direction=direction, remote=remote, reason=reason)

    # -- what streams tell

    def stream_offered(self, stream: ServerStream, local: str, remote: str) -> None:
        """A peer lets us use its stream for this way (XEP-0288)."""
        way = self._way(local, remote)
        if way is not None and way.is_free:
            way.attach(stream)

    def stream_retired(self, stream: ServerStream) -> None:
        """A stream comes to its end in order: what is to be sent now goes another way."""
        ways, stream.ways = stream.ways, []
        for way in ways:
            way.detach(broken=False, managed=None, awaits=False)

    def stream_ended(self, stream: ServerStream, managed: Management | None, *, broken: bool) -> None:
        """A stream can be used no longer; ``broken``: nobody has ended it."""
        ways, stream.ways = stream.ways, []
        if managed is not None and not (broken and managed.id and (ways or stream.is_incoming)):
            self.sessions.forget(managed)
            give_back(managed, self.router)
            managed = None
        if managed is not None and stream.is_incoming:
            self.sessions.leave(managed, self.clock.seconds())
        for way in ways:
            way.detach(broken=broken, managed=managed, awaits=stream.is_incoming)
        if broken and not ways and not self.is_stopping:
            # Those first to whom we have had something to say.
            for local, remote in sorted(stream.proven, key=lambda pair: pair not in self.ways)[:_LOOKED_AFTER]:
                self._look_after(local, remote)

    def _look_after(self, local: str, remote: str) -> None:
        """A peer that came to us is gone without a word: see whether it is still there."""
        way = self._way(local, remote)
        if way is None:
            self.lost(remote, 0.0)
        elif way.is_free:
            way.detach(broken=True, managed=None, awaits=False)

    def _way(self, local: str, remote: str) -> Way | None:
        """Return the way there; None if there must not be one."""
        try:
            return self.ways.get((local, remote)) or self._new_way(local, remote, caused=True)
        except StanzaError:
            return None

    # -- XEP-0198

    def new_management(self, id: str) -> Management:
        """Return the counters of a new session."""
        return Management(stanzas=self.limits.queue_stanzas, bytes=self.limits.queue_bytes, id=id)

    def session_began(self, stream: ServerStream, managed: Management) -> None:
        """A peer has begun a session on its stream, or has come back to one."""
        self.sessions.keep(managed, stream)
        way = self._way(stream.local, stream.remote) if stream.is_bidirectional else None
        if way is not None:
            way.session_began(stream, managed)

    # -- time, and the end

    def sweep(self) -> None:
        """Do what is due each second."""
        super().sweep()
        now = self.clock.seconds()
        for pair, way in list(self.ways.items()):
            try:
                way.sweep(now)
            except Exception:
                self.log.failure("the way to {domain} could not be looked after", domain=way.remote)
            if way.is_idle:
                del self.ways[pair]
        self.is_full = sum(way.queue.bytes for way in self.ways.values()) > _MOST_WAITING
        self.sessions.sweep(now)

    def give_up(self) -> None:
        """The server goes down: tell the senders of all that still waits, while they are there."""
        self.is_stopping = True
        self._dialer.stop()
        for way in list(self.ways.values()):
            way.give_up(StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "this server is going down"))

    def fit(self, policy: Policy) -> None:
        """Take other rules; streams that they do not allow are ended."""
        self.rules_of = policy
        for stream in list(self.established()):
            pairs = stream.proven | {(way.local, way.remote) for way in stream.ways} | {(stream.local, stream.remote)}
            if not all(self.allows(stream, *pair) for pair in pairs):
                stream.retire()
        for pair in [pair for pair, way in self.ways.items() if way.stream is None]:
            try:
                policy.rules(*pair)
            except Forbidden as error:
                self.ways.pop(pair).give_up(StanzaError(Condition.NOT_ALLOWED, str(error)))


class ServerFactory(Factory):
    """Makes streams for one kind of listener."""

    noisy = False

    def __init__(self, servers: Servers, *, direct_tls: bool) -> None:
        self._servers = servers
        self._direct_tls = direct_tls

    def buildProtocol(self, addr: Any) -> IncomingStream | None:
        """Admit a connection, or close it at once where its address has too many."""
        address = getattr(addr, "host", "unix")
        if not self._servers.addresses.admit(address):
            return None
        return IncomingStream(self._servers, address, direct_tls=self._direct_tls)
