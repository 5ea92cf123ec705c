"""XEP-0157: Contact Addresses for XMPP Services. Whom to turn to about this domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vrxmpp import ns
from vrxmpp.core.module import Module, Xep
from vrxmpp.dom import Field, Form


class ContactAddresses(Module):
    """Adds a form to the domain's disco#info (XEP-0128).

    ``addresses`` are URIs by purpose: "abuse", "admin", "feedback", "sales", "security", "status" or "support".
    """

    implements = (Xep(128, "1.0.1"), Xep(157, "1.1.1"))

    def __init__(self, addresses: Mapping[str, Sequence[str]]) -> None:
        fields = [
            Field("list-multi", f"{purpose}-addresses", values=list(uris))
            for purpose, uris in addresses.items()
            if uris
        ]
        self._forms = (Form("result", formNamespace=ns.SERVER_INFO, fields=fields),) if fields else ()

    @property
    def forms(self) -> tuple[Form, ...]:
        """The addresses."""
        return self._forms
