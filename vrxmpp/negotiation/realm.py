"""What a SASL mechanism may ask about the accounts of one host, so that nobody learns who has one (RFC 6120 §6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from vrxmpp.jid import InvalidJid, Jid, prepare_local
from vrxmpp.negotiation.mechanism import SaslCondition, SaslFailure
from vrxmpp.negotiation.scram import decoy_keys
from vrxmpp.store.interfaces import AccountId, Credentials


@dataclass(frozen=True, slots=True)
class Realm:
    """The accounts of one domain. Keys of made-up accounts come from ``secret`` and have ``iterations``."""

    domain: str
    lookup: Callable[[str], Awaitable[Credentials | None]]
    secret: bytes = field(repr=False)
    iterations: int

    def claim(self, username: str, authzid: str) -> str:
        """Return the localpart of the account that a client wants, empty where there can be none of that name.

        RFC 6120 §6.3.8: an authzid, if any, must be the bare address of the same account; else raises SaslFailure.
        """
        try:
            local = prepare_local(username)
        except InvalidJid:
            local = ""
        if authzid and not self._is_address_of(local, authzid):
            raise SaslFailure(SaslCondition.INVALID_AUTHZID)
        return local

    async def credentials(self, username: str, local: str) -> Credentials:
        """Return the keys to check a login against: for every name some, and for a made-up account disabled ones."""
        # Made for known names too, so that it takes the same time.
        sha1, sha256 = decoy_keys(self.secret, f"{local or username}@{self.domain}", self.iterations)
        known = await self.lookup(local) if local else None
        return known or Credentials(id=AccountId(0), enabled=False, sha1=sha1, sha256=sha256)

    def _is_address_of(self, local: str, authzid: str) -> bool:
        try:
            return bool(local) and Jid.parse(authzid) == Jid(local, self.domain, "")
        except InvalidJid:
            return False
