"""Reading for officers: decrypt and scan within a window of time; nothing is indexed, and little is ever in memory."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from unicodedata import normalize

from vrxmpp.audit.days import day_of
from vrxmpp.audit.found import Found, Json, read_facts, searchable, sides
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import DayKeys, KeyStore
from vrxmpp.audit.leaf import COMMITMENT, CONVERSATION, KEY_ID, PUBLIC, TYPE, WITH_STANZA, Leaf, Type
from vrxmpp.audit.records import Records, Row
from vrxmpp.audit.seal import SALT_BYTES, SealError, commit, open_payload
from vrxmpp.jid import Jid

END = 2**63 - 1  # microseconds since 1970: after everything

ERASED = "erased"
NOT_SEALED = "not sealed to this officer, or its keys are gone"
DAMAGED = "damaged: this is not what was recorded"

_MOST_NAMES = 16_384  # of conversations that are at hand
_HIDDEN = re.compile("[&<>'\"]")  # what is written in another way within XML
_SAID = re.compile(rb"<(?:[^\s<>/:]++:)?(?:body|subject)([\s>/][^<]*+)<(/?)")  # and whether that is all of it


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; what is empty does not narrow it.

    ``since`` and ``until`` are microseconds since 1970 (UTC), the latter not included. Each of ``addresses``, bare JIDs
    or domains, must be on one side; each of ``words`` in what people read, in whatever case. ``types`` are those of the
    leaf. ``conversation`` is a name: two bare JIDs with a space between, a room's, an account's.
    """

    since: int = 0
    until: int = END
    addresses: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    types: frozenset[int] = frozenset()
    conversation: str = ""

    def __post_init__(self) -> None:
        """ValueError where an address, type or window is none."""
        object.__setattr__(self, "addresses", tuple(map(bare_address, self.addresses)))
        object.__setattr__(self, "types", frozenset(Type(type) for type in self.types))
        object.__setattr__(self, "conversation", conversation_name(self.conversation))
        if self.until < self.since:
            raise ValueError("the window ends before it begins")

    def to_json(self) -> Json:
        """Return it as JSON has it, without what does not narrow it."""
        values = {
            "since": self.since,
            "until": None if self.until == END else self.until,
            "addresses": list(self.addresses),
            "words": list(self.words),
            "types": [Type(type).name.lower() for type in sorted(self.types)],
            "conversation": self.conversation,
        }
        return {name: value for name, value in values.items() if value}

    def names(self) -> list[str]:
        """Return which conversations can have what is looked for; none where any can."""
        if self.conversation:
            return [self.conversation]
        people = [each for each in self.addresses if "@" in each]
        return [name_of_pair(*people), *people] if len(people) == 2 else []


def name_of_pair(one: str, other: str) -> str:
    """Return the name of a conversation of two (docs/audit-format.md, Keys)."""
    return " ".join(sorted((one, other), key=str.encode))


def bare_address(text: str) -> str:
    """Return the address that somebody has typed as the log has it, without its resource. ValueError if it is none."""
    return Jid.parse(text.strip()).bare.text


def conversation_name(text: str) -> str:
    """Return the name of a conversation that somebody has typed as the log has it. ValueError if it cannot be one."""
    words = text.split()
    if len(words) > 2:
        raise ValueError("a conversation is named by one address or two")
    if len(words) == 2 and words[0] != "stream":
        return name_of_pair(*map(bare_address, words))
    return bare_address(text) if "@" in text else " ".join(words)


class Search:
    """What a search finds, in order; it can be gone through once, and tells how far it has got."""

    def __init__(self, reader: Reader, query: Query) -> None:
        self._found = reader.find(query, self)
        self.first, self.end = reader.window(query)  # the indices it looks between
        self.place = self.first
        self.scanned = 0  # records that were opened, so far
        self.unread = 0  # records that may be what is looked for, but are erased or not sealed to this officer
        self.unopened: list[tuple[str, date, str]] = []  # which classes and days stayed closed, and why

    def __iter__(self) -> Iterator[Found]:
        return self._found


class Reader:
    """Opens records with an officer's identity. It records nothing: ``office.Visit`` does, before it asks this.

    Raises RecordsError where the archive cannot be read.
    """

    def __init__(self, audit: Path, keys: KeyStore, name: str, identity: Identity) -> None:
        self.records = Records(audit)
        self._store, self._name, self._identity = keys, name, identity
        self._names: dict[tuple[bytes, bytes], str] = {}

    def search(self, query: Query) -> Search:
        """Find records; those that are damaged are found too.

        Those that are erased or closed to the officer are found where only times, types and conversation narrow the
        search, and else are counted.
        """
        return Search(self, query)

    def show(self, index: int) -> Found:
        """Return one record. RecordsError if there is none."""
        row = self.records.row(index)
        leaf = Leaf.unpack(row[1])
        keys = self._open_days(day_of(leaf.time), day_of(leaf.time))[0]
        return self._found(row, keys.get(leaf.key_id), {})

    def window(self, query: Query) -> tuple[int, int]:
        """Return the indices between which a query finds something: the first, and that after the last."""
        place = self.records.place
        return place(query.since), self.records.size if query.until == END else place(query.until)

    def of_day(self, keys: DayKeys, conversation_id: bytes | None = None) -> Iterator[Found]:
        """Yield the records of a class and day, or of one of its conversation-days."""
        first, end = self.records.day(keys.day)
        wanted = None if conversation_id is None else [conversation_id]
        known: dict[bytes, bytes | None] = {}
        for row in self.records.scan(first, end, key_id=keys.key_id, conversations=wanted):
            yield self._found(row, keys, known)

    def open_day(self, class_name: str, day: date) -> DayKeys:
        """Return the keys of a class and day. Raises SealError."""
        return self._store.open_as_officer(class_name, day, self._name, self._identity)

    def find(self, query: Query, search: Search) -> Iterator[Found]:
        """Yield what a search finds, and tell it how far it has got."""
        first, end = search.first, search.end
        if first >= end:
            return
        leaf = self.records.leaf
        days, search.unopened[:] = self._open_days(day_of(leaf(first).time), day_of(leaf(end - 1).time))
        names = query.names()
        wanted = {keys.conversation_id(name) for keys in days.values() for name in names} if names else None
        scan = self.records.scan(first, end, types=query.types, conversations=wanted)
        test, conversation_keys = _Test(query), dict[bytes, bytes | None]()
        for row in scan:
            search.place = row[0]
            search.scanned += 1
            keys = days.get(row[1][KEY_ID])
            plaintext = _open(row, keys, conversation_keys)
            if isinstance(plaintext, bytes):
                is_found = test.is_met(row[1], plaintext[SALT_BYTES:], keys)
            else:
                is_found = plaintext == DAMAGED or not (query.addresses or query.words)
                search.unread += not is_found and (not query.words or row[1][TYPE] in WITH_STANZA)
            if is_found:
                yield self._found(row, keys, conversation_keys, plaintext)

    def _open_days(self, first: date, last: date) -> tuple[dict[bytes, DayKeys], list[tuple[str, date, str]]]:
        """Open the keys of these days, by key id; and tell which could not be."""
        opened, unopened = {}, []
        for class_name, day in self._store.list():
            if first <= day <= last:
                try:
                    keys = self.open_day(class_name, day)
                except SealError as error:
                    unopened.append((class_name, day, str(error)))
                else:
                    opened[keys.key_id] = keys
        return opened, unopened

    def _found(
        self,
        row: Row,
        keys: DayKeys | None,
        conversation_keys: dict[bytes, bytes | None],
        plaintext: bytes | str | None = None,
    ) -> Found:
        index, raw, _ = row
        leaf = Leaf.unpack(raw)
        plaintext = _open(row, keys, conversation_keys) if plaintext is None else plaintext
        if isinstance(plaintext, bytes) and not hmac.compare_digest(commit(plaintext), raw[COMMITMENT]):
            plaintext = DAMAGED
        found = Found(
            index, leaf.time, leaf.type, keys.class_name if keys else "", day_of(leaf.time), "", leaf.conversation, raw
        )
        if isinstance(plaintext, str):
            found.problem = plaintext
        else:
            found.salt, found.envelope = plaintext[:SALT_BYTES], plaintext[SALT_BYTES:]
        if keys is not None:
            found.conversation = self._name_of(found, keys)
        return found

    def _name_of(self, found: Found, keys: DayKeys) -> str:
        """Return the name of the conversation whose id the record has: one that its addresses make."""
        known = self._names.get((keys.key_id, found.conversation_id))
        if known is None and not found.problem:
            names = _possible_names(found)
            known = next((name for name in names if keys.conversation_id(name) == found.conversation_id), "")
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[keys.key_id, found.conversation_id] = known
        return known or ""


def _open(row: Row, keys: DayKeys | None, known: dict[bytes, bytes | None]) -> bytes | str:
    """Return the plaintext of a record, or why there is none."""
    index, leaf, payload = row
    if payload is None:
        return ERASED
    id, key_id, key = leaf[CONVERSATION], leaf[KEY_ID], None
    if key_id != PUBLIC:
        if keys is None:
            return NOT_SEALED
        if id not in known:
            known[id] = _conversation_key(keys, id)
        key = known[id]
        if key is None:
            return ERASED
    try:
        return open_payload(key, index, leaf[TYPE], payload)
    except SealError:
        return DAMAGED


def _conversation_key(keys: DayKeys, id: bytes) -> bytes | None:
    try:
        return keys.conversation_key(id)
    except SealError:
        return None


def people_of(line: bytes, stanza: bytes) -> list[str]:
    """Return who a record is about, as bare addresses: the sides of the stanza, or else whatever the facts name."""
    named = sides(stanza) if stanza else [each for each in read_facts(line).values() if isinstance(each, str)]
    return list(dict.fromkeys(each.partition("/")[0] for each in named if each))


def _possible_names(found: Found) -> Iterator[str]:
    people = people_of(found.envelope, found.stanza)
    yield from (name_of_pair(one, other) for one in people for other in people)
    yield from people
    yield from (f"stream {domain}" for domain in people)
    yield from ("audit", "configuration")


class _Test:
    """Whether a record is what a query wants; XML is parsed only where its bytes make it likely."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._words = [normalize("NFKC", word).casefold() for word in query.words]
        self._plain = [max(_HIDDEN.split(word), key=len) for word in self._words]
        self._addresses = [each.encode() for each in query.addresses if each.isascii()]  # JSON may write others anew
        self._ids: dict[tuple[bytes, str], bytes] = {}

    def is_met(self, leaf: bytes, envelope: bytes, keys: DayKeys | None) -> bool:
        """Compare addresses, then words."""
        if self._query.addresses and not self._has_addresses(leaf, envelope, keys):
            return False
        return not self._words or (leaf[TYPE] in WITH_STANZA and self._has_words(envelope.partition(b"\n")[2]))

    def _has_addresses(self, leaf: bytes, envelope: bytes, keys: DayKeys | None) -> bool:
        if not all(raw in envelope or self._is_about(raw.decode(), leaf, keys) for raw in self._addresses):
            return False
        line, _, stanza = envelope.partition(b"\n")
        people = set(people_of(line, stanza))
        people |= {each.rpartition("@")[2] for each in people}
        return all(each in people or self._is_about(each, leaf, keys) for each in self._query.addresses)

    def _is_about(self, address: str, leaf: bytes, keys: DayKeys | None) -> bool:
        """Is this the address's own conversation, such as a room's?"""
        if keys is None:
            return False
        of = keys.key_id, address
        if of not in self._ids:
            self._ids[of] = keys.conversation_id(address)
        return self._ids[of] == leaf[CONVERSATION]

    def _has_words(self, stanza: bytes) -> bool:
        parts = _SAID.findall(stanza)
        text = b"\n".join(part for part, _ in parts).decode(errors="replace")
        text = (text if text.isascii() else normalize("NFKC", text)).casefold()
        is_plain = "&#" not in text and all(end for _, end in parts)  # else words may be there, written in another way
        if is_plain and not all(part in text for part in self._plain):
            return False
        said = normalize("NFKC", searchable(stanza)).casefold()
        return all(word in said for word in self._words)
