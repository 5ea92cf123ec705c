"""Who of other domains is shown as available, so that it can be taken back when a domain is lost (RFC 6121 §4.5.3)."""

from __future__ import annotations

from collections.abc import Collection

from vrxmpp.jid import Jid

_MOST = 3000


class Seen:
    """What one client has been shown, or all of an account that are present; no more than 3000 addresses."""

    __slots__ = ("_count", "_domains")

    def __init__(self) -> None:
        self._domains: dict[str, dict[str, dict[str, Jid]]] = {}  # of each domain the contacts, of each the addresses
        self._count = 0

    @property
    def domains(self) -> Collection[str]:
        """Where those are who were shown."""
        return self._domains.keys()

    def add(self, jid: Jid, most: int) -> None:
        """Remember an address, one of at most so many of the same contact, or room."""
        if self._count >= _MOST:
            return
        addresses = self._domains.setdefault(jid.domain, {}).setdefault(jid.bare.text, {})
        if jid.text not in addresses and len(addresses) < most:
            addresses[jid.text] = jid
            self._count += 1

    def discard(self, jid: Jid) -> None:
        """Forget an address; a bare one stands for all its resources (§4.5.4)."""
        contacts = self._domains.get(jid.domain, {})
        addresses = contacts.get(jid.bare.text)
        if addresses is None:
            return
        for text in [jid.text] if jid.resource else list(addresses):
            self._count -= addresses.pop(text, None) is not None
        if not addresses:
            del contacts[jid.bare.text]
        if not contacts:
            del self._domains[jid.domain]

    def lose(self, domain: str) -> dict[str, Jid]:
        """Forget a domain; return the addresses that were remembered, by their text."""
        contacts = self._domains.pop(domain, {})
        lost = {text: jid for addresses in contacts.values() for text, jid in addresses.items()}
        self._count -= len(lost)
        return lost
