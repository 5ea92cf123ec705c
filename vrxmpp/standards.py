"""The page docs/standards.md: what is spoken here, from what the modules declare and what the rooms below them do.

``python -m vrxmpp.standards`` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from vrxmpp import modules
from vrxmpp.core.module import Module, Rfc, Xep

_INTRODUCTION = """\
# Standards

<!-- Made from the code by `python -m vrxmpp.standards`; a test holds it up to date. -->

What vrxmpp speaks, and the file that does it. Where a XEP has no part named, it is all of it that concerns a server of
this kind: one that speaks with clients, with other servers, and with components.
"""

# By number and section; the title of the whole is under an empty section.
_RFCS = {
    (2782, ""): "A DNS RR for Specifying the Location of Services",
    (3921, ""): "XMPP: Instant Messaging and Presence, of 2004",
    (3921, "3"): "Session Establishment",
    (4013, ""): "SASLprep",
    (4505, ""): "SASL ANONYMOUS",
    (4616, ""): "SASL PLAIN",
    (5802, ""): "SCRAM-SHA-1",
    (5929, ""): "Channel Bindings for TLS",
    (5929, "4"): "tls-server-end-point",
    (6120, ""): "XMPP: Core",
    (6120, "3"): "TCP Binding",
    (6120, "4"): "XML Streams",
    (6120, "5"): "STARTTLS Negotiation",
    (6120, "6"): "SASL Negotiation",
    (6120, "7"): "Resource Binding",
    (6120, "8"): "XML Stanzas",
    (6120, "10"): "Server Rules for Processing XML Stanzas",
    (6120, "11"): "XML Usage",
    (6121, ""): "XMPP: Instant Messaging and Presence",
    (6121, "2"): "Managing the Roster",
    (6121, "3"): "Managing Presence Subscriptions",
    (6121, "4"): "Exchanging Presence Information",
    (6121, "8"): "Server Rules for Processing XML Stanzas",
    (6121, "A"): "Subscription States",
    (7590, ""): "Use of TLS in XMPP",
    (7590, "3"): "Recommendations",
    (7622, ""): "XMPP: Address Format",
    (7677, ""): "SCRAM-SHA-256",
    (8305, ""): "Happy Eyeballs Version 2",
    (8305, "5"): "Connection Attempts",
    (9266, ""): "Channel Bindings for TLS 1.3",
    (9266, "2"): "tls-exporter",
    (9525, ""): "Service Identity in TLS",
}

_XEPS = {
    12: "Last Activity",
    27: "Current Jabber OpenPGP Usage",
    30: "Service Discovery",
    49: "Private XML Storage",
    50: "Ad-Hoc Commands",
    54: "vcard-temp",
    77: "In-Band Registration",
    92: "Software Version",
    114: "Jabber Component Protocol",
    115: "Entity Capabilities",
    128: "Service Discovery Extensions",
    133: "Service Administration",
    157: "Contact Addresses for XMPP Services",
    160: "Best Practices for Handling Offline Messages",
    175: "Best Practices for Use of SASL ANONYMOUS",
    178: "Best Practices for Use of SASL EXTERNAL with Certificates",
    185: "Dialback Key Generation and Validation",
    191: "Blocking Command",
    198: "Stream Management",
    199: "XMPP Ping",
    202: "Entity Time",
    203: "Delayed Delivery",
    220: "Server Dialback",
    288: "Bidirectional Server-to-Server Connections",
    334: "Message Processing Hints",
    356: "Privileged Entity",
    364: "Current Off-the-Record Messaging Usage",
    368: "SRV records for XMPP over TLS",
    373: "OpenPGP for XMPP",
    380: "Explicit Message Encryption",
    384: "OMEMO Encryption",
    440: "SASL Channel-Binding Type Capability",
    478: "Stream Limits Advertisement",
    504: "Data Policy",
}

BELOW_THE_MODULES: tuple[tuple[Rfc | Xep, str], ...] = (
    (Rfc(2782, ""), "net/resolve.py"),
    (Rfc(4013, "", "for passwords"), "negotiation/saslprep.py"),
    (Rfc(4505, ""), "negotiation/exchanges.py"),
    (Rfc(4616, ""), "negotiation/exchanges.py"),
    (Rfc(5802, "", "with -PLUS"), "negotiation/scram.py"),
    (Rfc(5929, "4"), "net/tls.py"),
    (Rfc(6120, "3", "to other servers"), "net/resolve.py"),
    (Rfc(6120, "4"), "wire/framer.py"),
    (Rfc(6120, "5", "with clients"), "negotiation/starttls.py"),
    (Rfc(6120, "5", "from other servers"), "net/s2s_in.py"),
    (Rfc(6120, "5", "to other servers"), "net/s2s_out.py"),
    (Rfc(6120, "6", "with clients"), "negotiation/login.py"),
    (Rfc(6120, "6", "EXTERNAL, from other servers"), "net/s2s_in.py"),
    (Rfc(6120, "6", "EXTERNAL, to other servers"), "net/s2s_out.py"),
    (Rfc(6120, "7"), "negotiation/bind.py"),
    (Rfc(6120, "8"), "stanza.py"),
    (Rfc(6120, "10"), "core/router.py"),
    (Rfc(6120, "11"), "wire/framer.py"),
    (Rfc(6121, "8"), "core/delivery.py"),
    (Rfc(7590, "3"), "net/tls.py"),
    (Rfc(7622, ""), "jid.py"),
    (Rfc(7677, "", "with -PLUS"), "negotiation/scram.py"),
    (Rfc(8305, "5"), "net/race.py"),
    (Rfc(9266, "2", "with TLS 1.3"), "net/tls.py"),
    (Rfc(9525, "", "DNS-ID, SRV-ID and IP-ID"), "net/identity.py"),
    (Xep(77, "2.4", "§3.1, where it is switched on"), "negotiation/registration.py"),
    (Xep(114, "1.6"), "net/component.py"),
    (Xep(175, "1.2"), "negotiation/exchanges.py"),
    (Xep(178, "1.2", "between servers, from them"), "net/s2s_in.py"),
    (Xep(178, "1.2", "between servers, to them"), "net/s2s_out.py"),
    (Xep(185, "1.0"), "negotiation/dialback.py"),
    (Xep(198, "1.6.3", "between servers"), "wire/management.py"),
    (Xep(220, "1.1.1"), "negotiation/dialback.py"),
    (Xep(288, "1.0.1"), "net/s2s.py"),
    (Xep(368, "1.1.0", "TLS and ALPN"), "net/tls.py"),
    (Xep(368, "1.1.0", "records of other servers"), "net/resolve.py"),
    (Xep(440, "1.0.0"), "negotiation/login.py"),
    (Xep(478, "0.2.0", "between servers"), "net/s2s.py"),
)
"""What is no module's, and the file that speaks it, below ``vrxmpp/``. A whole RFC has no section."""


def module_classes() -> Iterator[type[Module]]:
    """Find every module there is."""
    for found in iter_modules(modules.__path__, f"{modules.__name__}."):
        for value in vars(import_module(found.name)).values():
            if isinstance(value, type) and issubclass(value, Module) and value.__module__ == found.name:
                yield value


def page() -> str:
    """Return the page in Markdown."""
    spoken = [*BELOW_THE_MODULES, *_declared()]
    rfcs = sorted(((each, file) for each, file in spoken if isinstance(each, Rfc)), key=lambda pair: _place(pair[0]))
    xeps = sorted(((each, file) for each, file in spoken if isinstance(each, Xep)), key=lambda pair: pair[0].number)
    lines = [_INTRODUCTION, "## RFCs\n"]
    lines += ["| RFC | Title | Part | How far | In `vrxmpp/` |", "| --- | --- | --- | --- | --- |"]
    lines += [_rfc_row(rfc, file) for rfc, file in rfcs]
    lines += ["\n## XEPs\n", "| XEP | Title | Version | Part | In `vrxmpp/` |", "| --- | --- | --- | --- | --- |"]
    lines += [_xep_row(xep, file) for xep, file in xeps]
    return "\n".join([*lines, ""])


def _declared() -> Iterator[tuple[Rfc | Xep, str]]:
    for module in module_classes():
        file = module.__module__.removeprefix("vrxmpp.").replace(".", "/") + ".py"
        yield from ((standard, file) for standard in module.implements)


def _place(rfc: Rfc) -> tuple[int, list[tuple[int, str]]]:
    return rfc.number, [(len(part), part) for part in rfc.section.split(".")]  # §2 before §10


def _rfc_row(rfc: Rfc, file: str) -> str:
    link = f"[RFC {rfc.number}](https://www.rfc-editor.org/rfc/rfc{rfc.number})"
    part = f"§{rfc.section} {_RFCS[rfc.number, rfc.section]}" if rfc.section else "all"
    return f"| {link} | {_RFCS[rfc.number, '']} | {part} | {rfc.note} | `{file}` |"


def _xep_row(xep: Xep, file: str) -> str:
    link = f"[XEP-{xep.number:04}](https://xmpp.org/extensions/xep-{xep.number:04}.html)"
    return f"| {link} | {_XEPS[xep.number]} | {xep.version} | {xep.note} | `{file}` |"


if __name__ == "__main__":
    print(page(), end="")
