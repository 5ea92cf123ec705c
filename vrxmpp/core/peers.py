"""What the core asks of its neighbours, and does not know by name: other servers, time, and a client's connection."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from vrxmpp.errors import StreamError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza

if TYPE_CHECKING:
    from vrxmpp.core.account import Account

Waiting = Coroutine[Any, Any, None]
"""The rest of a piece of work that had to wait; whoever gets one must run it."""

Clock = Callable[[], datetime]
"""The time now, in UTC."""


class Remote(Protocol):
    """The way to other domains."""

    def send(self, stanza: Stanza) -> None:
        """Take a stanza for another server, or raise StanzaError if that cannot be."""


class Outlet(Protocol):
    """Where a session's stanzas go: a socket, or a queue that outlives one."""

    def send(self, raw: bytes) -> None:
        """Write these bytes onto the stream."""

    def close(self, error: StreamError) -> None:
        """End the stream and say why (RFC 6120 §4.9)."""


class Presences(Protocol):
    """Whom a user's presence is shown to (RFC 6121 §4)."""

    def withdraw(self, account: Account, contact: Jid) -> None:
        """Let the contact see the user go offline, if they saw them online."""

    def renew(self, account: Account, contact: Jid) -> None:
        """Let the contact see the user's presence again, if they are entitled to."""
