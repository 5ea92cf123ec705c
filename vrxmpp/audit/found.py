"""What a record says to people: who wrote to whom, what, and what cannot be read (RFC 6121 §5, and XEPs named here)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from html import unescape
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from vrxmpp import ns
from vrxmpp.audit.leaf import Type

Json = dict[str, Any]

_ENCRYPTED = {
    **dict.fromkeys(ns.OMEMO, "OMEMO"),
    ns.OPENPGP: "OpenPGP",
    ns.OPENPGP_LEGACY: "OpenPGP",
    "urn:xmpp:otr:0": "OTR",  # as XEP-0380 names it
}
_OTR = "?OTR"  # XEP-0364
_REFERRING = frozenset(
    (
        "{urn:xmpp:message-correct:0}replace",  # XEP-0308
        "{urn:xmpp:message-retract:0}retract",  # XEP-0424
        "{urn:xmpp:message-retract:1}retract",
        "{urn:xmpp:fasten:0}apply-to",  # XEP-0422
        "{urn:xmpp:reactions:0}reactions",  # XEP-0444
    )
)
_TO_READ = frozenset(("subject", "body"))
_LONGEST_NAME = 40  # characters of the name that a message gives to its encryption

_START = re.compile(rb"<[a-z]+(?: to='([^']*)')?(?: from='([^']*)')?")  # as vrxmpp writes it
_TAG = re.compile(r"<[^>]*>")


@dataclass(slots=True)
class Found:
    """A record. ``problem`` says why there is nothing to read in it, and is empty where there is."""

    index: int
    time: int  # microseconds since 1970, UTC
    type: int
    class_name: str  # "": it is public
    day: date
    conversation: str  # its name; "" where that is not known
    conversation_id: bytes
    leaf: bytes = field(repr=False)
    salt: bytes = field(default=b"", repr=False)
    envelope: bytes = field(default=b"", repr=False)
    problem: str = ""

    @property
    def facts(self) -> Json:
        """What the server noted."""
        return read_facts(self.envelope)

    @property
    def stanza(self) -> bytes:
        """The bytes that were routed, if it has a stanza."""
        return self.envelope.partition(b"\n")[2]

    @property
    def sender(self) -> str:
        """The address it is from, or ""."""
        return sides(self.stanza)[0]

    @property
    def recipient(self) -> str:
        """The address it is to, or ""."""
        return sides(self.stanza)[1]

    @property
    def text(self) -> str:
        """What people read: subject and body, "content unavailable (NAME)", or the problem in parentheses."""
        if self.problem:
            return f"({self.problem})"
        return to_read(self.stanza)

    @property
    def id(self) -> str:
        """The id its sender gave the stanza, or ""."""
        root = _parse(self.stanza)
        return "" if root is None else root.get("id", "")

    @property
    def refers_to(self) -> str:
        """The id of the message that this one corrects, retracts or reacts to, or ""."""
        root = _parse(self.stanza)
        if root is None:
            return ""
        return next((child.get("id", "") for child in root if child.tag in _REFERRING), "")

    @property
    def outcome(self) -> str:
        """What became of another message, and of which, if it is about that; or ""."""
        facts = self.facts
        record = facts.get("record")
        about = f"record {record}" if isinstance(record, int) else ""
        return ": ".join(part for part in (about, str(facts.get("outcome", ""))) if part)

    @property
    def kind(self) -> str:
        """Its type in one word."""
        return Type(self.type).name.lower()

    @property
    def at(self) -> str:
        """Its time as people write it, UTC (RFC 3339)."""
        return written(self.time)


def written(time: int) -> str:
    """Write a time in microseconds since 1970 as RFC 3339 has it, UTC."""
    seconds, rest = divmod(time, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06}Z"


def read_facts(envelope: bytes) -> Json:
    """Return the facts of an envelope; none where they cannot be read."""
    try:
        facts = json.loads(envelope.partition(b"\n")[0])
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def sides(stanza: bytes) -> tuple[str, str]:
    """Return whom a stanza is from and to."""
    start = _START.match(stanza)
    if start is None:
        return "", ""
    to, sender = (unescape((side or b"").decode(errors="replace")) for side in start.groups())
    return sender, to


def searchable(stanza: bytes) -> str:
    """Return all that people may read in a stanza: each subject and body, in XHTML and in forwarded messages too.

    All of its text, where it cannot be parsed: nothing shall be missed.
    """
    root = _parse(stanza)
    if root is None:
        return unescape(_TAG.sub(" ", stanza.decode(errors="replace")))
    return "\n".join("".join(each.itertext()) for each in _readable(root))


def to_read(stanza: bytes) -> str:
    """Return what a stanza says, for people; what is encrypted end to end is only named."""
    if not stanza:
        return ""
    root = _parse(stanza)
    if root is None:
        return f"(this stanza cannot be parsed) {searchable(stanza)}"
    parts = list(dict.fromkeys("".join(each.itertext()) for each in _readable(root)))
    name = _encryption(root, parts)
    if name:
        parts = [part for part in parts if not part.startswith(_OTR)]
        return "\n".join((f"content unavailable ({name})", *(f"[sent with it] {part}" for part in parts)))
    return "\n".join(parts) or " ".join(_described(child) for child in root)


def _parse(stanza: bytes) -> Element | None:
    if b"<!DOCTYPE" in stanza:
        return None
    try:
        return ElementTree.fromstring(stanza)
    except (ElementTree.ParseError, ValueError):
        return None


def _readable(root: Element) -> Iterator[Element]:
    return (each for each in root.iter() if each.tag.rpartition("}")[2] in _TO_READ)


def _encryption(root: Element, parts: list[str]) -> str:
    """Return how a message is encrypted end to end, or ""."""
    for child in root:
        namespace, _, local = child.tag[1:].partition("}") if child.tag[0] == "{" else ("", "", child.tag)
        if namespace == ns.EME and local == "encryption":
            used = child.get("namespace", "")
            return _ENCRYPTED.get(used) or " ".join((child.get("name") or used or "unknown").split())[:_LONGEST_NAME]
        if namespace in _ENCRYPTED:
            return _ENCRYPTED[namespace]
    return "OTR" if any(part.startswith(_OTR) for part in parts) else ""


def _described(child: Element) -> str:
    """Say what a child is that has nothing to read: a marker, a retraction, a reaction."""
    words = (child.tag.rpartition("}")[2], child.get("id", ""), "".join(child.itertext()).strip())
    return f"[{' '.join(word for word in words if word)}]"
