"""RFC 6120 §6: SASL on a stream, with the channel bindings it can use (XEP-0440)."""

from __future__ import annotations

from twisted.logger import Logger

from vrxmpp import ns, xml
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.negotiation.feature import Channel, Have, Request
from vrxmpp.negotiation.mechanism import (
    Challenge,
    Exchange,
    SaslCondition,
    SaslFailure,
    decode_base64,
    encode_base64,
)
from vrxmpp.negotiation.sasl import Authenticator
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.store.interfaces import StorageError
from vrxmpp.waiting import Waiting
from vrxmpp.wire.events import Nonza
from vrxmpp.wire.stream import Sign

_AUTH = ns.qname(ns.SASL, "auth")
_RESPONSE = ns.qname(ns.SASL, "response")
_ABORT = ns.qname(ns.SASL, "abort")


class Login:
    """The log-in of one stream: one exchange at a time, a bounded number of failures (RFC 6120 §6.4.5)."""

    log = Logger()

    until = Have.IDENTITY
    answers = frozenset((_AUTH, _RESPONSE, _ABORT))

    def __init__(
        self, domain: str, authenticator: Authenticator, throttle: Throttle, *, failures: int, needs: Have
    ) -> None:
        self.needs = needs
        self._domain = domain
        self._authenticator = authenticator
        self._throttle = throttle
        self._failures_left = failures
        self._exchange: Exchange | None = None
        self._mechanism = ""  # of the exchange, as far as it is one of ours

    def offer(self, channel: Channel) -> bytes:
        """RFC 6120 §6.4.1; the binding types beside it (XEP-0440 §2)."""
        bindings = channel.bindings()
        mechanisms = self._authenticator.mechanisms(self._is_secure(channel), bindings)
        names = "".join(f"<mechanism>{name}</mechanism>" for name in mechanisms)
        types = "".join(f"<channel-binding type='{name}'/>" for name in bindings)
        announced = f"<sasl-channel-binding xmlns='{ns.SASL_CHANNEL_BINDING}'>{types}</sasl-channel-binding>"
        return f"<mechanisms xmlns='{ns.SASL}'>{names}</mechanisms>{announced if types else ''}".encode()

    def _is_secure(self, channel: Channel) -> bool:
        return Have.SECURE in channel.have

    def take(self, request: Request, channel: Channel) -> Waiting | None:
        """Go one step further in the exchange, or begin one."""
        assert isinstance(request, Nonza)
        if request.name == _AUTH:
            channel.move(Sign.AUTH)
            return self._begin(request, channel)
        channel.move(Sign.RESPONSE)
        if request.name == _ABORT:
            return self._refuse(SaslFailure(SaslCondition.ABORTED), channel)
        return self._respond(request.inner, channel)

    async def _begin(self, request: Nonza, channel: Channel) -> None:
        mechanism, self._mechanism = request.attributes.get("mechanism", ""), ""
        try:
            self._exchange = self._authenticator.begin(mechanism, self._is_secure(channel), channel.bindings())
        except SaslFailure as failure:
            await self._refuse(failure, channel)
        else:
            self._mechanism = mechanism
            await self._respond(request.inner, channel)

    async def _respond(self, inner: bytes, channel: Channel) -> None:
        exchange = self._exchange
        assert exchange is not None, "the stream's state says so"
        try:
            # RFC 6120 §6.4.2: nothing is no initial response, "=" is an empty one.
            data = decode_base64(inner.decode()) if inner else None
            step = await exchange.respond(data)
        except SaslFailure as failure:
            await self._refuse(failure, channel)
            return
        except StorageError as error:
            self.log.error("no log-in is possible: {reason}", reason=str(error))
            await self._refuse(SaslFailure(SaslCondition.TEMPORARY_AUTH_FAILURE), channel)
            return
        if isinstance(step, Challenge):
            channel.send(f"<challenge xmlns='{ns.SASL}'>{encode_base64(step.data)}</challenge>".encode())
            return
        self._exchange = None
        self._throttle.succeeded(f"{step.local}@{self._domain}")
        last = "" if step.data is None else encode_base64(step.data)
        success = f"<success xmlns='{ns.SASL}'>{last}</success>".encode()
        channel.identify(step.local, success, mechanism=self._mechanism, guest=step.anonymous)

    async def _refuse(self, failure: SaslFailure, channel: Channel) -> None:
        """Answer later the more often it has failed; the right password is never made to wait."""
        claimed = self._exchange.claimed if self._exchange is not None else ""
        self._exchange = None
        if failure.condition is not SaslCondition.ABORTED:
            reason = str(failure.condition)
            channel.note("session", claimed, "log-in failed", mechanism=self._mechanism, reason=reason)
        if failure.condition not in {SaslCondition.ABORTED, SaslCondition.TEMPORARY_AUTH_FAILURE}:
            account = f"{claimed}@{self._domain}" if claimed else ""
            # Not the name: people type a password there by mistake.
            self.log.info("a log-in from {address} failed: {why}", address=channel.address, why=failure.condition)
            await channel.pause(self._throttle.delay_after_failure(channel.address, account))
        channel.move(Sign.FAILED)
        text = f"<text xml:lang='en'>{xml.text(failure.text)}</text>" if failure.text else ""
        channel.send(f"<failure xmlns='{ns.SASL}'><{failure.condition}/>{text}</failure>".encode())
        self._failures_left -= 1
        if self._failures_left <= 0:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many failed log-ins")
