"""XEP-0198 §5: the sessions that peers have begun with us, and may come back to when their stream has broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vrxmpp.wire import management
from vrxmpp.wire.management import Management

if TYPE_CHECKING:
    from vrxmpp.net.s2s import ServerStream

_MOST = 1000


@dataclass(slots=True)
class _Session:
    """One session, with its stream, or until when it waits for another."""

    managed: Management
    stream: ServerStream | None
    local: str
    remote: str
    is_bidirectional: bool
    until: float = 0.0


class Sessions:
    """All of them, by their id; without a stream each is kept for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sessions: dict[str, _Session] = {}

    def new_id(self) -> str:
        """Return an id to come back by; "" where there are too many sessions already."""
        return management.new_id() if len(self._sessions) < _MOST else ""

    def keep(self, managed: Management, stream: ServerStream) -> None:
        """A session has begun on a stream, or goes on there."""
        if managed.id:
            pair = stream.local, stream.remote
            self._sessions[managed.id] = _Session(managed, stream, *pair, stream.is_bidirectional)

    def find(self, id: str, stream: ServerStream) -> Management | None:
        """Return the session that a peer comes back to, taken from the stream it was on."""
        session = self._sessions.get(id)
        if session is None or (session.local, session.remote) != (stream.local, stream.remote):
            return None
        if session.is_bidirectional and not stream.is_bidirectional:
            return None  # what it was not sent could not be sent here
        if session.stream is not None:
            session.stream.break_off()
        return session.managed

    def leave(self, managed: Management, now: float) -> None:
        """The stream of a session has broken."""
        session = self._sessions.get(managed.id)
        if session is not None:
            session.stream, session.until = None, now + self._seconds

    def forget(self, managed: Management) -> None:
        """A session is over."""
        self._sessions.pop(managed.id, None)

    def sweep(self, now: float) -> None:
        """Forget those that nobody has come back to."""
        for id, session in list(self._sessions.items()):
            if session.stream is None and now > session.until:
                del self._sessions[id]
