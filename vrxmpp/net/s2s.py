"""A stream between two servers, whoever has opened it: who may say what on it (RFC 6120 §8.1, XEP-0198, XEP-0288).

Each pair of domains, one of ours and one of theirs, is proven by itself. A stanza that comes has to be of a proven
pair; what goes is brought by ``Way``s, which are given the stream when it is theirs to use.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from vrxmpp import ns
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.net.connection import Connection
from vrxmpp.net.identity import PeerCertificate
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire.events import Malformed, Nonza
from vrxmpp.wire.management import Answer, Ask, Management, read
from vrxmpp.wire.stream import Phase, Sign

if TYPE_CHECKING:
    from vrxmpp.net.servers import Servers
    from vrxmpp.net.way import Way

Pair = tuple[str, str]
"""A domain of ours, and one of theirs."""

ACKNOWLEDGEMENTS = frozenset((ns.qname(ns.STREAM_MANAGEMENT, "r"), ns.qname(ns.STREAM_MANAGEMENT, "a")))
_ANSWER_SECONDS = 20.0  # to a request for an acknowledgement
_SILENCE_SECONDS = 10.0


class ServerStream(Connection):
    """What both directions have in common."""

    def __init__(self, servers: Servers, address: str, *, phase: Phase) -> None:
        super().__init__(servers, address, phase=phase, content=ns.SERVER)
        self._servers = servers
        self.local = self.remote = ""  # the domains of the headers
        self.certificate: PeerCertificate | None = None  # theirs, once there is TLS
        self.authentication = ""  # how the first pair was proven
        self.proven: set[Pair] = set()  # whose stanzas may come
        self.ways: list[Way] = []  # whose stanzas go here
        self.management: Management | None = None  # XEP-0198, once it is enabled
        self.most_bytes = 0  # what the peer takes, if it has said so (XEP-0478)
        self.since: datetime = servers.now()
        self.is_bidirectional = False
        self.is_settled = True  # no acknowledgements will be agreed on from here on
        self.is_retired = False  # no stanza is to be sent any more
        self._is_broken = False
        self._is_detached = False
        self._is_managed = False  # whether there were acknowledgements when the stream ended
        self._has_left = False  # our end of the stream is sent
        self._uncounted = False  # whether a stanza of theirs is being dealt with
        self._used = False  # since the last sweep
        self._used_at = servers.clock.seconds()
        self._unanswered_since = 0.0  # 0.0: no answer is waited for
        self._ask_at = 0.0  # the earliest time to ask when there is nothing to ask about

    # -- stanzas

    def open_to_stanzas(self, authentication: str) -> None:
        """The first pair is proven: stanzas come and go from now on."""
        if not self._servers.allows(self, self.local, self.remote):
            raise StreamError(StreamCondition.POLICY_VIOLATION)  # the rules have changed meanwhile
        self.authentication = authentication
        self.stream.move(Sign.BOUND)
        if not self.is_known:
            self.know()
        self.begin(self.receive, self.accept)
        self.log.info(
            "a stream {direction} {remote} is open: {authentication}, {tls}",
            direction="from" if self.is_incoming else "to",
            remote=self.remote,
            authentication=authentication,
            tls=self.tls_version or "no TLS",
        )
        self.note("began", local=self.local, **self.describe())

    def note(self, event: str, **facts: object) -> None:
        """Let the archive know what has happened to the stream."""
        facts["direction"] = "from" if self.is_incoming else "to"
        self._connections.audit.note("stream", f"stream {self.remote}", event=event, **facts)

    def accept(self, stanza: Stanza) -> None:
        """See whether a stanza is from whom and for whom it may be (RFC 6120 §4.9.3.6, §4.9.3.7, §4.9.3.9)."""
        to, sender = stanza.to, stanza.sender
        if to is None or sender is None:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING)
        if (to.domain, sender.domain) not in self.proven:
            ours = self._servers.router.is_ours(to.domain)
            raise StreamError(StreamCondition.INVALID_FROM if ours else StreamCondition.HOST_UNKNOWN)

    def receive(self, stanza: Stanza) -> Waiting | None:
        """Take a stanza that the peer has sent; return the rest of the work, if it must wait."""
        if stanza.record < 0:
            self.accept(stanza)  # what is in the archive has been looked at before
        self._used = True
        waiting = self._servers.router.route(stanza)
        if self.management is not None:
            if waiting is not None:
                return self._count_after(waiting, self.management)
            self.management.handled()
        return waiting

    def receive_late(self, stanza: Stanza) -> Waiting | None:
        """The stream has ended: what was not acknowledged comes again, by the next one (XEP-0198 §5)."""
        if not self._is_managed:
            return super().receive_late(stanza)
        self._connections.audit.outcome(stanza, "not routed: the stream broke, and it will come again")
        return None

    def describe(self) -> dict[str, str]:
        """What the archive notes of the stream."""
        return super().describe() | {"peer": self.remote, "authentication": self.authentication}

    async def _count_after(self, waiting: Waiting, managed: Management) -> None:
        """XEP-0198 §4: a stanza is acknowledged when it is dealt with."""
        self._uncounted = True
        await waiting
        if self._uncounted:
            self._uncounted = False
            managed.handled()

    def refuse_malformed(self, event: Malformed) -> None:
        """RFC 6120 §8.3.3.8: answer who has sent it, if that can be told."""
        stanza = event.stanza
        if self._receive is None:
            raise StreamError(StreamCondition.NOT_AUTHORIZED)
        theirs = stanza.sender.domain if stanza.sender is not None else ""
        ours = sorted(local for local, remote in self.proven if remote == theirs)
        if not ours:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING, event.reason)
        if self.management is not None:
            self.management.handled()
        stanza.to = Jid.parse(ours[0])
        self._servers.router.refuse(stanza, StanzaError(Condition.JID_MALFORMED, event.reason))

    @property
    def takes_stanzas(self) -> bool:
        """Whether a stanza that is sent now need not wait."""
        managed = self.management
        return self.takes_output and not self.is_retired and not (managed is not None and managed.full)

    def send_stanza(self, stanza: Stanza) -> None:
        """Send a stanza to the peer; only when it ``takes_stanzas``."""
        raw = stanza.raw
        if self.most_bytes and len(raw) > self.most_bytes:
            text = f"{self.remote} takes no more than {self.most_bytes} bytes"
            self._servers.router.refuse(stanza, StanzaError(Condition.POLICY_VIOLATION, text))
            return
        if self.management is not None:
            raw += self.management.sent(stanza)
        self._used = True
        self.send(raw)

    def flowing(self) -> None:
        """The peer takes more: let the waiting ones go."""
        for way in tuple(self.ways):
            way.flush()

    # -- XEP-0198

    def acknowledge(self, nonza: Nonza) -> None:
        """Say what was received, or learn what they have received (§4)."""
        managed = self.management
        if managed is None:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)
        command = read(nonza)
        if isinstance(command, Ask):
            self.send(managed.answer())
        elif isinstance(command, Answer):
            was_full = managed.full
            managed.acknowledged(command.h)
            self._unanswered_since = 0.0
            if was_full:
                self.flowing()

    def resume(self, managed: Management, h: int) -> None:
        """Go on with a former session, of which the peer has got ``h`` stanzas (§5)."""
        self.management = managed
        self.send(b"".join([*(stanza.raw for stanza in managed.resume(h)), managed.ask()]))

    def last_words(self) -> bytes:
        """Say how much was received, so that nobody takes it for lost (§4)."""
        return self.management.answer() if self.management is not None else b""

    # -- Connection

    def secured(self) -> None:
        """TLS is there: look at the peer's certificate."""
        self.stream.move(Sign.SECURED)
        tls = self.tls()
        assert tls is not None
        self.certificate = self._servers.trust.examine(tls)

    @property
    def tls_version(self) -> str:
        """The version of TLS, or ""."""
        tls = self.tls() if self.transport is not None else None
        return tls.get_protocol_version_name() if tls is not None else ""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; without an end of the stream, it was lost."""
        self._is_broken = self.stream.phase not in (Phase.CLOSING, Phase.CLOSED)
        super().connectionLost(reason)

    def retire(self) -> None:
        """End the stream in order: nothing is sent any more; what still comes, and its last words, are taken."""
        if self.is_over or self.stream.phase is Phase.CLOSING:
            return
        if self.stream.phase is Phase.SECURING:
            self.abort()
        else:
            self.is_retired = True
            self._servers.stream_retired(self)
            self.finish()
            self._has_left = True

    def send(self, raw: bytes) -> None:
        """Write; behind our end of the stream there is nothing (RFC 6120 §4.4)."""
        if not self._has_left:
            super().send(raw)

    def break_off(self) -> None:
        """The peer has come back by another connection: this one is dead."""
        self.reason = "the peer has come back by another connection"
        self._is_broken = True
        self.ended()
        self.abort()

    def ended(self) -> None:
        """The stream is over: nobody may use it, and what was not acknowledged goes back, or waits for the next."""
        self.is_retired = True
        managed, self.management = self.management, None
        self._is_managed = self._is_managed or managed is not None
        if managed is not None and self._uncounted:
            managed.handled()  # it will be dealt with, and must not come again
            self._uncounted = False
        if not self._is_detached:
            self._is_detached = True
            if self.authentication:
                self.note("ended", local=self.local, peer=self.remote, address=self.address, reason=self.reason)
            self._servers.stream_ended(self, managed, broken=self._is_broken)

    def was_used_since(self, time: float) -> bool:
        """Whether a stanza has come or gone since then, as the sweep sees it."""
        return self._used or self._used_at >= time

    def sweep(self, now: float) -> None:
        """Look after time limits; close what nobody uses."""
        super().sweep(now)
        if self._receive is None or self.is_over or self.is_retired:
            return
        if self.management is not None:
            self._await_answer(self.management, now)
        if not self.takes_output and now - self._backlog.since > self._servers.policy.output.stalled_seconds:
            self._cut_off()
        elif self._used:
            self._used, self._used_at = False, now
        elif now - self._used_at > self.idle_seconds:
            self.retire()

    def _await_answer(self, managed: Management, now: float) -> None:
        """Ask for what is not acknowledged; a peer that never answers is gone (XEP-0198 §4)."""
        question = managed.ask() or self._ask_in_silence(now)
        if question:
            self.send(question)
        if not self._unanswered_since:
            self._unanswered_since = now if question or managed else 0.0
        elif now - self._unanswered_since > _ANSWER_SECONDS:
            self.abort()

    def _ask_in_silence(self, now: float) -> bytes:
        """The peer may be waiting for us to come back from a break that only it has noticed: who opened the stream."""
        quiet = now - self._used_at > _SILENCE_SECONDS and not self._unanswered_since
        if self.is_incoming or not self.is_bidirectional or not quiet or now < self._ask_at:
            return b""
        self._ask_at = now + _SILENCE_SECONDS
        return Ask().raw

    @property
    def idle_seconds(self) -> float:
        """How long the stream may be unused. Who has opened it closes it first."""
        return self._servers.limits.idle_seconds * (2 if self.is_incoming else 1)


def domain_of(text: str) -> str:
    """Return the domain that an attribute of a header names, "" if it names none."""
    try:
        jid = Jid.parse(text)
    except InvalidJid:
        return ""
    return jid.domain if jid.text == jid.domain else ""


def doubt(domain: str, why_not: str) -> str:
    """Say in a sentence why a certificate does not prove the domain."""
    return f"{domain} shows no certificate" if why_not == "there is none" else f"the certificate of {domain} {why_not}"
