"""Why another server could not be reached, for its users, for administrators, for the next attempt (RFC 6120 §10.4)."""

from __future__ import annotations

from vrxmpp.errors import Condition, StanzaError


class Unreachable(Exception):  # noqa: N818, it is named for what the server is
    """No stream could be opened. ``text`` says why, in plain words.

    ``lasting``: another attempt at once would end in the same way, so nobody is made to wait for one.
    """

    def __init__(self, condition: Condition, text: str, *, lasting: bool) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.lasting = lasting

    @property
    def stanza_error(self) -> StanzaError:
        """What a sender is told."""
        return StanzaError(self.condition, self.text)


def unavailable(text: str) -> Unreachable:
    """It may be there again soon."""
    return Unreachable(Condition.REMOTE_SERVER_TIMEOUT, text, lasting=False)
