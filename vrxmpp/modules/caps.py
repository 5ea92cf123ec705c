"""XEP-0115: Entity Capabilities. All that the server can do, in one short string."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import lru_cache

from vrxmpp import ns, xml
from vrxmpp.core.info import Info
from vrxmpp.core.module import Module, Request, Xep
from vrxmpp.dom import Form


class EntityCapabilities(Module):
    """The server's own capabilities, in its stream features (§6.3). ``node`` is the home page of the software (§4)."""

    implements = (Xep(115, "1.6.0", "the server's own capabilities"),)
    features = (ns.CAPS,)

    def __init__(self, node: str) -> None:
        self._node = node

    def stream_feature(self) -> bytes:
        """§6.3."""
        node, ver = xml.attribute(self._node), verification_string(self.host.info)
        return f"<c xmlns='{ns.CAPS}' hash='sha-1' node='{node}' ver='{ver}'/>".encode()

    def node_info(self, request: Request, node: str) -> Info | None:
        """§6.2: the node of the domain that stands for its capabilities as they are now."""
        mine = request.account is None and node == f"{self._node}#{verification_string(self.host.info)}"
        return self.host.info if mine else None


@lru_cache(100)
def verification_string(info: Info) -> str:
    """Return the ``ver`` of a disco#info answer, with SHA-1 (§5.1)."""
    # UTF-8 sorts as the code points do, so this is the i;octet order that §5.1 asks for.
    ordered = sorted(info.identities, key=lambda identity: (identity.category, identity.type, identity.lang))
    identities = (f"{identity.category}/{identity.type}/{identity.lang}/{identity.name}" for identity in ordered)
    forms = (part for form in sorted(info.forms, key=_form_type) for part in _form_parts(form))
    parts = [*identities, *sorted(info.features), *forms]
    digest = hashlib.sha1("".join(f"{part}<" for part in parts).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def _form_type(form: Form) -> str:
    return str(form.formNamespace)


def _form_parts(form: Form) -> Iterator[str]:
    yield _form_type(form)
    for name, field in sorted(form.fields.items()):
        yield name
        yield from sorted(field.values)
