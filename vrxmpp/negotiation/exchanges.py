"""The login attempts of each SASL mechanism: SCRAM (RFC 5802), PLAIN (RFC 4616), ANONYMOUS (RFC 4505, XEP-0175)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from vrxmpp.negotiation.mechanism import (
    Challenge,
    ClientFirstExchange,
    SaslCondition,
    SaslFailure,
    Success,
    decode_text,
)
from vrxmpp.negotiation.realm import Realm
from vrxmpp.negotiation.scram import Conversation, password_matches
from vrxmpp.store.interfaces import ScramKeys

Run = Callable[[Callable[[], bool]], Awaitable[bool]]


class ScramExchange(ClientFirstExchange):
    """A login by one of the SCRAM mechanisms."""

    def __init__(self, realm: Realm, conversation: Conversation) -> None:
        super().__init__(self._read_first)
        self._realm = realm
        self._conversation = conversation

    async def _read_first(self, data: bytes) -> Challenge:
        first = self._conversation.read_first(data)
        self.claimed = self._realm.claim(first.username, first.authzid)
        credentials = await self._realm.credentials(first.username, self.claimed)
        keys = credentials.sha1 if self._conversation.hash_name == "sha1" else credentials.sha256
        self._next = partial(self._read_final, keys, credentials.enabled)
        return Challenge(self._conversation.challenge(keys))

    async def _read_final(self, keys: ScramKeys, enabled: bool, data: bytes) -> Success:
        server_final = self._conversation.read_final(data, keys)
        if server_final is None or not enabled:
            raise SaslFailure(SaslCondition.NOT_AUTHORIZED)
        return Success(self.claimed, server_final)


class PlainExchange(ClientFirstExchange):
    """A login by PLAIN; ``run`` computes in a worker thread."""

    def __init__(self, realm: Realm, run: Run) -> None:
        super().__init__(self._read)
        self._realm = realm
        self._run = run

    async def _read(self, data: bytes) -> Success:
        """RFC 4616 §2: authzid, username and password, with a NUL between them."""
        fields = decode_text(data).split("\0")
        if len(fields) != 3 or not fields[1] or not fields[2]:
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST, "not a PLAIN message")
        authzid, username, password = fields
        self.claimed = self._realm.claim(username, authzid)
        credentials = await self._realm.credentials(username, self.claimed)
        matches = await self._run(partial(password_matches, password, credentials.sha256))
        if not matches or not credentials.enabled:
            raise SaslFailure(SaslCondition.NOT_AUTHORIZED)
        return Success(self.claimed, None)


class AnonymousExchange:
    """A login without an account; what the client says about itself is not looked at (XEP-0175 §2)."""

    claimed = ""

    async def respond(self, data: bytes | None) -> Success:
        return Success(secrets.token_hex(16), None, anonymous=True)
