"""One local user in memory: what must be known at once about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vrxmpp.core.lock import Lock
from vrxmpp.core.seen import Seen
from vrxmpp.jid import Jid
from vrxmpp.store.interfaces import AccountState, LastActivity, RosterItem, Subscription

if TYPE_CHECKING:
    from vrxmpp.core.session import Session


class Account:
    """An account that is awake: its sessions, and its roster and blocklist as they are in the store.

    A change is written to the store first and put here after, under ``lock``: ``async with account.lock``.
    ``roster`` and ``blocked`` are keyed by the contact's address as text. ``present`` are the sessions that have sent
    presence; ``available`` those of them whose priority is not negative; ``most_available`` those with the highest
    (RFC 6121 §8.5.2.1.1). ``seen`` is who of other domains these see: by the resource they were shown to, "" for all
    that are present. ``catching_up`` is the session that is being given the messages that waited; until it has them
    all, new ones go behind them.
    """

    __slots__ = (
        "available",
        "blocked",
        "catching_up",
        "id",
        "is_guest",
        "jid",
        "last_activity",
        "lock",
        "most_available",
        "present",
        "roster",
        "roster_version",
        "seen",
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
        self.present: tuple[Session, ...] = ()
        self.available: tuple[Session, ...] = ()
        self.most_available: tuple[Session, ...] = ()
        self.seen: dict[str, Seen] = {}
        self.catching_up: Session | None = None
        self.lock = Lock()
        self.is_guest = False  # logged in without an account (XEP-0175): nothing of it is in the store

    def rank_sessions(self) -> None:
        """Find the available sessions anew; to be called when a presence or a session has changed."""
        self.present = tuple(s for s in self.sessions.values() if s.presence is not None)
        self.available = tuple(s for s in self.present if s.priority >= 0)
        highest = max((s.priority for s in self.available), default=0)
        self.most_available = tuple(s for s in self.available if s.priority == highest)

    def is_seen_by(self, contact: Jid) -> bool:
        """Whether the contact may know this user's presence: subscribed and not blocked, or the same account."""
        item = self.roster.get(contact.bare.text)
        if item is not None and item.subscription in {Subscription.FROM, Subscription.BOTH}:
            return not self.blocks(contact)
        return contact.bare == self.jid

    def blocks(self, jid: Jid) -> bool:
        """Whether the user has blocked this address, all of its resources, or all of its domain (XEP-0191 §6).

        Never the user's own address (§5), nor the own server, without which nothing could be unblocked.
        """
        blocked = self.blocked
        if not blocked or (jid.domain == self.jid.domain and jid.local in ("", self.jid.local)):
            return False
        return jid.text in blocked or jid.bare.text in blocked or jid.domain in blocked
