"""XEP-0054: vcard-temp. A user's card, which everybody may read."""

from __future__ import annotations

from vrxmpp import dom, ns
from vrxmpp.core.module import At, Module, Request, Xep, iq
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.store.interfaces import VCards


class VCardTemp(Module):
    """Keeps one card an account, of at most ``limit`` bytes."""

    implements = (Xep(54, "1.3.0"),)
    features = (ns.VCARD,)
    account_features = (ns.VCARD,)

    def __init__(self, vcards: VCards, limit: int) -> None:
        self._vcards = vcards
        self._limit = limit

    @iq("get", ns.VCARD, "vCard", at=At.ACCOUNT, shared=True)
    async def get(self, request: Request) -> bytes:
        """§3.1, §3.3: to others, no card looks the same as no account."""
        account = request.account
        vcard = await self._vcards.get(account.id) if account is not None else None
        if vcard is not None:
            return vcard
        is_own = account is not None and request.sender.bare == account.jid
        raise StanzaError(Condition.ITEM_NOT_FOUND if is_own else Condition.SERVICE_UNAVAILABLE)

    @iq("set", ns.VCARD, "vCard", at=At.ACCOUNT)
    async def set(self, request: Request) -> None:
        """§3.2: the whole card is replaced."""
        assert request.account is not None
        vcard = dom.serialise(request.payload())
        if len(vcard) > self._limit:
            raise StanzaError(Condition.POLICY_VIOLATION, f"a vCard has at most {self._limit} bytes")
        await self._vcards.put(request.account.id, vcard)
