"""From the name of another server's domain to a stream: look it up, connect, and go through the beginning.

RFC 6120 §3, XEP-0368. Whatever fails at one address is tried at the next, unless it would fail there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory

from vrxmpp.errors import Condition, StreamError
from vrxmpp.net.policy import Forbidden
from vrxmpp.net.race import NoConnection, race
from vrxmpp.net.resolve import Address, LookupFailed, NoService, Resolver
from vrxmpp.net.s2s_out import FAILED, Note, OutgoingStream
from vrxmpp.net.unreachable import Fault, Unreachable, not_connected, unavailable

if TYPE_CHECKING:
    from vrxmpp.net.servers import Servers

_AT_ONCE = 300  # streams that are being opened, each by several connections at a time
_ADDRESSES = 20  # that are tried for one

T = TypeVar("T")
Connect = Callable[[Address, Factory], Deferred[Any]]
"""Connects to an address and lets the factory make the connection's protocol."""

Establish = Callable[[OutgoingStream], Coroutine[Any, Any, T]]
"""Goes through the beginning of a stream; raises Unreachable or StreamError."""


class Dialer:
    """Opens streams to other servers, each within ``seconds``."""

    def __init__(self, servers: Servers, resolver: Resolver, connect: Connect, seconds: float) -> None:
        self._servers = servers
        self._resolver = resolver
        self._connect = connect
        self._seconds = seconds
        self._under_way: set[Deferred[Any]] = set()

    def stop(self) -> None:
        """Give up what is under way; the server is going down."""
        for attempt in tuple(self._under_way):
            attempt.cancel()

    async def open(self, local: str, remote: str, note: Note, establish: Establish[T]) -> tuple[OutgoingStream, T]:
        """Open a stream, within the time there is. Raises Unreachable."""
        if self._servers.is_stopping:
            raise _going_down()
        if len(self._under_way) >= _AT_ONCE:
            raise unavailable("too many other servers are being connected to", Fault.OURSELVES)
        attempt = Deferred.fromCoroutine(self._try_addresses(local, remote, note, establish))
        attempt.addTimeout(self._seconds, cast(Any, self._servers.clock))
        self._under_way.add(attempt)
        try:
            return await attempt
        except defer.TimeoutError:
            raise unavailable(f"{remote} did not answer in time", Fault.NO_ANSWER) from None
        except defer.CancelledError:
            if self._servers.is_stopping:
                raise _going_down() from None
            raise
        except Forbidden as error:
            raise Unreachable(Condition.NOT_ALLOWED, str(error), lasting=True, fault=Fault.OUR_RULES) from None
        finally:
            self._under_way.discard(attempt)

    async def _try_addresses(
        self, local: str, remote: str, note: Note, establish: Establish[T]
    ) -> tuple[OutgoingStream, T]:
        self._servers.rules(local, remote)
        left = await self._look_up(remote, note)
        failure: Unreachable | None = None
        while True:
            note("TCP", "")
            try:
                address, stream = await race(
                    left, lambda to: self._begin(to, local, remote), self._servers.clock, discard=OutgoingStream.abort
                )
            except NoConnection as error:
                raise failure or not_connected(remote, error) from None
            note("TCP", f"connected to {address.ip} port {address.port}")
            try:
                return stream, await establish(stream)
            except Unreachable as error:
                failure = error
                stream.retire()
            except StreamError as error:
                failure = unavailable(f"{remote} does not keep to the protocol: {error.condition} {error.text}")
                stream.close(error)
            except BaseException:  # it takes too long, or is our mistake
                stream.abort()
                raise
            left.remove(address)
            if failure.lasting or not left:
                raise failure
            note(FAILED, failure.text)

    async def _look_up(self, remote: str, note: Note) -> list[Address]:
        note("DNS", "")
        try:
            addresses = await self._resolver.addresses(remote)
        except NoService as error:
            text, fault = str(error), Fault.NAME
            raise Unreachable(Condition.REMOTE_SERVER_NOT_FOUND, text, lasting=True, fault=fault) from None
        except LookupFailed as error:
            raise unavailable(str(error), Fault.NAME_SERVERS) from None
        kinds = {True: "direct TLS", False: "STARTTLS"}
        note("DNS", ", ".join(f"{each.ip} port {each.port} ({kinds[each.direct_tls]})" for each in addresses))
        return list(addresses[:_ADDRESSES])

    def _begin(self, address: Address, local: str, remote: str) -> Deferred[OutgoingStream]:
        stream = OutgoingStream(self._servers, address, local, remote)
        factory: Any = _OneConnection(stream)
        if address.direct_tls:
            creator = cast(Any, self._servers.certificates.outgoing(local, remote))
            factory = TLSMemoryBIOFactory(creator, True, factory, cast(Any, self._servers.clock))
        return self._connect(address, factory).addCallback(lambda _: stream)


def _going_down() -> Unreachable:
    text = "this server is going down"
    return Unreachable(Condition.REMOTE_SERVER_TIMEOUT, text, lasting=True, fault=Fault.OURSELVES)


class _OneConnection(Factory):
    """Makes the one connection that is there already."""

    noisy = False

    def __init__(self, stream: OutgoingStream) -> None:
        self._stream = stream

    def buildProtocol(self, addr: object) -> OutgoingStream:
        return self._stream
