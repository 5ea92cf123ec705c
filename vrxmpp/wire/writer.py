"""What a server writes around its stanzas: headers, features, errors, the end (RFC 6120 §4)."""

from __future__ import annotations

from vrxmpp import ns, xml
from vrxmpp.errors import StreamError

CLOSE = b"</stream:stream>"


def header(*, sender: str, to: str, id: str, lang: str = "en", content: str = ns.CLIENT) -> bytes:
    """Open a stream (RFC 6120 §4.7); what is empty is left out, as the id by who initiates (§4.7.3)."""
    attributes = {"from": sender, "to": to, "id": id, "xml:lang": lang}
    if content != ns.COMPONENT_ACCEPT:  # XEP-0114 is older than stream features
        attributes["version"] = "1.0"
    written = "".join(f" {name}='{xml.attribute(value)}'" for name, value in attributes.items() if value)
    dialback = f" xmlns:db='{ns.DIALBACK}'" if content == ns.SERVER else ""  # XEP-0220 §2.4.1
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{ns.STREAM}'{dialback}{written}>".encode()
    )


def features(*offers: bytes) -> bytes:
    """Announce stream features (RFC 6120 §4.3.2)."""
    return b"<stream:features>%b</stream:features>" % b"".join(offers)


def error(reason: StreamError) -> bytes:
    """Say why the stream ends, and end it (RFC 6120 §4.9)."""
    text = f"<text xmlns='{ns.STREAM_ERRORS}' xml:lang='en'>{xml.text(reason.text)}</text>" if reason.text else ""
    condition = f"<{reason.condition} xmlns='{ns.STREAM_ERRORS}'/>{text}".encode()
    return b"<stream:error>%b%b</stream:error>%b" % (condition, reason.application, CLOSE)
