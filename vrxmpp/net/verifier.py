"""XEP-0220 §2.3: asking the server that the DNS names for a domain whether a dialback key is its own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import defer
from twisted.internet.defer import Deferred

from vrxmpp.errors import Condition, StanzaError
from vrxmpp.negotiation.dialback import Verify
from vrxmpp.negotiation.throttle import network
from vrxmpp.net.dialer import Dialer
from vrxmpp.net.s2s_out import OutgoingStream
from vrxmpp.net.unreachable import Fault, Unreachable, unavailable

if TYPE_CHECKING:
    from vrxmpp.net.servers import Servers

_AT_ONCE = 100  # requests from all addresses: strangers must not take all the connections that can be made at once
_REUSE_SECONDS = 5.0  # for an answer on a stream that is there: it may be dead and not know it
_SHARE = 0.8  # of the time a peer has to prove itself: so that it still hears the answer


class Verifier:
    """Asks, for a bounded number of requests from one network address at a time."""

    def __init__(self, servers: Servers, dialer: Dialer) -> None:
        self._servers = servers
        self._dialer = dialer
        self._asking: Counter[str] = Counter()

    async def ask(self, request: Verify, address: str) -> bool:
        """Return what the server says, for a peer at that address. Raises Unreachable or StanzaError."""
        whose = network(address)
        if self._asking[whose] >= self._servers.limits.dialbacks_per_address or self._asking.total() >= _AT_ONCE:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT)
        self._asking[whose] += 1
        answer = Deferred.fromCoroutine(self._ask(request))
        answer.addTimeout(_SHARE * self._servers.policy.timeouts.login, cast(Any, self._servers.clock))
        try:
            return await answer
        except defer.TimeoutError:
            raise unavailable(f"{request.originating} did not answer in time", Fault.NO_ANSWER) from None
        finally:
            self._asking[whose] -= 1
            if not self._asking[whose]:
                del self._asking[whose]

    async def _ask(self, request: Verify) -> bool:
        for stream in self._servers.established():
            if (
                isinstance(stream, OutgoingStream)
                and stream.remote == request.originating
                and self._servers.allows(stream, request.receiving, request.originating)
            ):
                verifying = Deferred.fromCoroutine(stream.verify(request))
                try:
                    return await verifying.addTimeout(_REUSE_SECONDS, cast(Any, self._servers.clock))
                except (defer.TimeoutError, Unreachable) as failure:
                    if isinstance(failure, Unreachable) and failure.lasting:
                        raise
                    break
        stream, answer = await self._dialer.open(
            request.receiving, request.originating, lambda *_: None, lambda stream: _begin_and_ask(stream, request)
        )
        stream.retire()
        return answer


async def _begin_and_ask(stream: OutgoingStream, request: Verify) -> bool:
    await stream.begin_securely(lambda *_: None)
    return await stream.verify(request)
