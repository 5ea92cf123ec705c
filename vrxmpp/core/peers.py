"""What the core asks of its neighbours, and does not know by name: other servers, the archive, time, a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from vrxmpp.errors import StreamError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza

if TYPE_CHECKING:
    from vrxmpp.core.account import Account
    from vrxmpp.store.interfaces import RosterItem, ScramKeys

Clock = Callable[[], datetime]
"""The time now, in UTC."""

Derive = Callable[[str], Awaitable[tuple["ScramKeys", "ScramKeys"]]]
"""Derives the keys to store, with SHA-1 and with SHA-256, from a password; ValueError if it cannot be one."""


class Remote(Protocol):
    """The way to other domains."""

    def send(self, stanza: Stanza) -> None:
        """Take a stanza for another server, or raise StanzaError if that cannot be."""


class Audit(Protocol):
    """The archive: what it wants to have is on its disk before anybody else gets it."""

    def wants(self, stanza: Stanza) -> bool:
        """Whether this message must be on the disk before anybody has it."""

    def record(self, stanza: Stanza, facts: bytes, done: Callable[[], None]) -> None:
        """Take a message, and mark it as PENDING; ``facts`` is a line of JSON about where it came from.

        Later ``stanza.record`` is its place in the archive, UNARCHIVED or REFUSED, and then ``done`` is called: once
        for all that have become so at the same moment.
        """

    def outcome(self, stanza: Stanza, outcome: str) -> None:
        """Note what became of a message that is in the archive: "refused: CONDITION", "kept" and the like."""

    def note(self, type: str, conversation: str, **facts: object) -> None:
        """Note something else that happened: a "session", "stream", "roster" or "config" event. It never waits."""


class NoAudit:
    """There is no archive."""

    def wants(self, stanza: Stanza) -> bool:
        """Nothing."""
        return False

    def record(self, stanza: Stanza, facts: bytes, done: Callable[[], None]) -> None:
        """Nothing is wanted, so nothing comes."""
        raise NotImplementedError

    def outcome(self, stanza: Stanza, outcome: str) -> None:
        """It goes unnoted."""

    def note(self, type: str, conversation: str, **facts: object) -> None:
        """It goes unnoted."""


class Outlet(Protocol):
    """Where a session's stanzas go: a socket, or a queue that outlives one."""

    def send(self, raw: bytes) -> None:
        """Write these bytes onto the stream."""

    async def drain(self) -> None:
        """Wait while the peer has much left to read, for as long as there is a stream."""

    def close(self, error: StreamError) -> None:
        """End the stream and say why (RFC 6120 §4.9)."""


class Presences(Protocol):
    """Whom a user's presence is shown to (RFC 6121 §4). A contact without a resource or a localpart stands for all."""

    def withdraw(self, account: Account, *contacts: Jid) -> None:
        """Let the contacts see the user go offline, if they saw them online; to be asked while they are entitled to."""

    def renew(self, account: Account, *contacts: Jid) -> None:
        """Let the contacts see the user's presence again, if they are entitled to."""


class Contacts(Protocol):
    """The one way a roster is changed (RFC 6121 §2). Whoever changes one holds the account's lock."""

    async def keep(self, account: Account, item: RosterItem) -> None:
        """Put the item into the roster, or take it out if nothing is left of it; in the store first, then in memory.

        A contact who loses the sight of the user's presence by it sees them go offline. StanzaError where the roster
        is full.
        """

    def push(self, account: Account, item: RosterItem) -> None:
        """Show the item to the clients that have asked for the roster (§2.1.6), under the newest version."""
