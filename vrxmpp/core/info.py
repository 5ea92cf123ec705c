"""What an address tells about itself: identities, features, extended information, items (XEP-0030, XEP-0128)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vrxmpp.jid import Jid

if TYPE_CHECKING:
    from vrxmpp.dom import Form


@dataclass(frozen=True, slots=True)
class Identity:
    """What kind of thing an address is, in the words of the XMPP Registrar (XEP-0030 §3.1)."""

    category: str
    type: str
    name: str = ""
    lang: str = ""


@dataclass(frozen=True, slots=True)
class Info:
    """The answer to disco#info. ``forms`` are data forms of type "result", each with a FORM_TYPE (XEP-0128)."""

    identities: tuple[Identity, ...]
    features: tuple[str, ...]
    forms: tuple[Form, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the answer to disco#items (XEP-0030 §4.1)."""

    jid: Jid
    node: str = ""
    name: str = ""
