"""IQ requests that wait for a client's answer, so that each gets exactly one (RFC 6120 §8.2.3)."""

from __future__ import annotations

from vrxmpp.stanza import Stanza


class Pending:
    """The requests one client has been given, keyed by who asked and with which id; at most ``limit`` of them."""

    __slots__ = ("_requests",)
    limit = 1000

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], Stanza] = {}

    def expect(self, request: Stanza) -> Stanza | None:
        """Note a request; return the one that had to be given up for it, which somebody must now refuse."""
        assert request.sender is not None
        key = (request.sender.text, request.id)
        requests = self._requests
        given_up = requests.pop(key, None)
        if given_up is None and len(requests) >= self.limit:
            given_up = requests.pop(next(iter(requests)))
        requests[key] = Stanza("iq", to=request.to, sender=request.sender, type=request.type, id=request.id)
        return given_up

    def settle(self, answer: Stanza) -> bool:
        """Return whether this answers a request that waits, which it then does no longer."""
        return answer.to is not None and self._requests.pop((answer.to.text, answer.id), None) is not None

    def give_up(self) -> list[Stanza]:
        """Return all that still wait, and forget them."""
        requests = list(self._requests.values())
        self._requests.clear()
        return requests
