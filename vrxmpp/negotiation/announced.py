"""Stream features that are only announced: what the server can do for who has logged in (RFC 6120 §4.3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vrxmpp.negotiation.feature import Channel, Have, Request
from vrxmpp.waiting import Waiting


class Announced:
    """Says what the modules have to say; there is nothing to negotiate."""

    needs = Have.IDENTITY
    until = Have.RESOURCE
    answers: frozenset[str] = frozenset()

    def __init__(self, announcements: Sequence[Callable[[], bytes]]) -> None:
        self._announcements = announcements

    def offer(self, channel: Channel) -> bytes:
        """Return the elements one after the other."""
        return b"".join(announce() for announce in self._announcements)

    def take(self, request: Request, channel: Channel) -> Waiting | None:
        """Never called: there is nothing to answer."""
        raise NotImplementedError
