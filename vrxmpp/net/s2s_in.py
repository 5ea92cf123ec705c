"""A stream that another server opens to us (RFC 6120 §4.3, XEP-0178, XEP-0220): who it is comes before all else.

Its certificate is looked at first; EXTERNAL is offered only where it proves the domain of the header. Dialback proves
further domains, or the first one where the rules allow it; without dialling where the certificate proves them.
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred

from vrxmpp import ns
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.negotiation import dialback
from vrxmpp.negotiation.dialback import Outcome
from vrxmpp.negotiation.mechanism import SaslCondition, SaslFailure, decode_base64
from vrxmpp.net.policy import Forbidden
from vrxmpp.net.s2s import ACKNOWLEDGEMENTS, ServerStream, domain_of, doubt
from vrxmpp.net.unreachable import Unreachable
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting
from vrxmpp.wire import management, writer
from vrxmpp.wire.events import Header, Nonza
from vrxmpp.wire.management import Enable, Enabled, Failed, Resume, Resumed
from vrxmpp.wire.stream import Phase, Sign

if TYPE_CHECKING:
    from vrxmpp.net.servers import Servers

_STARTTLS = ns.qname(ns.TLS, "starttls")
_AUTH, _RESPONSE, _ABORT = (ns.qname(ns.SASL, name) for name in ("auth", "response", "abort"))
_BIDI = ns.qname(ns.BIDI, "bidi")
_MANAGE = frozenset((ns.qname(ns.STREAM_MANAGEMENT, "enable"), ns.qname(ns.STREAM_MANAGEMENT, "resume")))
_DIALBACK = ns.qname(ns.DIALBACK, "")
_FAILURES = 3
_MOST_PAIRS = 100  # of domains on one stream
_MOST_REFUSED = 100  # each key costs somebody a question, and a line in the log
_SETTLING_SECONDS = 2.0


class IncomingStream(ServerStream):
    """A stream from another server."""

    def __init__(self, servers: Servers, address: str, *, direct_tls: bool) -> None:
        super().__init__(servers, address, phase=Phase.SECURING if direct_tls else Phase.OPENING)
        self.id = ""
        self._header_sent = False
        self.is_settled = False
        self._is_authenticated = False
        self._failures = 0
        self._refused = 0  # dialback keys
        self._doubt = ""  # why the peer was last not believed
        self._named = ("", "")  # what the first header says of the two domains
        self._pending = 0

    # -- headers and features

    def _open(self, header: Header) -> None:
        self.stream.move(Sign.HEADER)
        local, remote = domain_of(header.to), domain_of(header.sender)
        self._named = local, remote
        is_ours = self._servers.router.is_ours(local)
        self._send_header(local if is_ours else header.to, remote)
        if not is_ours or (self.local and local != self.local):
            raise StreamError(StreamCondition.HOST_UNKNOWN)
        is_theirs = remote and not self._servers.router.is_ours(remote)
        if (header.sender and not is_theirs) or (self.remote and remote != self.remote):
            raise StreamError(StreamCondition.INVALID_FROM)
        if not header.is_modern:
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION)
        self.local, self.remote = local, remote
        if remote:
            self._check_rules(local, remote)
        self.send(writer.features(*self._offers()))
        if self._is_authenticated:
            self._prove(local, remote, "certificate")

    def _check_rules(self, local: str, remote: str) -> None:
        """See that the two may talk, and that the peer is who it says, where that has to be seen before all else."""
        try:
            rules = self._servers.rules(local, remote)
        except Forbidden as error:
            self._note_failure(local, remote, str(error))
            raise StreamError(StreamCondition.POLICY_VIOLATION, str(error)) from None
        if self.certificate is None:
            return
        why_not = self.certificate.why_not(remote)
        if not why_not:
            self._servers.note_certified(remote)
        elif rules.certificate_required:
            self._note_failure(local, remote, doubt(remote, why_not))
            raise StreamError(StreamCondition.NOT_AUTHORIZED, doubt(remote, why_not))

    def _send_header(self, sender: str, to: str) -> None:
        self.id = token_hex(16)
        self.send(writer.header(sender=sender, to=to, id=self.id, content=ns.SERVER))
        self._header_sent = True

    def show_header(self) -> None:
        """RFC 6120 §4.9.1.2."""
        if not self._header_sent:
            self._send_header(next(iter(self._servers.router.hosts)), "")

    def _forget_header(self) -> None:
        """Another stream follows: whatever is still asked about this one counts for nothing (RFC 6120 §5.4.3.3)."""
        self.id = ""
        self._header_sent = False

    @property
    def _must_secure(self) -> bool:
        return self.certificate is None and self._servers.tls_required(self.local, self.remote)

    def _offers(self) -> list[bytes]:
        """Return what is offered now, TLS before all else (RFC 6120 §5.3.1, XEP-0178 §3)."""
        if self._must_secure:
            return [f"<starttls xmlns='{ns.TLS}'><required/></starttls>".encode()]
        offers = []
        if self.certificate is None:
            offers.append(f"<starttls xmlns='{ns.TLS}'/>".encode())
        elif not self._is_authenticated and self.remote and self.certificate.proves(self.remote):
            offers.append(f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>".encode())
        if self.certificate is not None and not self._is_authenticated:
            offers.append(f"<bidi xmlns='{ns.BIDI_FEATURE}'/>".encode())
        limits = self._servers.policy.after_login
        return [
            *offers,
            dialback.FEATURE,
            management.FEATURE,
            f"<limits xmlns='{ns.STREAM_LIMITS}'><max-bytes>{limits.stanza_bytes}</max-bytes>"
            f"<idle-seconds>{self.idle_seconds:.0f}</idle-seconds></limits>".encode(),
        ]

    # -- what comes

    def negotiate(self, event: Header | Nonza | Stanza) -> Waiting | None:
        """Bring each element to what deals with it."""
        if isinstance(event, Header):
            self._open(event)
        elif isinstance(event, Stanza):
            raise StreamError(StreamCondition.NOT_AUTHORIZED)  # RFC 6120 §4.9.3.12
        elif event.name == _STARTTLS and self.certificate is None:
            self._start_tls()
        elif self._must_secure:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "TLS comes first")
        elif event.name.startswith(_DIALBACK):
            self._take_dialback(event)
        elif event.name in ACKNOWLEDGEMENTS:
            self.acknowledge(event)
        elif event.name in _MANAGE:
            self._manage(event)
        elif event.name == _BIDI and self.certificate is not None and not self.proven:
            self.is_bidirectional = True
        elif event.name in (_AUTH, _RESPONSE, _ABORT):
            self._authenticate(event)
        else:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)
        return None

    def _start_tls(self) -> None:
        self.renew(Sign.STARTTLS, f"<proceed xmlns='{ns.TLS}'/>".encode())
        self._forget_header()
        self.allow(self._servers.policy.timeouts.handshake)
        cast(Any, self.transport).startTLS(self._servers.certificates.for_domain(self.local))

    # -- SASL EXTERNAL (RFC 6120 §6, XEP-0178 §3)

    def _authenticate(self, event: Nonza) -> None:
        try:
            if event.name == _AUTH:
                self.stream.move(Sign.AUTH)
                if event.attributes.get("mechanism") != "EXTERNAL":
                    raise SaslFailure(SaslCondition.INVALID_MECHANISM)
                if not event.inner:
                    self.send(f"<challenge xmlns='{ns.SASL}'>=</challenge>".encode())
                    return
            else:
                self.stream.move(Sign.RESPONSE)
                if event.name == _ABORT:
                    raise SaslFailure(SaslCondition.ABORTED)
            self._log_in(decode_base64(event.inner.decode()))
        except SaslFailure as failure:
            self._refuse(failure)

    def _log_in(self, name: bytes) -> None:
        if name and domain_of(name.decode(errors="replace")) != self.remote:
            raise SaslFailure(SaslCondition.INVALID_AUTHZID)
        if not self.remote or self.certificate is None or not self.certificate.proves(self.remote):
            raise SaslFailure(SaslCondition.NOT_AUTHORIZED)
        self.renew(Sign.AUTHENTICATED, f"<success xmlns='{ns.SASL}'/>".encode())
        self._forget_header()
        self._is_authenticated = True
        self.know()

    def _refuse(self, failure: SaslFailure) -> None:
        self.stream.move(Sign.FAILED)
        self.send(f"<failure xmlns='{ns.SASL}'><{failure.condition}/></failure>".encode())
        if self.remote:
            self._note_failure(self.local, self.remote, f"EXTERNAL: {failure.condition}")
        self._failures += 1
        if self._failures >= _FAILURES:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many failed log-ins")

    def _prove(self, local: str, remote: str, authentication: str) -> None:
        """A pair is proven: its stanzas may come, and if both ways were agreed on, the others may go (XEP-0288)."""
        self.proven.add((local, remote))
        if not self.authentication:
            self.local, self.remote = local, remote
            self.open_to_stanzas(authentication)
            # What goes before acknowledgements are agreed on may be lost: leave the peer the time to ask for them.
            self._servers.clock.callLater(_SETTLING_SECONDS, self._settle)
        else:
            self.note("proven", local=local, peer=remote, authentication=authentication)

    def _note_failure(self, local: str, remote: str, reason: str) -> None:
        self._doubt = reason
        self._servers.note_failure(local, remote, reason, incoming=True)
        if self.authentication:
            self.note("not proven", local=local, peer=remote, reason=reason)

    def ended(self) -> None:
        """The stream is over; one that has never come about was refused."""
        if not self.authentication and not self._is_detached and any(self._named):
            self._servers.note_refused(self.address, *self._named, reason=self._doubt or self.reason)
        super().ended()

    def _settle(self) -> None:
        self.is_settled = True
        if self.is_bidirectional and not self.is_retired and self.management is None:
            self._servers.stream_offered(self, self.local, self.remote)

    # -- dialback (XEP-0220)

    def _take_dialback(self, event: Nonza) -> None:
        match dialback.read(event):
            case dialback.Result() if self._refused >= _MOST_REFUSED:
                raise StreamError(StreamCondition.POLICY_VIOLATION, "too many keys that proved nothing")
            case dialback.Result() as request:
                Deferred.fromCoroutine(self._consider(request)).addErrback(self._fail)
            case dialback.Verify() as request:
                self._vouch(request)
            case dialback.Answer():
                raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)  # we have asked nothing on this stream

    def _vouch(self, request: dialback.Verify) -> None:
        """§2.3: say whether a key is ours; that needs no memory (XEP-0185)."""
        if not self._servers.router.is_ours(request.originating):
            answer = request.answer(Outcome.ERROR, Condition.ITEM_NOT_FOUND)
        else:
            known = self._servers.keys.is_valid(request.key, request.receiving, request.originating, request.id)
            answer = request.answer(Outcome.VALID if known else Outcome.INVALID)
        self.send(dialback.write(answer))

    async def _consider(self, request: dialback.Result) -> None:
        """§2.2: find out whether the peer is the domain it wants to send for."""
        local, remote, stream_id = request.receiving, request.originating, self.id
        try:
            is_proven = (local, remote) in self.proven or await self._is_true(request)
        except (Unreachable, StanzaError) as error:
            answer = request.answer(Outcome.ERROR, error.condition)
            self._note_failure(local, remote, f"dialback: {error.text or error.condition}")
        else:
            answer = request.answer(Outcome.VALID if is_proven else Outcome.INVALID)
            if not is_proven:
                self._note_failure(local, remote, "dialback: the key is not theirs")
        if self.is_over or self.is_retired or self.id != stream_id:
            return
        self._refused += answer.outcome is not Outcome.VALID
        self.send(dialback.write(answer))
        if answer.outcome is Outcome.VALID and (local, remote) not in self.proven:
            self._prove(local, remote, "dialback")
        elif answer.outcome is Outcome.INVALID and not self.proven:
            self.retire()  # §2.1.1: nothing else keeps the stream

    async def _is_true(self, request: dialback.Result) -> bool:
        """Raises StanzaError or Unreachable where nothing can be said."""
        local, remote = request.receiving, request.originating
        if not self._servers.router.is_ours(local):
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        if self._servers.router.is_ours(remote):
            raise StanzaError(Condition.NOT_ALLOWED)
        try:
            rules = self._servers.rules(local, remote)
        except Forbidden as error:
            raise StanzaError(Condition.POLICY_VIOLATION, str(error)) from None
        if len(self.proven) >= _MOST_PAIRS:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT)
        if self.certificate is not None and self.certificate.proves(remote):
            self._servers.note_certified(remote)
            return True  # §2.4: without dialling
        if rules.tls_required and self.certificate is None:
            raise StanzaError(Condition.POLICY_VIOLATION, "it is not enough without TLS")
        if rules.certificate_required:
            raise StanzaError(Condition.NOT_AUTHORIZED, "it is not enough without a valid certificate")
        if self._pending >= self._servers.limits.dialbacks_per_stream:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT)
        self._pending += 1
        try:
            return await self._servers.verifier.ask(dialback.Verify(remote, local, self.id, request.key), self.address)
        finally:
            self._pending -= 1

    # -- XEP-0198

    def _manage(self, event: Nonza) -> None:
        """§3, §5: begin a session, or go on with a former one."""
        self.is_settled = True
        try:
            command = management.read(event)
            others = any((way.local, way.remote) != (self.local, self.remote) for way in self.ways)
            if not self.proven or self.management is not None or others:
                raise StanzaError(Condition.UNEXPECTED_REQUEST)
            if isinstance(command, Resume):
                self._resume(command)
            elif isinstance(command, Enable):
                self.management = self._servers.new_management(
                    self._servers.sessions.new_id() if command.resume else ""
                )
                self.send(Enabled(self.management.id, self._servers.limits.resume_seconds).raw)
                self._servers.session_began(self, self.management)
        except StanzaError as error:
            self.send(Failed(error.condition).raw)

    def _resume(self, command: Resume) -> None:
        managed = self._servers.sessions.find(command.previd, self)
        if managed is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        self.send(Resumed(command.previd, managed.h).raw)
        self.resume(managed, command.h)
        self._servers.session_began(self, managed)
