"""A stream feature as data: what it needs, until when it is offered, which requests it answers (RFC 6120 §4.3)."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import Flag, auto
from typing import Protocol

from twisted.logger import Logger

from vrxmpp import ns
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.negotiation.mechanism import ChannelBindings
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import StorageError
from vrxmpp.waiting import Waiting
from vrxmpp.wire.events import Nonza
from vrxmpp.wire.stream import Sign

Request = Nonza | Stanza
_log = Logger()


class Have(Flag):
    """What a stream has been given so far."""

    NOTHING = 0
    SECURE = auto()  # TLS, or a listener where the administrator does without
    IDENTITY = auto()  # the user has logged in
    RESOURCE = auto()  # a resource is bound


def in_iq(namespace: str, name: str) -> str:
    """Return how a request is called that comes as the payload of an IQ get or set."""
    return f"iq {ns.qname(namespace, name)}"


async def answer(request: Stanza, channel: Channel, work: Awaitable[bytes]) -> None:
    """Answer a request inside an IQ with the payload that the work gives, or with the error that it raises."""
    try:
        reply = request.reply(await work)
    except StanzaError as error:
        reply = request.refusal(error)
    except StorageError as error:
        _log.error("a client cannot be served: {reason}", reason=str(error))
        reply = request.refusal(StanzaError(Condition.RESOURCE_CONSTRAINT))
    channel.send(reply.raw)


class Channel(Protocol):
    """What a feature may do to the stream it is negotiated on."""

    @property
    def have(self) -> Have: ...
    @property
    def address(self) -> str:
        """The peer's network address."""
        ...

    def send(self, raw: bytes) -> None: ...
    def move(self, sign: Sign) -> None:
        """Change the stream's state; raises StreamError if that is not possible now."""

    def start_tls(self, proceed: bytes) -> None:
        """Send that and begin the handshake; what was pipelined behind the request is a violation (RFC 6120 §5.3.3)."""

    def bindings(self) -> ChannelBindings:
        """The channel bindings of the TLS connection (RFC 5056)."""
        ...

    def identify(self, local: str, success: bytes, *, mechanism: str, guest: bool = False) -> None:
        """The user has logged in, or is a guest (XEP-0175): send that, a new stream follows.

        What was pipelined behind the last request is a violation.
        """

    async def bind(self, resource: str) -> str:
        """Bind a resource, return the full JID; raises StanzaError."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait, with the peer's input held back."""

    def note(self, type: str, local: str, event: str, **facts: object) -> None:
        """Let the archive know what has happened to an account, which need not exist; "": to none. No secrets."""


class Feature(Protocol):
    """One feature of one stream."""

    needs: Have  # all of it, to be offered
    until: Have  # offered until any of it is there
    answers: frozenset[str]  # the qualified names of the elements it answers; see in_iq

    def offer(self, channel: Channel) -> bytes:
        """Return its element for <stream:features/>, or nothing."""
        ...

    def take(self, request: Request, channel: Channel) -> Waiting | None:
        """Deal with a request; return the rest of the work, if it must wait."""
        ...
