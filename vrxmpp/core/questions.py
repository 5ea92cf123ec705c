"""IQ requests that a domain here makes itself, in its own name, and who waits for the answers (RFC 6120 §8.2.3)."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Any

from twisted.internet.defer import Deferred

from vrxmpp.core.router import Router
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza

_MOST = 1000  # that wait

_Key = tuple[str, str, str]  # who asks, who is asked, and the id


class Questions:
    """What waits for an answer; the router gives it all that come to the domains themselves."""

    def __init__(self, router: Router, clock: Any) -> None:
        self._router = router
        self._clock = clock
        self._waiting: dict[_Key, Deferred[Stanza]] = {}

    def ask(self, sender: Jid, to: Jid, name: str, payload: bytes, *, seconds: float) -> Deferred[Stanza]:
        """Send an IQ of type "set"; ``name`` is the qualified name of the payload. The answer is a result or an error.

        It fails with Twisted's TimeoutError after so many seconds, and with StanzaError while too many wait.
        """
        id = token_urlsafe(12)
        key = (sender.text, to.text, id)

        def forget(_: object) -> None:
            self._waiting.pop(key, None)

        answer: Deferred[Stanza] = Deferred(forget)
        if len(self._waiting) >= _MOST:
            answer.errback(StanzaError(Condition.RESOURCE_CONSTRAINT, "too many requests wait for an answer"))
            return answer
        self._waiting[key] = answer
        answer.addTimeout(seconds, self._clock)
        self._router.send(Stanza("iq", to=to, sender=sender, type="set", id=id, payloads=(name,), inner=payload))
        return answer

    def settle(self, answer: Stanza) -> None:
        """Take an answer that has come to a domain here; one that nobody waits for is dropped."""
        if answer.to is not None and answer.sender is not None:
            waiting = self._waiting.pop((answer.to.text, answer.sender.text, answer.id), None)
            if waiting is not None:
                waiting.callback(answer)
