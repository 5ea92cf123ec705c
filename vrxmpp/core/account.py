"""One local user in memory: what must be known at once about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import DeferredLock

from vrxmpp.jid import Jid
from vrxmpp.store.interfaces import AccountState, LastActivity, RosterItem, Subscription

if TYPE_CHECKING:
    from vrxmpp.core.session import Session


class Account:
    """An account that is awake: its sessions, and its roster and blocklist as they are in the store.

    A change is written to the store first and put here after, under ``lock``: ``async with account.lock``.
    ``roster`` and ``blocked`` are keyed by the contact's address as text. ``available`` are the sessions with presence
    of a priority that is not negative; ``most_available`` those of them with the highest (RFC 6121 §8.5.2.1.1).
    """

    __slots__ = (
        "available",
        "blocked",
        "id",
        "jid",
        "last_activity",
        "lock",
        "most_available",
        "roster",
        "roster_version",
        "sessions",
    )

    def __init__(self, state: AccountState, jid: Jid) -> None:
        self.id = state.id
        self.jid = jid
        self.roster: dict[str, RosterItem] = {item.jid.text: item for item in state.roster}
        self.roster_version = state.roster_version
        self.blocked: dict[str, Jid] = {blocked.text: blocked for blocked in state.blocked}
        self.last_activity: LastActivity | None = state.last_activity
        self.sessions: dict[str, Session] = {}
        self.available: tuple[Session, ...] = ()
        self.most_available: tuple[Session, ...] = ()
        self.lock = DeferredLock()

    def rank_sessions(self) -> None:
        """Find the available sessions anew; to be called when a presence or a session has changed."""
        able = [s for s in self.sessions.values() if s.presence is not None and s.priority >= 0]
        highest = max((s.priority for s in able), default=0)
        self.available = tuple(able)
        self.most_available = tuple(s for s in able if s.priority == highest)

    def is_seen_by(self, contact: Jid) -> bool:
        """Whether the contact may know this user's presence: a subscription from them, or the same account."""
        item = self.roster.get(contact.bare.text)
        if item is not None and item.subscription in {Subscription.FROM, Subscription.BOTH}:
            return True
        return contact.bare == self.jid
