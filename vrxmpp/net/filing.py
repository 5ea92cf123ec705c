"""What of all messages is archived, and where it is filed: its type, its conversation, its class of records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from vrxmpp import ns
from vrxmpp.audit.leaf import Type
from vrxmpp.core.router import Router
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza

_CHAT_STATES = ("active", "composing", "paused", "inactive", "gone")
_HINTS = ("no-permanent-store", "no-store", "no-copy", "store")
# Of what these say, nothing is left when the conversation is over. Hints have no say in what is archived.
_NEGLIGIBLE = frozenset(
    (
        ns.qname(ns.CLIENT, "thread"),
        ns.qname(ns.STANZA_IDS, "origin-id"),
        ns.qname(ns.STANZA_IDS, "stanza-id"),
        *(ns.qname(ns.CHAT_STATES, name) for name in _CHAT_STATES),
        *(ns.qname(ns.HINTS, name) for name in _HINTS),
    )
)
# Nor do they say anything but by their names: a thread is an identifier (XEP-0201 §4), the others are empty.
_THREAD = rb"thread[^<>]*>[^<>\s]{0,100}</thread"
_EMPTY = re.compile(rb"(?:\s*+<(?:%b|([a-z][\w:.-]*+)[^<>]*></\1|[^<>!?/][^<>]*/)>)*+\s*+" % _THREAD)
_LONGEST_EMPTY = 1024  # bytes beside the addresses
_EDIT = ns.qname("urn:xmpp:message-correct:0", "replace")  # XEP-0308
_RETRACT = ns.qname("urn:xmpp:message-retract:1", "retract")  # XEP-0424, and XEP-0425 with it
_OLD_RETRACT = "urn:xmpp:message-retract:0"
_FASTENED = ns.qname("urn:xmpp:fasten:0", "apply-to")  # XEP-0422: where an old retraction is
_SPECIAL = frozenset((_EDIT, _RETRACT, ns.qname(_OLD_RETRACT, "retract"), _FASTENED))

_PAIRS = 10_000  # of addresses whose conversation is remembered
_MESSAGE = Type.MESSAGE  # which costs a call each time it is looked up
_PUBLIC, _AUDIT = 0, 1  # the first two of the classes


class Place(NamedTuple):
    """Where something is filed: the name of its conversation, and its class by its place in ``Filing.classes``."""

    conversation: bytes
    class_index: int


class Filing:
    """Knows the classes of records: of each domain here that has its own, and that of the others."""

    def __init__(self, router: Router, classes: Mapping[str, str], default: str) -> None:
        self._router = router
        self._class_of = dict(classes)
        self._default = default
        self.classes = ["", "audit", *sorted({*classes.values(), default} - {"audit"})]
        self._places: dict[tuple[str, str, bool], Place] = {}

    def wants(self, stanza: Stanza) -> bool:
        """Whether this message is worth a record, and concerns an account here."""
        if stanza.kind != "message" or (_NEGLIGIBLE.issuperset(stanza.payloads) and _is_empty(stanza)):
            return False
        to, sender, hosts = stanza.to, stanza.sender, self._router.hosts
        return (sender is not None and sender.domain in hosts) or (to is not None and to.domain in hosts)

    def type_of(self, stanza: Stanza) -> Type:
        """Return what kind of record a message makes; an error is what became of another (RFC 6120 §8.3)."""
        if stanza.type == "error":
            return Type.OUTCOME
        payloads = stanza.payloads
        if _SPECIAL.isdisjoint(payloads):
            return _MESSAGE
        if _EDIT in payloads:
            return Type.EDIT
        if _FASTENED in payloads and _OLD_RETRACT.encode() not in stanza.inner:
            return _MESSAGE
        return Type.RETRACT

    def of_message(self, stanza: Stanza) -> Place:
        """Return where a message is filed: under two accounts, or under its room."""
        sender, to = stanza.sender or stanza.to, stanza.to or stanza.sender
        assert sender is not None
        assert to is not None
        key = (sender.bare.text, to.bare.text, stanza.type == "groupchat")
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= _PAIRS:
                self._places.clear()
            place = self._places[key] = self._find(sender.bare, to.bare, key[2])
        return place

    def _find(self, sender: Jid, to: Jid, is_groupchat: bool) -> Place:
        hosts = self._router.hosts
        is_from_us = sender.domain in hosts
        names = sorted((sender.text.encode(), to.text.encode()))
        if is_groupchat and is_from_us != (to.domain in hosts):
            names = [(to if is_from_us else sender).text.encode()]  # who is no account here: the room
        return Place(b" ".join(names), self._class_index((sender if is_from_us else to).domain))

    def of_note(self, type: Type, conversation: str) -> Place:
        """Return where anything else is filed, by the name of its conversation."""
        if type >= Type.ERASE:
            class_index = _PUBLIC
        elif type >= Type.CONFIG:
            class_index = _AUDIT
        else:
            class_index = self._class_index(conversation.rpartition("@")[2])
        return Place(conversation.encode(), class_index)

    def _class_index(self, domain: str) -> int:
        return self.classes.index(self._class_of.get(domain, self._default))


def _is_empty(stanza: Stanza) -> bool:
    """Whether nothing is said between the tags, or in what may stand within them."""
    size = len(stanza.inner) + len(stanza.extra) + len(stanza.id) + len(stanza.type) + len(stanza.lang)
    return size <= _LONGEST_EMPTY and _EMPTY.fullmatch(stanza.inner) is not None
