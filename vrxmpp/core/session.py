"""One bound resource of a local user (RFC 6120 §7): what it has sent about itself, and the way to it.

A session begins when a resource is bound and knows from then on: ``account``, ``jid``, ``outlet``, ``lang``,
``address``. ``interested`` comes with the first roster request (RFC 6121 §2.2), ``presence`` and ``priority`` with
initial presence (§4.2). It is no connection: the outlet can be one, or a queue that waits for the next.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from vrxmpp.core.peers import Outlet
from vrxmpp.core.pending import Pending
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting

if TYPE_CHECKING:
    from vrxmpp.core.account import Account
    from vrxmpp.core.host import Host

_UNANSWERED = 1000  # IQ requests that wait for one client


class Session:
    """One bound resource. The router delivers to it, and a module what it pushes to its own user."""

    __slots__ = (
        "account",
        "address",
        "directed",
        "hears_blocklist",
        "host",
        "interested",
        "jid",
        "lang",
        "outlet",
        "pending",
        "presence",
        "priority",
        "security",
        "started",
    )

    def __init__(
        self, host: Host, account: Account, jid: Jid, outlet: Outlet, *, lang: str, address: str, security: str
    ) -> None:
        self.host = host
        self.account = account
        self.jid = jid
        self.outlet = outlet
        self.lang = lang
        self.address = address  # of the network
        self.security = security  # the TLS version, or ""
        self.started: datetime = host.clock()
        self.interested = False  # in the roster (RFC 6121 §2.2)
        self.hears_blocklist = False  # has asked for it (XEP-0191 §3.2)
        self.presence: Stanza | None = None  # the last available one that went to everybody
        self.priority = 0
        self.directed: dict[str, Jid] | None = None  # whom presence was sent to directly (RFC 6121 §4.6)
        self.pending: Pending | None = None

    def accept(self, stanza: Stanza) -> None:
        """Let a stanza of the client say who has sent it; StreamError if it says something else."""
        claimed = stanza.sender
        if claimed is not None and claimed not in (self.jid, self.account.jid):
            # RFC 6120 §8.1.2.1: the 'from' is the full or the bare JID of the connected resource.
            raise StreamError(StreamCondition.INVALID_FROM)
        stanza.sender = self.jid
        if not stanza.lang:
            stanza.lang = self.lang  # RFC 6120 §8.1.5

    def receive(self, stanza: Stanza) -> Waiting | None:
        """Take a stanza that the client has sent; return the rest of the work, if it must wait."""
        if stanza.record < 0:
            self.accept(stanza)  # what is in the archive has been looked at before
        return self.host.router.from_client(stanza, self)

    def deliver(self, stanza: Stanza) -> None:
        """Write a stanza to the client."""
        self.outlet.send(stanza.raw)

    def ask(self, request: Stanza) -> Stanza | None:
        """Deliver an IQ request that the client will answer; return an older one that is now given up."""
        if self.pending is None:
            self.pending = Pending(_UNANSWERED)
        given_up = self.pending.expect(request)
        self.outlet.send(request.raw)
        return given_up

    def settle(self, answer: Stanza) -> bool:
        """Return whether this IQ result or error of the client answers a request that it was given."""
        return self.pending is not None and self.pending.settle(answer)
