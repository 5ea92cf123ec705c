"""IQ requests that wait for an answer, so that each gets exactly one (RFC 6120 §8.2.3)."""

from __future__ import annotations

from vrxmpp.stanza import Stanza

_Key = tuple[str, str, str]  # who asks, who is asked, and the id


class Pending:
    """The requests that one client or service has been given; at most ``limit`` of them."""

    __slots__ = ("_limit", "_requests")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._requests: dict[_Key, Stanza] = {}

    def expect(self, request: Stanza) -> Stanza | None:
        """Note a request; return the one that had to be given up for it, which somebody must now refuse."""
        assert request.sender is not None
        assert request.to is not None
        key = (request.sender.text, request.to.text, request.id)
        requests = self._requests
        given_up = requests.pop(key, None)
        if given_up is None and len(requests) >= self._limit:
            given_up = requests.pop(next(iter(requests)))
        requests[key] = Stanza("iq", to=request.to, sender=request.sender, type=request.type, id=request.id)
        return given_up

    def take(self, asker: str, asked: str, id: str) -> Stanza | None:
        """Return a request that waits, if there is such a one, and forget it."""
        return self._requests.pop((asker, asked, id), None)

    def settle(self, answer: Stanza) -> bool:
        """Return whether this answers a request that waits, which it then does no longer."""
        if answer.to is None or answer.sender is None:
            return False
        return self.take(answer.to.text, answer.sender.text, answer.id) is not None

    def give_up(self) -> list[Stanza]:
        """Return all that still wait, and forget them."""
        requests = list(self._requests.values())
        self._requests.clear()
        return requests
