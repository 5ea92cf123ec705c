"""A stream that we open to another server: TLS, then a proof of who we are, then stanzas (RFC 6120 §4.3, XEP-0178).

The steps follow one another in a coroutine, ``establish``, and each of them is told to ``note``. What the peer sends is
handed to whoever waits for it; nothing but answers is taken on a stream that goes one way.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from vrxmpp import dom, ns
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.negotiation import dialback
from vrxmpp.negotiation.dialback import Outcome
from vrxmpp.net.resolve import Address
from vrxmpp.net.s2s import ACKNOWLEDGEMENTS, ServerStream, domain_of, doubt
from vrxmpp.net.unreachable import FAULTS, Fault, Unreachable, unavailable
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire import management, writer
from vrxmpp.wire.events import Header, Nonza
from vrxmpp.wire.management import Enable, Enabled, Failed, Management, Resume, Resumed
from vrxmpp.wire.stream import Phase, Sign

if TYPE_CHECKING:
    from vrxmpp.net.servers import Servers

Note = Callable[[str, str], None]
"""Is told the name of each step when it begins, without words, and in a few words when it has succeeded."""

FAILED = "failed"
"""Stands for the name of the step that has failed, where another address is tried."""

_STREAM_CONDITIONS = frozenset(StreamCondition)
_TOLD = 200  # characters of a text from elsewhere
_UNREAD = 4  # elements that nobody has waited for yet
_FEATURES = ns.qname(ns.STREAM, "features")
_PROCEED = ns.qname(ns.TLS, "proceed")
_SUCCESS = ns.qname(ns.SASL, "success")
_CHALLENGE = ns.qname(ns.SASL, "challenge")

# What a peer says by the end of the stream about whether another attempt makes sense.
_LASTING = {
    StreamCondition.HOST_UNKNOWN: Condition.REMOTE_SERVER_NOT_FOUND,
    StreamCondition.HOST_GONE: Condition.REMOTE_SERVER_NOT_FOUND,
    StreamCondition.NOT_AUTHORIZED: Condition.NOT_AUTHORIZED,
    StreamCondition.POLICY_VIOLATION: Condition.NOT_AUTHORIZED,
    StreamCondition.INVALID_FROM: Condition.NOT_AUTHORIZED,
    StreamCondition.UNSUPPORTED_VERSION: Condition.REMOTE_SERVER_NOT_FOUND,
}


class Features:
    """What a peer offers (RFC 6120 §4.3.2)."""

    def __init__(self, nonza: Nonza) -> None:
        """Read the element; raises StreamError."""
        try:
            self._element = nonza.content()
        except ValueError:
            raise StreamError(StreamCondition.BAD_FORMAT, "features that cannot be read") from None
        self._names = {(child.uri, child.name) for child in dom.children(self._element)}

    def has(self, namespace: str, name: str) -> bool:
        """Whether the feature is offered."""
        return (namespace, name) in self._names

    @property
    def has_external(self) -> bool:
        """Whether our certificate is enough for the peer (XEP-0178 §3)."""
        offered = dom.child(self._element, ns.SASL, "mechanisms")
        return offered is not None and any(dom.text(each).strip() == "EXTERNAL" for each in dom.children(offered))

    @property
    def most_bytes(self) -> int:
        """The size of the largest stanza the peer takes, 0 if it has not said so (XEP-0478)."""
        limits = dom.child(self._element, ns.STREAM_LIMITS, "limits")
        most = dom.child(limits, ns.STREAM_LIMITS, "max-bytes") if limits is not None else None
        text = dom.text(most).strip() if most is not None else ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


class OutgoingStream(ServerStream):
    """A stream from one domain of ours to one of another server."""

    is_incoming = False

    def __init__(self, servers: Servers, address: Address, local: str, remote: str) -> None:
        phase = Phase.SECURING if address.direct_tls else Phase.OPENING
        super().__init__(servers, address.ip, phase=phase)
        self.local, self.remote = local, remote
        self.id = ""  # given by the peer
        self.is_settled = False
        self.does_dialback = False
        self._inbox: deque[Nonza | Header] = deque()
        self._waiting: Deferred[Nonza | Header] | None = None
        self._handshake: Deferred[None] | None = None
        self._asked = dialback.Outstanding()
        self._answers: dict[dialback.Result | dialback.Verify, Deferred[dialback.Answer]] = {}
        self._over_because: Unreachable | None = None

    # -- the steps

    async def begin_securely(self, note: Note) -> Features:
        """Open the stream and change to TLS; see that the peer is who it should be. Raises Unreachable."""
        rules = self._servers.rules(self.local, self.remote)
        if self.stream.phase is Phase.SECURING:
            await self._wait_for_tls(note)
        note("stream", "")
        features = await self._open_stream()
        if self.certificate is None and features.has(ns.TLS, "starttls"):
            note("TLS", "")
            self.send(f"<starttls xmlns='{ns.TLS}'/>".encode())
            await self._expect(_PROCEED, "refused to change to TLS")
            self._start_tls()
            await self._wait_for_tls(note)
            note("stream", "")
            features = await self._open_stream()
        if self.certificate is not None:
            self._check(note, required=rules.certificate_required)
        elif rules.tls_required or rules.certificate_required:
            note("TLS", "")
            text = f"{self.remote} does not offer TLS"
            raise Unreachable(Condition.NOT_AUTHORIZED, text, lasting=True, fault=Fault.NO_TLS)
        return features

    async def establish(self, note: Note, resumed: Management | None = None) -> Management | None:
        """Go all the way until stanzas may be sent; return a former session that could not be resumed.

        Raises Unreachable.
        """
        features = await self.begin_securely(note)
        if features.has(ns.BIDI_FEATURE, "bidi") and self.is_proven:
            self.send(f"<bidi xmlns='{ns.BIDI}'/>".encode())
            self.is_bidirectional = True
        note("authentication", "")
        if features.has_external and await self._log_in():
            features = await self._open_stream()
            authentication = "certificate"
        else:
            await self.prove(self.local)
            authentication = "dialback"
        note("authentication", f"{self.remote} believes that we are {self.local}, by {authentication}")
        note("acknowledgements", "")
        self.most_bytes = features.most_bytes
        self.open_to_stanzas(authentication)
        left = await self._manage(features, resumed)
        self.is_settled = True
        return left

    def open_to_stanzas(self, authentication: str) -> None:
        """Stanzas may go, and come if both ways were agreed on (XEP-0288 §3)."""
        super().open_to_stanzas(authentication)
        if self.is_bidirectional:
            self.proven.add((self.local, self.remote))
        else:
            self._receive = None

    @property
    def is_proven(self) -> bool:
        """Whether the peer's certificate shows that it is who it should be."""
        return self.certificate is not None and self.certificate.proves(self.remote)

    async def _open_stream(self) -> Features:
        self.send(writer.header(sender=self.local, to=self.remote, id="", content=ns.SERVER))
        header = await self._next()
        if not isinstance(header, Header):
            raise unavailable(f"{self.remote} does not begin a stream")
        self.stream.move(Sign.HEADER)
        self.id = header.id
        if header.sender and domain_of(header.sender) != self.remote:
            text = f"another server answers for {self.remote}"
            raise Unreachable(Condition.REMOTE_SERVER_NOT_FOUND, text, lasting=True, fault=Fault.WRONG_SERVER)
        features = await self._next()
        if not isinstance(features, Nonza) or features.name != _FEATURES:
            raise unavailable(f"{self.remote} offers no stream features")
        offered = Features(features)
        self.does_dialback = offered.has(ns.DIALBACK_FEATURE, "dialback")
        return offered

    def _start_tls(self) -> None:
        self.renew(Sign.STARTTLS, b"")
        self.allow(self._servers.policy.timeouts.handshake)
        cast(Any, self.transport).startTLS(self._servers.certificates.outgoing(self.local, self.remote))

    async def _wait_for_tls(self, note: Note) -> None:
        note("TLS", "")
        if self.certificate is None:
            self._handshake = Deferred()
            await self._handshake
        note("TLS", self.tls_version)

    def _check(self, note: Note, *, required: bool) -> None:
        """RFC 6120 §13.7.2: without a certificate of theirs we do not know to whom we speak."""
        assert self.certificate is not None
        note("certificate", "")
        why_not = self.certificate.why_not(self.remote)
        if not why_not:
            note("certificate", f"is for {self.remote}, until {self.certificate.expires:%Y-%m-%d}")
            self._servers.note_certified(self.remote)
        elif required:
            text = doubt(self.remote, why_not)
            raise Unreachable(Condition.NOT_AUTHORIZED, text, lasting=True, fault=Fault.THEIR_CERTIFICATE)
        else:
            note("certificate", f"{doubt(self.remote, why_not)}; dialback is enough here")

    async def _log_in(self) -> bool:
        """SASL EXTERNAL (XEP-0178 §3); return whether the peer believes our certificate."""
        self.stream.move(Sign.AUTH)
        name = b64encode(self.local.encode()).decode()
        self.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>{name}</auth>".encode())
        answer = await self._next()
        if isinstance(answer, Nonza) and answer.name == _CHALLENGE:
            self.send(f"<response xmlns='{ns.SASL}'>{name}</response>".encode())
            answer = await self._next()
        if isinstance(answer, Nonza) and answer.name == _SUCCESS:
            self.renew(Sign.AUTHENTICATED, b"")
            self.know()
            return True
        self.stream.move(Sign.FAILED)
        if not self.does_dialback:
            text = f"{self.remote} does not take our certificate for {self.local}"
            raise Unreachable(Condition.NOT_AUTHORIZED, text, lasting=True, fault=Fault.OUR_CERTIFICATE)
        return False

    async def _manage(self, features: Features, resumed: Management | None) -> Management | None:
        """Resume the former session, or enable a new one (XEP-0198 §3, §5)."""
        if not features.has(ns.STREAM_MANAGEMENT, "sm"):
            return resumed
        if resumed is not None:
            self.send(Resume(resumed.id, resumed.h).raw)
            answer = await self._next_command()
            if isinstance(answer, Resumed):
                self.resume(resumed, answer.h)
                return None
            if isinstance(answer, Failed) and answer.h is not None:
                resumed.acknowledged(answer.h)
        self.send(Enable(resume=True).raw)
        answer = await self._next_command()
        if isinstance(answer, Enabled):
            self.management = self._servers.new_management(answer.id)
        return resumed

    # -- dialback (XEP-0220)

    async def prove(self, local: str) -> None:
        """Let the peer ask our own server whether we are ``local``. Raises Unreachable."""
        key = self._servers.keys.make(self.remote, local, self.id)
        answer = await self._ask(dialback.Result(local, self.remote, key))
        if answer.outcome is not Outcome.VALID:
            condition = answer.condition or Condition.NOT_AUTHORIZED
            text = f"{self.remote} could not verify that we are {local} ({condition})"
            passing = condition in (Condition.REMOTE_SERVER_TIMEOUT, Condition.RESOURCE_CONSTRAINT)
            fault = FAULTS.get(answer.condition or "", Fault.OUR_ADDRESS)
            raise Unreachable(condition, text, lasting=not passing, fault=fault)

    async def verify(self, request: dialback.Verify) -> bool:
        """Ask the peer whether a key is its own. Raises Unreachable."""
        answer = await self._ask(request)
        if answer.outcome is Outcome.ERROR:
            text = f"{self.remote} says {answer.condition} when asked about a key"
            raise Unreachable(Condition.REMOTE_SERVER_NOT_FOUND, text, lasting=True)
        return answer.outcome is Outcome.VALID

    async def _ask(self, request: dialback.Result | dialback.Verify) -> dialback.Answer:
        if self._over_because is not None:
            raise self._over_because
        if not self._asked.add(request):
            raise Unreachable(Condition.RESOURCE_CONSTRAINT, "too many dialback requests at once", lasting=False)
        answer: Deferred[dialback.Answer] = Deferred()
        self._answers[request] = answer
        self.send(dialback.write(request))
        return await answer

    def _take_answer(self, nonza: Nonza) -> None:
        answer = dialback.read(nonza)
        if isinstance(answer, dialback.Answer):
            request = self._asked.take(answer)
            if request is not None:
                self._answers.pop(request).callback(answer)
        elif isinstance(answer, dialback.Result) and self.is_bidirectional:
            # XEP-0288 §3 lets them ask; another stream is theirs to open.
            self.send(dialback.write(answer.answer(Outcome.ERROR, Condition.NOT_ALLOWED)))
        else:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)  # it goes the other way

    # -- what comes

    def negotiate(self, event: Header | Nonza | Stanza) -> Waiting | None:
        """Hand it to whoever waits for it."""
        if isinstance(event, Stanza):
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "stanzas go the other way")
        if isinstance(event, Nonza) and event.name.startswith(ns.DIALBACK):
            self._take_answer(event)
        elif isinstance(event, Nonza) and event.name in ACKNOWLEDGEMENTS:
            self.acknowledge(event)
        elif self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(event)
        elif len(self._inbox) < _UNREAD and not self.is_settled:
            self._inbox.append(event)
        else:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "nobody has asked for that")
        return None

    async def _next(self) -> Nonza | Header:
        if self._inbox:
            return self._inbox.popleft()
        if self._over_because is not None:
            raise self._over_because
        self._waiting = Deferred()
        return await self._waiting

    async def _next_command(self) -> management.Command:
        answer = await self._next()
        if not isinstance(answer, Nonza):
            raise unavailable(f"{self.remote} begins another stream")
        try:
            return management.read(answer)
        except StanzaError:
            raise StreamError(StreamCondition.BAD_FORMAT, "a request where an answer is due") from None

    async def _expect(self, name: str, otherwise: str) -> None:
        answer = await self._next()
        if not isinstance(answer, Nonza) or answer.name != name:
            raise Unreachable(Condition.NOT_AUTHORIZED, f"{self.remote} {otherwise}", lasting=True)

    def secured(self) -> None:
        """TLS is there: the next step can be taken."""
        super().secured()
        if self._handshake is not None:
            handshake, self._handshake = self._handshake, None
            handshake.callback(None)

    def show_header(self) -> None:
        """Ours was the first thing to be sent."""

    def peer_failed(self, error: Nonza) -> None:
        """The peer says why it ends the stream."""
        condition, text = _read_stream_error(error)
        said = f"{self.remote} says {condition}" + (f": {text}" if text else "")
        told, fault = _LASTING.get(condition), FAULTS.get(condition, Fault.THEIR_SERVER)
        self._over_because = Unreachable(told, said, lasting=True, fault=fault) if told else unavailable(said, fault)

    def close(self, error: StreamError) -> None:
        """End the stream with an error: ours, which the peer has caused."""
        if self._over_because is None and error.condition is StreamCondition.CONNECTION_TIMEOUT:
            self._over_because = unavailable(f"{self.remote} did not answer in time", Fault.NO_ANSWER)
        elif self._over_because is None:
            self._over_because = unavailable(f"{self.remote} does not keep to the protocol: {error.condition}")
        super().close(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; OpenSSL says why, if that was in a handshake."""
        if self._over_because is None and isinstance(reason.value, SSL.Error):
            why = (
                ", ".join(str(each[-1]) for each in reason.value.args[0]) if reason.value.args else "it was broken off"
            )
            self._over_because = unavailable(f"TLS with {self.remote} failed: {why[:_TOLD]}")
        super().connectionLost(reason)

    def ended(self) -> None:
        """Whoever waits for something waits in vain."""
        super().ended()
        if self._over_because is None:
            self._over_because = unavailable(f"{self.remote} has ended the connection")
        waiting = [self._waiting, self._handshake, *self._answers.values()]
        self._waiting = self._handshake = None
        self._answers.clear()
        for each in waiting:
            if each is not None:
                each.errback(self._over_because)


def _read_stream_error(error: Nonza) -> tuple[StreamCondition, str]:
    """Return what a stream error says (RFC 6120 §4.9.2)."""
    condition, text = StreamCondition.UNDEFINED_CONDITION, ""
    try:
        children = dom.children(error.content())
    except ValueError:
        children = []
    for child in children:
        if child.uri == ns.STREAM_ERRORS and child.name == "text":
            text = "".join(each if each.isprintable() else " " for each in dom.text(child)[:_TOLD])
        elif child.uri == ns.STREAM_ERRORS and child.name in _STREAM_CONDITIONS:
            condition = StreamCondition(child.name)
    return condition, text
