"""Logging in: which SASL mechanisms a host offers, and one attempt at one of them (RFC 6120 §6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from vrxmpp.negotiation.exchanges import AnonymousExchange, PlainExchange, Run, ScramExchange
from vrxmpp.negotiation.mechanism import ChannelBindings, Exchange, SaslCondition, SaslFailure
from vrxmpp.negotiation.realm import Realm
from vrxmpp.negotiation.scram import Conversation, HashName
from vrxmpp.store.interfaces import Credentials

# In order of preference: to be bound to the channel is worth more than the better hash.
_SCRAM: dict[str, tuple[HashName, bool]] = {
    "SCRAM-SHA-256-PLUS": ("sha256", True),
    "SCRAM-SHA-1-PLUS": ("sha1", True),
    "SCRAM-SHA-256": ("sha256", False),
    "SCRAM-SHA-1": ("sha1", False),
}


class Authenticator:
    """Lets clients log in to one host.

    ``credentials`` looks an account up by its prepared localpart; ``run`` computes in a worker thread, as a password
    sent by PLAIN is slow to check. What they raise passes through the exchange. Users that do not exist are given
    salts made from ``fake_secret``, which must outlive a restart, and ``iterations``, which should be those of the
    accounts there are. ``plain`` and ``anonymous`` switch these mechanisms on.
    """

    def __init__(
        self,
        *,
        domain: str,
        credentials: Callable[[str], Awaitable[Credentials | None]],
        run: Run,
        fake_secret: bytes,
        iterations: int,
        plain: bool,
        anonymous: bool,
    ) -> None:
        self._realm = Realm(domain, credentials, fake_secret, iterations)
        self._run = run
        self._plain = plain
        self._anonymous = anonymous

    def mechanisms(self, secure: bool, bindings: ChannelBindings) -> tuple[str, ...]:
        """Return the names of the mechanisms to offer on a connection, the best first (RFC 6120 §6.4.1)."""
        names = [name for name, (_, plus) in _SCRAM.items() if bindings or not plus]
        if self._plain and secure:
            names.append("PLAIN")
        if self._anonymous:
            names.append("ANONYMOUS")
        return tuple(names)

    def begin(self, mechanism: str, secure: bool, bindings: ChannelBindings) -> Exchange:
        """Begin a login attempt; raises SaslFailure for a mechanism that is not offered (RFC 6120 §6.5.7)."""
        if mechanism not in self.mechanisms(secure, bindings):
            raise SaslFailure(SaslCondition.INVALID_MECHANISM)
        if mechanism == "PLAIN":
            return PlainExchange(self._realm, self._run)
        if mechanism == "ANONYMOUS":
            return AnonymousExchange()
        hash_name, plus = _SCRAM[mechanism]
        return ScramExchange(self._realm, Conversation(hash_name, plus, bindings))
